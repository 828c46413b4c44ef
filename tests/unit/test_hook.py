"""Which hooks are chosen on which kernel, and what is said where it is not what was asked for."""

from dataclasses import dataclass, field

import pytest

from taskstream.errors import KernelError
from taskstream.hook import RELEASE_LATE, Hook, HookRefusedError, choose

CREATES = ("fork", "vfork", "clone", "clone3")
EXECS = ("execve", "execveat")
TRACEPOINTS = tuple(f"syscalls/sys_exit_{call}" for call in (*CREATES, *EXECS))
SYSTEM_CALLS = tuple(f"__x64_sys_{call}" for call in (*CREATES, *EXECS))
FUNCTIONS = (
    "cgroup_task_release",
    "cgroup_release",
    "release_task",
    "kernel_clone",
    "_do_fork",
    *SYSTEM_CALLS,
)


@dataclass
class Wish:
    """What the user asked for; a ``Mode``."""

    type_format: str = "auto"
    tracing: str = "trampoline"
    load_mode: str = "entry"
    buffer: str = "auto"
    cgroup_names: bool = False


@dataclass
class Answers:
    """What a kernel says when it is asked; a ``Kernel``."""

    missing: dict[str, str] = field(default_factory=dict)
    functions: tuple[str, ...] = FUNCTIONS
    tracepoints: tuple[str, ...] = TRACEPOINTS
    refusals: dict[Hook, str] = field(default_factory=dict)
    watched: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def lacks(self, capability):
        return self.missing.get(capability, "")

    def find_function(self, names, via):
        there = self.watched.get(via, self.functions)
        return next((name for name in names if name in there), None)

    def has_tracepoint(self, target):
        return target in self.tracepoints

    def system_call(self, name):
        return f"__x64_sys_{name}"

    def refusal(self, hook):
        return self.refusals.get(hook, "")


def without(*names):
    return tuple(name for name in FUNCTIONS if name not in names)


def places(plan, kind=None):
    return [hook.place for hook in plan.hooks if kind in (None, hook.kind)]


# --- on a kernel that has everything -------------------------------------------------------------

WHOLE = {
    ("co-re", "trampoline"): (
        ["fentry/cgroup_task_release"],
        ["fexit/kernel_clone", "fexit/__x64_sys_execve", "fexit/__x64_sys_execveat"],
    ),
    ("co-re", "probe"): (
        ["kprobe/cgroup_task_release"],
        ["kretprobe/kernel_clone", "kretprobe/__x64_sys_execve", "kretprobe/__x64_sys_execveat"],
    ),
    ("co-re", "tracepoint"): (
        ["tp_btf/sched_process_free"],
        [f"tp/{target}" for target in TRACEPOINTS],
    ),
    ("legacy", "trampoline"): (
        ["kprobe/cgroup_task_release"],
        ["kretprobe/kernel_clone", "kretprobe/__x64_sys_execve", "kretprobe/__x64_sys_execveat"],
    ),
}


@pytest.mark.parametrize(("type_format", "tracing"), WHOLE)
def test_each_mode_has_its_hooks_where_the_kernel_has_them_all(type_format, tracing):
    release, failures = WHOLE[type_format, tracing]
    plan = choose(Wish(type_format, tracing, "return"), Answers())
    assert places(plan, "free") == release
    assert places(plan, "fail") == failures
    lifecycle = "tp_btf" if type_format == "co-re" else "raw_tp"
    assert places(plan)[:3] == [
        f"{lifecycle}/{name}"
        for name in ("task_newtask", "sched_process_exec", "sched_process_exit")
    ]
    assert plan.type_format == type_format
    assert plan.buffer == "ring"
    assert plan.notes == ((RELEASE_LATE,) if tracing == "tracepoint" else ())


@pytest.mark.parametrize(("type_format", "tracing"), WHOLE)
def test_load_mode_entry_has_no_hooks_for_failures(type_format, tracing):
    entry = choose(Wish(type_format, tracing, "entry"), Answers())
    whole = choose(Wish(type_format, tracing, "return"), Answers())
    assert not places(entry, "fail")
    assert entry.hooks == tuple(hook for hook in whole.hooks if hook.kind != "fail")


@pytest.mark.parametrize(
    ("tracing", "found"),
    [("trampoline", "trampoline"), ("probe", "probe"), ("tracepoint", "tracepoint")],
)
def test_a_plan_names_the_way_in_which_it_watches_functions(tracing, found):
    assert choose(Wish("co-re", tracing), Answers()).tracing == found


