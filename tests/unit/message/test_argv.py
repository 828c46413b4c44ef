"""Arguments of many execs are packed as those of each would be."""

import msgpack
import pytest

from taskstream.message.argv import pack_argvs
from taskstream.message.columns import pack_utf8s
from taskstream.text import split_argv

LENGTHS = (0, 1, 31, 32, 255, 256, 65_535, 65_536)
COUNTS = (0, 1, 15, 16, 65_535, 65_536)


def texts_of(argvs: list[bytes]) -> list[list[str]]:
    """Return the arguments, read by msgpack where each exec's are said to be."""
    packed, places = pack_argvs(argvs)
    assert (places[0], places[-1]) == (0, len(packed))
    pairs = zip(places[:-1].tolist(), places[1:].tolist(), strict=True)
    return [msgpack.unpackb(packed[start:end]) for start, end in pairs]


@pytest.mark.parametrize("length", LENGTHS)
def test_an_argument_of_any_length_is_a_text(length):
    argument = "x" * length
    argv = f"cc\0{argument}\0-c\0".encode()
    assert texts_of([b"a\0", argv, b"b\0"]) == [["a"], ["cc", argument, "-c"], ["b"]]


@pytest.mark.parametrize("count", COUNTS)
def test_any_number_of_arguments_is_an_array(count):
    assert texts_of([b"a\0", b"-v\0" * count, b"b\0"]) == [["a"], ["-v"] * count, ["b"]]


@pytest.mark.parametrize(
    "argvs", [[b""], [b"", b""], [b"", b"a\0", b""], [b"\0"], [b"a\0", b"\0\0"]]
)
def test_no_argument_is_not_an_empty_one(argvs):
    assert texts_of(argvs) == [[arg.decode() for arg in split_argv(argv)] for argv in argvs]


@pytest.mark.parametrize("argvs", [[b"a\0cu"], [b"cu", b"a\0"], [b"a\0", b"", b"b\0\0cu", b"c\0"]])
def test_a_last_argument_that_was_cut_needs_no_nul(argvs):
    assert texts_of(argvs) == [[arg.decode() for arg in split_argv(argv)] for argv in argvs]


def test_the_bytes_are_those_of_one_exec_at_a_time():
    argvs = [b"-v\0" * count + b"x" * length + b"\0" for count in COUNTS[:4] for length in LENGTHS]
    packed, _ = pack_argvs(argvs)
    assert packed == b"".join(pack_utf8s(split_argv(argv)) for argv in argvs)
