"""A subscription inside the server's own process: a cursor on the log, without a socket."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .bridge import LoopBridge
from .errors import CarillonError, ServerFailed, ServerStopped, StoreError, from_core
from .feed import Feed
from .position import Position
from .stream import ItemStream

if TYPE_CHECKING:
    from . import _core

_CAPACITY = 4096  # above what one turn of the loop brings: who keeps up is never paused


class Cursor(ItemStream):
    """What `Server.subscribe` returns. See `ItemStream`."""

    def __init__(self, core: _core.Server, channel: str, since: Position | None) -> None:
        super().__init__(_CursorSource(core, channel, since))


class _CursorSource:
    def __init__(self, core: _core.Server, channel: str, since: Position | None) -> None:
        self.feed = Feed(channel, since, _CAPACITY)
        self._core = core
        self._bridge: LoopBridge | None = None
        self._id = 0

    async def open(self) -> None:
        self.feed.on_room = self._start
        self._start()
        await self.feed.begun()

    async def close(self) -> None:
        self._close()

    def abandon(self) -> None:
        if self._bridge is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._bridge.loop.call_soon_threadsafe(self._close)

    def _start(self) -> None:
        self._bridge = LoopBridge.of_running_loop()  # the one of last time may be closed: it was idle
        since = self.feed.received
        self._id = self._bridge.register(self._on_event)
        try:
            self._core.subscribe(
                self._bridge.core,
                self._id,
                self.feed.channel,
                since.epoch if since else None,
                since.offset if since else 0,
            )
        except Exception as error:
            self._bridge.release(self._id)
            public = from_core(error)
            self.feed.fail(public if isinstance(public, CarillonError) else ServerStopped(str(public)))

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
                was_asked = self.feed.received is not None
                position = Position(offset, epoch) if epoch else None
                self.feed.is_conflated = is_conflated
                self.feed.begin(position, is_recovered if was_asked else None)
            case ("gap", _, epoch, lost_from, lost_to):
                self.feed.gap(epoch, lost_from, lost_to)
            case ("error", _, message):
                self.feed.fail(StoreError(message))
                self._stop()
            case ("closed", _):
                failure = self._core.failure
                self.feed.fail(ServerFailed(failure) if failure else ServerStopped("the server was stopped"))
                self._stop()
        if self.feed.is_paused:
            self._stop()  # the reader is behind: the cursor comes back at `received`
