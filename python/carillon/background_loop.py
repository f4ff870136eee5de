"""An event loop on a thread of its own, for code without one."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConnectionClosed, ForkedError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_EXIT_S = 5.0


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
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        # Ctrl-C may come at any moment of a wait; in the middle of a condition's it becomes "cannot release
        # un-acquired lock". This wait is a single call of C.
        is_done: queue.SimpleQueue[object] = queue.SimpleQueue()
        future.add_done_callback(is_done.put)
        try:
            self._hand_over(work, future)
            is_done.get()
            return future.result()
        except concurrent.futures.CancelledError:
            raise ConnectionClosed(0, self._closed) from None
        except KeyboardInterrupt:
            future.cancel()  # and so the work, be it handed over a moment ago
            raise

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

    def _hand_over(self, work: Coroutine[Any, Any, T], future: concurrent.futures.Future[T]) -> None:
        if self._is_forked:
            work.close()
            raise ForkedError(
                f"the thread {self._name} runs in the parent process, not in a forked child: make a new "
                "client in the child"
            )
        with self._lock:
            if self._is_closed:
                work.close()
                raise ConnectionClosed(0, self._closed)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._process = os.getpid()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
                _open.add(self)
            self._loop.call_soon_threadsafe(_begin, self._loop, work, future)


def _begin(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], future: concurrent.futures.Future[T]
) -> None:
    """Starts work whose outcome goes into `future`. A cancellation of either is one of the other.

    `asyncio.run_coroutine_threadsafe` returns the future too late for Ctrl-C to cancel it in any case.
    """
    task = loop.create_task(work)

    def on_done(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            future.cancel()
        elif (error := task.exception()) is None:
            result = task.result()
            if future.set_running_or_notify_cancel():
                future.set_result(result)
        elif future.set_running_or_notify_cancel():
            future.set_exception(error)

    def on_cancelled(future: concurrent.futures.Future[T]) -> None:
        if future.cancelled():
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the task with it
                loop.call_soon_threadsafe(task.cancel)

    task.add_done_callback(on_done)
    future.add_done_callback(on_cancelled)


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
