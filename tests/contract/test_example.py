"""The example messages: current, valid, readable, and of every kind."""

import json

import msgpack
import pytest
from jsonschema import Draft202012Validator

from taskstream import resource
from taskstream.message.decode import MessageDecoder
from taskstream.record import KINDS
from tests.example import FOLDER, STORY, messages, twin
from tests.plain import events_of
from tests.synthetic import known

VALIDATOR = Draft202012Validator(json.loads(resource.schema("task_event.json").read_text()))
NAMES = [*KINDS, "batch", "report"]


def stored(name: str) -> bytes:
    return (FOLDER / f"{name}.msgpack").read_bytes()


def test_there_is_an_example_of_every_kind_of_message_and_no_other_file():
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {f"{name}.{suffix}" for name in NAMES for suffix in ("json", "msgpack")}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_what_the_agent_writes_today(name):
    assert stored(name) == messages()[name], "write them anew: python -m tests.example"


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_a_twin_that_people_can_read(name):
    text = (FOLDER / f"{name}.json").read_text()
    assert text == twin(stored(name)), "write them anew: python -m tests.example"
    assert json.loads(text) == json.loads(
        json.dumps(msgpack.unpackb(stored(name)), default=bytes.hex)
    )


@pytest.mark.parametrize("name", [*KINDS, "batch"])
def test_the_events_of_an_example_are_valid_by_the_json_schema(name):
    for event in events_of(stored(name)):
        VALIDATOR.validate(event)


def test_the_examples_tell_the_same_story_in_both_shapes():
    def by_number(events: list) -> list:
        return sorted(events, key=lambda e: (e["cpu"], e["seq"]))

    one_each = [events_of(stored(kind))[0] for kind in KINDS]
    assert by_number(one_each) == by_number(events_of(stored("batch")))


def test_the_examples_are_decoded_as_the_story_that_they_tell():
    (found,) = MessageDecoder().decode([stored("batch")]).batches
    assert sorted(map(repr, known(found))) == sorted(map(repr, known(STORY)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_of_an_event_is_a_message_of_shape_json(kind):
    twin_, packed = (FOLDER / f"{kind}.json").read_bytes(), stored(kind)
    decoded = [MessageDecoder().decode([value]) for value in (twin_, packed)]
    assert [len(d.batches) for d in decoded] == [1, 1]
    assert known(decoded[0].batches) == known(decoded[1].batches)


def test_the_report_of_the_examples_accounts_for_the_story():
    (report,) = MessageDecoder().decode([stored("report")]).reports
    assert report.interval is not None
    assert sum(report.interval.counts) == len(STORY) - 1  # the task of the snapshot is not counted
    for cpu in report.cpus:
        numbers = STORY.records["seq"][STORY.records["cpu"] == cpu.cpu]
        assert cpu.next_seq == int(numbers.max()) + 1
        assert sum(cpu.counted) == len(numbers)
