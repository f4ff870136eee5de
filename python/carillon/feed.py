"""The queue of one subscription, between the source that delivers and the `async for` that reads. No I/O.

It guarantees the order: a publication that comes twice is dropped, and missing ones become a `Gap`. It is
bounded: when the queue is full the source pauses, and resumes from `received` when the reader has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from .errors import ConnectionClosed
from .items import Gap, Message
from .position import Position
from .start import Start

if TYPE_CHECKING:
    from collections.abc import Callable


class Feed:
    """The items of one subscription, in order. Belongs to one event loop and is not thread-safe.

    Attributes:
        channel: Name of the channel.
        received: Position behind the last item that came in, from which the source resumes.
        is_recovered: Whether the newest start was complete; None if no position was given. See `ItemStream`.
        is_conflated: Whether the server leaves offsets out. A jump is not a gap then: the server reports gaps
    """

    def __init__(self, channel: str, start: Start, capacity: int) -> None:
        self.channel = channel
        self.received = start.position
        self._asked = start
        self._taken = start.position
        self._newest: Message | None = None  # taken since then, with a place in the log
        self.is_recovered: bool | None = None
        self.is_conflated = False
        self.on_room: Callable[[], None] = lambda: None
        self._capacity = capacity
        self._items: deque[Message | Gap] = deque()
        self._error: Exception | None = None
        self._is_ended = False
        self._is_started = False
        self._is_paused = False
        self._has_news = asyncio.Event()
        self._has_begun = asyncio.Event()

    @property
    def taken(self) -> Position | None:
        """Position behind the last item that was read, from which a later subscription continues."""
        return self._newest.position if self._newest else self._taken

    @property
    def start(self) -> Start:
        """Where the source starts: as asked at first, behind the last item that came in after a cut."""
        if self.received is not None:
            return Start(self.received)
        return Start() if self._is_started else self._asked

    @property
    def is_paused(self) -> bool:
        """Whether the source must pause. When it becomes false, `on_room` is called."""
        return self._is_paused

    @property
    def is_filling(self) -> bool:
        """Whether the queue is half full: if the reader gets a turn of the loop, it may not need to pause."""
        return len(self._items) * 2 >= self._capacity

    @property
    def is_over(self) -> bool:
        """Whether the feed has ended."""
        return self._is_ended

    # The source's side.

    def begin(self, position: Position | None, is_recovered: bool | None) -> None:
        """Notes that delivery starts, for the first time or again.

        Args:
            position: Position behind which delivery starts; None if the channel has no log.
            is_recovered: Whether nothing was lost, as the server says; None if no position was given.
        """
        asked = self.received
        if is_recovered is not None:
            self.is_recovered = is_recovered
        if asked is None and not self._is_started:
            self._taken, self._newest = position, None
            self.received = position
        elif not is_recovered:
            self._add_gap(asked, position)
            self.received = position
        self._is_started = True
        self._has_begun.set()

    def push(self, message: Message) -> None:
        """Adds a publication."""
        if self._is_ended or self._is_paused:
            return
        here = self.received
        if message.offset and here is not None:
            if here.epoch == message.epoch and message.offset <= here.offset:
                return
            is_left_out = message.offset > here.offset + 1 and not self.is_conflated
            if here.epoch != message.epoch or is_left_out:
                self._add_gap(here, Position(message.offset - 1, message.epoch))
        if message.offset:
            self.received = Position(message.offset, message.epoch)
        self._add(message)

    def push_run(self, messages: list[Message]) -> None:
        """Adds publications that follow one another: offsets without a hole, in one epoch."""
        first, here = messages[0], self.received
        if here is None or first.offset != here.offset + 1 or first.epoch != here.epoch:
            for message in messages:
                self.push(message)
        elif not (self._is_ended or self._is_paused):
            self.received = messages[-1].position
            self._items.extend(messages)
            self._has_news.set()
            self._is_paused = len(self._items) >= self._capacity

    def gap(self, epoch: str, lost_from: int, lost_to: int) -> None:
        """Adds a gap that the server reports."""
        if self._is_ended or self._is_paused:
            return
        self.received = Position(lost_to, epoch)
        self._add(Gap(self.channel, epoch, lost_from, lost_to))

    def fail(self, error: Exception) -> None:
        """Ends the feed with an error, which is raised behind the queued items. No effect after an end."""
        if not self._is_ended:
            self._error = error
            self.end()

    def end(self) -> None:
        """Ends the feed. Queued items can still be read."""
        self._is_ended = True
        self._has_begun.set()
        self._has_news.set()

    # The reader's side.

    async def begun(self) -> None:
        """Waits for the first `begin`.

        Raises:
            ConnectionClosed: The subscription was closed on this side before it began.
            CarillonError: It failed before it began.
        """
        await self._has_begun.wait()
        if not self._is_started:
            raise self._error or ConnectionClosed(0, "the subscription is closed")

    async def next(self) -> Message | Gap:
        """Waits for the next item and returns it.

        Raises:
            StopAsyncIteration: The subscription was closed on this side.
            CarillonError: The subscription ended for another reason.
        """
        while not self._items:
            if self._is_ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._has_news.clear()
            await self._has_news.wait()
        return self._take()

    def take(self) -> Message | Gap | None:
        """Returns the next item if one is queued, without waiting; else None."""
        return self._take() if self._items else None

    def _take(self) -> Message | Gap:
        item = self._items.popleft()
        if isinstance(item, Gap):
            self._taken, self._newest = item.position or self.taken, None
        elif item.offset:
            self._newest = item
        if self._is_paused and not self._is_ended and len(self._items) <= self._capacity // 2:
            self._is_paused = False
            self.on_room()
        return item

    def _add_gap(self, lost_behind: Position | None, goes_on: Position | None) -> None:
        epoch, lost_to = (goes_on.epoch, goes_on.offset) if goes_on else ("", 0)
        is_same_log = lost_behind is not None and lost_behind.epoch == epoch and lost_behind.offset < lost_to
        self._add(
            Gap(self.channel, epoch, lost_behind.offset + 1 if lost_behind and is_same_log else None, lost_to)
        )

    def _add(self, item: Message | Gap) -> None:
        self._items.append(item)
        self._has_news.set()
        if len(self._items) >= self._capacity:
            self._is_paused = True
