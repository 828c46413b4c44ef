"""Which members a message has is decided by the kind and by flags, in one place."""

import numpy as np
import pytest

from taskstream import record
from taskstream.message.shape import columns_of, derived, groups_of, hidden_fields
from taskstream.record import CALLS, FLAGS, KINDS
from tests.synthetic import WALL_OFFSET_NS, batch, bits, event, lives

HIDING = [(flag, name) for flag in FLAGS.values() for name in flag.hides]
SHOWING = [(flag, name) for flag in FLAGS.values() for name in flag.shows]


@pytest.mark.parametrize(("flag", "name"), HIDING, ids=str)
def test_a_field_is_hidden_exactly_while_its_flag_is_set(flag, name):
    kind = next(f.kinds or ("task",) for f in everything() if f.name == name)[0]
    assert name in hidden_fields(kind, flag.mask)
    assert name not in hidden_fields(kind, ~flag.mask)


@pytest.mark.parametrize(("flag", "name"), SHOWING, ids=str)
def test_a_field_is_shown_exactly_while_its_flag_is_set(flag, name):
    kind = next(f.kinds or ("task",) for f in everything() if f.name == name)[0]
    assert name not in hidden_fields(kind, flag.mask)
    assert name in hidden_fields(kind, ~flag.mask)


def everything() -> list[record.Field]:
    """Return every field of every message."""
    groups = (record.wire_fields, record.derived_fields, record.text_fields)
    return [field for kind in KINDS for group in groups for field in group(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_has_every_number_of_its_kind_once(kind):
    shown = sum(flag.mask for flag in FLAGS.values() if flag.shows)
    call = "clone" if kind == "fail" else None
    names = [c.name for c in columns_of(kind, shown, call)]
    assert names == [f.wire for f in (*record.wire_fields(kind), *record.derived_fields(kind))]


def test_groups_cover_every_record_once():
    whole = lives(50)
    order, groups = groups_of(whole.records)
    rows = [row for group in groups for row in order[group.rows].tolist()]
    assert sorted(rows) == list(range(len(whole)))


def test_a_group_keeps_the_order_of_the_batch():
    order, groups = groups_of(lives(50).records)
    for group in groups:
        assert (np.diff(order[group.rows]) > 0).all()


def test_records_of_a_group_know_the_same_fields():
    flags = [0, bits("thread"), bits("group_dead"), bits("io_unknown", "parent_unknown")]
    whole = batch(*(event(kind, flags=f) for kind in KINDS for f in flags))
    order, groups = groups_of(whole.records)
    for group in groups:
        all_flags = whole.records["flags"][order[group.rows]].tolist()
        hidden = {hidden_fields(group.kind, flags) for flags in all_flags}
        known = {frozenset(f.name for f in record.wire_fields(group.kind)) - h for h in hidden}
        assert len(known) == 1


def test_flags_that_hide_nothing_split_no_group():
    whole = batch(event("fork"), event("fork", flags=bits("thread", "agent", "kernel_thread")))
    assert len(groups_of(whole.records)[1]) == 1


def test_failures_are_grouped_by_call():
    whole = batch(*(event("fail", call=value) for value in CALLS.values()))
    assert [group.call for group in groups_of(whole.records)[1]] == list(CALLS)


def test_no_records_are_no_groups():
    assert groups_of(batch().records)[1] == []


@pytest.mark.parametrize(
    ("code", "status", "signal", "core"),
    [
        (0x0000, 0, 0, False),
        (0x0100, 1, 0, False),
        (0xFF00, 255, 0, False),
        (0x0009, 0, 9, False),
        (0x008B, 0, 11, True),
        (0x2A86, 42, 6, True),
    ],
)
def test_status_signal_and_core_are_read_from_the_raw_exit_code_as_wait_does(
    code, status, signal, core
):
    exits = batch(event("exit", exit_code=code))
    found = derived(exits.records, exits.wall_offset_ns)
    assert found["status"].tolist() == [status]
    assert found["signal"].tolist() == [signal]
    assert found["core"].tolist() == [core]


def test_only_exits_have_an_exit_status():
    for kind in KINDS:
        names = {column.name for column in columns_of(kind, 0, None)}
        assert ("status" in names) == (kind == "exit")


@pytest.mark.parametrize("offset_ns", [WALL_OFFSET_NS, 0, -5])
def test_wall_time_is_boot_time_moved_by_the_offset(offset_ns):
    forks = batch(event("fork", boot_ns=10), event("fork", boot_ns=7), wall_offset_ns=offset_ns)
    found = derived(forks.records, offset_ns)["wall_ns"]
    assert found.tolist() == [10 + offset_ns, 7 + offset_ns]
