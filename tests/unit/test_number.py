"""Numbers by claim (bpf/number.h), as legacy and kernels before 5.12 take them."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BPF = HERE.parents[1] / "bpf"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    built = tmp_path_factory.mktemp("number") / "number"
    source = HERE / "number.c"
    subprocess.run(["clang", "-O1", "-I", BPF, source, "-o", built], check=True)
    return built


@pytest.mark.parametrize("before_the_claim", [0, 1])
@pytest.mark.parametrize("interrupters", [0, 1, 7, 8, 9, 60])
def test_no_number_is_taken_twice_or_left_out(program, interrupters, before_the_claim):
    command = [program, str(before_the_claim), str(interrupters)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    *taken, following = map(int, lines)
    assert len(taken) == 5 * (interrupters + 1)
    assert sorted(taken) == list(range(following))
