"""What the doctor makes of the texts that kernels, brokers and file systems give it."""

import gzip

import pytest
from click.testing import CliRunner

from taskstream.cli.doctor import doctor, lines
from taskstream.doctor import Finding
from taskstream.doctor.broker import judge_broker, judge_broker_faults
from taskstream.doctor.examination import examine, read_config
from taskstream.doctor.finding import judge_all
from taskstream.doctor.machine import (
    judge_btf,
    judge_capabilities,
    judge_cgroups,
    judge_config,
    judge_cpus,
    judge_kernel,
    judge_lockdown,
    judge_tracing,
    visible_mounts,
)
from taskstream.doctor.trial import judge_hook, refusal
from taskstream.errors import ConfigError

WHOLE = """\
CONFIG_BPF=y
CONFIG_BPF_SYSCALL=y
CONFIG_BPF_JIT=y
CONFIG_KPROBES=y
CONFIG_DEBUG_INFO_BTF=y
CONFIG_TRACEPOINTS=y
CONFIG_EVENT_TRACING=y
CONFIG_FTRACE_SYSCALLS=y
"""
FLAGS = [line.partition("=")[0] for line in WHOLE.splitlines()]
ALL_RIGHTS = "Name:\tdoctor\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n"
WHOLE_UIDS = "         0          0 4294967295\n"
MOUNTS = """\
proc /proc proc rw 0 0
/dev/vda / ext4 rw 0 0
none /sys/kernel/tracing tracefs rw 0 0
debugfs /sys/kernel/debug debugfs rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
"""


def config(text, source="/proc/config.gz"):
    return {finding.check: finding for finding in judge_config(text, source)}


def capable(*bits):
    return f"CapEff:\t{sum(1 << bit for bit in bits):016x}\n"


# --- the kernel and its configuration ------------------------------------------------------------


def test_a_whole_configuration_is_fine_flag_by_flag():
    findings = config(WHOLE)
    assert sorted(findings) == sorted(FLAGS)
    assert {finding.state for finding in findings.values()} == {"ok"}


@pytest.mark.parametrize("line", ["", "# CONFIG_KPROBES is not set", "CONFIG_KPROBES=n"])
def test_a_flag_that_is_missing_commented_or_n_is_off_and_says_what_it_costs(line):
    finding = config(WHOLE.replace("CONFIG_KPROBES=y", line))["CONFIG_KPROBES"]
    assert finding.state == "warn"
    assert "not set in /proc/config.gz" in finding.found
    assert "`probe` cannot be used" in finding.found
    assert finding.repair == "run a kernel built with CONFIG_KPROBES=y"


def test_a_flag_that_is_m_is_on():
    assert config(WHOLE.replace("KPROBES=y", "KPROBES=m"))["CONFIG_KPROBES"] == Finding(
        "CONFIG_KPROBES", "ok", "m in /proc/config.gz"
    )


def test_a_flag_is_not_taken_for_a_longer_one():
    text = WHOLE.replace("CONFIG_BPF=y", "CONFIG_BPFILTER=y\nCONFIG_HAVE_BPF=y")
    assert config(text)["CONFIG_BPF"].state == "fail"


def test_without_bpf_nothing_can_run_without_its_compiler_it_can():
    findings = config("CONFIG_64BIT=y\n")
    assert findings["CONFIG_BPF_SYSCALL"].state == "fail"
    assert findings["CONFIG_BPF_JIT"].state == "warn"


@pytest.mark.parametrize("text", [None, "", "nothing of the kind"])
def test_where_no_configuration_can_be_read_every_flag_is_unknown_which_is_not_no(text):
    findings = config(text, "/boot/config-6.1")
    assert {finding.state for finding in findings.values()} == {"unknown"}
    assert all("/boot/config-6.1" in finding.found for finding in findings.values())


