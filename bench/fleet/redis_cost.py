"""What gateways say to Redis for the publications of one channel, read by MONITOR."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from carillon.load import LoadError

if TYPE_CHECKING:
    from carillon.testing import RedisServer

START_S = 10.0
_LINE = re.compile(r"^[\d.]+ \[\d+ (?P<by>[^\]]+)\] (?P<words>.*)$")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")


@dataclass
class Work:
    """Commands of gateways, those that their scripts carried out, and bytes of the former on the wire."""

    commands: int = 0
    within: int = 0
    received: int = 0

    def add(self, other: Work) -> None:
        """Adds further work."""
        self.commands += other.commands
        self.within += other.within
        self.received += other.received


class Monitor:
    """Records the commands that name a channel.

    Attributes:
        publications: Entries that were appended to its stream.
        appends: What the scripts that append cost.
        others: What other scripts cost, between the first and the last append: comparisons of the top,
            and what subscribers that come, stay or leave cause.
        announced: Bytes of the announcements; each gateway with subscribers gets them.
    """

    def __init__(self, redis: RedisServer, channel: str) -> None:
        self.publications = self.announced = 0
        self.appends, self.others = Work(), Work()
        self._script = Work()
        self._waiting = Work()
        self._is_append = False
        self._redis = redis
        self._tail = f":{channel}"
        self._has_started = threading.Event()

    def __enter__(self) -> Self:
        command = ["redis-cli", "-p", str(self._redis.port), "monitor"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if not self._has_started.wait(START_S):
            self._process.kill()
            raise LoadError(f"MONITOR did not start within {START_S:g} s")
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.2)  # the last lines
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._has_started.set()  # the first line is OK
            found = _LINE.match(line)
            if found is None:
                continue
            words = _WORD.findall(found["words"])
            if any(word.endswith(self._tail) for word in words):
                self._count(found["by"], words)

    def _count(self, by: str, words: list[str]) -> None:
        name = words[0].lower()
        if by != "lua":
            self._end_script()
            self._script.commands += 1
            sizes = list(map(_length, words))
            self._script.received += len(f"*{len(words)}\r\n")
            self._script.received += sum(len(f"${size}\r\n\r\n") + size for size in sizes)
            return
        self._script.within += 1
        if name == "xadd":
            self.publications += 1
            self._is_append = True
        elif name in ("publish", "spublish"):
            self.announced += _length(words[-1])

    def _end_script(self) -> None:
        if self._is_append:
            if self.appends.commands:
                self.others.add(self._waiting)
            self._waiting = Work()
            self.appends.add(self._script)
        else:
            self._waiting.add(self._script)
        self._script, self._is_append = Work(), False

    def per_publication(self) -> dict[str, float]:
        """Returns commands, those within scripts, bytes received and announced, and others, each by one."""
        self._end_script()
        if not self.publications:
            raise LoadError("no publication came to Redis while it was watched")
        counts = {
            "commands": self.appends.commands,
            "within": self.appends.within,
            "received": self.appends.received,
            "announced": self.announced,
            "other_commands": self.others.commands,
            "other_received": self.others.received,
        }
        return {name: count / self.publications for name, count in counts.items()}


def _length(word: str) -> int:
    """Returns the bytes of a word that MONITOR has escaped."""
    return len(_ESCAPE.sub("x", word).encode())
