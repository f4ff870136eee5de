"""An event loop on a thread of its own, for those who have none."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_EXIT_S = 5.0


class BackgroundLoop:
    """Runs coroutines for callers on other threads.

    Args:
        name: Of its thread.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        _open.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end and returns its result. Ctrl-C cancels it."""
        if self.is_closed:
            work.close()
            raise RuntimeError("its event loop has ended")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except (KeyboardInterrupt, concurrent.futures.CancelledError):
            future.cancel()
            raise

    def close(self, timeout: float | None = None) -> None:
        """Cancels what still runs and ends the thread. Idempotent.

        Args:
            timeout: Seconds to wait for it at most; None waits for ever.
        """
        if not self.is_closed:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


_open: weakref.WeakSet[BackgroundLoop] = weakref.WeakSet()


def _close_all() -> None:
    for each in list(_open):
        each.close(_EXIT_S)


atexit.register(_close_all)  # a thread that outlives the interpreter is killed wherever it is
os.register_at_fork(after_in_child=_open.clear)  # they are the parent's