def test_the_program_of_a_hook_is_named_after_the_way_in_which_it_is_attached():
    for tracing in ("trampoline", "probe"):
        plan = choose(Wish("co-re", tracing, "return"), Answers())
        functions = [hook for hook in plan.hooks if hook.kind in ("free", "fail")]
        assert all(hook.program.endswith(f"_{hook.via}") for hook in functions)
    programs = [
        hook.program for hook in choose(Wish("co-re", "tracepoint", "return"), Answers()).hooks
    ]
    assert programs[3:] == ["on_free", *(f"on_{call}_return" for call in (*CREATES, *EXECS))]
    assert len(set(programs)) == len(programs)


# --- the type format -----------------------------------------------------------------------------


@pytest.mark.parametrize("type_format", ["auto", "co-re"])
def test_without_btf_the_probes_are_compiled_by_bcc_and_one_note_says_why(type_format):
    plan = choose(Wish(type_format), Answers(missing={"BTF": "the kernel has no BTF"}))
    assert plan.type_format == "legacy"
    assert plan.notes == (
        f"ebpf type format `{type_format}` falls back to `legacy`: the kernel has no BTF",
    )


def test_auto_takes_co_re_where_there_is_btf_and_does_not_ask_for_bcc():
    plan = choose(Wish(), Answers(missing={"BCC": "BCC is not installed"}))
    assert (plan.type_format, plan.notes) == ("co-re", ())


def test_without_btf_and_bcc_the_error_names_both_and_what_to_do():
    answers = Answers(missing={"BTF": "the kernel has no BTF", "BCC": "BCC is not installed"})
    with pytest.raises(KernelError) as caught:
        choose(Wish(), answers)
    message = str(caught.value)
    assert "co-re: the kernel has no BTF; legacy: BCC is not installed" in message
    assert "CONFIG_DEBUG_INFO_BTF" in message


def test_legacy_does_not_fall_back_to_co_re():
    with pytest.raises(KernelError, match="`legacy` cannot be used: BCC is not installed"):
        choose(Wish("legacy"), Answers(missing={"BCC": "BCC is not installed"}))


@pytest.mark.parametrize("tracing", ["trampoline", "probe", "tracepoint"])
def test_legacy_takes_kprobes_whatever_the_tracing_and_never_fentry(tracing):
    plan = choose(Wish("legacy", tracing, "return"), Answers(missing={"fentry": "no"}))
    assert {hook.via for hook in plan.hooks} == {"raw_tracepoint", "kprobe", "kretprobe"}
    assert plan.notes == ()


# --- the way of tracing --------------------------------------------------------------------------

NO_FENTRY = {"fentry": "no trampolines here"}
NO_KPROBES = {"kprobes": "no kprobes here"}


def test_without_fentry_probes_stand_in_for_trampolines_and_one_note_says_why():
    plan = choose(Wish("co-re", load_mode="return"), Answers(missing=NO_FENTRY))
    assert plan.hooks == choose(Wish("co-re", "probe", "return"), Answers()).hooks
    assert plan.notes == (
        "ebpf co-re tracing `trampoline` falls back to `probe`: trampoline: no trampolines here",
    )


def test_without_kprobes_tracepoints_stand_in_for_probes_and_the_late_release_is_said():
    plan = choose(Wish("co-re", "probe", "return"), Answers(missing=NO_KPROBES))
    assert plan.hooks == choose(Wish("co-re", "tracepoint", "return"), Answers()).hooks
    assert plan.release_late
    assert plan.notes == (
        "ebpf co-re tracing `probe` falls back to `tracepoint`: probe: no kprobes here",
        RELEASE_LATE,
    )


def test_without_both_tracepoints_are_left_and_the_note_has_both_reasons_in_order():
    plan = choose(Wish("co-re", load_mode="return"), Answers(missing=NO_FENTRY | NO_KPROBES))
    assert plan.tracing == "tracepoint"
    assert plan.notes == (
        "ebpf co-re tracing `trampoline` falls back to `tracepoint`: "
        "trampoline: no trampolines here; probe: no kprobes here",
        RELEASE_LATE,
    )


def test_whoever_asks_for_probes_gets_no_trampolines_where_there_are_no_kprobes():
    plan = choose(Wish("co-re", "probe", "return"), Answers(missing=NO_KPROBES))
    assert not {"fentry", "fexit"} & {hook.via for hook in plan.hooks}


