"""What every subscription looks like to its reader, whatever feeds it."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Protocol, Self

from .errors import ConnectionClosed

if TYPE_CHECKING:
    from types import TracebackType

    from .feed import Feed
    from .items import Gap, Message
    from .position import Position


class Source(Protocol):
    """Whatever fills a feed: a cursor of the hub in this process, or a connection."""

    feed: Feed

    async def open(self) -> None:
        """Starts delivery and waits until it has begun."""

    async def close(self) -> None:
        """Ends delivery. Idempotent."""

    def abandon(self) -> None:
        """Ends delivery without waiting; may be called from any thread."""


class ItemStream:
    """An async iterator of `Message` and `Gap`, and an async context manager.

    Delivery starts on entering the context, or with the first item asked for. Whatever is not read stays a
    position: a slow reader is brought up from the log, and told by a `Gap` where the log no longer reaches
    back.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._is_open = False
        weakref.finalize(self, source.abandon).atexit = False

    @property
    def channel(self) -> str:
        """The channel."""
        return self._source.feed.channel

    @property
    def position(self) -> Position | None:
        """Behind the last item read: give it as `since` to go on later, elsewhere, over another transport."""
        return self._source.feed.taken

    @property
    def is_recovered(self) -> bool | None:
        """Whether nothing was lost the last time a position was given; None if none was."""
        return self._source.feed.is_recovered

    async def open(self) -> Self:
        """Starts delivery. Idempotent.

        Raises:
            CarillonError: It could not be started.
        """
        if not self._is_open:
            self._is_open = True
            try:
                await self._source.open()
            except BaseException:
                await self._source.close()
                raise
        return self

    async def aclose(self) -> None:
        """Ends delivery. Idempotent."""
        self._is_open = True
        await self._source.close()

    async def next(self, timeout: float | None = None) -> Message | Gap:  # noqa: ASYNC109
        """The next item.

        Args:
            timeout: Seconds to wait at most; None waits for ever.

        Raises:
            TimeoutError: Nothing came in time.
            ConnectionClosed: The subscription was closed on this side.
            CarillonError: It ended for another reason.
        """
        try:
            async with asyncio.timeout(timeout) as limit:
                return await self.__anext__()
        except StopAsyncIteration:
            raise ConnectionClosed(0, "the subscription is closed") from None
        except TimeoutError:
            if not limit.expired():
                raise
            where = f"behind {self.position}" if self.position else "and no position yet"
            raise TimeoutError(f"nothing on {self.channel!r} within {timeout:g} s, {where}") from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Gap:
        if self._is_open and (item := self._source.feed.take()) is not None:
            return item
        await self.open()
        return await self._source.feed.next()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