def test_the_running_kernels_own_configuration_is_read_before_the_one_in_boot(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config-6.1").write_text("CONFIG_BOOT=y\n")
    assert read_config(tmp_path, "6.1") == ("CONFIG_BOOT=y\n", "/boot/config-6.1")
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_PROC=y\n"))
    assert read_config(tmp_path, "6.1") == ("CONFIG_PROC=y\n", "/proc/config.gz")


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-9], lambda raw: b"no gzip", lambda raw: b""])
def test_a_damaged_configuration_is_passed_over(tmp_path, spoil):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/config.gz").write_bytes(spoil(gzip.compress(WHOLE.encode())))
    text, source = read_config(tmp_path, "6.1")
    assert not text
    assert "/proc/config.gz" in source


def test_a_configuration_spoilt_in_the_middle_is_passed_over(tmp_path):
    (tmp_path / "proc").mkdir()
    raw = bytearray(gzip.compress(WHOLE.encode()))
    raw[12:40] = b"\xff" * 28
    (tmp_path / "proc/config.gz").write_bytes(raw)
    assert read_config(tmp_path, "6.1")[0] is None


def test_another_release_of_the_configuration_is_not_read(tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config-5.10").write_text(WHOLE)
    text, source = read_config(tmp_path, "6.1")
    assert text is None
    assert "/boot/config-6.1" in source


def test_only_linux_can_run_the_agent():
    assert judge_kernel("Linux", "6.1.0", "x86_64").state == "ok"
    assert judge_kernel("Linux", "6.1.0", "riscv64").state == "warn"
    assert judge_kernel("Darwin", "24", "arm64").state == "fail"


@pytest.mark.parametrize(
    ("text", "state", "level"),
    [
        ("[none] integrity confidentiality\n", "ok", "none"),
        ("none [integrity] confidentiality\n", "ok", "integrity"),
        ("none integrity [confidentiality]\n", "fail", "confidentiality"),
        ("none [paranoia]\n", "unknown", "paranoia"),
    ],
)
def test_lockdown_forbids_the_probes_only_at_confidentiality(text, state, level):
    finding = judge_lockdown(text, {})
    assert finding.state == state
    assert level in finding.found


def test_lockdown_is_unknown_while_securityfs_is_not_mounted():
    finding = judge_lockdown(None, {})
    assert finding.state == "unknown"
    assert finding.repair.startswith("mount -t securityfs none /sys/kernel/security")
    mounted = {"/sys/kernel/security": "securityfs"}
    assert judge_lockdown(None, mounted).state == "ok"


@pytest.mark.parametrize("size", [None, 0])
def test_btf_that_is_missing_or_empty_leaves_type_format_legacy(size):
    finding = judge_btf(size)
    assert finding.state == "warn"
    assert finding.repair == "run a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    assert judge_btf(5_500_000).found == "5.5 MB in /sys/kernel/btf/vmlinux"


@pytest.mark.parametrize(
    ("possible", "online", "found"),
    [
        ("0\n", "0\n", "1 possible, 1 online"),
        ("0-127\n", "0-1,4,6-7\n", "128 possible, 5 online"),
    ],
)
def test_cpus_are_counted_over_spans(possible, online, found):
    assert judge_cpus(possible, online).found == found
    assert judge_cpus(None, online).state == "unknown"


# --- file systems --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mounted", "place"),
    [
        ({"/sys/kernel/tracing": "tracefs"}, "tracefs at /sys/kernel/tracing"),
        ({"/sys/kernel/debug": "debugfs"}, "debugfs at /sys/kernel/debug"),
    ],
)
def test_tracefs_is_found_by_itself_or_in_debugfs(mounted, place):
    assert judge_tracing(mounted, mounted) == Finding("tracefs", "ok", place)


@pytest.mark.parametrize("mounted", [{}, {"/mnt": "tracefs"}, {"/sys/kernel/tracing": "tmpfs"}])
def test_without_tracefs_in_its_place_load_mode_return_is_off_and_mount_repairs_it(mounted):
    finding = judge_tracing(mounted, [])
    assert finding.state == "warn"
    assert "load mode `return` cannot be used" in finding.found
    assert finding.repair.startswith("mount -t tracefs none /sys/kernel/tracing (")


