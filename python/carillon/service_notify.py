"""Messages of a server to systemd: the protocol of sd_notify(3), over the socket that NOTIFY_SOCKET names.

Without NOTIFY_SOCKET nothing is sent. A message that cannot be sent is a warning, and the server continues.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .errors import CarillonError
from .logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from .server import Server

_log = logger("server")

_SEND_S = 5.0  # a service manager that stands still must not hold up the server for longer
_PROGRESS_S = 1.0
_MARGIN_S = 10.0  # beyond the end of a drain, for the end of the process


class ServiceNotifier:
    """Sends messages to the service manager. Methods may be called from any thread.

    Args:
        address: Path of the socket, or `@name` of an abstract one; empty: nothing is sent.
        watchdog_s: Interval at which the service manager expects a sign of life, seconds; 0: it expects none.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0) -> None:
        self.watchdog_s = watchdog_s
        self._address = address
        self._lock = threading.Lock()
        self._is_closed = not address
        self._is_ready = False
        self._is_stopping = False
        self._has_failed = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceNotifier:
        """Returns the notifier that the service manager asks for, and removes its variables.

        They are meant for this process alone: its children would otherwise speak for it.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        process = environment.pop("WATCHDOG_PID", "")
        is_watched = usec.isdecimal() and process in ("", str(os.getpid()))
        return cls(address, int(usec) / 1e6 if is_watched else 0)

    @property
    def is_active(self) -> bool:
        """Whether messages are sent."""
        return not self._is_closed

    def send(self, *assignments: str) -> None:
        """Sends one message.

        Args:
            assignments: Its lines, such as `"READY=1"`.
        """
        with self._lock:
            self._send(*assignments)

    def become_main(self) -> None:
        """Makes this process the main one of its unit. After a takeover, before anything else can fail."""
        self.send(f"MAINPID={os.getpid()}")

    def ready(self, *assignments: str) -> None:
        """Says that the server has started: whoever waits for its unit goes on."""
        with self._lock:
            self._is_ready = True
            self._send("READY=1", *assignments)

    def stop(self, *assignments: str) -> None:
        """Says that the server stops; later messages do not say that it is ready."""
        with self._lock:
            self._is_stopping = True
            self._send("STOPPING=1", *assignments)

    def close(self) -> None:
        """Sends nothing from now on: another process speaks for the unit."""
        with self._lock:
            self._is_closed = True

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """In this block the service manager sees the configuration being reloaded.

        Before the server is ready it sees nothing of it: READY=1 behind the reload would end the start early.
        """
        with self._lock:
            is_told = self._is_ready and not self._is_stopping
            if is_told:
                now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                self._send("RELOADING=1", f"MONOTONIC_USEC={now}")
        try:
            yield
        finally:
            with self._lock:
                if is_told and not self._is_stopping:
                    self._send("READY=1")

    def _send(self, *assignments: str) -> None:
        if self._is_closed:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_S)
                sender.sendto("\n".join(assignments).encode(), address)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            if not self._has_failed:
                _log.warning(
                    "NOTIFY_SOCKET: '%s' takes no message (%s); the service manager does not see the state "
                    "of this server",
                    self._address,
                    error,
                    extra={"event": "notify_failed"},
                )
            self._has_failed = True


class Watchdog:
    """Sends `WATCHDOG=1` at half of the expected interval, as long as a check succeeds.

    Args:
        notifier: Where the signs of life go.
        check: Function that returns whether the server answers within the seconds that it is given, or None
            if the server does not run.
    """

    def __init__(self, notifier: ServiceNotifier, check: Callable[[float], bool | None]) -> None:
        self._notifier = notifier
        self._check = check
        self._interval_s = notifier.watchdog_s / 2
        self._is_late = False
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="carillon-watchdog", daemon=True)

    def start(self) -> None:
        """Sends the first sign of life now, if the service manager expects any."""
        if self._notifier.is_active and self._notifier.watchdog_s > 0:
            self._thread.start()

    def close(self) -> None:
        """Ends the signs of life, and waits for a check that runs: no thread is left in the native code."""
        self._has_ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        next_s = time.monotonic()
        while not self._has_ended.wait(max(0.0, next_s - time.monotonic())):
            next_s = time.monotonic() + self._interval_s
            if self._succeeds():
                self._notifier.send("WATCHDOG=1")

    def _succeeds(self) -> bool:
        has_answered = self._check(self._interval_s)
        if has_answered is False and not self._is_late:
            _log.error(
                "a thread of the server has not answered for %.3g s: no WATCHDOG=1 is sent until it does, "
                "and the service manager ends a process that sends none for %.3g s (WatchdogSec)",
                self._interval_s,
                self._notifier.watchdog_s,
                extra={"event": "stands_still"},
            )
        elif has_answered and self._is_late:
            _log.warning("all threads of the server answer again", extra={"event": "answers_again"})
        self._is_late = has_answered is False
        return has_answered is True


def answers(server: Server, timeout_s: float) -> bool | None:
    """Returns whether every thread of the server answers within `timeout_s`, or None if it does not run."""
    try:
        return server._answers(timeout_s) or (None if not server.is_running else False)
    except CarillonError:
        return None


def status_of(server: Server) -> str:
    """Returns a line about what is served where, for `systemctl status`. It has no password."""
    url = str(server.settings["store"]["url"])
    if "://" in url:
        url = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
    return f"STATUS=serving at {server.url}, store {url}"


class DrainProgress:
    """Says that the server stops, and how many connections are left, at most once a second.

    Args:
        server: Server that is drained.
        notifier: Where the messages go.
        timeout_s: Longest time that the drain takes, seconds.
    """

    def __init__(self, server: Server, notifier: ServiceNotifier, timeout_s: float) -> None:
        self._server = server
        self._notifier = notifier
        self._end_s = time.monotonic() + timeout_s
        self._next_s: float | None = None

    def report(self) -> None:
        """Sends a message if one is due. Call it often.

        While a takeover is under way, a drain waits and may end with another process in charge. So the first
        message is sent only when clients are asked to leave.
        """
        now = time.monotonic()
        if not self._notifier.is_active or (self._next_s is not None and now < self._next_s):
            return
        stats = self._server.stats()
        if self._server.is_given_away:
            self._notifier.close()  # the new process speaks for the unit
            return
        if not all(each["is_draining"] for each in stats["listeners"]):
            return
        # It counts from now, and the drain may have a longer deadline (POST /api/drain).
        extension_s = max(self._end_s - now, 0) + _MARGIN_S
        lines = (
            f"STATUS=draining, connections left: {stats['connections']}",
            f"EXTEND_TIMEOUT_USEC={int(extension_s * 1e6)}",
        )
        if self._next_s is None:
            self._notifier.stop(*lines)
        else:
            self._notifier.send(*lines)
        self._next_s = now + _PROGRESS_S
