"""KafkaSink against librdkafka's mock cluster: every event is delivered or accounted for."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from taskstream.batch import Batch, Origin
from taskstream.broker import EmbeddedBroker
from taskstream.errors import BrokerError, ConfigError
from taskstream.interval import Interval
from taskstream.message.decode import MessageDecoder
from taskstream.record import COUNTS, KINDS
from taskstream.report import CpuReport, Report
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from tests.mock_cluster import API_PRODUCE, MockCluster
from tests.plain import events_of, map_of
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, each_kind, event, known, lives
from tests.topic import Fetched, fetch, murmur2, wait_until

pytestmark = pytest.mark.kafka

TOPIC = "taskstream.events"
NAMES = [count.name for count in COUNTS]

# Error codes of the Kafka protocol.
NOT_LEADER, TIMED_OUT, TOO_LARGE, NOT_ENOUGH_REPLICAS = 6, 7, 10, 19
UNKNOWN_TOPIC, INVALID_TOPIC, NO_RIGHT = 3, 17, 29
OUT_OF_ORDER, OLD_EPOCH = 45, 47

KCAT = ["kcat", "-C", "-e", "-q"]
QUICK = {
    "linger.ms": "0",
    "reconnect.backoff.ms": "20",
    "reconnect.backoff.max.ms": "100",
    "topic.metadata.refresh.interval.ms": "200",
}


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=["event", "batch", "json"])
def shape(request: pytest.FixtureRequest) -> str:
    return request.param


class Ticks:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def sink_to(
    bootstrap: str,
    *,
    topic: str = TOPIC,
    message: str = "event",
    now_ns: Callable[[], int] = time.monotonic_ns,
    **settings: Any,
) -> KafkaSink:
    given = QUICK | {name.replace("_", "."): str(value) for name, value in settings.items()}
    options = KafkaOptions(
        bootstrap=bootstrap, topic=topic, message=message, answer_ms=5000, settings=given
    )
    return KafkaSink(options, now_ns=now_ns)


def assert_balanced(sink: KafkaSink) -> None:
    """Assert the law, with what is in flight counted by librdkafka, not by subtraction.

    (Its queue holds errors to be told, too, for a moment.)
    """
    account = sink.account
    assert min(account.delivered, account.rejected, account.dropped, account.in_flight) >= 0
    in_queue = sink.in_queue()
    if sink.options.message != "batch":
        assert account.in_flight <= in_queue
    assert in_queue or not account.in_flight


def finish(sink: KafkaSink) -> None:
    """Go on until nothing is in flight; the law holds at every step."""

    def step() -> None:
        sink.tick()
        assert_balanced(sink)

    wait_until(lambda: not sink.in_queue(), step)


def publish(sink: KafkaSink, *batches: Batch) -> None:
    for one in batches:
        sink.write(one)
        assert_balanced(sink)
    finish(sink)


def fetched(cluster: MockCluster) -> list[Fetched]:
    return fetch(cluster.bootstrap, TOPIC)


def events_in(messages: list[Fetched]) -> list[dict[str, Any]]:
    return [e for m in messages for e in events_of(m.value)]


def numbers_in(messages: list[Fetched]) -> list[tuple[int, int]]:
    return sorted((e["cpu"], e["seq"]) for e in events_in(messages))


def numbers_of(*batches: Batch) -> list[tuple[int, int]]:
    return sorted(
        (cpu, seq)
        for one in batches
        for cpu, seq in zip(one.records["cpu"].tolist(), one.records["seq"].tolist(), strict=True)
    )


def report(**values: Any) -> Report:
    none = (0,) * len(COUNTS)
    cpus = (CpuReport(0, ORIGIN.run_ns + 5, none, none, none, 0),)
    interval = Interval(start_ns=1, end_ns=2, wall_ns=3, counts=none, received=none)
    return Report(ORIGIN, 7_000_000, WALL_OFFSET_NS, cpus, {}, interval, **values)


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_the_hash_of_this_test_is_javas(data, value):
    assert murmur2(data) == value & 0xFFFFFFFF


# --- delivery ------------------------------------------------------------------------------------

STREAM = [lives(200), batch(event("exec", comm=b"\xff", cpu=7), event("fail", cpu=7))]


@dataclass(frozen=True)
class Published:
    """A topic, and what it holds, after a sink was given a stream, and a report in its midst."""

    bootstrap: str
    topic: str
    sink: KafkaSink
    messages: list[Fetched]
    reports: list[Fetched]


@pytest.fixture(scope="module", params=["event", "batch", "json"])
def published(request: pytest.FixtureRequest, embedded: EmbeddedBroker) -> Published:
    topic = f"stream-{request.param}"
    sink = sink_to(embedded.address, topic=topic, message=request.param)
    whole, *others = STREAM
    sink.write(Batch(ORIGIN, whole.records[:450], WALL_OFFSET_NS, whole.texts))
    sink.report(report(final=True))
    publish(sink, Batch(ORIGIN, whole.records[450:], WALL_OFFSET_NS, whole.texts), *others)
    found = fetch(embedded.address, topic)
    reports = [m for m in found if map_of(m.value)["kind"] == "report"]
    messages = [m for m in found if m not in reports]
    return Published(embedded.address, topic, sink, messages, reports)


def test_every_event_is_delivered_once_as_it_was(published):
    account = published.sink.account
    assert (account.received, account.delivered, account.in_flight) == (802, 802, 0)
    assert not published.sink.errors
    decoded = MessageDecoder().decode([m.value for m in published.messages])
    assert not decoded.rejected
    assert sorted(map(repr, known(decoded.batches))) == sorted(map(repr, known(STREAM)))


def test_an_event_is_keyed_and_stamped_as_documented(published):
    for message in published.messages:
        found = events_of(message.value)
        identity = f"{found[0]['tgid']:08x}-{found[0]['process_start_ns']:016x}"
        keys = {"batch": "build-7/0"}
        expected = keys.get(published.sink.options.message, f"build-7/{identity}")
        assert message.key.decode() == expected
        assert message.stamp_ms == min(e["wall_ns"] for e in found) // 1_000_000


def test_all_events_of_a_process_are_in_one_partition_in_order(published):
    places: dict[int, list[tuple[int, str]]] = {}
    for message in published.messages:
        for found in sorted(events_of(message.value), key=lambda e: e["boot_ns"]):
            places.setdefault(found["tgid"], []).append((message.partition, found["kind"]))
    ordered = [place for tgid, place in places.items() if 1000 <= tgid < 1200]
    assert len(ordered) == 200
    for place in ordered:
        assert len({partition for partition, _ in place}) == 1
        assert [kind for _, kind in place] == ["fork", "exec", "exit", "free"]


def test_a_report_is_delivered_beside_the_events_and_is_none_of_them(published):
    assert published.sink.others["report"] == 1
    (message,) = published.reports
    assert MessageDecoder().decode([message.value]).reports == [report(final=True)]
    assert message.key == ORIGIN.host.encode()
    assert message.stamp_ms == (7_000_000 + WALL_OFFSET_NS) // 1_000_000


def test_a_key_has_the_partition_that_java_clients_give_it(published):
    for message in published.messages:
        assert message.partition == (murmur2(message.key) & 0x7FFFFFFF) % 4
    if published.sink.options.message != "batch":
        assert {m.partition for m in published.messages} == {0, 1, 2, 3}


def test_kcat_reads_the_topic_with_its_keys(published):
    found = subprocess.run(
        [*KCAT, "-b", published.bootstrap, "-t", published.topic, "-f", "%p %o %k %T %S\n"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout.splitlines()
    assert sorted(found) == sorted(
        f"{m.partition} {m.offset} {m.key.decode()} {m.stamp_ms} {len(m.value)}"
        for m in (*published.messages, *published.reports)
    )


def test_one_sink_takes_batches_of_many_origins_and_empty_ones(embedded):
    others = [Origin("db-1", ORIGIN.boot_id, 5), Origin("db-2", "", 5)]
    given = [each_kind(), batch(), *(batch(event("fork"), origin=origin) for origin in others)]
    publish(sink_to(embedded.address, topic="origins"), *given)
    hosts = Counter(e["host"] for e in events_in(fetch(embedded.address, "origins")))
    assert hosts == {ORIGIN.host: len(KINDS), "db-1": 1, "db-2": 1}


def test_batches_that_are_too_long_for_a_message_are_halved(embedded):
    sink = sink_to(embedded.address, topic="halved", message="batch", message_max_bytes=20_000)
    publish(sink, lives(500))
    assert sink.account.delivered == 2000
    sizes = [len(m.value) for m in fetch(embedded.address, "halved")]
    assert len(sizes) > 4
    assert max(sizes) < 20_000


# --- a queue that is full ------------------------------------------------------------------------

FULL = {
    "event": {"queue_buffering_max_messages": 100},
    "json": {"queue_buffering_max_messages": 100},
    "batch": {"queue_buffering_max_messages": 3, "message_max_bytes": 4000},
}


def test_what_finds_no_room_waits_in_order_and_is_delivered(cluster, shape):
    ticks = Ticks()
    sink = sink_to(cluster.bootstrap, message=shape, now_ns=ticks, **FULL[shape])
    cluster.set_rtt(20)
    publish(sink, lives(100))
    assert (sink.account.delivered, sink.account.dropped) == (400, 0)
    found = fetched(cluster)
    assert numbers_in(found) == numbers_of(lives(100))
    ends: dict[bytes, int] = {}
    for message in found:
        times = [e["boot_ns"] for e in events_of(message.value)]
        assert ends.get(message.key, 0) <= min(times)
        ends[message.key] = max(times)


def test_what_finds_no_room_for_too_long_is_dropped_and_counted_by_cpu_and_kind(cluster, shape):
    ticks = Ticks()
    sink = sink_to(cluster.bootstrap, message=shape, now_ns=ticks, **FULL[shape])
    cluster.set_down()
    whole = lives(250, cpus=2)
    sink.write(whole)
    assert_balanced(sink)
    ticks.ns += 999_000_000
    sink.tick()
    assert_balanced(sink)
    assert sink.account.dropped == 0
    ticks.ns += 1_000_000
    sink.tick()
    assert_balanced(sink)
    assert sink.account.dropped > 0
    cluster.set_up()
    finish(sink)
    account = sink.account
    assert account.received == account.delivered + account.dropped == 1000
    arrived = set(numbers_in(fetched(cluster)))
    gone = [row for row in whole.records if (int(row["cpu"]), int(row["seq"])) not in arrived]
    assert len(gone) == account.dropped
    names = {"fork": "fork_process", "exec": "exec", "exit": "exit_process", "free": "free"}
    by_value = {KINDS[kind]: name for kind, name in names.items()}
    for cpu in (0, 1):
        expected = Counter(by_value[int(row["kind"])] for row in gone if row["cpu"] == cpu)
        told = dict(zip(NAMES, sink.dropped(cpu), strict=True))
        assert {name: n for name, n in told.items() if n} == expected


def test_only_what_waited_too_long_is_dropped(cluster):
    ticks = Ticks()
    sink = sink_to(cluster.bootstrap, now_ns=ticks, queue_buffering_max_messages=100)
    cluster.set_down()
    sink.write(lives(50, first_pid=1000))
    ticks.ns += 600_000_000
    sink.write(lives(50, first_pid=2000))
    ticks.ns += 600_000_000
    sink.tick()
    assert sink.account.dropped == 100
    ticks.ns += 600_000_000
    sink.tick()
    assert sink.account.dropped == 300
    assert_balanced(sink)


def test_a_task_of_the_snapshot_that_is_dropped_is_dropped_and_counts_for_no_kind(cluster):
    ticks = Ticks()
    sink = sink_to(cluster.bootstrap, now_ns=ticks, queue_buffering_max_messages=1)
    cluster.set_down()
    sink.write(batch(event("fork"), event("task"), event("task", cpu=65535)))
    ticks.ns += 10**9
    sink.tick()
    assert sink.account.dropped == 2
    assert sink.dropped(0) == sink.dropped(65535) == (0,) * len(COUNTS)


def test_writing_returns_at_once_while_the_broker_is_away(cluster, shape):
    sink = sink_to(cluster.bootstrap, message=shape, **FULL[shape])
    cluster.set_down()
    began = time.monotonic()
    for number in range(20):
        sink.write(lives(50, first_pid=number * 1000))
    assert time.monotonic() - began < 2
    assert sink.account.received == 4000


def test_a_report_that_finds_no_room_is_told_and_costs_nothing_else(cluster):
    sink = sink_to(cluster.bootstrap, queue_buffering_max_messages=1)
    cluster.set_down()
    sink.write(batch(event("fork")))
    sink.report(report())
    assert not sink.errors
    assert sink.other_errors == {"topic taskstream.events (report): queue full": 1}
    cluster.set_up()
    finish(sink)
    assert sink.account.delivered == 1


# --- a broker that goes away ---------------------------------------------------------------------


def test_a_broker_that_is_away_is_trouble_until_it_is_back(cluster):
    sink = sink_to(cluster.bootstrap)
    publish(sink, each_kind())
    assert sink.trouble == ""
    cluster.set_down()
    sink.write(lives(10))
    wait_until(lambda: sink.trouble, sink.tick)
    assert sink.trouble == f"broker {cluster.bootstrap} does not answer"
    assert sink.account.in_flight == 40
    cluster.set_up()
    finish(sink)
    assert sink.trouble == ""
    assert sink.account.delivered == 40 + len(KINDS)
    assert numbers_in(fetched(cluster)) == numbers_of(each_kind(), lives(10))


def test_what_is_not_acknowledged_in_time_is_rejected(cluster):
    sink = sink_to(cluster.bootstrap, message="batch", delivery_timeout_ms=300)
    cluster.set_down()
    sink.write(lives(10))
    finish(sink)
    assert (sink.account.rejected, sink.account.delivered) == (40, 0)
    assert sink.errors == {"Local: Message timed out": 40}


def test_draining_waits_for_acknowledgements(cluster):
    cluster.set_rtt(100)
    sink = sink_to(cluster.bootstrap)
    sink.write(lives(100))
    assert sink.account.in_flight
    sink.drain(10)
    assert sink.account.delivered == 400
    assert sink.in_queue() == 0


def test_draining_ends_in_time_and_drops_what_never_found_room(cluster):
    sink = sink_to(cluster.bootstrap, queue_buffering_max_messages=100)
    cluster.set_down()
    sink.write(lives(100))
    began = time.monotonic()
    sink.drain(0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert_balanced(sink)
    assert (sink.account.dropped, sink.account.in_flight) == (300, 100)


def test_a_sink_without_anything_drains_at_once(embedded):
    sink = sink_to(embedded.address)
    began = time.monotonic()
    sink.drain(10)
    assert time.monotonic() - began < 1


# --- a broker that refuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "codes",
    [[NOT_LEADER], [TIMED_OUT, TIMED_OUT], [NOT_ENOUGH_REPLICAS, NOT_LEADER]],
    ids=str,
)
def test_a_passing_error_is_retried_and_every_event_delivered_once(cluster, codes):
    sink = sink_to(cluster.bootstrap, message="batch", retry_backoff_ms=10)
    before = cluster.requests(API_PRODUCE)
    cluster.push_request_errors(API_PRODUCE, *codes)
    publish(sink, each_kind())
    assert (sink.account.delivered, sink.account.rejected) == (len(KINDS), 0)
    assert cluster.requests(API_PRODUCE) == before + len(codes) + 1
    assert numbers_in(fetched(cluster)) == numbers_of(each_kind())


@pytest.mark.parametrize(
    ("shape", "code", "reason"),
    [
        ("event", TOO_LARGE, "Broker: Message size too large"),
        ("batch", TOO_LARGE, "Broker: Message size too large"),
        ("event", NO_RIGHT, "Broker: Topic authorization failed"),
    ],
)
def test_what_the_broker_refuses_is_rejected_with_the_reason(cluster, shape, code, reason):
    sink = sink_to(cluster.bootstrap, message=shape)
    cluster.push_request_errors(API_PRODUCE, *[code] * 20)
    publish(sink, each_kind())
    assert (sink.account.rejected, sink.account.delivered) == (len(KINDS), 0)
    assert sink.errors.total() == len(KINDS)
    assert all(told.endswith(reason) for told in sink.errors)
    cluster.clear_request_errors(API_PRODUCE)
    before = sink.account.rejected
    wait_until(lambda: sink.account.delivered, lambda: publish(sink, batch(event("fork"))))
    assert sink.account.received == sink.account.delivered + sink.account.rejected
    assert code == NO_RIGHT or sink.account.rejected == before


def test_an_event_that_is_too_long_for_any_message_is_rejected_and_holds_up_no_other(
    cluster, shape
):
    ticks = Ticks()
    sink = sink_to(cluster.bootstrap, message=shape, message_max_bytes=3000, now_ns=ticks)
    long = event("exec", argv=b"x" * 5000 + b"\0")
    publish(sink, batch(event("fork"), long, event("exit"), event("free")), lives(1))
    assert (sink.account.rejected, sink.account.delivered, sink.account.dropped) == (1, 7, 0)
    assert sum(sink.errors.values()) == 1


@pytest.mark.parametrize("code", [OUT_OF_ORDER, OLD_EPOCH])
def test_an_idempotent_producer_that_is_out_of_step_sends_again_what_was_not_acknowledged(
    cluster, shape, code
):
    sink = sink_to(cluster.bootstrap, message=shape, retry_backoff_ms=10)
    publish(sink, lives(20, first_pid=1000))
    cluster.push_request_errors(API_PRODUCE, code)
    after = [lives(20, first_pid=pid, origin=Origin("h", "b", pid)) for pid in (2000, 3000)]
    publish(sink, *after)
    assert sink.account.delivered == sink.account.received == 240
    found = {(e["host"], e["run_ns"], e["cpu"], e["seq"]) for e in events_in(fetched(cluster))}
    assert len(found) == 240


def test_after_a_fatal_error_the_producer_is_made_anew_and_goes_on(cluster, shape):
    sink = sink_to(cluster.bootstrap, message=shape)
    given = [each_kind(), *(lives(5, origin=Origin("h", "b", run_ns)) for run_ns in (2, 3))]
    publish(sink, given[0])
    cluster.push_request_errors(API_PRODUCE, OUT_OF_ORDER)
    publish(sink, given[1])
    assert sink.rebuilds == 1
    publish(sink, given[2])
    account = sink.account
    assert account.received == account.delivered == sum(map(len, given))
    found = Counter((e["run_ns"], e["cpu"], e["seq"]) for e in events_in(fetched(cluster)))
    told = ((one.origin.run_ns, *number) for one in given for number in numbers_of(one))
    assert found.keys() == set(told)
    assert {run for (run, _, _), count in found.items() if count > 1} <= {2}, "copies of others"


# --- the start -----------------------------------------------------------------------------------


def test_a_topic_that_may_not_be_written_is_told_at_the_start(cluster):
    cluster.topic_set_error(TOPIC, NO_RIGHT)
    with pytest.raises(BrokerError) as raised:
        sink_to(cluster.bootstrap)
    assert str(raised.value) == (
        f"topic {TOPIC} cannot be used on {cluster.bootstrap}: Broker: Topic authorization "
        "failed: ask for the right to write to it, or name another with --topic"
    )


def test_a_topic_that_does_not_exist_and_is_not_made_is_told_at_the_start(cluster):
    cluster.topic_set_error(TOPIC, UNKNOWN_TOPIC)
    with pytest.raises(BrokerError, match=f"topic {TOPIC} does not exist .*: create it, or name"):
        sink_to(cluster.bootstrap)


def test_a_name_that_no_topic_can_have_is_told_at_the_start(cluster):
    cluster.topic_set_error(TOPIC, INVALID_TOPIC)
    with pytest.raises(BrokerError, match="Invalid topic"):
        sink_to(cluster.bootstrap)


def test_a_broker_that_does_not_answer_is_told_in_time(cluster):
    cluster.set_down()
    began = time.monotonic()
    options = KafkaOptions(bootstrap=cluster.bootstrap, answer_ms=300)
    with pytest.raises(BrokerError, match=f"broker {cluster.bootstrap} does not answer"):
        KafkaSink(options)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("lingre.ms", "5", 'No such configuration property: "lingre.ms"'),
        ("linger.ms", "soon", "Invalid value for configuration property"),
        ("compression.type", "zip", "compression.codec"),
        ("sasl.mechanisms", "GUESS", "Unsupported SASL mechanism"),
    ],
)
def test_a_wrong_setting_is_told_at_the_start(embedded, setting, value, said):
    settings = {setting: value}
    if setting.startswith("sasl"):
        settings["security.protocol"] = "sasl_plaintext"
    with pytest.raises(ConfigError, match=f"^Kafka settings: .*{said}"):
        KafkaSink(KafkaOptions(bootstrap=embedded.address, settings=settings))


def test_no_error_about_settings_shows_a_secret(embedded):
    settings = {"sasl.password": "hunter2", "ssl.key.password": "hunter2", "lingre.ms": "5"}
    with pytest.raises(ConfigError) as raised:
        KafkaSink(KafkaOptions(bootstrap=embedded.address, settings=settings))
    assert "hunter2" not in str(raised.value)


# --- the embedded broker -------------------------------------------------------------------------


def test_the_embedded_broker_is_on_loopback_at_a_port_of_its_own(embedded):
    with EmbeddedBroker() as other:
        for broker in (embedded, other):
            host, port = broker.address.rsplit(":", 1)
            assert host == "127.0.0.1"
            assert int(port) > 1023
        assert other.address != embedded.address


def test_the_embedded_broker_can_be_several():
    with EmbeddedBroker(brokers=3) as broker:
        assert broker.address.count(",") == 2
        publish(sink_to(broker.address), lives(50))
        assert numbers_in(fetch(broker.address, TOPIC)) == numbers_of(lives(50))


def test_the_embedded_broker_is_gone_when_it_is_closed_and_can_be_closed_twice():
    broker = EmbeddedBroker()
    broker.close()
    broker.close()
    with pytest.raises(BrokerError, match="does not answer"):
        KafkaSink(KafkaOptions(bootstrap=broker.address, answer_ms=200))
