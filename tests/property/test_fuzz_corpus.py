"""The corpus of the fuzzer and its seeds as plain tests: what broke a decoder once stays whole."""

from pathlib import Path

import pytest

from tests.fuzz.target import TARGETS

ROOT = Path(__file__).parents[2]
CORPUS = sorted((ROOT / "tests" / "fuzz" / "corpus").iterdir())
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*v*/*.[tm]s*"))


def test_there_is_a_corpus_for_every_target():
    assert {path.name.split("-")[0] for path in CORPUS} == TARGETS.keys()


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.name)
def test_a_decoder_takes_its_corpus(path):
    TARGETS[path.name.split("-")[0]](path.read_bytes())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}/{p.name}")
@pytest.mark.parametrize("target", TARGETS)
def test_every_decoder_takes_every_golden_file(target, path):
    TARGETS[target](path.read_bytes())
