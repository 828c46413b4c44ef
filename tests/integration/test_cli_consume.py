"""``taskstream consume``: every event of a topic, and what is missing in it."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from jsonschema import Draft202012Validator

from taskstream import resource
from taskstream.batch import Batch, take
from taskstream.broker import EmbeddedBroker
from taskstream.message.columns import pack
from taskstream.record import COUNTS, KINDS
from taskstream.report import CpuReport, Report
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.vocabulary import VOCABULARIES
from tests.command import Done, start, taskstream
from tests.plain import events_of
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, bits, each_kind, event, lives
from tests.topic import fetch, wait_until

pytestmark = pytest.mark.kafka

VALIDATOR = Draft202012Validator(json.loads(resource.schema("task_event.json").read_text()))
CLOSING = re.compile(
    r"taskstream consume: read ([\d,]+) events = ([\d,]+) once \+ ([\d,]+) again; "
    r"missing ([\d,]+|unknown, before the end); not understood ([\d,]+) messages\n\Z"
)
UNREACHABLE = "127.0.0.1:9"  # the discard service, which no host offers any more


@pytest.fixture(scope="module", autouse=True)
def unreachable() -> Iterator[subprocess.Popen[str]]:
    """Ask a broker that is not there; its ten seconds pass while the other tests run."""
    with start("consume", "--bootstrap", UNREACHABLE) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def broker(unreachable: subprocess.Popen[str]) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def fill(broker: EmbeddedBroker, topic: str, *given: Batch | Report, message: str = "event") -> str:
    """Publish batches and reports to a topic; return its name."""
    sink = KafkaSink(KafkaOptions(bootstrap=broker.address, topic=topic, message=message))
    for one in given:
        sink.write(one) if isinstance(one, Batch) else sink.report(one)
    sink.drain(20)
    assert sink.account.delivered == sink.account.received
    return topic


def consume(broker: EmbeddedBroker, topic: str, *options: str) -> Done:
    return taskstream(
        "consume", "--bootstrap", broker.address, "--topic", topic,
        "--kafka", "fetch.wait.max.ms=10", *options,
    )  # fmt: skip


def closing(done: Done) -> tuple[int, ...]:
    """Return the numbers of the closing line: read, once, again, missing, not understood."""
    found = CLOSING.search(done.err)
    assert found, done.err
    return tuple(int(text.replace(",", "")) for text in found.groups() if text[0].isdigit())


def without(whole: Batch, *rows: int) -> Batch:
    """Leave out some records."""
    kept = [row for row in range(len(whole)) if row not in rows]
    return Batch(whole.origin, take(whole.records, kept), whole.wall_offset_ns, whole.texts)


def report(*next_offsets: int, lost: tuple[int, ...] = ()) -> Report:
    """Make the last report of a run: the next number of each CPU, and its lost forks."""
    none = (0,) * (len(COUNTS) - 1)
    padded = (*lost, *(0 for _ in next_offsets))
    cpus = tuple(
        CpuReport(cpu, ORIGIN.run_ns + n, (n, *none), (padded[cpu], *none), (0, *none), 0)
        for cpu, n in enumerate(next_offsets)
    )
    return Report(ORIGIN, ORIGIN.run_ns + 10**10, WALL_OFFSET_NS, cpus, final=True)


@pytest.fixture(scope="module", params=["event", "batch", "json"])
def whole(request: pytest.FixtureRequest, broker: EmbeddedBroker) -> str:
    """A topic that misses nothing: 100 events, and the report of their run."""
    return fill(broker, f"whole-{request.param}", lives(25), report(50, 50), message=request.param)


@pytest.fixture(scope="module")
def plain(broker: EmbeddedBroker) -> str:
    """Likewise, for what has nothing to do with the shape of messages."""
    return fill(broker, "plain", lives(25), report(50, 50))


# --- events --------------------------------------------------------------------------------------


def test_every_event_is_a_line_for_people_and_the_last_line_adds_up(broker, whole):
    done = consume(broker, whole, "-e")
    assert done.code == 0
    assert closing(done) == (100, 100, 0, 0, 0)
    assert len(done.lines) == 100
    for kind in ("fork", "exec", "exit", "free"):
        assert sum(f"  build-7  {kind}  " in line for line in done.lines) == 25


def test_every_event_is_a_line_of_json_that_is_valid_by_the_json_schema(broker, whole):
    done = consume(broker, whole, "-e", "--json")
    assert (done.code, done.err) == (0, "")
    *events, summary = map(json.loads, done.lines)
    for found in events:
        VALIDATOR.validate(found)
    published = [e for m in fetch(broker.address, whole) for e in in_message(m.value)]
    assert sorted(map(str, map(sorted_members, events))) == sorted(
        map(str, map(sorted_members, published))
    )
    assert summary["kind"] == "summary"
    totals = {name: summary[name] for name in ("events", "duplicates", "missing", "rejected")}
    assert totals == {"events": 100, "duplicates": 0, "missing": 0, "rejected": 0}
    assert [(cpu["cpu"], cpu["events"]) for cpu in summary["cpus"]] == [(0, 50), (1, 50)]


def in_message(value: bytes) -> list[dict[str, Any]]:
    found = events_of(value)
    return [] if found[0]["kind"] == "report" else found


def sorted_members(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(found.items())


def test_quiet_prints_no_event_and_every_cpu(broker, whole):
    done = consume(broker, whole, "-e", "-q")
    assert (done.code, done.out) == (0, "")
    for cpu in (0, 1):
        assert f"build-7 run {ORIGIN.run_ns} cpu {cpu}: 50 events, 0 again, missing 0" in done.err


@pytest.mark.parametrize("count", [1, 7, 100])
def test_count_is_exact(broker, whole, count):
    done = consume(broker, whole, "--count", str(count))
    assert len(done.lines) == count
    assert closing(done)[:3] == (count, count, 0)


def test_what_was_left_unread_on_purpose_is_not_missing(broker, whole):
    done = consume(broker, whole, "--count", "7")
    assert "read 7 events = 7 once + 0 again; missing unknown, before the end" in done.err
    assert done.code == 0
    summary = json.loads(consume(broker, whole, "--count", "7", "--json").lines[-1])
    assert (summary["at_end"], summary["missing"]) == (False, None)


def test_a_line_for_people_says_what_matters_of_its_kind(broker):
    given = batch(
        event("fork", tgid=10, pid=11, caller_tgid=9, clone_flags=0x10F00, flags=bits("thread")),
        event("exec", tgid=10, pid=10, argv=b"ls\0-l\0"),
        event("exec", tgid=10, pid=10, flags=bits("args_lost")),
        event("exit", tgid=10, pid=10, exit_code=0x0300, flags=bits("group_dead")),
        event("exit", tgid=10, pid=10, exit_code=0x0009),
        event("fail", tgid=10, pid=10, call=3, errno=11),
        event("free", tgid=10, pid=10, ppid=4),
        event("free", tgid=10, pid=10, flags=bits("parent_unknown")),
        event("exec", tgid=10, pid=10, comm=b"caf\xe9", argv=b"\xff\0"),
    )
    said = consume(broker, fill(broker, "people", given), "-e").out
    for part in (
        "10/11  fork-0           by 9 flags 0x10f00  [thread]",
        "exec-1           ls -l",
        "exec-2           (arguments lost)  [args_lost]",
        "exit-3           status 3 after",
        "exit-4           signal 9 after",
        "fail-5           clone errno 11",
        "free-6           parent 4",
        "caf\\xe9",
    ):
        assert part in said


def test_events_of_every_kind_and_of_the_snapshot_are_printed(broker):
    done = consume(broker, fill(broker, "kinds", each_kind()), "-e", "--json")
    kinds = [json.loads(line)["kind"] for line in done.lines[:-1]]
    assert sorted(kinds) == sorted(KINDS)


@pytest.mark.parametrize("form", VOCABULARIES)
def test_every_event_is_a_line_in_the_words_of_another_standard(broker, whole, form):
    done = consume(broker, whole, "-e", "--format", form)
    assert (done.code, closing(done)) == (0, (100, 100, 0, 0, 0))
    published = [e for m in fetch(broker.address, whole) for e in in_message(m.value)]
    expected = [VOCABULARIES[form].translate(e) for e in published]
    found = map(json.loads, done.lines)
    assert sorted(map(canonical, found)) == sorted(map(canonical, expected))


def canonical(value: Any) -> str:
    """Write a value so that the order of a map, or of a list of maps, says nothing."""
    if isinstance(value, dict):
        return repr(sorted((key, canonical(inner)) for key, inner in value.items()))
    if isinstance(value, list) and all(isinstance(inner, dict) for inner in value):
        return repr(sorted(map(canonical, value)))
    return repr(value)


def test_json_and_another_format_exclude_each_other(broker, plain):
    done = consume(broker, plain, "-e", "--json", "--format", "ecs")
    assert (done.code, done.out) == (2, "")
    assert "--json and --format exclude each other" in done.err


# --- what is missing -----------------------------------------------------------------------------


def test_a_gap_is_reported_and_the_exit_code_says_so(broker):
    topic = fill(broker, "gap", without(lives(25), 20, 22, 24), report(50, 50))
    done = consume(broker, topic, "-e")
    assert done.code == 3
    assert closing(done) == (97, 97, 0, 3, 0)
    assert f"run {ORIGIN.run_ns} cpu 0: 47 events, 0 again, missing 3; unexplained 3" in done.err
    assert "cpu 1" not in done.err


def test_a_gap_at_the_end_of_the_run_is_known_by_its_report(broker):
    topic = fill(broker, "tail", without(lives(25), 98, 99), report(50, 50))
    done = consume(broker, topic, "-e", "-q")
    assert (done.code, closing(done)) == (3, (98, 98, 0, 2, 0))


def test_a_loss_that_the_agent_reported_explains_its_gap(broker):
    topic = fill(broker, "lost", without(lives(25), 0, 2), report(50, 50, lost=(2,)))
    done = consume(broker, topic, "-e")
    assert done.code == 3
    assert "missing 2; lost in the ring: fork_process 2\n" in done.err
    assert "unexplained" not in done.err


def test_a_gap_is_in_the_json_summary_by_cpu(broker):
    topic = fill(broker, "json-gap", without(lives(25), 1, 3, 5), report(50, 50, lost=(0, 2)))
    done = consume(broker, topic, "-e", "--json")
    assert done.code == 3
    summary = json.loads(done.lines[-1])
    first, second = summary["cpus"]
    assert (first["missing"], first["lost"], first["unexplained"]) == (0, {}, 0)
    assert (second["missing"], second["lost"]) == (3, {"fork_process": 2})
    assert (second["unexplained"], second["reported"]) == (1, True)
    assert summary["missing"] == 3


def test_a_copy_is_reported_and_is_no_loss(broker):
    topic = fill(broker, "copies", lives(25), lives(5), report(50, 50))
    done = consume(broker, topic, "-e", "-q")
    assert done.code == 0
    assert closing(done) == (120, 100, 20, 0, 0)


def test_a_message_that_is_not_understood_is_told_with_its_reason(broker):
    topic = fill(broker, "rubbish", lives(25), report(50, 50))
    producer = Producer({"bootstrap.servers": broker.address})
    for value in (b"rubbish", pack({"v": 99, "kind": "fork"})):
        producer.produce(topic, value)
    producer.flush(10)
    done = consume(broker, topic, "-e", "-q")
    assert done.code == 3
    assert closing(done) == (100, 100, 0, 0, 2)
    assert "not MessagePack" in done.err
    assert "schema version 99; this program reads up to 1" in done.err


def test_many_messages_that_are_not_understood_are_told_a_few_times(broker):
    producer = Producer({"bootstrap.servers": broker.address})
    for _ in range(200):
        producer.produce("much-rubbish", b"rubbish")
    producer.flush(10)
    done = consume(broker, "much-rubbish", "-e")
    assert closing(done) == (0, 0, 0, 0, 200)
    assert len(done.err.splitlines()) < 10


# --- the end -------------------------------------------------------------------------------------


def test_duration_bounds_the_time(broker, plain):
    began = time.monotonic()
    done = consume(broker, plain, "--from-end", "--duration", "0.5")
    assert time.monotonic() - began < 5
    assert (done.code, closing(done)) == (0, (0, 0, 0, 0, 0))


def test_control_c_ends_it_with_the_summary(broker, plain):
    with start("consume", "--bootstrap", broker.address, "--topic", plain) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert "build-7" in first
    assert "Traceback" not in err
    assert CLOSING.search(err)
    assert process.returncode == 0


def test_a_pipe_that_is_closed_ends_it_in_silence_and_is_no_error(broker, plain):
    with start("consume", "--bootstrap", broker.address, "--topic", plain, "-e") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_topic_that_does_not_exist_is_one_line(broker):
    done = consume(broker, "none-such", "-e")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"taskstream consume: topic none-such cannot be read on {broker.address}: "
        "Broker: Unknown topic or partition\n"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("linger", "--kafka: expected KEY=VALUE, as in linger.ms=50"),
        ("=5", "--kafka: expected KEY=VALUE, as in linger.ms=50"),
        ("fetch.mni.bytes=1", 'Kafka settings: No such configuration property: "fetch.mni.bytes"'),
        (
            "sasl.password=${env:TASKSTREAM_NONE}",
            "--kafka sasl.password: the environment has no variable TASKSTREAM_NONE",
        ),
    ],
)
def test_a_wrong_kafka_setting_is_one_line(broker, given, said):
    done = consume(broker, "any", "--kafka", given)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"taskstream consume: {said}\n"


def test_a_secret_is_read_from_the_environment_and_never_printed(broker, plain):
    done = taskstream(
        "consume", "--bootstrap", broker.address, "--topic", plain, "-e",
        "--kafka", "sasl.password=${env:SECRET}", "--kafka", "fetch.mni.bytes=1",
        SECRET="hunter2",
    )  # fmt: skip
    assert done.code == 1
    assert "hunter2" not in done.out + done.err


def test_a_broker_that_is_gone_in_the_midst_is_told_and_the_end_is_not(tmp_path):
    with EmbeddedBroker() as broker:
        topic = fill(broker, "midst", lives(5))
        process = start("consume", "--bootstrap", broker.address, "--topic", topic)
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            broker.close()
            said = process.stderr.readline()
            assert "waiting for broker" in said
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)


def test_a_broker_that_does_not_answer_is_one_line_in_bounded_time(unreachable):
    wait_until(lambda: unreachable.poll() is not None)
    out, err = unreachable.communicate()
    assert (unreachable.returncode, out) == (1, "")
    assert err == (
        f"taskstream consume: broker {UNREACHABLE} does not answer (Failed to get metadata: "
        "Local: Broker transport failure): check the address and that the broker runs\n"
    )
