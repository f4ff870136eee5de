"""Clients that others wrote, each in a process of its own, behind one and the same handle."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from carillon.testing import wait_until
from conftest import require_path, require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
# Of `Sdk`: name, encoding and transport.
KINDS = [
    "python-json-websocket",
    "python-protobuf-websocket",
    "javascript-json-websocket",
    "javascript-protobuf-websocket",
    "javascript-json-http_stream",
    "javascript-protobuf-http_stream",
    "javascript-json-sse",
    "go-json-websocket",
    "go-protobuf-websocket",
]
every_kind = pytest.mark.kinds(*KINDS)
# One of each package, for what is about neither encodings nor transports.
PACKAGES = ["javascript-json-websocket", "python-protobuf-websocket", "go-json-websocket"]
A_FEW_KINDS = [*PACKAGES, "javascript-protobuf-http_stream"]
# Version 0.12.1 of the Go module sends no further subscribe while it waits for the answer to the first.
no_go = pytest.mark.kinds(*(kind for kind in A_FEW_KINDS if "go" not in kind))


class CommandFailed(Exception):  # noqa: N818
    """The SDK refused. `code` is the server's, or the SDK's own words."""

    def __init__(self, code: int | str) -> None:
        super().__init__(f"the SDK answered with error {code}")
        self.code = code


class Sdk:
    """One client of an SDK: `javascript`, `python` or `go`, in an encoding, `json` or `protobuf`.

    `transport` is `websocket`, or `http_stream` or `sse` in JavaScript.

    Values are JSON in both; a payload that is no JSON is `{"b64": …}`. Its `journal` holds every event in the
    order in which the application saw it.
    """

    def __init__(self, name: str, encoding: str = "json", transport: str = "websocket") -> None:
        if name == "javascript":
            require_path(HERE / "node_modules", "npm ci --prefix tests/clients")
            command = [require_tool("node", "nodejs"), str(HERE / "centrifuge_js.mjs")]
        elif name == "go":
            program = "centrifuge_go/centrifuge_go"
            command = [str(require_path(HERE / program, f"make tests/clients/{program}"))]
        else:
            command = [sys.executable, str(HERE / "centrifuge_py.py")]
        command += [encoding, transport]
        self.journal: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, name=f"sdk-{name}", daemon=True)
        self._reader.start()

    def call(self, command: str, **options: Any) -> Any:
        """Runs one command of centrifuge_js.mjs and waits for its answer.

        Raises:
            CommandFailed: It was refused.
        """
        number = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "command": command, **options}) + "\n")
        self._process.stdin.flush()
        wait_until(lambda: number in self._answers or self._process.poll() is not None, timeout=20)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise CommandFailed(answer["error"])
        return answer["result"]

    def connect(self, url: str, user: str = "", **options: Any) -> Self:
        """Connects to the server (or proxy) at `url`, an `http://` address, and waits until that is done."""
        query = f"?user={user}" if user else ""
        self.call("connect", url=url.replace("http", "ws", 1) + f"/connection/websocket{query}", **options)
        return self

    def subscribe(self, channel: str, **options: Any) -> dict[str, Any]:
        """Subscribes, waits until the server has confirmed it, and returns that event."""
        before = len(self.events("subscribed", channel))
        self.call("subscribe", channel=channel, **options)
        return self.wait_for("subscribed", channel, count=before + 1)[before]

    def events(self, event: str, channel: str | None = None) -> list[dict[str, Any]]:
        """The events of one kind so far."""
        return [one for one in self.journal if one["event"] == event and one.get("channel") == channel]

    def wait_for(
        self, event: str, channel: str | None = None, count: int = 1, timeout: float = 10
    ) -> list[dict[str, Any]]:
        """Waits until there are `count` events of this kind, and returns them."""

        def enough_events() -> bool:
            return len(self.events(event, channel)) >= count

        try:
            wait_until(enough_events, timeout)
        except TimeoutError:
            raise AssertionError(f"no {count} {event!r} events; the last: {self.journal[-10:]}") from None
        return self.events(event, channel)

    def offsets(self, channel: str) -> Sequence[int]:
        """Offsets of the publications that the application saw, in that order."""
        return [one["offset"] for one in self.events("publication", channel)]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The process stands still meanwhile (SIGSTOP): its kernel answers, it does not."""
        self._process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self._process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(") ")[2][0] == "T")
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.journal.append(message)
