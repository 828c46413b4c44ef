"""What is committed is what the definition says, and the JSON Schema is one."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from taskstream import asyncapi, schema

ROOT = Path(__file__).parents[2]

# A misspelt keyword is valid, and silently means nothing: under this meta-schema it is neither.
STRICT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:taskstream:strict-meta-schema",
    "$dynamicAnchor": "meta",
    "$ref": "https://json-schema.org/draft/2020-12/schema",
    "unevaluatedProperties": False,
}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("bpf/task_event.h", schema.c_header),
        ("docs/record.md", schema.markdown),
        ("schemas/task_event.json", lambda: json.dumps(schema.json_schema(), indent=2) + "\n"),
        ("schemas/asyncapi.json", lambda: json.dumps(asyncapi.document(), indent=2) + "\n"),
    ],
)
def test_the_committed_file_is_what_the_definition_generates(path, text):
    assert (ROOT / path).read_text() == text(), f"{path} is not current: make schemas"


@pytest.mark.parametrize("name", ["task_event.json", "rates.json"])
def test_a_json_schema_is_valid_and_has_no_unknown_keyword(name):
    Draft202012Validator(STRICT).validate(json.loads((ROOT / "schemas" / name).read_text()))


def test_a_misspelt_keyword_is_refused_however_deep():
    misspelt = schema.json_schema()
    misspelt["oneOf"][0]["properties"]["pid"]["maximun"] = 1
    Draft202012Validator.check_schema(misspelt)
    assert not Draft202012Validator(STRICT).is_valid(misspelt)
