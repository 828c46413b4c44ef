"""``taskstream metrics`` as users call it: two hosts, one topic, one scrape."""

import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from taskstream.chart.chart import DOCUMENTED
from taskstream.interval import COLUMNS, Interval, Series
from taskstream.message.columns import pack
from taskstream.record import COUNTS
from taskstream.sink.rates import messages
from tests.charting import wait_for
from tests.command import start, taskstream
from tests.mock_cluster import MockCluster
from tests.readings import SECOND
from tests.synthetic import ORIGIN

TOPIC = "taskstream.rates"
HOSTS = {"web-3": 3, "db-1": 5}
"""Names, and how many of everything happens there in the first interval."""


@pytest.fixture
def served(cluster: MockCluster) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Return the verb as it runs, and the address of its metrics."""
    words = ("metrics", "--bootstrap", cluster.bootstrap, "--listen", "0")
    with start(*words) as process:
        assert process.stderr is not None
        address = re.search(r"http://(\S+)/metrics", process.stderr.readline())
        assert address is not None
        yield process, address[1]
        if process.poll() is None:
            process.kill()


def publish(cluster: MockCluster, number: int) -> None:
    """Publish the ``number``-th interval of each host: so many times as much happens in it."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
    for host, times in HOSTS.items():
        counts = (times * number,) * len(COLUMNS)
        interval = Interval(
            start_ns=number * SECOND,
            end_ns=(number + 1) * SECOND,
            wall_ns=(1_790_000_000 + number) * SECOND,
            counts=counts[: len(COUNTS)],
            received=counts[: len(COUNTS)],
            groups={"app": {"builds": Series(counts, counts)}},
        )
        for message in messages(interval, replace(ORIGIN, host=host), DOCUMENTED):
            producer.produce(TOPIC, pack(message), f"{host}/{message['chart']}")
    assert producer.flush(10) == 0


def scrape(address: str) -> dict[str, float]:
    """Return the samples by what stands before their value."""
    text = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read().decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#"]
    return {name: float(value) for name, value in lines}


def app_exits(host: str) -> str:
    return f'taskstream_app_task_exit_total{{app_group="builds",host="{host}"}}'


def has_begun(cluster: MockCluster, address: str) -> bool:
    """Tell whether every host is there; its first interval is published until it is seen."""
    publish(cluster, 1)
    found = scrape(address)
    return all(found.get(app_exits(host)) == 2 * times for host, times in HOSTS.items())


def test_two_hosts_are_in_one_scrape_and_a_copy_counts_once(cluster, served):
    process, address = served
    wait_for(lambda: has_begun(cluster, address))
    for number in (2, 3, 3):
        publish(cluster, number)
    wait_for(lambda: scrape(address)[app_exits("db-1")] == 2 * 5 * (1 + 2 + 3))
    found = scrape(address)
    assert found[app_exits("web-3")] == 2 * 3 * (1 + 2 + 3)
    assert found['taskstream_host_up{host="web-3"}'] == 1
    assert found["taskstream_hosts"] == 2
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert re.search(r"taskstream metrics: [\d,]+ messages of 2 hosts\n$", err)


def test_prometheus_has_the_hosts_side_by_side(cluster, served, prometheus):
    scraper = prometheus(served[1])
    wait_for(lambda: has_begun(cluster, served[1]))
    publish(cluster, 2)

    def is_there(host: str, times: int) -> bool:
        try:
            found = scraper.query(f'taskstream_app_task_exit_total{{host="{host}"}}')
        except OSError:  # it is not up yet
            return False
        return list(found.values()) == [2 * times * (1 + 2)]

    for host, times in HOSTS.items():
        wait_for(lambda host=host, times=times: is_there(host, times))
    assert list(scraper.query("count(taskstream_host_up == 1)").values()) == [2]


def test_messages_that_are_no_rates_are_told_and_end_with_code_three(cluster, served):
    process, address = served
    wait_for(lambda: has_begun(cluster, address))
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
    producer.produce(TOPIC, pack({"v": 1, "kind": "fork"}))
    assert producer.flush(10) == 0
    assert process.stderr is not None
    assert process.stderr.readline() == (
        "taskstream metrics: a message was not understood: no rates, but 'fork': "
        "is this the topic of the rates?\n"
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 3
    assert err.endswith("of 2 hosts; 1 messages were not understood\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Missing option '--bootstrap'"),
        (["--bootstrap", "BROKER", "--listen", ":x"], 2, "':x' cannot be: allowed is HOST:PORT"),
        (["--bootstrap", "BROKER", "--listen", "203.0.113.7:1"], 1, "name another address"),
        (["--bootstrap", "127.0.0.1:1"], 1, "does not answer"),
        (["--bootstrap", "BROKER", "--topic", "absent"], 1, "cannot be read"),
    ],
)
def test_what_cannot_be_served_is_told(cluster, words, code, said):
    words = [cluster.bootstrap if word == "BROKER" else word for word in words]
    done = taskstream("metrics", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
