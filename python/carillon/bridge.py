"""From the hub's threads into an event loop: one eventfd per loop, drained in batches.

No thread of the hub ever takes the GIL: it puts an event into the native queue and wakes the loop through the
file descriptor. The queue is bounded; where it is full, the cursor that feeds it waits at its position.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

from . import _core

Handler = Callable[[tuple[Any, ...]], None]

_CAPACITY = 1 << 16
_BATCH = 1024  # events handled per turn of the loop, so that others get their turns
_LINGER_S = 1.0  # an idle bridge is kept this long: publishers come back

_bridges: dict[asyncio.AbstractEventLoop, LoopBridge] = {}
_bridges_lock = threading.Lock()
_ids = itertools.count(1)


class LoopBridge:
    """The bridge of one event loop. All methods but `of` belong to that loop's thread.

    Attributes:
        core: The native end, to be given to the hub with an id from `register`.
        loop: Its loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.core = _core.Bridge(_CAPACITY)
        self.loop = loop
        self._handlers: dict[int, Handler] = {}
        self._is_closed = False
        loop.add_reader(self.core.fileno(), self._drain)

    @classmethod
    def of_running_loop(cls) -> LoopBridge:
        """The bridge of the loop that runs here, made when first asked for."""
        loop = asyncio.get_running_loop()
        with _bridges_lock:
            for stale in [other for other in _bridges if other.is_closed()]:
                _bridges.pop(stale).core.close()
            bridge = _bridges.get(loop)
            if bridge is None:
                bridge = _bridges[loop] = cls(loop)
            return bridge

    def register(self, handler: Handler) -> int:
        """Takes a new id; `handler` gets each event of the hub that carries it."""
        number = next(_ids)
        self._handlers[number] = handler
        return number

    def release(self, number: int) -> None:
        """Forgets an id; events still under way for it are dropped."""
        if self._handlers.pop(number, None) is not None and not self._handlers and not self.loop.is_closed():
            self.loop.call_later(_LINGER_S, self._close_if_idle)

    def _drain(self) -> None:
        if self._is_closed:
            return
        events = self.core.drain(_BATCH)
        for event in events:
            handler = self._handlers.get(event[1])
            if handler is not None:
                try:
                    handler(event)
                except Exception as error:
                    self.loop.call_exception_handler(
                        {"message": "a handler of the Carillon bridge failed", "exception": error}
                    )
        if len(events) == _BATCH:
            self.loop.call_soon(self._drain)

    def _close_if_idle(self) -> None:
        if self._handlers or self._is_closed:
            return
        self._is_closed = True
        with _bridges_lock:
            _bridges.pop(self.loop, None)
        self.loop.remove_reader(self.core.fileno())
        self.core.close()
