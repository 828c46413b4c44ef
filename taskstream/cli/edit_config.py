"""``taskstream edit-config``: the user's own copy of a configuration file, in an editor."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click

from taskstream import place, resource
from taskstream.config.file import read, read_app_groups
from taskstream.errors import ConfigError

__all__ = ["edit_config"]

_CHECKS: dict[str, Callable[[Path], object]] = {
    place.PROCESS: read,
    place.APP_GROUPS: read_app_groups,
}
_EDITORS = ("editor", "nano", "vim", "vi")


@click.command()
@click.argument("name")
def edit_config(name: str) -> None:
    """Edit a configuration file: process.conf (or ebpf.d/process.conf), or apps_groups.conf.

    Copies the stock file to the user's directory, unless there is one already, opens it in
    $VISUAL or $EDITOR, and checks it afterwards.
    """
    name = name.removeprefix("ebpf.d/")
    if name not in _CHECKS:
        raise click.UsageError(f"there is no {name}: there is {', '.join(_CHECKS)}")
    path = place.user_file(name)
    editor = _editor()
    if not path.exists():
        _copy(resource.stock(name), path)
    done = subprocess.run([*editor, str(path)], check=False)
    if done.returncode:
        raise ConfigError(f"the editor {editor[0]} failed with exit code {done.returncode}")
    _CHECKS[name](path)
    click.echo(f"{path}: all right")


def _copy(stock: Path, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stock, path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}: run it as root, or set "
            "TASKSTREAM_CONFIG_DIR to a directory of yours"
        ) from None
    click.echo(f"copied {stock} to {path}")


def _editor() -> list[str]:
    """Return the command of the user's editor."""
    chosen = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    found = chosen or [name for name in _EDITORS if shutil.which(name)][:1]
    if not found or not shutil.which(found[0]):
        raise ConfigError(f"no editor {' '.join(found)}: set EDITOR to the command of one")
    return found