def test_legacy_without_kprobes_falls_back_to_tracepoints():
    plan = choose(Wish("legacy", load_mode="return"), Answers(missing=NO_KPROBES))
    assert {hook.via for hook in plan.hooks} == {"raw_tracepoint", "tracepoint"}
    assert places(plan, "free") == ["raw_tp/sched_process_free"]
    assert plan.notes == (
        "ebpf type format `legacy`, which would take kprobes, falls back to `tracepoint`: "
        "probe: no kprobes here",
        RELEASE_LATE,
    )


def test_each_function_falls_back_on_its_own():
    answers = Answers(functions=without("kernel_clone", "_do_fork"))
    plan = choose(Wish("co-re", load_mode="return"), answers)
    assert places(plan, "free") == ["fentry/cgroup_task_release"]
    assert places(plan, "fail") == [
        *(f"tp/syscalls/sys_exit_{call}" for call in CREATES),
        "fexit/__x64_sys_execve",
        "fexit/__x64_sys_execveat",
    ]
    (note,) = plan.notes
    assert (
        "falls back to `tracepoint` for failed fork, vfork, clone and clone3 calls: trampoline: "
        "this kernel has no kernel_clone or _do_fork;" in note
    )
    assert not plan.release_late


def test_a_function_that_btf_does_not_have_may_still_be_probed():
    answers = Answers(watched={"fentry": ()})
    plan = choose(Wish("co-re"), answers)
    assert places(plan, "free") == ["kprobe/cgroup_task_release"]


@pytest.mark.parametrize(("via", "tracing"), [("fentry", "trampoline"), ("kprobe", "probe")])
def test_a_release_is_watched_in_the_newest_function_that_there_is(via, tracing):
    left = list(FUNCTIONS)
    for function in ("cgroup_task_release", "cgroup_release"):
        plan = choose(Wish("co-re", tracing), Answers(functions=tuple(left)))
        assert places(plan, "free") == [f"{via}/{function}"]
        assert plan.notes == ()
        left.remove(function)
    plan = choose(Wish("co-re", tracing), Answers(functions=tuple(left)))
    assert places(plan, "free") == ["tp_btf/sched_process_free"]
    assert "has no cgroup_task_release or cgroup_release" in plan.notes[0]


def test_failed_creates_are_watched_in_do_fork_before_5_10():
    plan = choose(Wish("co-re", load_mode="return"), Answers(functions=without("kernel_clone")))
    assert places(plan, "fail")[0] == "fexit/_do_fork"
    assert plan.notes == ()


# --- tracepoints of system calls -----------------------------------------------------------------


def test_a_tracepoint_that_is_missing_is_noted():
    there = tuple(target for target in TRACEPOINTS if not target.endswith("_clone3"))
    plan = choose(Wish("co-re", "tracepoint", "return"), Answers(tracepoints=there))
    assert places(plan, "fail") == [f"tp/{target}" for target in there]
    assert plan.notes == (
        "failed clone3 calls are not seen: this kernel has no tracepoint syscalls/sys_exit_clone3",
        RELEASE_LATE,
    )


def test_a_tracepoint_is_not_missed_where_the_machine_has_no_such_system_call():
    answers = Answers(
        functions=without("__x64_sys_fork", "__x64_sys_vfork"),
        tracepoints=tuple(t for t in TRACEPOINTS if not t.endswith("fork")),
    )
    plan = choose(Wish("co-re", "tracepoint", "return"), answers)
    assert places(plan, "fail")[:2] == ["tp/syscalls/sys_exit_clone", "tp/syscalls/sys_exit_clone3"]
    assert plan.notes == (RELEASE_LATE,)


def test_a_tracepoint_that_is_missing_is_no_matter_where_a_function_is_watched():
    plan = choose(Wish("co-re", load_mode="return"), Answers(tracepoints=()))
    assert plan.notes == ()


def test_without_tracefs_the_failures_that_are_not_seen_are_named_with_the_reason():
    answers = Answers(missing={"tracefs": "tracefs is not mounted"}, tracepoints=())
    plan = choose(Wish("co-re", "tracepoint", "return"), answers)
    assert not places(plan, "fail")
    for calls in ("fork, vfork, clone and clone3", "execve", "execveat"):
        assert (
            f"failed {calls} calls are not seen: tracepoint: tracefs is not mounted" in plan.notes
        )