def test_tracefs_that_may_not_be_read_asks_for_rights_not_for_a_mount():
    finding = judge_tracing({"/sys/kernel/tracing": "tracefs"}, [])
    assert finding.state == "warn"
    assert finding.repair == "run as root, or grant CAP_DAC_READ_SEARCH too"


def test_of_two_mounts_at_one_place_the_later_one_is_seen():
    mounted = visible_mounts(f"{MOUNTS}none /sys/kernel/tracing tmpfs rw 0 0\n")
    assert mounted["/sys/kernel/tracing"] == "tmpfs"
    assert mounted["/sys/kernel/debug"] == "debugfs"


def test_the_layout_of_cgroups_is_v2_both_v1_or_none():
    assert judge_cgroups({"/sys/fs/cgroup": "cgroup2"}).found == "v2 at /sys/fs/cgroup"
    both = {"/sys/fs/cgroup/pids": "cgroup", "/sys/fs/cgroup/unified": "cgroup2"}
    assert judge_cgroups(both).found.startswith("v2 at /sys/fs/cgroup/unified, and 1")
    v1 = {"/sys/fs/cgroup/pids": "cgroup"}
    assert judge_cgroups(v1, "pids").found == ("v1 alone: events name the cgroups of pids")
    nameless = judge_cgroups(v1)
    assert (nameless.state, nameless.repair) == (
        "warn",
        "boot with systemd.unified_cgroup_hierarchy=1",
    )
    assert nameless.found.endswith("cgroups have no names")
    assert judge_cgroups({}).repair == "mount -t cgroup2 none /sys/fs/cgroup"


# --- rights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [ALL_RIGHTS, capable(38, 39), capable(21)])
def test_bpf_and_perfmon_or_admin_alone_are_enough(status):
    assert judge_capabilities(status, WHOLE_UIDS).state == "ok"


@pytest.mark.parametrize("status", [capable(), capable(39), capable(38), capable(24, 2)])
def test_less_is_not_enough_and_the_repair_names_what_is(status):
    finding = judge_capabilities(status, WHOLE_UIDS)
    assert finding.state == "fail"
    assert finding.repair.startswith("run as root, or grant CAP_BPF and CAP_PERFMON")


def test_rights_in_a_user_namespace_do_not_count():
    finding = judge_capabilities(ALL_RIGHTS, "         0       1000          1\n")
    assert finding.state == "fail"
    assert "user namespace" in finding.found


def test_a_status_that_does_not_tell_is_unknown():
    assert judge_capabilities("Name:\tdoctor\n", WHOLE_UIDS).state == "unknown"


# --- hooks ---------------------------------------------------------------------------------------

VERIFIER = """\
the kernel refused the BPF object: Invalid argument
  libbpf: prog 'on_exit': BPF program load failed: Invalid argument
  libbpf: prog 'on_exit': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
math between trusted_ptr_ pointer and register with unbounded min value is not allowed
processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
  libbpf: prog 'on_exit': failed to load: -22"""
NO_SUCH_POINT = """\
the kernel refused the BPF object: No such process
  libbpf: prog 'on_fork': failed to find kernel BTF type ID of 'no_such_point': -3
  libbpf: prog 'on_fork': failed to prepare load attributes: -3
  libbpf: prog 'on_fork': failed to load: -3"""


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            VERIFIER,
            "Invalid argument: math between trusted_ptr_ pointer and register with unbounded "
            "min value is not allowed",
        ),
        (
            NO_SUCH_POINT,
            "No such process: prog 'on_fork': failed to find kernel BTF type ID of "
            "'no_such_point': -3",
        ),
        (
            "tp/syscalls/sys_exit_fork cannot be attached: No such file or directory (prog "
            "'on_fork_return': failed to create tracepoint perf event: No such file or directory)",
            "No such file or directory",
        ),
        ("kprobe/x cannot be attached: Operation not supported", "Operation not supported"),
        (
            "no permission to load BPF: run as root, or grant CAP_BPF and CAP_PERFMON",
            "no permission to load BPF",
        ),
    ],
)
def test_the_kernels_reason_is_cut_out_of_a_refusal(message, reason):
    assert refusal(message) == reason


