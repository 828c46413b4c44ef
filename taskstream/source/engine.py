"""The names that container engines have for their containers, from the engines' own files.

Rim: reads files of docker, podman, containerd, cri-o and Proxmox; asks no daemon. Where a file
is missing or cannot be read, there is no name, and the id serves.

* docker: ``containers/ID/config.v2.json``, member ``Name``.
* podman: ``overlay-containers/containers.json``, a list with ``id`` and ``names``.
* containerd and cri-o: annotations of the OCI ``config.json`` of the running container
  (``io.kubernetes.cri.*``, ``io.kubernetes.*``).
* Proxmox: ``name`` of a machine, ``hostname`` of a container, in its own file.
"""

import json
import re
from pathlib import Path
from typing import Any

from taskstream.grouping.cgroup import Cgroup

__all__ = ["EngineNames"]

_DOCKER = "var/lib/docker/containers"
_PODMAN = "var/lib/containers/storage/overlay-containers/containers.json"
_BUNDLES = (
    "run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/containerd/io.containerd.runtime.v1.linux/k8s.io",
)
_CRIO = "run/containers/storage/overlay-containers"
_PROXMOX = {"qemu": ("etc/pve/qemu-server", "name"), "lxc": ("etc/pve/lxc", "hostname")}
_PODS = (  # namespace, pod, container: containerd's annotations, then cri-o's
    (
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.container-name",
    ),
    ("io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name"),
)


class EngineNames:
    """Looks names up.

    Args:
        root: The host's root directory (another one where the agent runs in a container).
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def __call__(self, cgroup: Cgroup) -> str | None:
        """Return the name of a container as charts show it; None where none can be read.

        A Kubernetes container is ``k8s_cntr_NAMESPACE_POD_CONTAINER``, a virtual machine
        ``qemu_NAME``, as Netdata names them.
        """
        if cgroup.pod:
            return self._pod_container(cgroup.id)
        if cgroup.engine == "docker":
            name = _member(self._json(f"{_DOCKER}/{cgroup.id}/config.v2.json"), "Name")
            return name.lstrip("/") if name else None
        if cgroup.engine == "podman":
            return self._podman(cgroup.id)
        if cgroup.engine in _PROXMOX and cgroup.id.isdigit():
            return self._proxmox(cgroup)
        return None

    def _podman(self, id_: str) -> str | None:
        listed = self._json(_PODMAN)
        for container in listed if isinstance(listed, list) else ():
            if _member(container, "id") == id_:
                names = container.get("names")
                return str(names[0]) if isinstance(names, list) and names else None
        return None

    def _pod_container(self, id_: str) -> str | None:
        bundles = [f"{bundle}/{id_}/config.json" for bundle in _BUNDLES]
        for path in (*bundles, f"{_CRIO}/{id_}/userdata/config.json"):
            bundle = self._json(path)
            annotations = bundle.get("annotations") if isinstance(bundle, dict) else None
            for members in _PODS:
                parts = [_member(annotations, member) for member in members]
                if all(parts):
                    return "k8s_cntr_" + "_".join(str(part) for part in parts)
        return None

    def _proxmox(self, cgroup: Cgroup) -> str | None:
        directory, member = _PROXMOX[cgroup.engine]
        text = self._text(f"{directory}/{cgroup.id}.conf") or ""
        found = re.search(rf"^{member}: *(\S+)", text, re.MULTILINE)
        if not found:
            return None
        return f"qemu_{found[1]}" if cgroup.engine == "qemu" else found[1]

    def _json(self, path: str) -> Any:
        try:
            return json.loads(self._text(path) or "null")
        except ValueError:  # half written
            return None

    def _text(self, path: str) -> str | None:
        try:
            return (self._root / path).read_text()
        except (OSError, UnicodeDecodeError):
            return None


def _member(map_: Any, name: str) -> str | None:
    """Return a text of a map; None where there is no map or no such text."""
    value = map_.get(name) if isinstance(map_, dict) else None
    return value if isinstance(value, str) and value else None
