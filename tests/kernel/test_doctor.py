"""The doctor on the kernel that runs, with and without what it needs.

What it says is compared with what the kernel shows elsewhere, or with what the test took away.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka.admin import AdminClient

from taskstream import resource
from taskstream.broker import EmbeddedBroker
from taskstream.doctor import examine
from taskstream.record import SETTINGS, VERSION
from taskstream.source.bpf_object import BpfObject
from tests.needs import go_without

pytestmark = pytest.mark.kernel

KINDS = ("fork", "exec", "exit", "free", "fail")
MODES = ("co-re trampoline", "co-re probe", "co-re tracepoint", "legacy")

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "taskstream", "doctor"]
SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
NO_RIGHTS = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
NOBODY = ["setpriv", "--reuid=65534", "--clear-groups"]
COVER_TRACEFS = (
    "for at in /sys/kernel/tracing /sys/kernel/debug; do"
    " if [ -d $at ]; then mount -t tmpfs none $at; fi; done"
)


@pytest.fixture(autouse=True)
def machine():
    if not resource.bpf_object().exists():
        go_without("no BPF object (make bpf)")


def run(*arguments, before=(), after=""):
    """Run the command, behind another one, or after shell commands in a mount namespace."""
    if after:
        before = ["unshare", "-m", "sh", "-ec", f'{after}; exec "$@"', "sh", *before]
    for tool in {"setpriv", "unshare"} & set(before):
        if not shutil.which(tool):
            go_without(f"no {tool}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*before, *COMMAND, *arguments], cwd="/", env=environment, capture_output=True, text=True
    )


def diagnose(*arguments, **surroundings):
    """Return exit code and findings by check, as ``--json`` prints them."""
    done = run("--json", *arguments, **surroundings)
    assert done.stdout, done.stderr
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


def require_readable_for_nobody():
    done = subprocess.run(
        [*NOBODY, sys.executable, "-c", "import taskstream"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    if done.returncode:
        go_without("no clone that uid 65534 can read")


def spoilt(tmp_path, **replaced):
    """Write the object with texts replaced by others of their length; double underscore is /."""
    raw = resource.bpf_object().read_bytes()
    for old, new in replaced.items():
        old, new = old.replace("__", "/").encode(), new.replace("__", "/").encode()
        assert len(old) == len(new)
        assert old in raw
        raw = raw.replace(old, new)
    path = tmp_path / "spoilt.bpf.o"
    path.write_bytes(raw)
    return path


def held_programs():
    """Return the numbers of the BPF programs that some process has a descriptor of."""
    held = set()
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError):
            lines = info.read_text().splitlines()
            held |= {int(line.split()[1]) for line in lines if line.startswith("prog_id:")}
    return held


@pytest.fixture(scope="module")
def here():
    """Return exit code and findings on this machine as it is, nothing taken away."""
    return diagnose()


def by_check(findings):
    return {finding.check: finding for finding in findings}


# --- a machine on which the agent runs -----------------------------------------------------------


def test_every_hook_attaches_and_the_agent_can_run_in_both_load_modes(here):
    code, found = here
    assert code == 0
    for kind in KINDS:
        hook = found[f"hook {kind}"]
        assert hook["state"] == "ok", hook
        assert hook["found"].startswith("attaches at ")
    for check in ("BTF", "libbpf", "BPF object", "ring buffer", "iterator", "capabilities"):
        assert found[check]["state"] == "ok", found[check]
    default = found["default"]["found"]
    assert found["agent"]["found"] == f"can run: {default}; load mode `entry` or `return`"


def test_the_whole_matrix_is_shown_and_each_no_has_its_reason(here):
    found = here[1]
    for mode in MODES:
        row = found[f"mode {mode}"]["found"]
        assert row.startswith("yes: entry, return (release at ") or len(row) > len("no: ")
    assert found["mode co-re tracepoint"]["found"].startswith("yes: ")
    assert found["mode legacy"]["found"].startswith("yes: ")
    for mode, needs in (("co-re trampoline", "fentry"), ("co-re probe", "kprobes")):
        row = found[f"mode {mode}"]["found"]
        assert row.startswith("yes: ") == (found[needs]["state"] == "ok"), row


def test_kprobes_are_said_to_be_there_exactly_where_the_kernel_has_their_code(here):
    names = {line.split()[2] for line in Path("/proc/kallsyms").read_text().splitlines()}
    finding = here[1]["CONFIG_KPROBES"]
    if finding["state"] == "unknown":
        go_without("no kernel configuration")
    assert finding["state"] == ("ok" if "register_kprobe" in names else "warn")
    assert bool(finding["repair"]) == (finding["state"] == "warn")


def test_what_is_said_of_the_machine_is_what_the_machine_says(here):
    found = here[1]
    kernel = os.uname()
    assert found["kernel"]["found"] == f"Linux {kernel.release} on {kernel.machine}"
    assert found["CPUs"]["found"].endswith(f"{os.sysconf('SC_NPROCESSORS_ONLN')} online")
    assert found["iterator"]["found"].startswith("reads ")
    assert int(found["iterator"]["found"].split()[1]) >= len(list(Path("/proc").glob("[0-9]*"))) / 2


def test_without_json_every_check_is_one_plain_line(here):
    done = run()
    checks = list(here[1])
    printed = done.stdout.splitlines()
    assert len(printed) == len(checks)
    assert all(check in line for check, line in zip(checks, printed, strict=True))
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_nothing_is_left_attached_in_the_process_that_examined():
    def held():
        links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return sorted(name for name in map(os.readlink, links) if "bpf" in name or "perf" in name)

    before = held()
    examine()
    assert held() == before


def test_nothing_is_left_attached_by_the_command():
    bpftool = shutil.which("bpftool", path=SBIN) or go_without("no bpftool")

    def orphans():
        """Return our programs that no process holds: other tests and agents may run."""
        shown = subprocess.run([bpftool, "-j", "prog", "show"], check=True, capture_output=True)
        with BpfObject(resource.bpf_object()) as opened:
            ours = set(opened.programs)
        loaded = {p["id"] for p in json.loads(shown.stdout) if p.get("name") in ours}
        return loaded - held_programs()

    before = orphans()
    assert run().returncode == 0
    deadline = time.monotonic() + 10
    while orphans() - before and time.monotonic() < deadline:
        time.sleep(0.1)  # the kernel frees a program a grace period after its last user
    assert orphans() <= before


# --- without rights ------------------------------------------------------------------------------


def test_without_root_it_says_run_as_root_and_exits_with_1():
    require_readable_for_nobody()
    code, found = diagnose(before=[*NOBODY, *NO_RIGHTS[1:]])
    assert code == 1
    for check in ("capabilities", "ring buffer", "iterator", "hook fork", "hook free"):
        assert found[check]["state"] in ("fail", "warn"), found[check]
        assert found[check]["repair"].startswith("run as root, or grant CAP_BPF and CAP_PERFMON")
    assert found["tracefs"]["repair"] == "run as root, or grant CAP_DAC_READ_SEARCH too"
    assert found["BTF"]["state"] == "ok"
    assert found["agent"]["found"].startswith("cannot run: capabilities")


@pytest.mark.parametrize("before", [NO_RIGHTS, ["unshare", "-r"]])
def test_root_without_capabilities_that_count_is_no_root(before):
    code, found = diagnose(before=before)
    assert code == 1
    assert found["capabilities"]["state"] == "fail"
    assert found["hook fork"]["found"] == "tp_btf/task_newtask: no permission to load BPF"
    assert found["hook fork"]["repair"] == found["capabilities"]["repair"]


def test_bpf_and_perfmon_alone_allow_load_mode_entry():
    require_readable_for_nobody()
    granted = "+bpf,+perfmon"
    code, found = diagnose(before=[*NOBODY, "--inh-caps", granted, "--ambient-caps", granted])
    assert code == 0
    assert found["hook exit"]["state"] == "ok"
    assert "may not be read" in found["hook fail"]["found"]
    assert found["hook fail"]["repair"] == "run as root, or grant CAP_DAC_READ_SEARCH too"
    assert "load mode `entry`" in found["agent"]["found"]


def test_with_the_right_to_read_tracefs_they_allow_load_mode_return():
    require_readable_for_nobody()
    granted = "+bpf,+perfmon,+dac_read_search"
    code, found = diagnose(before=[*NOBODY, "--inh-caps", granted, "--ambient-caps", granted])
    assert code == 0
    assert found["agent"]["state"] == "ok"


# --- without what the kernel should show ---------------------------------------------------------


def test_without_tracefs_load_mode_return_is_off_and_the_mount_repairs_it():
    code, found = diagnose(after=COVER_TRACEFS)
    assert code == 0
    mount = "mount -t tracefs none /sys/kernel/tracing"
    for check in ("tracefs", "hook fail"):
        assert found[check]["state"] == "warn"
        assert found[check]["repair"].startswith(mount)
    assert "load mode `return` cannot be used" in found["tracefs"]["found"]
    assert "yes: entry; not return: failed " in found["mode co-re tracepoint"]["found"]
    assert "failed execve calls are not seen" in found["hook fail"]["found"]
    assert found["hook fork"]["state"] == "ok"
    code, found = diagnose(after=f"{COVER_TRACEFS}; {mount}")
    assert (code, found["agent"]["state"]) == (0, "ok")


def test_without_btf_the_agent_needs_headers_for_type_format_legacy(tmp_path):
    (tmp_path / "empty").touch()
    code, found = diagnose(after=f"mount --bind {tmp_path}/empty /sys/kernel/btf/vmlinux")
    assert found["BTF"]["state"] == "warn"
    assert "the kernel has no BTF" in found["mode co-re tracepoint"]["found"]
    if found["kernel headers"]["state"] == "ok":
        if code:
            go_without("no type format legacy")
    else:
        assert code == 1
        assert found["hook fork"]["repair"] == found["BTF"]["repair"]


def test_lockdown_is_known_as_soon_as_securityfs_is_mounted():
    mount = "mount -t securityfs none /sys/kernel/security"
    hidden = diagnose(after="mount -t tmpfs none /sys/kernel/security")[1]["lockdown"]
    assert hidden["repair"].startswith(mount) or hidden["state"] == "ok"
    assert diagnose(after=mount)[1]["lockdown"]["state"] != "unknown"


# --- objects that do not fit ---------------------------------------------------------------------


def test_a_missing_object_is_named_and_nothing_is_said_of_the_hooks(tmp_path):
    found = by_check(examine(object_path=tmp_path / "gone.o"))
    assert found["BPF object"].state == "fail"
    assert str(tmp_path / "gone.o") in found["BPF object"].found
    assert "make bpf" in found["BPF object"].repair
    assert found["hook fork"].state == "unknown"
    assert found["ring buffer"].state == "ok"


def test_a_file_that_is_no_object_is_told_from_one(tmp_path):
    (tmp_path / "text.o").write_text("no ELF")
    found = by_check(examine(object_path=tmp_path / "text.o"))
    assert "no BPF object" in found["BPF object"].found


def test_an_object_of_another_schema_version_is_refused(tmp_path):
    with BpfObject(resource.bpf_object()) as opened:
        as_built = bytes(opened.data(".rodata"))
    settings = np.frombuffer(as_built, SETTINGS).copy()
    settings["schema_version"] = VERSION + 1
    raw = resource.bpf_object().read_bytes()
    assert raw.count(as_built) == 1
    path = tmp_path / "newer.bpf.o"
    path.write_bytes(raw.replace(as_built, settings.tobytes()))
    found = by_check(examine(object_path=path))
    assert found["BPF object"].state == "fail"
    assert (
        f"schema version {VERSION + 1}, this program is of {VERSION}" in found["BPF object"].found
    )
    assert found["agent"].state == "fail"


def test_one_program_that_does_not_load_hides_none_of_the_others(tmp_path):
    path = spoilt(tmp_path, tp_btf__sched_process_free="tp_btf__sched_process_frob")
    found = by_check(examine(object_path=path))
    assert found["hook free"].state == "fail"
    assert "'sched_process_frob'" in found["hook free"].found
    assert "taskstream doctor --json" in found["hook free"].repair
    assert {found[f"hook {kind}"].state for kind in KINDS if kind != "free"} == {"ok"}
    assert found["agent"].found == "cannot run: hook free"


def test_one_tracepoint_that_is_missing_hides_none_of_the_others():
    cover = "mount -t tmpfs none /sys/kernel/tracing/events/syscalls/sys_exit_clone3"
    code, found = diagnose(after=cover)
    assert code == 0
    if "tracepoint" not in found["default"]["found"]:
        return  # failed calls are seen in functions here
    assert found["hook fail"]["found"] == (
        "failed clone3 calls are not seen: this kernel has no tracepoint syscalls/sys_exit_clone3"
    )
    assert {found[f"hook {kind}"]["state"] for kind in KINDS if kind != "fail"} == {"ok"}


# --- brokers -------------------------------------------------------------------------------------


def test_without_a_bootstrap_the_agents_own_broker_is_named(here):
    for _, found in (here, diagnose("--bootstrap", "embedded")):
        assert found["broker"]["state"] == "ok"
        assert "would use its own" in found["broker"]["found"]
        assert "topic" not in found


def test_a_broker_that_refuses_is_told_with_the_reason_before_the_time_is_over():
    start = time.monotonic()
    code, found = diagnose("--bootstrap", "127.0.0.1:1", "--timeout", "60")
    assert time.monotonic() - start < 30
    assert code == 1
    assert found["broker"]["state"] == "fail"
    assert "127.0.0.1:1" in found["broker"]["found"]
    assert "Connection refused" in found["broker"]["found"]
    assert found["broker"]["repair"] == "start the broker, or correct HOST:PORT in --bootstrap"
    assert found["agent"]["found"] == "cannot run: broker"


def test_a_broker_that_answers_is_told_and_asking_creates_no_topic():
    with EmbeddedBroker(brokers=3) as broker:
        for _ in range(2):
            code, found = diagnose("--bootstrap", f"127.0.0.1:1,{broker.address}", "--topic", "a.b")
            assert code == 0
            assert found["broker"]["state"] == "ok"
            assert "3 brokers" in found["broker"]["found"]
            assert set(broker.address.split(",")) <= set(found["broker"]["found"].split())
            assert found["topic"]["state"] == "warn"
            assert found["topic"]["repair"].startswith("create a.b")
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.list_topics("a.b", timeout=10)  # this question does create it
        assert (
            diagnose("--bootstrap", broker.address, "--topic", "a.b")[1]["topic"]["state"] == "ok"
        )


def test_a_setting_that_librdkafka_does_not_know_is_told_and_no_secret_is():
    code, found = diagnose(
        "--bootstrap", "127.0.0.1:1", "--kafka", "sasl.pass=hunter2", "--kafka", "acks=all"
    )
    assert code == 1
    assert 'No such configuration property: "sasl.pass"' in found["broker"]["found"]
    assert "hunter2" not in json.dumps(found)
