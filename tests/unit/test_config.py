"""A configuration is right, or the error says where it is not and what would be."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from taskstream import resource
from taskstream.config.config import EMBEDDED, Config
from taskstream.config.file import Setting, load, read, read_app_groups
from taskstream.config.option import OPTIONS
from taskstream.config.secret import redacted, secret
from taskstream.errors import ConfigError

WHOLE = """\
# a comment

[global]
    update every = 10
    ebpf load mode = return
    apps = yes
    cgroups = on
    pid table size = 65536
    ebpf type format = co-re
    ebpf co-re tracing = tracepoint
    maps per core = no
    lifetime = 60

[charts]
    semantics = netdata
    commands = yes
    users = yes
    names = 50
    topic = rates

[prometheus]
    listen = 9466

[control]
    directory = /run/tasks

[stream]
    host = web-3
    topic = tasks
    message = batch
    shards = 4
    flush ms = 5
    queue wait ms = 0
    drain timeout = 60

[probes]
    buffer = perf
    without = fentry, ring buffer

[topic]
    partitions = 12
    replication = 3
    min insync = 2
    retention hours = 0
    retention size = 10G
    compression = zstd

[ring]
    size = 16M
    arguments size = 64 KiB
    arguments kept = 0

[spool]
    mode = always
    directory = /var/lib/taskstream/spool
    size = 1G
    age = 86400
    rate = 20000

[capture]
    file = /var/lib/taskstream/tasks.tsc
    file size = 256M
    file age = 3600
    total size = 0
    flush ms = 0

[kafka]
    bootstrap.servers = a:9092,b:9092
    linger.ms = 50
    sasl.password = ${env:TASKSTREAM_TEST_SECRET}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "process.conf"


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def parsed(file: Path, text: str) -> dict[str, Any]:
    return load(_written(file, text))


def message(file: Path, text: str) -> str:
    """Return what is said of a wrong file, without the file's path."""
    with pytest.raises(ConfigError) as raised:
        parsed(file, text)
    assert str(file) in str(raised.value)
    return str(raised.value).replace(str(file), "FILE")


# --- what is right -------------------------------------------------------------------------------


def test_every_option_is_read_in_its_unit(file, monkeypatch):
    monkeypatch.setenv("TASKSTREAM_TEST_SECRET", "hunter2")
    assert Config(**parsed(file, WHOLE)) == Config(
        bootstrap="a:9092,b:9092",
        update_every_s=10,
        load_mode="return",
        apps=True,
        cgroups=True,
        pid_table_size=65536,
        type_format="co-re",
        tracing="tracepoint",
        maps_per_core=False,
        buffer="perf",
        without=("fentry", "ring buffer"),
        lifetime_s=60,
        chart_semantics="netdata",
        chart_commands=True,
        chart_users=True,
        chart_names=50,
        rates_topic="rates",
        metrics_listen="127.0.0.1:9466",
        control_directory="/run/tasks",
        host="web-3",
        topic="tasks",
        message="batch",
        shard_count=4,
        flush_ms=5,
        queue_wait_ms=0,
        drain_timeout_s=60,
        ring_bytes=16 << 20,
        args_ring_bytes=64 << 10,
        args_max=0,
        topic_partitions=12,
        topic_copies=3,
        topic_in_sync=2,
        topic_retention_h=0,
        topic_retention_bytes=10 << 30,
        topic_compression="zstd",
        spool_mode="always",
        spool_directory="/var/lib/taskstream/spool",
        spool_bytes=1 << 30,
        spool_age_s=86_400,
        spool_rate=20_000,
        capture_file="/var/lib/taskstream/tasks.tsc",
        capture_file_bytes=256 << 20,
        capture_file_s=3600,
        capture_total_bytes=0,
        capture_flush_ms=0,
        kafka={"linger.ms": "50", "sasl.password": "hunter2"},
    )


def test_the_example_above_names_every_option():
    for section, options in OPTIONS.items():
        assert f"[{section}]" in WHOLE
        for name in options:
            assert f"    {name} = " in WHOLE


