"""The queue of one subscription between whoever delivers and the `async for` that reads. No I/O.

It keeps the order honest: what comes twice is dropped, what is missing becomes a `Gap`. It is bounded: a
reader that is slower than its channel costs a position, not memory. When the queue is full the source pauses,
and goes on from `received` when the reader has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from .errors import ConnectionClosed
from .items import Gap, Message
from .position import Position

if TYPE_CHECKING:
    from collections.abc import Callable


class Feed:
    """Items of one subscription, in order. Belongs to one event loop; not thread-safe.

    Attributes:
        channel: Its channel.
        received: Behind the last item that came in: where the source resumes.
        is_recovered: What the server said the last time a position was given; None before that.
        is_conflated: Offsets may be left out on the way: that is no gap, and real ones are told.
    """

    def __init__(self, channel: str, since: Position | None, capacity: int) -> None:
        self.channel = channel
        self.received = since
        self._taken = since
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
        """Behind the last item that the reader took: where a later subscription would go on."""
        return self._newest.position if self._newest else self._taken

    @property
    def is_paused(self) -> bool:
        """Whether the source must hold back. Becomes false by `on_room()`."""
        return self._is_paused

    @property
    def is_filling(self) -> bool:
        """Whether half of the queue is full: a turn of the loop for the reader may keep it from pausing."""
        return len(self._items) * 2 >= self._capacity

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come in."""
        return self._is_ended

    # The source's side.

    def begin(self, position: Position | None, is_recovered: bool | None) -> None:
        """Delivery starts, for the first time or again.

        Args:
            position: Behind which delivery starts; None where the channel has no log.
            is_recovered: The server's word on the position that it was given; None if none was.
        """
        asked = self.received
        if is_recovered is not None:
            self.is_recovered = is_recovered
        if not is_recovered:
            if asked is not None or self._is_started:
                self._add_gap(asked, position)
            else:
                self._taken, self._newest = position, None
            self.received = position
        self._is_started = True
        self._has_begun.set()

    def push(self, message: Message) -> None:
        """A publication came in."""
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
        """Publications came in that follow on one another: offsets without a hole, one epoch."""
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
        """The server says that publications are lost to this subscription."""
        if self._is_ended or self._is_paused:
            return
        self.received = Position(lost_to, epoch)
        self._add(Gap(self.channel, epoch, lost_from, lost_to))

    def fail(self, error: Exception) -> None:
        """Nothing more comes, for this reason. What is queued is still read first.

        Without effect after an earlier end.
        """
        if not self._is_ended:
            self._error = error
            self.end()

    def end(self) -> None:
        """Nothing more comes."""
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
        """The next item.

        Raises:
            StopAsyncIteration: The subscription was closed on this side.
            CarillonError: It ended for another reason.
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
        """The next item if one waits, without a detour through the event loop."""
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
