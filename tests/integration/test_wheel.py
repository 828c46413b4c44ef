"""The wheel is whole: built from an sdist, away from the clone, and installed on its own."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from taskstream import resource, schema

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build an sdist of the clone, and of that a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    run(*pip, "--wheel-dir", folder, sdist, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel in an environment that borrows ours for all else; return its scripts."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    scripts = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python", "install")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    site = run(
        scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd="/"
    )
    # Their path files, thus our editable install, are not looked at in a path that comes so.
    (Path(site.strip()) / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return scripts


def test_the_wheel_carries_the_compiled_object(wheel):
    with zipfile.ZipFile(wheel) as file:
        carried = file.read("taskstream/bpf/taskstream.bpf.o")
    assert carried == resource.bpf_object().read_bytes(), "the clone's may be old: make bpf"


def test_the_wheel_carries_every_schema(wheel):
    with zipfile.ZipFile(wheel) as file:
        for path in (ROOT / "schemas").rglob("*.*"):
            name = f"taskstream/{path.relative_to(ROOT)}"
            assert file.read(name) == path.read_bytes()


def test_the_wheel_carries_every_stock_file(wheel):
    with zipfile.ZipFile(wheel) as file:
        for path in (ROOT / "taskstream/stock").iterdir():
            assert file.read(f"taskstream/stock/{path.name}") == path.read_bytes()


def test_the_installed_wheel_finds_its_own_object_and_schema(installed):
    code = (
        "from taskstream import record, resource;"
        "print(resource.bpf_object(), resource.schema('task_event.toml'), sep='\\n')"
    )
    for line in run(installed / "python", "-c", code, cwd="/").splitlines():
        assert Path(line).is_relative_to(installed.parent)


def test_the_installed_command_runs_outside_the_clone(installed):
    printed = run(installed / "taskstream", "schema", "--json", cwd="/")
    assert json.loads(printed) == schema.json_schema()


def test_the_wheel_installs_the_plugin_under_the_name_that_netdata_looks_for(installed):
    plugin = installed / "taskstream.plugin"
    assert "SECONDS" in run(plugin, "--help", cwd="/")
