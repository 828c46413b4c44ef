"""A cgroup's name goes wherever events and charts go, whatever bytes it is made of."""

import json
import re
from dataclasses import replace
from io import StringIO

import msgpack
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from taskstream.batch import Label
from taskstream.board.gatherer import unpack_rates
from taskstream.capture.content import Names
from taskstream.chart.chart import DOCUMENTED
from taskstream.grouping.cgroup import Cgroup, classify
from taskstream.grouping.label import labels_of
from taskstream.grouping.names import CgroupNames
from taskstream.interval import COLUMNS, Interval, Series
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.message.decode import MessageDecoder
from taskstream.message.encode import EventEncoder
from taskstream.message.json import JsonEncoder, dump
from taskstream.record import COUNTS
from taskstream.report import Report
from taskstream.sink.netdata import NetdataCharts
from taskstream.sink.prometheus import Metrics, exposition
from taskstream.sink.rates import messages
from taskstream.sink.rates_metrics import RatesMetrics
from taskstream.sink.screen import JsonLines
from taskstream.text import readable
from tests.property.strategy import any_bytes
from tests.synthetic import ORIGIN, batch, event

SECOND = 10**9
ID = 9

# What the kernel allows: no NUL, no slash, no newline.
_names = (
    st.one_of(
        any_bytes,
        st.binary(max_size=120),
        st.sampled_from([b"\x1b[2J'\"", b"\\xff\xff", b"a\x85\x0b"]),
    )
    .map(lambda raw: re.sub(rb"[\0/\n]", b"", raw))
    .filter(bool)
)
_forms = st.sampled_from(
    [b"/%s", b"/lxc/%s", b"/system.slice/%s.service", b"/machine.slice/machine-%s.scope"]
)
cgroups = st.builds(lambda form, name: classify(readable(form % name)), _forms, _names)
"""A cgroup as it is learned from the kernel's bytes, by a scan or as it comes to be."""


def interval_of(cgroup: Cgroup) -> Interval:
    """Return an interval whose charts name a cgroup."""
    counts = tuple(range(1, len(COUNTS) + 1))
    series = Series((1,) * len(COLUMNS), (1,) * len(COLUMNS))
    return Interval(
        start_ns=0,
        end_ns=SECOND,
        wall_ns=1_790_000_000 * SECOND,
        counts=counts,
        received=counts,
        groups={"cgroup": {cgroup.name: series}, "service": {cgroup.name: series}},
        cgroups=((ID, cgroup.path, cgroup.name),),
    )


@given(cgroups)
def test_events_say_the_same_name_in_every_shape(cgroup):
    names = CgroupNames()
    names.learn(ID, cgroup.path)
    plain = batch(*(event("fork", cgroup_id=ID) for _ in range(3)))
    labels = labels_of(plain.records, names, None)
    (label,) = labels.table
    assert label == Label(cgroup.path, cgroup.id or None, cgroup.service or None)
    labelled = replace(plain, labels=labels)
    for values in (
        EventEncoder(ORIGIN).encode(labelled).values,
        JsonEncoder(ORIGIN).encode(labelled).values,
        encode_batch(labelled, shard_count=1, most_bytes=1_000_000).values,
    ):
        decoded = MessageDecoder().decode(values)
        assert not decoded.rejected
        found = [one.labels.table[row] for one in decoded.batches for row in one.labels.rows]
        assert found == [label] * 3


@given(cgroups)
def test_a_capture_and_reports_hold_the_name(cgroup):
    names = Names(boot_ns=1, cgroups={ID: cgroup.path})
    assert Names.from_map(msgpack.unpackb(names.payload())) == names
    report = Report(ORIGIN, SECOND, 0, (), interval=interval_of(cgroup))
    for shape in (pack, dump):
        (found,) = MessageDecoder().decode([shape(report.to_map())]).reports
        assert found.interval is not None
        assert found.interval.cgroups == ((ID, cgroup.path, cgroup.name),)


@given(cgroups)
def test_a_replay_learns_the_cgroup_that_the_agent_knew(cgroup):
    names = CgroupNames()
    names.learn(ID, cgroup.path)
    assert names.get(ID) == cgroup


@given(cgroups)
def test_the_topic_of_rates_and_lines_of_json_name_the_group(cgroup):
    interval = interval_of(cgroup)
    for shape in (pack, dump):
        sent = [shape(message) for message in messages(interval, ORIGIN, DOCUMENTED)]
        read = {message["chart"]: message for message in map(unpack_rates, sent)}
        assert [g["group"] for g in read["cgroup.task_exit"]["groups"]] == [cgroup.name]
        (services,) = read["services.task_exit"]["groups"]
        assert list(services["counts"]) == [cgroup.name]
    out = StringIO()
    JsonLines(out).interval(interval)
    line = out.getvalue()
    assert line.encode().count(b"\n") == 1
    assert list(json.loads(line)["groups"]["cgroup"]) == [cgroup.name]


@given(cgroups)
def test_a_scrape_has_the_name_as_a_label(cgroup):
    interval = interval_of(cgroup)
    metrics, of_topic = Metrics(ORIGIN.host), RatesMetrics()
    metrics.interval(interval)
    for message in messages(interval, ORIGIN, DOCUMENTED):
        of_topic.take(unpack_rates(pack(message)))
    for collector in (metrics, of_topic):
        text = exposition(collector)
        text.encode()
        found = {
            sample.labels[label]
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            for label in ("cgroup_name", "service_name")
            if label in sample.labels
        }
        assert found == {cgroup.name}


@given(cgroups)
def test_a_line_for_netdata_stays_one_line_whose_quotes_are_its_own(cgroup):
    out = StringIO()
    NetdataCharts(1, lambda: 0, out=out).interval(interval_of(cgroup))
    lines = out.getvalue().encode().decode().split("\n")
    labels = [line for line in lines if line.startswith("CLABEL ")]
    assert len(labels) == 5
    for line in labels:
        found = re.fullmatch(r"CLABEL 'cgroup_name' '([^'\x00-\x1f]*)' 1", line)
        assert found is not None
        assert len(found[1]) == len(cgroup.name)
    words = {line.split(" ", 1)[0] for line in lines}
    assert words <= {"CHART", "CLABEL", "CLABEL_COMMIT", "DIMENSION", "BEGIN", "SET", "END", ""}
    for line in lines:
        assert line.count("'") % 2 == 0
