"""Publishes from Python in the server's own process, so that its instructions can be counted.

python -m bench.publish_loop publish|publish_many MESSAGES
"""

from __future__ import annotations

import sys

import carillon

from .loads import PAYLOAD_BYTES

BATCH = 64
"""Messages of one `publish_many`."""


def main() -> int:
    """Publishes to a channel without subscribers."""
    how, messages = sys.argv[1], int(sys.argv[2])
    data = b"x" * PAYLOAD_BYTES
    with carillon.Server(port=0, threads=1, config={"client": {"insecure": True}}) as server:
        if how == "publish":
            for _ in range(messages):
                server.publish("bench", data)
        else:
            batch = [("bench", data)] * BATCH
            for _ in range(messages // BATCH):
                server.publish_many(batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