def test_every_option_is_a_member_of_the_config():
    for options in OPTIONS.values():
        for option in options.values():
            assert hasattr(Config(), option.name)


def test_an_empty_file_sets_nothing(file):
    assert Config(**parsed(file, "")) == Config()


def test_without_a_users_file_the_stock_one_is_read_and_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("taskstream.place.find", lambda name: resource.stock(name))
    assert Config(**load(None)) == Config()
    assert Config().bootstrap == EMBEDDED


def test_the_file_in_force_is_read(monkeypatch, file):
    monkeypatch.setattr("taskstream.place.find", lambda _name: file)
    file.write_text("[stream]\ntopic = other\n")
    assert load(None)["topic"] == "other"


DOCUMENTED = {
    "update every": "5",
    "ebpf load mode": "entry",
    "apps": "no",
    "cgroups": "no",
    "pid table size": "32768",
    "ebpf type format": "auto",
    "ebpf co-re tracing": "trampoline",
    "maps per core": "yes",
    "lifetime": "300",
}


def test_global_has_exactly_the_documented_options_with_their_defaults(file):
    assert list(OPTIONS["global"]) == list(DOCUMENTED)
    lines = "\n".join(f"{name} = {value}" for name, value in DOCUMENTED.items())
    assert Config(**parsed(file, f"[global]\n{lines}\n")) == Config()


def test_the_stock_file_shows_every_option_with_its_default(file):
    text = re.sub(
        r"^( *)# (?=[a-z -]+ = \S+$)", r"\1", resource.stock("process.conf").read_text(), flags=re.M
    )
    shown = read(_written(file, text.partition("[kafka]")[0]))
    assert [(s.section, s.option) for s in shown] == [
        (section, name)
        for section, options in OPTIONS.items()
        for name in options
        if name != "host"
    ]
    assert Config(**{s.name: s.value for s in shown}) == Config()


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", True), ("true", True), ("On", True), ("no", False), ("FALSE", False), ("off", False)],
)
def test_yes_and_no_may_be_written_as_netdata_reads_them(file, text, value):
    assert parsed(file, f"[global]\napps = {text}\n")["apps"] is value


def test_a_later_line_goes_over_an_earlier_one(file):
    assert parsed(file, "[stream]\ntopic = a\ntopic = b\n")["topic"] == "b"


def test_a_setting_knows_its_line_and_its_text(file, monkeypatch):
    monkeypatch.setenv("TASKSTREAM_TEST_SECRET", "hunter2")
    line = "sasl.password = ${env:TASKSTREAM_TEST_SECRET}"
    assert read(_written(file, f"# head\n[kafka]\n\n{line}\n")) == [
        Setting(
            "kafka", "sasl.password", "kafka", "hunter2", "${env:TASKSTREAM_TEST_SECRET}", file, 4
        )
    ]


def test_the_host_is_the_node_name_unless_it_is_set():
    assert Config().host_name() == os.uname().nodename
    assert Config(host="web-3").host_name() == "web-3"


def test_a_node_name_that_is_no_utf8_is_escaped(monkeypatch):
    for raw, name in ((b"caf\xe9", "caf\\xe9"), ("über".encode(), "über")):
        found = os.uname_result(("Linux", os.fsdecode(raw), "6.18", "#1", "x86_64"))
        monkeypatch.setattr(os, "uname", lambda found=found: found)
        assert Config().host_name() == name
    assert Config(host=os.fsdecode(b"\xff")).host_name() == "\\xff"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("4k", 4096),
        ("4 KiB", 4096),
        ("8M", 8 << 20),
        ("8mb", 8 << 20),
        ("1G", 1 << 30),
    ],
)
def test_a_size_may_have_a_unit(file, text, size):
    assert parsed(file, f"[ring]\nsize = {text}\n")["ring_bytes"] == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("off", "off"),
        ("9466", "127.0.0.1:9466"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::1]:9466", "[::1]:9466"),
        ("metrics.example:1", "metrics.example:1"),
    ],
)
def test_a_port_alone_is_one_of_this_host(file, text, address):
    assert parsed(file, f"[prometheus]\nlisten = {text}\n")["metrics_listen"] == address


