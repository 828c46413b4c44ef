"""What a run says of its property tests."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_number_of_inputs_tried_is_printed():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [str(HERE / "test_text.py"), "-k", "utf8"]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True)
    assert "\n200 inputs tried by 2 property tests\n" in done.stdout, done.stdout + done.stderr
