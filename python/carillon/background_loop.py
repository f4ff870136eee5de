"""An event loop on a thread of its own, for code without one."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .errors import ConnectionClosed, ForkedError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_EXIT_S = 5.0
_SLICE_S = 0.1  # after which a signal is handled that did not end the wait


class BackgroundLoop:
    """Runs coroutines for callers on other threads. The thread starts with the first call.

    Args:
        name: Name of the thread.
        closed: Message of the error that a call after the end raises.
    """

    def __init__(self, name: str, closed: str) -> None:
        self._name = name
        self._closed = closed
        self._lock = threading.Lock()  # between `run` and `close`: nothing is handed over after the end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, or belongs to the parent process."""
        return self._is_closed or self._is_forked

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end and returns its result. Ctrl-C cancels it.

        Raises:
            ForkedError: The thread runs in the parent process.
            ConnectionClosed: The loop has ended, or ended before the coroutine did.
        """
        job = _Job(work)
        try:
            self._hand_over(job)
            job.wait()
        except KeyboardInterrupt:
            self._cancel(job)
            raise
        if job.error is not None:
            raise job.error
        if job.is_cancelled:
            raise ConnectionClosed(0, self._closed)
        return cast("T", job.result)

    def close(self, timeout: float | None = None) -> None:
        """Cancels the coroutines that still run and ends the thread. Idempotent.

        Args:
            timeout: Longest time to wait, seconds; None waits without a limit.
        """
        if self._is_forked:
            return
        with self._lock:
            if not self._is_closed and self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._is_closed = True
        if self._thread is not None:
            self._thread.join(timeout)

    @property
    def _is_forked(self) -> bool:
        return self._thread is not None and os.getpid() != self._process

    def _hand_over(self, job: _Job) -> None:
        if self._is_forked:
            job.work.close()
            raise ForkedError(
                f"the thread {self._name} runs in the parent process, not in a forked child: make a new "
                "client in the child"
            )
        with self._lock:
            if self._is_closed:
                job.work.close()
                raise ConnectionClosed(0, self._closed)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._process = os.getpid()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
                _open.add(self)
            self._loop.call_soon_threadsafe(job.begin)

    def _cancel(self, job: _Job) -> None:
        with self._lock:
            if self._loop is None or self._is_closed:  # it was not handed over, or ends with the loop
                return
            self._loop.call_soon_threadsafe(job.cancel)


class _Job:
    """A coroutine on the loop, for which another thread waits.

    Ctrl-C may come between any two steps of the thread that waits. In the middle of a method that Python's
    `threading.Condition` has it would leave a lock locked for ever. So that thread uses no condition, and
    nothing that has one: no future, no event. Each of its waits is a single call of C.
    """

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_cancelled = False
        self._task: asyncio.Task[Any] | None = None
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self) -> None:
        """Waits for the end, on a thread that is not the loop's."""
        while True:
            # A signal that comes just before the call of C, or to another thread, does not end it.
            with contextlib.suppress(queue.Empty):
                return self._done.get(timeout=_SLICE_S)

    def begin(self) -> None:
        """Starts the coroutine, on the loop."""
        self._task = asyncio.get_running_loop().create_task(self.work)
        self._task.add_done_callback(self._on_done)

    def cancel(self) -> None:
        """Cancels the coroutine, on the loop, also if it was never handed over."""
        if self._task is None:
            self.work.close()
        else:
            self._task.cancel()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.is_cancelled = True
        else:
            self.error = task.exception()
            self.result = None if self.error else task.result()
        self._done.put(None)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:  # also after an exception that ends the thread: callers wait for the results of these tasks
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


_open: weakref.WeakSet[BackgroundLoop] = weakref.WeakSet()


def _close_all() -> None:
    for each in list(_open):
        each.close(_EXIT_S)


atexit.register(_close_all)  # a thread that outlives the interpreter is killed wherever it is
os.register_at_fork(after_in_child=_open.clear)  # their threads are in the parent