def test_a_value_may_hold_an_equals_sign(file):
    found = parsed(file, "[kafka]\nsasl.oauthbearer.config = a=b c=d\n")
    assert found["kafka"] == {"sasl.oauthbearer.config": "a=b c=d"}


def test_white_space_around_names_and_values_means_nothing(file):
    assert parsed(file, "[ stream ]\n\t topic=  tasks \t\n")["topic"] == "tasks"


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "line", "allowed"),
    [
        ("global", "update every = 0", "1 to 3600 seconds"),
        ("global", "update every = 3601", "1 to 3600 seconds"),
        ("global", "update every = five", "1 to 3600 seconds"),
        ("global", "update every = 1.5", "1 to 3600 seconds"),
        ("global", "update every =", "1 to 3600 seconds"),
        ("global", "update every = 1_000", "1 to 3600 seconds"),
        ("global", "update every = ٣", "1 to 3600 seconds"),
        ("global", "update every = 5 # a comment", "1 to 3600 seconds"),
        ("global", "ebpf load mode = both", "entry or return"),
        ("global", "ebpf load mode = Entry", "entry or return"),
        ("global", "apps = maybe", "yes or no"),
        ("global", "cgroups = 1", "yes or no"),
        ("global", "pid table size = 0", "1 to 4194304 processes"),
        ("global", "pid table size = 4194305", "1 to 4194304 processes"),
        ("global", "ebpf type format = core", "auto, co-re or legacy"),
        ("global", "ebpf co-re tracing = kprobe", "trampoline, probe or tracepoint"),
        ("global", "maps per core =", "yes or no"),
        ("global", "lifetime = 0", "1 to 31536000 seconds"),
        ("global", "lifetime = forever", "1 to 31536000 seconds"),
        ("charts", "semantics = both", "documented or netdata"),
        ("charts", "names = 0", "1 to 10000"),
        ("prometheus", "listen = 65536", "HOST:PORT, PORT of this host alone, or off"),
        ("prometheus", "listen = a:b", "HOST:PORT, PORT of this host alone, or off"),
        ("prometheus", "listen = ::1:80", "HOST:PORT, PORT of this host alone, or off"),
        ("prometheus", "listen =", "HOST:PORT, PORT of this host alone, or off"),
        ("stream", "host =", "a name"),
        ("stream", "topic =", "the name of a topic"),
        ("stream", "message = avro", "event, batch or json"),
        ("stream", "shards = 0", "1 to 1024"),
        ("stream", "flush ms = 1001", "1 to 1000 milliseconds"),
        ("stream", "queue wait ms = -1", "0 to 60000 milliseconds"),
        ("stream", "drain timeout = forever", "0 to 3600 seconds"),
        ("ring", "size = 3M", "a power of two from 4 KiB to 1 GiB, such as 8M"),
        ("ring", "size = 2048", "a power of two from 4 KiB to 1 GiB, such as 8M"),
        ("ring", "size = 2G", "a power of two from 4 KiB to 1 GiB, such as 8M"),
        ("ring", "size = 8T", "a power of two from 4 KiB to 1 GiB, such as 8M"),
        ("ring", "arguments kept = 16385", "0 to 16384 bytes"),
    ],
)
def test_a_wrong_value_is_told_with_file_line_and_what_is_allowed(file, section, line, allowed):
    name, _, value = (part.strip() for part in line.partition("="))
    assert message(file, f"# head\n[{section}]\n\n  {line}\n") == (
        f"FILE, line 4: `{name} = {value}` cannot be: allowed is {allowed}"
    )


def test_an_unknown_option_is_told_with_those_that_there_are(file):
    said = message(file, "[ring]\nsise = 8M\n")
    assert said == (
        "FILE, line 2: unknown option `sise` in [ring]: there are "
        "`size`, `arguments size`, `arguments kept`"
    )


def test_an_unknown_section_is_told_with_those_that_there_are(file):
    said = message(file, "\n[rings]\n")
    assert said == (
        "FILE, line 2: unknown section [rings]: there are [global], [charts], [prometheus], "
        "[control], [stream], [probes], [topic], [ring], [spool], [capture], [kafka]"
    )