def test_a_hook_that_attaches_says_where():
    finding = judge_hook("fork", {"tp_btf/task_newtask": None}, {})
    assert finding == Finding("hook fork", "ok", "attaches at tp_btf/task_newtask")


def test_the_hook_that_stands_in_for_release_task_says_so():
    finding = judge_hook("free", {"tp_btf/sched_process_free": None}, {})
    assert "stands in for release_task" in finding.found


def test_of_several_programs_those_that_are_refused_are_named_by_reason():
    refused = {
        "tp/syscalls/sys_exit_fork": "No such file or directory",
        "tp/syscalls/sys_exit_vfork": "No such file or directory",
        "tp/syscalls/sys_exit_clone": None,
        "tp/syscalls/sys_exit_execve": "Invalid argument",
    }
    finding = judge_hook("fail", refused, {})
    assert finding.state == "warn"
    assert finding.found == (
        "load mode `return` cannot be used: "
        "tp/syscalls/sys_exit_fork sys_exit_vfork: No such file or directory; "
        "tp/syscalls/sys_exit_execve: Invalid argument"
    )


def test_a_refused_hook_is_repaired_where_an_earlier_check_found_the_cause():
    tracefs = judge_tracing({}, [])
    rights = judge_capabilities(capable(), WHOLE_UIDS)
    refused = {"tp/syscalls/sys_exit_fork": "No such file or directory"}
    found = {"tracefs": tracefs}
    assert judge_hook("fail", refused, found).repair == tracefs.repair
    found["capabilities"] = rights
    assert judge_hook("fail", refused, found).repair == rights.repair


def test_tracefs_is_no_cause_where_a_hook_does_not_need_it():
    refused = {"tp_btf/task_newtask": "Invalid argument"}
    finding = judge_hook("fork", refused, {"tracefs": judge_tracing({}, [])})
    assert finding.state == "fail"
    assert "taskstream doctor --json" in finding.repair


def test_a_refusal_in_spite_of_all_rights_points_at_what_is_around_the_process():
    rights = judge_capabilities(ALL_RIGHTS, WHOLE_UIDS)
    finding = judge_hook(
        "fork", {"tp_btf/task_newtask": "Operation not permitted"}, {"capabilities": rights}
    )
    assert "seccomp" in finding.repair


# --- brokers -------------------------------------------------------------------------------------

AGO = "(after 3ms in state CONNECT)"


@pytest.mark.parametrize(
    ("said", "found", "repair"),
    [
        (
            f"b:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: Connection refused {AGO}",
            "no broker answers; b:1: Connect to ipv4#10.0.0.1:1 failed: Connection refused",
            "start the broker",
        ),
        (
            f"b:1/bootstrap: Failed to resolve 'b:1': Name or service not known {AGO}",
            "no broker answers; b:1: Failed to resolve 'b:1': Name or service not known",
            "host name",
        ),
        (
            f"ssl://b:1/bootstrap: SSL handshake failed: Disconnected {AGO}",
            "no broker answers; ssl://b:1: SSL handshake failed: Disconnected",
            "security.protocol",
        ),
        (
            f"b:1/bootstrap: SASL authentication error: Authentication failed {AGO}",
            "no broker answers; b:1: SASL authentication error: Authentication failed",
            "sasl.",
        ),
    ],
)
def test_a_broker_that_does_not_answer_is_told_with_reason_and_repair(said, found, repair):
    finding = judge_broker_faults([said, "1/1 brokers are down", said], 5.0)
    assert (finding.state, finding.found) == ("fail", found)
    assert repair in finding.repair


