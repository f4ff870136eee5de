"""Subscriptions inside the server's own process: a cursor on the log, without a socket."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .bridge import LoopBridge
from .errors import CarillonError, ServerFailed, ServerStopped, StoreError, from_core
from .feed import Feed
from .lifetime import Home
from .position import Position
from .stream import Item, ItemStream

if TYPE_CHECKING:
    from . import _core
    from .start import Start
    from .stream import OnGap

_CAPACITY = 4096  # more than one turn of the loop brings, so that a reader that keeps up is never paused


class Cursor(ItemStream[Item]):
    """A subscription inside the server's process, from `Server.subscribe`. See `ItemStream`."""

    def __init__(self, core: _core.Server, channel: str, start: Start, on_gap: OnGap) -> None:
        super().__init__(_CursorSource(core, channel, start), on_gap)


class _CursorSource:
    def __init__(self, core: _core.Server, channel: str, start: Start) -> None:
        self.feed = Feed(channel, start, _CAPACITY)
        self.home = Home("subscription")
        self._core = core
        self._bridge: LoopBridge | None = None
        self._id = 0

    @property
    def away(self) -> str:
        return ""

    def start(self) -> None:
        self.home.enter()
        self.feed.on_room = self._resume
        self._subscribe()

    async def begun(self) -> None:
        await self.feed.begun()

    async def close(self) -> None:
        if self.home.can_end():
            self._close()
        else:
            self.feed.end()

    def abandon(self) -> None:
        self.home.post(self._close)

    def _resume(self) -> None:
        self.home.enter()
        try:
            self._subscribe()
        except Exception as error:
            self._fail(error)

    def _subscribe(self) -> None:
        self._bridge = LoopBridge.of_running_loop()  # the last one may be closed, if it was idle
        self._id = self._bridge.register(self._on_event, self._fail)
        try:
            start = self.feed.start
            self._core.subscribe(self._bridge.core, self._id, self.feed.channel, start.since, start.last)
        except Exception as error:
            self._bridge.release(self._id)
            self._id = 0
            raise from_core(error) from None

    def _fail(self, error: Exception) -> None:
        self.feed.fail(error if isinstance(error, CarillonError) else CarillonError(str(error)))
        self._stop()

    def _stop(self) -> None:
        if self._bridge is not None and self._id:
            self._bridge.release(self._id)
            with contextlib.suppress(Exception):  # the server may be gone already
                self._core.unsubscribe(self._bridge.core, self._id)
            self._id = 0

    def _close(self) -> None:
        self.feed.end()
        self._stop()

    def _on_event(self, event: tuple[Any, ...]) -> None:
        match event:
            case ("publications", _, messages):
                self.feed.push_run(messages)
            case ("status", _, is_recovered, epoch, offset, is_conflated):
                position = Position(offset, epoch) if epoch else None
                self.feed.is_conflated = is_conflated
                self.feed.begin(position, is_recovered)
            case ("gap", _, epoch, lost_from, lost_to):
                self.feed.gap(epoch, lost_from, lost_to)
            case ("error", _, message):
                self._fail(StoreError(message))
            case ("closed", _):
                failure = self._core.failure
                self._fail(ServerFailed(failure) if failure else ServerStopped("the server was stopped"))
        if self.feed.is_paused:
            self._stop()  # the reader is behind: the cursor is opened again at `received`
