"""The package as it is built here works on 64-bit ARM: on an emulated machine, from the wheel."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.guest import arm64
from tests.kernel.guest.fetch import FetchError, obtain
from tests.kernel.guest.machine import run
from tests.needs import go_without

pytestmark = pytest.mark.matrix

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """Unpack the wheel in the clone, which the guest shares."""
    folder = ROOT / "build/arm64-wheel"
    shutil.rmtree(folder, ignore_errors=True)
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "unpacked")
    yield folder / "unpacked"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def findings(package: Path) -> dict[str, dict[str, str]]:
    """What the doctor of the wheel says of the machine, by check."""
    try:
        kernel, machine = obtain("arm64"), arm64.machine()
    except FetchError as error:
        go_without(str(error))
        raise
    told = f"PYTHONPATH={package} exec {machine.python} -m taskstream doctor --json"
    ended = run(kernel, ["/bin/sh", "-c", told], machine=machine, timeout_s=300)
    assert ended.stdout, ended.stderr.decode()
    return {finding["check"]: finding for finding in json.loads(ended.stdout)}


def test_the_wheel_of_another_architecture_finds_its_object_and_loads_it(
    findings: dict[str, dict[str, str]],
) -> None:
    assert findings["kernel"]["found"].endswith(" on aarch64")
    assert "arm64-wheel" in findings["BPF object"]["found"]
    assert findings["BPF object"]["state"] == findings["iterator"]["state"] == "ok"


@pytest.mark.parametrize("tracing", ["trampoline", "probe", "tracepoint"])
def test_every_co_re_mode_loads_and_attaches_in_both_load_modes(
    findings: dict[str, dict[str, str]], tracing: str
) -> None:
    assert findings[f"mode co-re {tracing}"]["found"].startswith("yes: entry, return (")