def test_silence_is_told_with_the_time_that_was_waited():
    finding = judge_broker_faults([], 2.5)
    assert finding.found == "no answer within 2.5 s"
    assert "firewall" in finding.repair


def test_a_broker_that_answers_is_told_with_cluster_addresses_and_topic():
    broker, topic = judge_broker("lab", ["a:1", "b:2"], "events", 12)
    assert broker == Finding("broker", "ok", "cluster lab, 2 brokers: a:1 b:2")
    assert topic == Finding("topic", "ok", "events, partitions: 12")


def test_a_topic_that_is_not_there_is_a_warning():
    _, topic = judge_broker(None, ["a:1"], "events", None)
    assert topic.state == "warn"
    assert topic.repair.startswith("create events")


# --- the sum -------------------------------------------------------------------------------------


def hooks(**states):
    return [Finding(f"hook {kind}", state, "") for kind, state in states.items()]


def test_one_failure_keeps_the_agent_from_running_and_is_named():
    found = [*hooks(fork="ok", fail="ok"), Finding("BTF", "fail", "missing")]
    assert judge_all(found) == Finding("agent", "fail", "cannot run: BTF", "repair these first")


def test_without_the_hooks_of_failed_calls_the_agent_runs_in_load_mode_entry():
    assert judge_all(hooks(fork="ok", fail="ok")).found.endswith("`entry` or `return`")
    finding = judge_all(hooks(fork="ok", fail="warn"))
    assert finding.state == "warn"
    assert "load mode `entry`" in finding.found
    assert "`return`" not in finding.found


def test_hooks_that_were_not_tried_are_no_yes():
    assert judge_all([]).state == "unknown"
    assert judge_all(hooks(fork="unknown", fail="ok")).state == "unknown"


def test_an_empty_machine_leaves_checks_unknown_and_none_of_them_raises(tmp_path):
    missing = tmp_path / "none.o"
    findings = {f.check: f for f in examine(root=tmp_path, object_path=missing)}
    assert findings["CONFIG_BPF"].state == "unknown"
    assert findings["lockdown"].state == "unknown"
    assert findings["capabilities"].state == "unknown"
    assert findings["tracefs"].state == "warn"
    assert findings["BTF"].state == "warn"
    assert findings["agent"].state == "fail"
    assert str(missing) not in findings["agent"].found


# --- the command ---------------------------------------------------------------------------------

FINDINGS = [
    Finding("kernel", "ok", "Linux 6.1.0 on x86_64"),
    Finding("CONFIG_KPROBES", "unknown", "no kernel configuration", "none needed"),
]


def test_findings_are_a_line_each_in_aligned_columns_without_decoration():
    assert list(lines(FINDINGS, colour=False)) == [
        "ok       kernel          Linux 6.1.0 on x86_64",
        "unknown  CONFIG_KPROBES  no kernel configuration (repair: none needed)",
    ]


def test_on_a_terminal_only_the_state_is_coloured():
    line = next(lines(FINDINGS, colour=True))
    assert line == "\x1b[32mok     \x1b[0m  kernel          Linux 6.1.0 on x86_64"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bootstrap", "a:1", "--kafka", "bootstrap.servers=b:2"],
        ["--bootstrap", ""],
        ["--kafka", "security.protocol=ssl"],
        ["--timeout", "0"],
        ["--timeout", "soon"],
    ],
)
def test_options_that_make_no_sense_are_refused_as_wrong_usage(arguments):
    assert CliRunner().invoke(doctor, arguments).exit_code == 2


def test_contradictory_options_are_named_together():
    said = CliRunner().invoke(doctor, ["--bootstrap", "a", "--kafka", "bootstrap.servers=b"])
    assert "--bootstrap and --kafka bootstrap.servers" in said.output


def test_a_setting_without_a_value_is_refused_as_in_run():
    said = CliRunner().invoke(doctor, ["--kafka", "acks"])
    assert isinstance(said.exception, ConfigError)
