"""The load of this machine, read from /proc and published for the demo page."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..errors import CarillonError

if TYPE_CHECKING:
    from ..server import Server

CHANNEL = "machine"
_PERIOD_S = 0.1


class MachineLoad:
    """Turns the counters of /proc into percentages. `proc` is a parameter for tests."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._busy, self._total = self._cpu_ticks()

    def sample(self) -> dict[str, float]:
        """The load since the last sample: cpu and memory in percent, load1, and the number of cores."""
        busy, total = self._cpu_ticks()
        passed = total - self._total
        cpu = 100.0 * (busy - self._busy) / passed if passed > 0 else 0.0
        self._busy, self._total = busy, total
        return {
            "cpu": round(min(max(cpu, 0.0), 100.0), 1),
            "memory": round(self._memory(), 1),
            "load1": float((self._proc / "loadavg").read_text().split()[0]),
            "cores": os.cpu_count() or 1,
        }

    def _cpu_ticks(self) -> tuple[int, int]:
        ticks = [int(word) for word in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # all but idle and iowait

    def _memory(self) -> float:
        sizes = {}
        for line in (self._proc / "meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            sizes[name] = int(rest.split()[0])
        total = sizes["MemTotal"]
        return 100.0 * (total - sizes.get("MemAvailable", total)) / total


class MachineFeed:
    """Publishes the machine's load ten times a second, from a thread, while its context is open."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="carillon-machine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError, CarillonError):  # no /proc, or the server is gone: nothing to show
            load = MachineLoad()
            while not self._is_over.wait(_PERIOD_S):
                self._server.publish(CHANNEL, load.sample())
