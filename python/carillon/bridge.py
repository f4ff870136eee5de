"""The way from the hub's threads into an event loop: one eventfd per loop, read in batches.

No thread of the hub ever takes the GIL: it puts an event into the native queue and wakes the loop through the
file descriptor. The queue is bounded. If it is full, the cursor that feeds it waits at its position.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable
from typing import Any

from . import _core
from .logs import logger

_log = logger("server")

Handler = Callable[[tuple[Any, ...]], None]
OnFailure = Callable[[Exception], None]

_CAPACITY = 1 << 16
_BATCH = 1024  # events handled per turn of the loop, so that other tasks run; the rest wakes it again
_LINGER_S = 1.0  # time that an idle bridge is kept: the next publish would need it again

_bridges: dict[asyncio.AbstractEventLoop, LoopBridge] = {}
_bridges_lock = threading.Lock()
_ids = itertools.count(1)


class LoopBridge:
    """The bridge of one event loop. All methods but `of` belong to that loop's thread.

    Attributes:
        core: Native end, which the hub gets together with an id from `register`.
        loop: Event loop of the bridge.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.core: _core.Bridge = _core.Bridge(_CAPACITY)
        self.loop = loop
        self._handlers: dict[int, tuple[Handler, OnFailure]] = {}
        self._is_closed = False
        loop.add_reader(self.core.fileno(), self._drain)

    @classmethod
    def of_running_loop(cls) -> LoopBridge:
        """Returns the bridge of the loop that runs here. The first call makes it."""
        loop = asyncio.get_running_loop()
        with _bridges_lock:
            for stale in [other for other in _bridges if other.is_closed()]:
                _bridges.pop(stale).core.close()
            bridge = _bridges.get(loop)
            if bridge is None:
                bridge = _bridges[loop] = cls(loop)
            return bridge

    def register(self, handler: Handler, on_failure: OnFailure) -> int:
        """Returns a new id. `handler` gets each event of the hub with this id.

        If the handler raises, `on_failure` gets the exception and ends the wait that the events were for.
        """
        number = next(_ids)
        self._handlers[number] = handler, on_failure
        return number

    def release(self, number: int) -> None:
        """Forgets an id. Events with it that are under way are dropped."""
        if self._handlers.pop(number, None) is not None and not self._handlers and not self.loop.is_closed():
            self.loop.call_later(_LINGER_S, self._close_if_idle)

    def _drain(self) -> None:
        if self._is_closed:
            return
        events = self.core.drain(_BATCH)
        for event in events:
            registered = self._handlers.get(event[1])
            if registered is not None:
                handler, on_failure = registered
                try:
                    handler(event)
                except Exception as error:
                    on_failure(error)
                    self.loop.call_exception_handler(
                        {"message": "a handler of the Carillon bridge failed", "exception": error}
                    )

    def _close_if_idle(self) -> None:
        if self._handlers or self._is_closed:
            return
        self._is_closed = True
        with _bridges_lock:
            _bridges.pop(self.loop, None)
        self.loop.remove_reader(self.core.fileno())
        self.core.close()


class EventThread:
    """Hands the events of one bridge to a handler, on an event loop with a thread of its own.

    The thread never keeps the interpreter alive. All methods may be called from any thread.

    Args:
        name: Name of the thread.
        core: Bridge; it is closed when the thread ends.
        handle: Function that gets each event, on the loop. Its exceptions are logged. No exception of it or
            of a task that it starts ends the loop, not even KeyboardInterrupt.

    Attributes:
        loop: Event loop of the thread, on which other threads may run coroutines.
    """

    def __init__(self, name: str, core: _core.Bridge, handle: Handler) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self._core = core
        self._handle = handle
        self._is_closing = False
        self._is_serving = True  # until the thread is on its way to its end
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, patience_s: float) -> None:
        """Handles the events in the bridge, cancels the tasks of the loop, and ends the thread. Idempotent.

        Args:
            patience_s: Longest time to wait for the end, seconds. The thread itself does not wait.
        """
        self._is_closing = True
        with contextlib.suppress(RuntimeError):  # closed already
            self.loop.call_soon_threadsafe(self._stop)
        if self._thread is threading.current_thread():
            return
        self._thread.join(patience_s)
        if self._thread.is_alive():
            _log.warning(
                "a hook blocks the thread %s: it is left behind",
                self._thread.name,
                extra={"event": "thread_left"},
            )

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.add_reader(self._core.fileno(), self._drain)
        try:
            while not self._is_closing:
                self._run_until_stopped()
            self._is_serving = False
            self.loop.remove_reader(self._core.fileno())
            while self._drain():
                pass
            self.loop.run_until_complete(_cancel_others())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self._core.close()
            self.loop.close()

    def _stop(self) -> None:
        if self._is_serving:  # a late one would interrupt what the thread does at its end
            self.loop.stop()

    def _run_until_stopped(self) -> None:
        try:
            self.loop.run_forever()
        except BaseException:  # a task that raises KeyboardInterrupt or SystemExit ends its loop
            _log.exception(
                "a task on the thread %s failed: the other tasks continue",
                self._thread.name,
                extra={"event": "task_failed"},
            )

    def _drain(self) -> int:
        events = self._core.drain(_BATCH)
        for event in events:
            try:
                self._handle(event)
            except BaseException:
                _log.exception(
                    "an event of the core could not be handled: %r",
                    event[:3],
                    extra={"event": "event_failed"},
                )
        return len(events)


async def _cancel_others() -> None:
    await asyncio.sleep(0)  # what was asked for from outside begins first: it would be lost, unawaited
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
