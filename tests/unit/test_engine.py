"""Names of containers are where the engines keep them; what cannot be read is no name."""

import json
from pathlib import Path
from typing import Any

import pytest

from taskstream.grouping.cgroup import classify
from taskstream.source.engine import EngineNames

ID = "0123456789abcdef" * 4
POD = f"/kubepods/burstable/pod6a9b1c2d-0000-4000-8000-123456789abc/{ID}"
DOCKER = f"/docker/{ID}"
PODMAN = f"/machine.slice/libpod-{ID}.scope"
DOCKER_FILE = f"var/lib/docker/containers/{ID}/config.v2.json"
PODMAN_FILE = "var/lib/containers/storage/overlay-containers/containers.json"
CONTAINERD_FILE = f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"
CRIO_FILE = f"run/containers/storage/overlay-containers/{ID}/userdata/config.json"


def put(root: Path, path: str, content: Any) -> None:
    (root / path).parent.mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("path", "file", "content", "name"),
    [
        (DOCKER, DOCKER_FILE, {"ID": ID, "Name": "/web"}, "web"),
        (
            PODMAN,
            PODMAN_FILE,
            [{"id": "f" * 64, "names": ["no"]}, {"id": ID, "names": ["db"]}],
            "db",
        ),
        (
            POD,
            CONTAINERD_FILE,
            {
                "annotations": {
                    "io.kubernetes.cri.sandbox-namespace": "default",
                    "io.kubernetes.cri.sandbox-name": "web-0",
                    "io.kubernetes.cri.container-name": "nginx",
                }
            },
            "k8s_cntr_default_web-0_nginx",
        ),
        (
            POD,
            CRIO_FILE,
            {
                "annotations": {
                    "io.kubernetes.pod.namespace": "default",
                    "io.kubernetes.pod.name": "web-0",
                    "io.kubernetes.container.name": "nginx",
                }
            },
            "k8s_cntr_default_web-0_nginx",
        ),
        (
            "/qemu.slice/104.scope",
            "etc/pve/qemu-server/104.conf",
            "cores: 2\nname: vm\n",
            "qemu_vm",
        ),
        ("/lxc/105", "etc/pve/lxc/105.conf", "hostname: box\n", "box"),
    ],
)
def test_the_name_is_read_from_the_engines_file(tmp_path, path, file, content, name):
    put(tmp_path, file, content)
    assert EngineNames(tmp_path)(classify(path)) == name


@pytest.mark.parametrize("path", [DOCKER, PODMAN, POD, "/qemu.slice/104.scope", "/lxc/web"])
def test_without_a_file_there_is_no_name(tmp_path, path):
    assert EngineNames(tmp_path)(classify(path)) is None


@pytest.mark.parametrize(
    ("path", "file"),
    [
        (DOCKER, DOCKER_FILE),
        (PODMAN, PODMAN_FILE),
        (POD, CONTAINERD_FILE),
        (POD, CRIO_FILE),
        ("/qemu.slice/104.scope", "etc/pve/qemu-server/104.conf"),
    ],
)
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "null", '[{"id": "' + ID + '"}]', '{"annotations": []}', "[1]"]
)
def test_a_file_that_is_otherwise_than_expected_is_no_name_and_no_error(
    tmp_path, path, file, content
):
    put(tmp_path, file, content)
    assert EngineNames(tmp_path)(classify(path)) is None
