"""The gateways of a rollout: `carillon serve` processes on one Redis, and the command that replaces one."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .proxies import free_port

START_S = 30.0
END_S = 20.0
CONFIG = """\
threads = 1
[store]
url = "{redis}"
[http_server]
address = "127.0.0.1"
[client]
insecure = true
[http_api]
insecure = true
[shutdown]
timeout = "30s"
pace = "{pace}"
[channels."*"]
history_size = 100_000
history_ttl = "1h"
"""


@dataclass
class Fleet:
    """Gateways at fixed ports.

    Attributes:
        folder: Where configuration, logs and process ids are.
        redis: Address of the store.
        pace: Time over which a drain asks its clients to leave.
        first_python: Interpreter of the gateways at first.
        other_python: Interpreter of the replacements.
    """

    folder: Path
    redis: str
    pace: str
    first_python: str
    other_python: str
    ports: list[int] = field(default_factory=list)

    def start(self, count: int) -> None:
        """Starts the first ones."""
        (self.folder / "carillon.toml").write_text(CONFIG.format(redis=self.redis, pace=self.pace))
        self.ports = [free_port() for _ in range(count)]
        for port in self.ports:
            subprocess.run(self._start(self.first_python, str(port)), shell=True, check=True)
        deadline = time.monotonic() + START_S
        while len(self.nodes()) < count:
            if time.monotonic() > deadline:
                logs = "".join(each.read_text()[-500:] for each in self.folder.glob("gateway-*.log"))
                raise SystemExit(f"the gateways did not start within {START_S:g} s: {logs}")
            time.sleep(0.1)

    def restart(self) -> str:
        """The command of `carillon rollout --restart`."""
        return self._start(self.other_python, "{port}")

    def nodes(self) -> list[dict[str, Any]]:
        """The registry; empty while no gateway answers."""
        for port in self.ports:
            with contextlib.suppress(OSError):
                return list(json.loads(post(port, "info", {}))["result"]["nodes"])
        return []

    def end(self) -> None:
        """Ends all processes, and those that end too slowly by force."""
        pids = [int(each) for each in _text(self.folder / "pids").split()]
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + END_S / 10
            for pid in pids:
                if _is_gateway(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            while any(map(_is_gateway, pids)) and time.monotonic() < deadline:
                time.sleep(0.05)

    def _start(self, python: str, port: str) -> str:
        # PYTHONPATH would give another interpreter the package of this one.
        run = shlex.quote(python) if python == sys.executable else f"env -u PYTHONPATH {shlex.quote(python)}"
        serve = f"{run} -m carillon serve --config {self.folder}/carillon.toml --port {port}"
        log = f"{self.folder}/gateway-{port}.log"
        return f"nohup {serve} --no-access-log >> {log} 2>&1 & echo $! >> {self.folder}/pids"


def post(port: int, method: str, body: dict[str, Any], timeout_s: float = 30) -> bytes:
    """Calls a method of the HTTP API."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{method}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as answer:
        return bytes(answer.read())


def _is_gateway(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"carillon" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
