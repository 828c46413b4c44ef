"""Whether the agent in this container counts: its last interval ended not long ago.

``python3 healthy.py [URL]``. Exit code 0 and a line if so, 1 and the reason if not. An agent whose
broker is away is healthy: it counts, and spools.
"""

import sys
import time
import urllib.request

METRICS = "http://127.0.0.1:9466/metrics"  # [prometheus] listen in process.conf beside this file
INTERVAL_END = "taskstream_interval_end_timestamp_seconds"
OLD_S = 30.0


def main() -> None:
    """Ask the agent for its metrics."""
    url = sys.argv[1] if len(sys.argv) > 1 else METRICS
    try:
        with urllib.request.urlopen(url, timeout=4) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as error:
        sys.exit(f"{url} does not answer: {error}")
    ends = [float(line.split()[-1]) for line in lines if line.startswith(INTERVAL_END)]
    if not ends:
        sys.exit("no interval is over yet")
    age = time.time() - max(ends)
    if age > OLD_S:
        sys.exit(f"the last interval ended {age:.0f} s ago")
    print(f"the last interval ended {age:.0f} s ago")


if __name__ == "__main__":
    main()