def test_a_release_needs_no_tracefs():
    plan = choose(Wish("co-re", "tracepoint"), Answers(missing={"tracefs": "no"}, tracepoints=()))
    assert places(plan, "free") == ["tp_btf/sched_process_free"]


# --- the buffer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("buffer", ["auto", "ring"])
def test_without_a_ring_buffer_events_come_through_perf_buffers_and_a_note_says_why(buffer):
    answers = Answers(missing={"ring buffer": "Invalid argument"})
    plan = choose(Wish("co-re", buffer=buffer), answers)
    assert plan.buffer == "perf"
    assert plan.notes == ("no ring buffer (Invalid argument): events come through perf buffers",)


def test_perf_buffers_that_were_asked_for_are_no_note():
    answers = Answers(missing={"ring buffer": "Invalid argument"})
    plan = choose(Wish("co-re", buffer="perf"), answers)
    assert (plan.buffer, plan.notes) == ("perf", ())


# --- a hook that was tried in vain ---------------------------------------------------------------


def test_a_refused_hook_leads_to_the_next_way_and_then_to_the_one_after():
    wish, answers = Wish("co-re"), Answers()
    for place, following in (
        ("fentry/cgroup_task_release", "kprobe/cgroup_task_release"),
        ("kprobe/cgroup_task_release", "tp_btf/sched_process_free"),
    ):
        (hook,) = [hook for hook in choose(wish, answers).hooks if hook.kind == "free"]
        assert hook.place == place
        answers.refusals[hook] = f"{place} is refused"
        plan = choose(wish, answers)
        assert places(plan, "free") == [following]
    assert plan.notes == (
        "ebpf co-re tracing `trampoline` falls back to `tracepoint`: trampoline: "
        "fentry/cgroup_task_release is refused; probe: kprobe/cgroup_task_release is refused",
        RELEASE_LATE,
    )


def test_one_refused_tracepoint_of_several_takes_no_other_with_it():
    wish, answers = Wish("co-re", "tracepoint", "return"), Answers()
    before = places(choose(wish, answers), "fail")
    (hook,) = [h for h in choose(wish, answers).hooks if h.target == "syscalls/sys_exit_vfork"]
    answers.refusals[hook] = "Operation not permitted"
    plan = choose(wish, answers)
    assert places(plan, "fail") == [place for place in before if place != hook.place]
    assert "failed vfork calls are not seen: Operation not permitted" in plan.notes


def test_who_has_no_way_left_does_without_these_events_and_says_so():
    wish, answers = Wish("co-re", "tracepoint"), Answers()
    (hook,) = [hook for hook in choose(wish, answers).hooks if hook.kind == "free"]
    answers.refusals[hook] = "Operation not permitted"
    plan = choose(wish, answers)
    assert not places(plan, "free")
    assert not plan.release_late
    assert plan.notes == (
        "released tasks are not seen, and so no zombies: tracepoint: Operation not permitted",
    )


def test_the_error_of_a_refused_hook_names_its_place_and_the_reason():
    hook = Hook("free", "on_release_kprobe", "kprobe", "release_task")
    error = HookRefusedError(hook, "Invalid argument")
    assert str(error) == "kprobe/release_task cannot be attached: Invalid argument"
    assert (error.hook, error.reason) == (hook, "Invalid argument")
    assert isinstance(error, KernelError)


# --- the names of cgroups ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_format", "via"), [("co-re", "tp_btf"), ("legacy", "raw_tracepoint")]
)
def test_the_names_of_cgroups_come_from_their_three_tracepoints(type_format, via):
    plan = choose(Wish(type_format, cgroup_names=True), Answers())
    named = [(hook.via, hook.target) for hook in plan.hooks if hook.kind == "cgroup"]
    assert named == [(via, "cgroup_mkdir"), (via, "cgroup_rename"), (via, "cgroup_rmdir")]


def test_without_the_wish_nothing_is_attached_to_them():
    assert not [hook for hook in choose(Wish(), Answers()).hooks if hook.kind == "cgroup"]


def test_where_they_are_refused_the_consequence_is_said_and_the_rest_goes_on():
    wanted = choose(Wish(cgroup_names=True), Answers())
    (refused,) = [hook for hook in wanted.hooks if hook.target == "cgroup_rename"]
    plan = choose(Wish(cgroup_names=True), Answers(refusals={refused: "Invalid argument"}))
    assert not [hook for hook in plan.hooks if hook.kind == "cgroup"]
    assert plan.notes == (
        "cgroups that are gone before they are looked up have no name: Invalid argument",
    )
