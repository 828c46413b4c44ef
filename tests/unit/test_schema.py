"""What is generated says what the definition says, in every language."""

from taskstream import record, schema
from taskstream.record import CALLS, COUNTS, FLAGS, KINDS


def variants() -> dict[str, dict]:
    return {variant["title"]: variant for variant in schema.json_schema()["oneOf"]}


def test_there_is_a_variant_for_every_kind_and_it_allows_nothing_else():
    assert list(variants()) == list(KINDS)
    for kind, variant in variants().items():
        assert variant["properties"]["kind"]["const"] == kind
        assert variant["additionalProperties"] is False


def test_a_member_is_required_unless_a_flag_decides():
    decided = {name for flag in FLAGS.values() for name in (*flag.hides, *flag.shows)}
    for kind, variant in variants().items():
        groups = (record.wire_fields, record.derived_fields, record.text_fields)
        members = {f.wire: f.name in decided for group in groups for f in group(kind)}
        assert set(variant["properties"]) == set(members)
        assert set(variant["required"]) == {
            wire for wire, optional in members.items() if not optional
        }


def test_numbers_have_the_range_of_their_type():
    exit_ = variants()["exit"]["properties"]
    assert (exit_["exit_code"]["minimum"], exit_["exit_code"]["maximum"]) == (-(2**31), 2**31 - 1)
    assert (exit_["seq"]["minimum"], exit_["seq"]["maximum"]) == (0, 2**64 - 1)
    assert (exit_["pid"]["minimum"], exit_["pid"]["maximum"]) == (0, 2**32 - 1)


def test_the_schema_names_the_version_that_it_describes():
    assert schema.json_schema()["$id"].endswith(f":{record.VERSION}")
    for variant in variants().values():
        assert variant["properties"]["v"]["const"] == record.VERSION


def test_only_texts_that_need_looking_up_may_be_nil():
    nullable = {
        name
        for variant in variants().values()
        for name, shape in variant["properties"].items()
        if "null" in shape.get("type", ())
    }
    assert nullable == {"cgroup", "container", "service", "app_group"}


def test_every_member_says_what_it_means_and_in_which_unit():
    units = {
        f.wire: f.unit
        for kind in KINDS
        for group in (record.wire_fields, record.derived_fields)
        for f in group(kind)
        if f.unit
    }
    for variant in variants().values():
        for name, shape in variant["properties"].items():
            assert shape["description"]
            if name in units:
                assert shape["description"].endswith(f"Unit: {units[name]}.")


def test_the_field_table_has_one_row_per_member():
    names = [row["name"] for row in schema.field_rows()]
    members = {name for variant in variants().values() for name in variant["properties"]}
    assert len(names) == len(set(names))
    assert set(names) == members


def test_the_field_table_says_when_a_field_is_there():
    present = {row["name"]: row["present"] for row in schema.field_rows()}
    assert present["ppid"] == "not with parent_unknown"
    assert present["max_rss_bytes"] == "with group_dead"
    assert present["pid"] == "always"


def test_the_c_header_has_every_number_of_the_definition():
    header = schema.c_header()
    for kind, value in KINDS.items():
        assert f"\tKIND_{kind.upper()} = {value}," in header
    for call, value in CALLS.items():
        assert f"\tCALL_{call.upper()} = {value}," in header
    for flag in FLAGS.values():
        assert f"\tFLAG_{flag.name.upper()} = {flag.mask}," in header
    for index, count in enumerate(COUNTS):
        assert f"\tCOUNT_{count.name.upper()} = {index}," in header


def test_the_c_header_asserts_the_offset_of_every_field():
    header = schema.c_header()
    for field in record.FIELDS:
        member = f"{field.kinds[0]}.{field.name}" if field.kinds else field.name
        offset = record.RECORD.fields[field.name][1]
        assert f"offsetof(struct task_event, {member}) == {offset}," in header


def test_the_tables_of_the_docs_are_whole():
    text = schema.markdown()
    for row in schema.field_rows():
        assert f"| `{row['name']}` | {row['kinds']} |" in text
    for name in (*KINDS, *FLAGS):
        assert f"`{name}`" in text
