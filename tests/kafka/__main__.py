"""``make kafka``: a real broker for a developer or a new user, until Ctrl-C.

``python -m tests.kafka [BROKERS]``
"""

import signal
import sys

from tests.kafka.cluster import KafkaCluster, missing


def main() -> None:
    """Start brokers, print their address, wait."""
    if missing():
        sys.exit(f"kafka: {missing()}")
    brokers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print("kafka: starting, some seconds", file=sys.stderr, flush=True)
    with KafkaCluster(brokers=brokers) as cluster:
        print(cluster.bootstrap, flush=True)
        print(
            f"kafka: try it: taskstream run --bootstrap {cluster.bootstrap}; Ctrl-C ends the "
            "broker and deletes what it has",
            file=sys.stderr,
            flush=True,
        )
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
