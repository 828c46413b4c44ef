"""What stands for files and messages that people have stays as it is, to the byte.

The sum of each is entered in SHA256SUMS when it is added, and that line is never changed.
"""

import hashlib
from pathlib import Path

HERE = Path(__file__).parent
SUMS = HERE / "SHA256SUMS"


def test_no_golden_file_was_changed_or_taken_away_since_it_was_added():
    lines = (line.split("  ") for line in SUMS.read_text().splitlines())
    entered = {name: told for told, name in lines}
    paths = [*HERE.glob("v*/*.msgpack"), *HERE.glob("capture-v*/*.tsc")]
    found = {
        str(path.relative_to(HERE)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }
    new = sorted(found.keys() - entered.keys())
    assert not new, f"in tests/golden: sha256sum {' '.join(new)} >> SHA256SUMS"
    assert {name: told for name, told in entered.items() if found.get(name) != told} == {}
