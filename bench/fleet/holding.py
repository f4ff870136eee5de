"""Connections that are only held, one generator process for each server."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from carillon.load import Load, LoadError, Progress, run_load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECT_S = 300.0
HOLD_S = 3_600.0
_POLL_S = 0.05


class _EndError(Exception):
    """The connections are no longer needed."""


class _Held(threading.Thread):
    """One load; alone in its process it sleeps until something arrives (several would poll their board)."""

    def __init__(self, load: Load, ending: threading.Event) -> None:
        super().__init__(daemon=True)
        self.load = load
        self.live = 0
        self.error: BaseException | None = None
        self._ending = ending

    def run(self) -> None:
        try:
            run_load(self.load, on_progress=self._watch)
            self.error = LoadError("connections that were to be held ended by themselves")
        except _EndError:
            pass
        except Exception as error:
            self.error = error

    def _watch(self, progress: Progress) -> None:
        self.live = progress.live
        if self._ending.is_set():
            raise _EndError


@contextlib.contextmanager
def held(loads: Sequence[Load]) -> Iterator[None]:
    """Holds idle connections for the duration of the block.

    Raises:
        LoadError: Not all of them became live, or some ended.
    """
    ending = threading.Event()
    threads = [_Held(load, ending) for load in loads]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + CONNECT_S
        while any(each.live < each.load.connections for each in threads):
            failed = next((each.error for each in threads if each.error), None)
            if failed or time.monotonic() > deadline:
                live = sum(each.live for each in threads)
                raise LoadError(f"{live:,} connections became live, and no more: {failed}")
            time.sleep(_POLL_S)
        yield
        if failed := next((each.error for each in threads if each.error), None):
            raise LoadError(f"held connections: {failed}")
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def idle_loads(ports: Sequence[int], connections: int, channel: str) -> list[Load]:
    """Returns loads that hold an equal part of the connections at each server, in 10 channels."""
    each = connections // len(ports)
    if not each:
        return []
    settings: dict[str, Any] = {
        "channels": min(10, each),
        "channel": channel,
        "is_idle": True,
        "seconds": HOLD_S,
    }
    return [Load(port=port, connections=each, timeout_s=HOLD_S, **settings) for port in ports]
