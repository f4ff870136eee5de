"""A Redis server of a test: started, killed, stopped and started again at its command."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_START_S = 20.0
_POLL_S = 0.01
_TRIES = 5


class RedisServer:
    """A `redis-server` on a free port of 127.0.0.1, with its files in a folder.

    By default it keeps nothing when it ends; `"--appendonly", "yes", "--appendfsync", "always"` keeps all.

    Example:
        with RedisServer(tmp_path, "--appendonly", "yes") as redis:
            redis.cli("set", "a", "1")
            redis.kill()
            redis.restart()
            assert redis.cli("get", "a") == "1"

    Args:
        folder: Where its files are. It must exist.
        arguments: Arguments of the command, as `"--maxmemory", "10mb"`.
    """

    def __init__(self, folder: str | Path, *arguments: str) -> None:
        self._folder = Path(folder)
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @staticmethod
    def missing() -> str:
        """Says why no Redis can be started here; empty: one can."""
        for command in ("redis-server", "redis-cli"):
            if shutil.which(command) is None:
                return f"there is no {command} (Debian: apt-get install redis-server)"
        return ""

    @property
    def port(self) -> int:
        """The port; it stays the same after `restart()`."""
        return self._port

    @property
    def url(self) -> str:
        """The address, `redis://127.0.0.1:port`."""
        return f"redis://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Starts it and waits until it answers.

        Raises:
            RuntimeError: It does not start. The message has what it has said.
        """
        for _ in range(_TRIES):
            self._port = _free_port()
            if self._launch():
                return self
        raise RuntimeError(f"redis-server does not start: {self._log()}")

    def restart(self) -> None:
        """Starts it again on its port, with its files; kills it before if it runs."""
        self.kill()
        if not self._launch():
            raise RuntimeError(f"redis-server does not start again: {self._log()}")

    def kill(self) -> None:
        """Ends it at once (SIGKILL), as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stops it (SIGSTOP): it neither answers nor closes."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Lets it go on after `stop()` (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def cli(self, *words: str) -> str:
        """Returns what `redis-cli` prints for a command, without the end of the last line."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self._port), *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return (done.stdout + done.stderr).rstrip("\n")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("redis-server does not run; start it with restart()")
        self._process.send_signal(number)

    def _launch(self) -> bool:
        settings = (
            "--port",
            str(self._port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self._folder),
            "--save",
            "",
        )
        with (self._folder / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["redis-server", *settings, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            # Another process may have taken the port: then ours ends.
            if _answers(self._port) and self._process.poll() is None:
                return True
            time.sleep(_POLL_S)
        self.kill()
        return False

    def _log(self) -> str:
        return (self._folder / "redis.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def __repr__(self) -> str:
        state = "running" if self._process is not None else "not running"
        return f"<carillon.testing.RedisServer {self.url}, {state}>"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    """Says whether a server answers there, and has read its files."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(b"PING\r\n")
        answer = link.recv(100)
        return answer.startswith((b"+", b"-NOAUTH"))
    return False
