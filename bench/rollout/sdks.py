"""SDKs that others wrote, among the subscribers: the programs of tests/clients, over TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .proxies import Front

CLIENTS = Path(__file__).parents[2] / "tests" / "clients"
KINDS = (
    "javascript-json-websocket",
    "javascript-protobuf-websocket",
    "javascript-json-http_stream",
    "javascript-protobuf-http_stream",
    "javascript-json-sse",
    "python-json-websocket",
    "python-protobuf-websocket",
)
START_S = 30.0


class Sdk:
    """One client of an SDK in a process of its own, on one channel.

    Attributes:
        kind: Name, encoding and transport.
        offset: Offset of the newest publication.
        connects: Times that it was connected.
        faults: What was wrong.
    """

    def __init__(self, kind: str, front: Front, channel: str) -> None:
        self.kind = kind
        self.channel = channel
        self.offset = 0
        self.connects = 0
        self.is_live = False
        self.faults: list[str] = []
        name, encoding, transport = kind.split("-")
        program = ["node", str(CLIENTS / "centrifuge_js.mjs")]
        if name == "python":
            program = [sys.executable, str(CLIENTS / "centrifuge_py.py")]
        trust = {"NODE_EXTRA_CA_CERTS": str(front.certificate), "SSL_CERT_FILE": str(front.certificate)}
        self._process = subprocess.Popen(
            [*program, encoding, transport],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **trust},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._say(id=1, command="connect", url=f"wss://127.0.0.1:{front.port}/connection/websocket")

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _say(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            match said.get("event"):
                case "connected":
                    self.connects += 1
                case "subscribed":
                    self.is_live = True
                    if said["wasRecovering"] and not said["recovered"]:
                        self.faults.append(f"not recovered behind {self.offset}")
                case "publication":
                    if said["offset"] != self.offset + 1 or said["data"]["n"] != said["offset"]:
                        self.faults.append(f"{said['offset']} ({said['data']}) after {self.offset}")
                    self.offset = said["offset"]
                case "disconnected":
                    self.faults.append(f"disconnected for good: {said['code']} {said['reason']}")
                case None if said.get("id") == 1:
                    if "error" in said:
                        self.faults.append(f"does not connect: {said['error']}")
                    else:
                        self._say(id=2, command="subscribe", channel=self.channel)


def start(front: Front, channels: list[str], count: int) -> list[Sdk]:
    """Starts a number of each kind, and waits until all are subscribed; none without their packages."""
    if shutil.which("node") is None or not (CLIENTS / "node_modules").exists():
        print("SDKs: none: node, or tests/clients/node_modules, is missing (npm ci --prefix tests/clients)")
        return []
    kinds = KINDS * count
    sdks = [Sdk(kind, front, channels[number % len(channels)]) for number, kind in enumerate(kinds)]
    deadline = time.monotonic() + START_S
    while not all(each.is_live for each in sdks) and time.monotonic() < deadline:
        time.sleep(0.05)
    for each in sdks:
        if not each.is_live:
            each.faults.append("was not subscribed in time")
    return sdks


def close_all(sdks: Iterable[Sdk]) -> None:
    """Ends all of them."""
    for each in sdks:
        each.close()