def test_an_option_before_any_section_is_told(file):
    said = message(file, "topic = x\n")
    assert said == "FILE, line 1: `topic` stands before any section: put [global] above it"


def test_a_line_that_is_no_option_is_told(file):
    said = message(file, "[stream]\ntopic\n")
    assert said == "FILE, line 2: found `topic`, expected `option = value`"


def test_a_file_that_is_not_there_is_told(file):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load(file)


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_file_that_is_no_text_is_told(file):
    file.write_bytes(b"[stream]\ntopic = \xff\n")
    with pytest.raises(ConfigError, match="cannot be read: it is not UTF-8 text"):
        load(file)


# --- secrets -------------------------------------------------------------------------------------


def test_a_secret_is_read_from_the_environment_or_from_a_file(file, monkeypatch):
    monkeypatch.setenv("TASKSTREAM_TEST_SECRET", "from the environment")
    file.write_text("from a file\n")
    assert secret("${env:TASKSTREAM_TEST_SECRET}", "there") == "from the environment"
    assert secret(f"${{file:{file}}}", "there") == "from a file"


@pytest.mark.parametrize("value", ["", "plain", "$HOME", "${HOME}", "a ${env:B}", "${env:}"])
def test_a_value_that_is_no_reference_is_taken_as_it_is(value):
    assert secret(value, "there") == value


def test_a_variable_that_is_not_set_is_told_with_the_line(file, monkeypatch):
    monkeypatch.delenv("TASKSTREAM_TEST_SECRET", raising=False)
    said = message(file, "[kafka]\nsasl.password = ${env:TASKSTREAM_TEST_SECRET}\n")
    assert said == "FILE, line 2: the environment has no variable TASKSTREAM_TEST_SECRET"


def test_a_secret_file_that_cannot_be_read_is_told_with_the_line(file, tmp_path):
    said = message(file, f"[kafka]\n\nsasl.password = ${{file:{tmp_path}/none}}\n")
    assert said.startswith("FILE, line 3: ")
    assert "No such file" in said


@pytest.mark.parametrize(
    "line",
    ["sasl.password hunter2", "sasl.password: hunter2", "hunter2", "  ssl.key.password  hunter2 "],
)
def test_no_error_about_a_kafka_line_shows_what_may_be_a_secret(file, line):
    assert "hunter2" not in message(file, f"[kafka]\n{line}\n")


SECRETS = [
    "sasl.password",
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
]


@pytest.mark.parametrize("name", [*SECRETS, "SASL.Password"])
def test_settings_that_hold_a_secret_are_shown_without_it(name):
    assert redacted({name: "hunter2"}) == {name: "(secret)"}


@pytest.mark.parametrize("name", ["sasl.username", "linger.ms", "ssl.key.location", "client.id"])
def test_settings_that_hold_no_secret_are_shown(name):
    assert redacted({name: "shown"}) == {name: "shown"}


# --- app groups ----------------------------------------------------------------------------------


def test_app_groups_are_read_from_the_file_in_force(monkeypatch, file):
    monkeypatch.setattr("taskstream.place.find", lambda _name: file)
    file.write_text("web: nginx\n")
    assert read_app_groups(None).groups == ("web", "other")


def test_a_wrong_line_of_the_app_groups_is_told_with_its_place(file):
    file.write_text("# mine\nweb: 'nginx\n")
    with pytest.raises(ConfigError) as raised:
        read_app_groups(file)
    assert str(raised.value) == f"{file}, line 2: the quote 'nginx is not closed"


def test_app_groups_that_are_not_there_are_told(file):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read_app_groups(file)


@pytest.mark.parametrize("text", ["63K", "-1", "1T", "many", ""])
def test_the_size_of_a_file_is_64_kib_at_least_or_0(file, text):
    assert "64K or more" in message(file, f"[capture]\nfile size = {text}\n")
    assert parsed(file, "[capture]\nfile size = 64K\n")["capture_file_bytes"] == 65_536
