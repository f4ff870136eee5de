"""The lifetime of a client on its event loop.

Every background task of a client is started here, and every caller waits here. A task that fails ends what it
serves, and the end of a lifetime ends each wait with a `CarillonError`. So no exception of a task can vanish,
and no wait can outlast the task that would have ended it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .errors import CarillonError, ConnectionClosed, ForkedError, LoopError
from .logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .feed import Feed

T = TypeVar("T")

_log = logger("client")

_PATIENCE_S = 2.0  # for a task that was cancelled: it may close a connection


class Home:
    """The process in which an object was made, and the event loop that used it first. It works only there.

    Args:
        what: Name of the object, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> asyncio.AbstractEventLoop:
        """Returns the loop of the object, which must be the one that runs here.

        Raises:
            ForkedError: This is a child process.
            LoopError: Another loop runs here.
        """
        if not self._is_in_its_process:
            raise ForkedError(
                f"this {self._what} belongs to the parent process and does not work in a forked child: "
                "make one in the child"
            )
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise LoopError(
                f"this {self._what} belongs to another event loop, the one that used it first: make one per "
                "loop (each asyncio.run has its own), or use carillon.sync"
            )
        return loop

    def can_end(self) -> bool:
        """Returns whether there is something to end: not in a forked child, nor after the end of the loop.

        Raises:
            LoopError: Another loop runs here, and the loop of the object has not ended.
        """
        if not self._is_in_its_process or self._loop is None or self._loop.is_closed():
            return False
        self.enter()
        return True

    def post(self, callback: Callable[[], object]) -> None:
        """Runs `callback` on the loop, if it has not ended. May be called from any thread."""
        if self._loop is not None and self._is_in_its_process:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(callback)

    @property
    def _is_in_its_process(self) -> bool:
        return os.getpid() == self._process


class Served(Protocol):
    """The subscription or the client that a background task works for."""

    def fail(self, error: Exception) -> None:
        """Ends it with an error. No effect after an end."""


class Lifetime:
    """The time from a client's first use until it is closed or fails. Belongs to one event loop.

    Attributes:
        home: Process and loop of the client.
        error: Error that ended it; None before the end.
    """

    def __init__(self) -> None:
        self.home: Home = Home("client")
        self.error: CarillonError | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waits: set[asyncio.Future[Any]] = set()
        self._events: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()
        self._feeds: weakref.WeakSet[Feed] = weakref.WeakSet()

    def check(self) -> asyncio.AbstractEventLoop:
        """Returns the loop.

        Raises:
            CarillonError: The lifetime has ended, or this is another process or loop.
        """
        loop = self.home.enter()
        if self.error is not None:
            raise self.error
        return loop

    # Work.

    def start(self, work: Coroutine[Any, Any, Any], name: str, serves: Served) -> asyncio.Task[Any]:
        """Starts a background task. If it raises or is cancelled, that ends what it serves."""
        task = self._spawn(work, name)
        task.add_done_callback(lambda task: self._on_end(task, serves))
        return task

    async def stop(self, task: asyncio.Task[Any]) -> None:
        """Cancels a task and waits for its end."""
        if self.home.can_end() and task is not asyncio.current_task():
            await _cancelled({task})

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine for a caller and returns its result.

        Raises:
            CarillonError: The lifetime ended first.
        """
        task = self._spawn(work, "carillon command")
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        if task.cancelled() and self.error is not None:
            raise self.error
        return task.result()

    def _spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        try:
            task = self.check().create_task(work, name=name)
        except BaseException:
            work.close()
            raise
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _on_end(self, task: asyncio.Task[Any], serves: Served) -> None:
        if task.cancelled():
            serves.fail(ConnectionClosed(0, f"the background task of {task.get_name()} was cancelled"))
        elif (raised := task.exception()) is None:
            return
        elif isinstance(raised, CarillonError):
            serves.fail(raised)
        else:
            _log.error("%s failed", task.get_name(), exc_info=raised)
            error = CarillonError(f"{task.get_name()} failed: {type(raised).__name__}: {raised}")
            error.__cause__ = raised
            serves.fail(error)

    # Waits.

    def future(self) -> asyncio.Future[Any]:
        """Returns a future for one caller to await. The end of the lifetime sets an error in it."""
        future: asyncio.Future[Any] = self.check().create_future()
        self._waits.add(future)
        future.add_done_callback(self._waits.discard)
        return future

    def event(self) -> asyncio.Event:
        """Returns an event for `until`."""
        event = asyncio.Event()
        self._events.add(event)
        return event

    async def until(self, event: asyncio.Event) -> None:
        """Waits for an event.

        Raises:
            CarillonError: The lifetime ended first.
        """
        self.check()
        await event.wait()
        if self.error is not None:
            raise self.error

    def adopt(self, feed: Feed) -> None:
        """Ends this feed together with the lifetime, and so the waits of its readers."""
        self._feeds.add(feed)

    # The end.

    def fail(self, error: Exception) -> None:
        """Ends everything with an error. No effect after an end."""
        if self.error is None:
            self.error = error if isinstance(error, CarillonError) else CarillonError(str(error))
            for feed in list(self._feeds):
                feed.fail(self.error)
            self._end_all(self.error)

    async def close(self) -> None:
        """Ends everything, as this side asks. Idempotent."""
        can_end = self.home.can_end()
        if self.error is None:
            self.error = ConnectionClosed(0, "the client is closed: connect again")
            if can_end:
                for feed in list(self._feeds):
                    feed.end()
                self._end_all(self.error)
        if can_end:
            await _cancelled({task for task in self._tasks if task is not asyncio.current_task()})

    def _end_all(self, error: CarillonError) -> None:
        for wait in list(self._waits):
            if not wait.done():
                wait.set_exception(error)
        for event in list(self._events):
            event.set()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits for their ends. It repeats a cancellation that is lost to another error."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_PATIENCE_S)
