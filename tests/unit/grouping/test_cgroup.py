"""A path tells what a cgroup is, who is inside belongs to it, Netdata's lists say what shows."""

import pytest

from taskstream.grouping.cgroup import CONTAINER, OTHER, SERVICE, classify

ID = "0123456789abcdef" * 4
SHORT = "0123456789ab"
UID = "6a9b1c2d-0000-4000-8000-123456789abc"
UNDER = UID.replace("-", "_")


@pytest.mark.parametrize(
    ("path", "engine", "id_", "name"),
    [
        (f"/docker/{ID}", "docker", ID, SHORT),
        (f"/system.slice/docker-{ID}.scope", "docker", ID, SHORT),
        (f"/machine.slice/libpod-{ID}.scope", "podman", ID, SHORT),
        (f"/libpod_parent/libpod-{ID}", "podman", ID, SHORT),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
            "podman",
            ID,
            SHORT,
        ),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd", ID, SHORT),
        ("/lxc.payload.web", "lxc", "web", "web"),
        ("/lxc.payload/web", "lxc", "web", "web"),
        ("/lxc/web", "lxc", "web", "web"),
        (r"/machine.slice/machine-lxc\x2d812\x2dweb.scope", "lxc", "web", "web"),
        (r"/machine.slice/machine-gr\xc3\xb6n.scope", "systemd-nspawn", "grön", "grön"),
        (r"/machine.slice/machine-\xff\x0a.scope", "systemd-nspawn", r"\xff\x0a", r"\xff\x0a"),
        (
            r"/machine.slice/machine-qemu\x2d3\x2ddebian12.scope",
            "qemu",
            "debian12",
            "qemu_debian12",
        ),
        ("/machine/qemu-3-debian12.libvirt-qemu", "qemu", "debian12", "qemu_debian12"),
        ("/qemu.slice/104.scope", "qemu", "104", "qemu_104"),
        ("/machine.slice/systemd-nspawn@web.service", "systemd-nspawn", "web", "web"),
        ("/machine.slice/machine-web.scope", "systemd-nspawn", "web", "web"),
    ],
)
def test_a_containers_path_tells_engine_id_and_name(path, engine, id_, name):
    found = classify(path)
    assert (found.kind, found.engine, found.id, found.name) == (CONTAINER, engine, id_, name)
    assert (found.pod, found.service) == ("", "")


@pytest.mark.parametrize(
    ("path", "engine"),
    [
        (f"/kubepods/burstable/pod{UID}/{ID}", "kubernetes"),
        (f"/kubepods/pod{UID}/{ID}", "kubernetes"),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDER}.slice"
            f"/cri-containerd-{ID}.scope",
            "containerd",
        ),
        (f"/kubepods.slice/kubepods-pod{UNDER}.slice/crio-{ID}.scope", "cri-o"),
        (f"/kubepods.slice/kubepods-pod{UNDER}.slice/docker-{ID}.scope", "docker"),
    ],
)
def test_a_pods_container_tells_its_pod(path, engine):
    found = classify(path)
    assert (found.kind, found.engine, found.id, found.pod) == (CONTAINER, engine, ID, UID)
    assert (found.name, found.enabled) == (f"k8s_{SHORT}", True)


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{ID[:-1]}",
        f"/system.slice/docker-{ID}.mount",
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/dockers/{ID}",
        "/docker",
        "/lxc",
        "/lxc.monitor.web",
        "/machine.slice",
        f"/kubepods/burstable/pod{UID}",
    ],
)
def test_what_only_looks_like_a_container_is_none(path):
    assert classify(path).kind == OTHER


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/system.slice/sshd.service", "sshd"),
        ("/system.slice/getty@tty1.service", "getty@tty1"),
        ("/system.slice/dbus-org.example.Thing.service", "dbus-org-example-Thing"),
        ("/system.slice/sshd.service/worker", "sshd"),
        ("/system.slice/sshd.service/nested.service", "sshd"),
    ],
)
def test_a_unit_of_the_system_slice_is_a_service_with_all_below_it(path, name):
    found = classify(path)
    assert (found.kind, found.service, found.engine, found.enabled) == (SERVICE, name, "", True)


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/system-getty.slice/getty@tty1.service",
        "/user.slice/user-0.slice/user@0.service",
        "/system.slice/dbus.socket",
        "/system.slice",
    ],
)
def test_units_elsewhere_are_no_services(path):
    assert classify(path).service == ""


def test_what_runs_inside_of_a_container_belongs_to_it():
    inside = classify(f"/system.slice/docker-{ID}.scope/system.slice/nginx.service")
    assert (inside.kind, inside.id, inside.service) == (CONTAINER, ID, "")
    nested = classify(f"/docker/{ID}/docker/{'f' * 64}")
    assert nested.id == ID


@pytest.mark.parametrize(
    ("path", "name", "enabled"),
    [
        ("/", "root", False),
        (
            "/user.slice/user-0.slice/session-3.scope",
            "user-slice_user-0-slice_session-3-scope",
            True,
        ),
        ("/system.slice/run-r12.scope", "system-slice_run-r12-scope", False),
        ("/init.scope", "init-scope", False),
        ("/system.slice", "system-slice", False),
        ("/user.slice/user-0.slice/user@0.service/init.scope", None, False),
        ("/my group/jobs", "my_group_jobs", True),
        ("/lxc.monitor.web", "lxc-monitor-web", False),
    ],
)
def test_anything_else_is_named_by_its_path_and_shown_as_netdata_would(path, name, enabled):
    found = classify(path)
    assert (found.kind, found.engine, found.id) == (OTHER, "", "")
    assert found.enabled is enabled
    assert name is None or found.name == name


def test_a_name_is_cut_at_netdatas_length():
    assert len(classify("/" + "x" * 300).name) == 100
