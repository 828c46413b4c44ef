"""The options of a kernel, from whichever of three places has them."""

import gzip

import pytest

from taskstream.source.kernel_config import is_set, read_config

RELEASE = "6.1.0-50-amd64"
PROC, BOOT = "proc/config.gz", f"boot/config-{RELEASE}"
MODULES = f"lib/modules/{RELEASE}/config"

TEXT = """\
#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 6.1.0 Kernel Configuration
#
CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14) 12.2.0"
CONFIG_KPROBES=y
CONFIG_KPROBES_ON_FTRACE=y
# CONFIG_KPROBE_EVENTS_ON_NOTRACE is not set
CONFIG_IKHEADERS=m
CONFIG_HZ=250
CONFIG_CMDLINE="CONFIG_BPF=y"
"""


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("CONFIG_KPROBES", True),
        ("CONFIG_IKHEADERS", True),  # as a module
        ("CONFIG_KPROBE_EVENTS_ON_NOTRACE", False),
        ("CONFIG_KPROBE", False),  # the beginning of another
        ("KPROBES", False),  # the end of another
        ("CONFIG_HZ", False),
        ("CONFIG_BPF", False),  # within another's value
        ("CONFIG_NOT_THERE", False),
    ],
)
def test_an_option_is_set_if_it_is_y_or_m(option, expected):
    assert is_set(TEXT, option) == expected


def test_the_first_line_counts():
    assert is_set("CONFIG_BPF=y", "CONFIG_BPF")


@pytest.fixture
def lay(tmp_path):
    def lay(place, content):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(content)

    return lay


def test_the_running_kernels_own_configuration_comes_first(tmp_path, lay):
    lay(PROC, gzip.compress(TEXT.encode()))
    lay(BOOT, b"CONFIG_OTHER=y\n")
    assert read_config(tmp_path, RELEASE) == (TEXT, f"/{PROC}")


@pytest.mark.parametrize("place", [BOOT, MODULES])
def test_a_file_of_this_release_serves_without_it(tmp_path, lay, place):
    lay(place, TEXT.encode())
    lay("boot/config-6.1.0-49-amd64", b"CONFIG_OLDER=y\n")
    assert read_config(tmp_path, RELEASE) == (TEXT, f"/{place}")


@pytest.mark.parametrize(
    "damaged",
    [b"no gzip", gzip.compress(b"CONFIG_BPF=y")[:-9], gzip.compress(b"x" * 99)[:12] + b"\xff"],
    ids=["other", "cut", "broken"],
)
def test_a_damaged_file_is_passed_over(tmp_path, lay, damaged):
    lay(PROC, damaged)
    lay(BOOT, TEXT.encode())
    assert read_config(tmp_path, RELEASE) == (TEXT, f"/{BOOT}")


def test_where_there_is_none_all_places_are_named(tmp_path):
    assert read_config(tmp_path, RELEASE) == (None, f"/{PROC} /{BOOT} /{MODULES}")


def test_bytes_that_are_no_text_do_not_hide_the_options(tmp_path, lay):
    lay(BOOT, b'CONFIG_LOCALVERSION="\xff"\nCONFIG_KPROBES=y\n')
    assert is_set(read_config(tmp_path, RELEASE)[0], "CONFIG_KPROBES")
