"""The AsyncAPI document: by AsyncAPI's own parser, and true of the example messages."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from taskstream.chart.chart import DOCUMENTED
from taskstream.config.config import Config
from taskstream.interval import Interval
from taskstream.record import COUNTS, KINDS
from taskstream.sink.rates import messages
from tests.example import FOLDER
from tests.needs import go_without
from tests.synthetic import ORIGIN

ROOT = Path(__file__).parents[2]
PATH = ROOT / "schemas/asyncapi.json"
DOCUMENT: dict[str, Any] = json.loads(PATH.read_text())
PARSER = ROOT / "build/asyncapi/node_modules/@asyncapi/parser"

PARSE = """
const { Parser, fromFile } = require(process.argv[1]);
fromFile(new Parser(), process.argv[2]).parse().then(({ document, diagnostics }) => {
    const channels = document ? document.allChannels().all().map(c => c.address()) : [];
    console.log(JSON.stringify({ channels, diagnostics }));
});
"""


def validator(name: str) -> Draft7Validator:
    """Return a validator of a message's payload, which may refer to files beside the document."""

    def beside(uri: str) -> Resource:
        file = PATH.parent / uri.removeprefix("./")
        return Resource(json.loads(file.read_text()), DRAFT7)

    payload = DOCUMENT["components"]["messages"][name]["payload"]
    assert payload["schemaFormat"] == "application/schema+json;version=draft-07"
    Draft7Validator.check_schema(payload["schema"])
    return Draft7Validator(payload["schema"], registry=Registry(retrieve=beside))


def example(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format_", ["MessagePack", "JSON"])
def test_an_example_event_is_what_the_document_says(kind, format_):
    assert validator(f"event{format_}").is_valid(example(kind))
    assert not validator(f"event{format_}").is_valid(example(kind) | {"pid": -1})


def test_the_example_batch_is_what_the_document_says():
    validator("batch").validate(example("batch"))
    for name, value in (("cpu", None), ("cpu", {"type": "u8", "data": ""}), ("argv", {"data": ""})):
        spoilt = example("batch")
        spoilt["columns"][name] = value
        assert not validator("batch").is_valid(spoilt)
    spoilt = example("batch")
    del spoilt["columns"]["cpu"]
    assert not validator("batch").is_valid(spoilt)


def test_the_example_report_is_what_the_document_says():
    validator("reportJSON").validate(example("report"))
    validator("reportJSON").validate(example("report") | {"interval": None})
    assert not validator("reportJSON").is_valid(example("report") | {"cpus": [{}]})


def test_rates_are_what_the_document_says():
    none = (0,) * len(COUNTS)
    interval = Interval(start_ns=0, end_ns=10**9, wall_ns=10**18, counts=none, received=none)
    sent = list(messages(interval, ORIGIN, DOCUMENTED))
    assert sent
    for message in sent:
        validator("ratesMessagePack").validate(message)


def test_the_channels_are_the_topics_by_default():
    addresses = {name: channel["address"] for name, channel in DOCUMENT["channels"].items()}
    assert addresses == {"events": Config().topic, "rates": Config().rates_topic}


def test_every_message_is_in_one_channel():
    named = [name for c in DOCUMENT["channels"].values() for name in c["messages"]]
    assert sorted(named) == sorted(DOCUMENT["components"]["messages"])


def parsed(path: Path) -> dict[str, Any]:
    """Let AsyncAPI's own parser read a document; `make test-all` installs it from npm."""
    if not PARSER.exists() or shutil.which("node") is None:
        go_without("no AsyncAPI parser: make build/asyncapi/installed")
    words = ["node", "-e", PARSE, str(PARSER), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.large
def test_asyncapis_own_parser_finds_no_error_and_both_topics():
    found = parsed(PATH)
    assert [d for d in found["diagnostics"] if d["severity"] == 0] == []
    assert found["channels"] == ["taskstream.events", "taskstream.rates"]


@pytest.mark.large
def test_asyncapis_own_parser_refuses_a_name_that_is_not_asyncapis(tmp_path):
    shutil.copytree(PATH.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / PATH.name).write_text(json.dumps(DOCUMENT | {"topics": {}}))
    assert [d for d in parsed(tmp_path / PATH.name)["diagnostics"] if d["severity"] == 0]
