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
    from .lifetime import Home
    from .position import Position


class Source(Protocol):
    """Whatever fills a feed: a cursor of the hub in this process, or a connection.

    What it does goes on in the background: a reader that gives up waiting, for want of patience or because
    its task is cancelled, ends nothing but its own wait.

    Attributes:
        feed: Where its items go.
    """

    feed: Feed

    @property
    def home(self) -> Home:
        """The process and the event loop that it belongs to."""

    def start(self) -> None:
        """Starts delivery and does not wait for it.

        Raises:
            CarillonError: It cannot be started.
        """

    async def begun(self) -> None:
        """Waits until delivery has begun.

        Raises:
            CarillonError: It has not.
        """

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
        self._is_started = False
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
        """Starts delivery, and waits until it has begun. Idempotent; may be called again after a time-out.

        Raises:
            CarillonError: It could not be started, or has not begun in time.
        """
        self._start()
        await self._source.begun()
        return self

    async def aclose(self) -> None:
        """Ends delivery. What is queued can still be read. Idempotent."""
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
        if (item := self._source.feed.take()) is not None:
            return item
        self._start()
        return await self._source.feed.next()

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except BaseException:
            await self.aclose()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _start(self) -> None:
        self._source.home.enter()
        if not self._is_started and not self._source.feed.is_over:
            self._source.start()
            self._is_started = True
