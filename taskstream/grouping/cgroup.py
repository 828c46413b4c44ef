"""What a cgroup is, told from its path: a systemd service, a container, or something else.

Pure. The forms are those that systemd and the engines give their cgroups, with the systemd
driver (``docker-ID.scope``) and without (``/docker/ID``); the lists of what is charted are the
defaults of Netdata's cgroups.plugin (1.44).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from taskstream.grouping.pattern import SimplePattern

__all__ = ["CONTAINER", "ENABLED", "OTHER", "SERVICE", "SERVICES", "Cgroup", "classify"]

SERVICE, CONTAINER, OTHER = "service", "container", "other"

SERVICES = SimplePattern("!/system.slice/*/*.service /system.slice/*.service")
"""Netdata's ``cgroups to match as systemd services``."""

ENABLED = SimplePattern(
    "!*/init.scope !/system.slice/run-*.scope *.scope /machine.slice/*.service "
    "*/kubepods/pod*/* */kubepods/*/pod*/* */*-kubepods-pod*/* */*-kubepods-*-pod*/* "
    "!*kubepods* !*kubelet* !*/vcpu* !*/emulator !*.mount !*.partition !*.service "
    "!*.service/udev !*.socket !*.slice !*.swap !*.user !/ !/docker !*/libvirt !/lxc !/lxc/*/* "
    "!/lxc.monitor* !/lxc.pivot !/lxc.payload !/machine !/qemu !/system !/systemd !/user *"
)
"""Netdata's ``enable by default cgroups matching``."""

NAME_LETTERS = 100

_HEX = r"(?P<id>[0-9a-f]{64})"
_FORMS = tuple(
    (engine, re.compile(form))
    for engine, form in (
        ("docker", rf"(?:^|/)docker[-/]{_HEX}(?:\.scope)?$"),
        ("docker", r"(?:^|/)docker/buildkit/(?P<id>[0-9a-z]{25})$"),
        ("podman", rf"(?:^|/)libpod-{_HEX}(?:\.scope)?$"),
        ("containerd", rf"(?:^|/)(?:cri-containerd[-:]|nerdctl-){_HEX}(?:\.scope)?$"),
        ("cri-o", rf"(?:^|/)crio-{_HEX}(?:\.scope)?$"),
        ("kubernetes", rf"/kubepods(?:/[^/]+)?/pod[^/]+/{_HEX}$"),
        ("lxc", r"^/lxc/(?P<id>[^/]+)$"),
        ("lxc", r"^/lxc\.payload[./](?P<id>[^/]+)$"),
        ("lxc", r"/machine-lxc(?:-[0-9]+)?-(?P<id>[^/]+)\.scope$"),
        ("qemu", r"/machine-qemu(?:-[0-9]+)?-(?P<id>[^/]+)\.scope$"),
        ("qemu", r"/machine/(?:qemu-[0-9]+-)?(?P<id>[^/]+)\.libvirt-qemu$"),
        ("qemu", r"^/qemu\.slice/(?P<id>[0-9]+)\.scope$"),
        ("systemd-nspawn", r"/systemd-nspawn@(?P<id>[^/]+)\.service$"),
        ("systemd-nspawn", r"^/machine\.slice/machine-(?P<id>[^/]+)\.scope$"),
    )
)
_POD = re.compile(
    r"/(?:kubepods[^/]*-)?pod([0-9a-f]{8}[-_0-9a-f]{28}|[0-9a-f]{32})(?:\.slice)?(?:/|$)"
)
_ESCAPED = re.compile(rb"\\x([2-9a-f][0-9a-f])")  # no control characters


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup.

    Attributes:
        path: From the root of its hierarchy; begins with ``/``.
        kind: ``service``, ``container`` or ``other``.
        engine: Who made a container: docker, podman, containerd, cri-o, kubernetes, lxc, qemu,
            systemd-nspawn; empty for what is none.
        id: The container's id, or the name that its path gives it; empty for what is none.
        pod: The Kubernetes pod's uid; empty outside of one.
        name: Of a service, its unit without suffix; of a container, what the path tells; else
            the path with ``_`` for ``/`` and ``-`` for ``.``.
        enabled: Whether it is charted.
    """

    path: str
    kind: str
    engine: str
    id: str
    pod: str
    name: str
    enabled: bool

    @property
    def service(self) -> str:
        """Name of the systemd service; empty for what is none."""
        return self.name if self.kind == SERVICE else ""


def classify(path: str) -> Cgroup:
    """Tell what a cgroup is.

    A cgroup below a container's or below a service's belongs to that one: it has its kind and
    name. The outermost container counts, for all inside of it is its own affair.

    Args:
        path: From the root of its hierarchy.
    """
    for part in _from_root(path):
        plain = _unescaped(part)
        for engine, form in _FORMS:
            found = form.search(plain)
            if found:
                return _container(path, part, engine, found["id"])
    for part in _from_root(path):
        if SERVICES.matches(part):
            name = part.rpartition("/")[2].rpartition(".")[0].replace(".", "-")
            return Cgroup(path, SERVICE, "", "", "", name, enabled=True)
    return Cgroup(path, OTHER, "", "", "", _name(path), ENABLED.matches(path))


def _unescaped(part: str) -> str:
    """Return a path without systemd's escapes, and ours; what is no UTF-8 stays escaped."""
    if "\\x" not in part:
        return part
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), part.encode())
    return raw.decode("utf-8", "backslashreplace")


def _from_root(path: str) -> Iterator[str]:
    """Yield the path of each cgroup on the way to ``path``, which comes last."""
    at = path.find("/", 1)
    while at > 0:
        yield path[:at]
        at = path.find("/", at + 1)
    yield path


def _container(path: str, outermost: str, engine: str, id_: str) -> Cgroup:
    pod = _POD.search(outermost)
    uid = pod[1].replace("_", "-") if pod else ""
    short = id_[:12] if len(id_) == 64 else id_
    if uid:
        name = f"k8s_{short}"
    elif engine == "qemu":
        name = f"qemu_{short}"
    else:
        name = short
    return Cgroup(path, CONTAINER, engine, id_, uid, _clean(name), ENABLED.matches(outermost))


def _name(path: str) -> str:
    return _clean(path.lstrip("/").replace("/", "_").replace(".", "-")) or "root"


def _clean(name: str) -> str:
    return name.replace(" ", "_")[:NAME_LETTERS]
