"""The iterator that every subscription is, in this process or over a network."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeAlias, get_args

from .arguments import one_of
from .errors import ConnectionClosed
from .items import Gap, Message

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import TypeVar

    from .feed import Feed
    from .lifetime import Home
    from .position import Position

    # What a subscription yields: messages, or with on_gap="yield" messages and gaps.
    Item = TypeVar("Item", bound=Message | Gap, default=Message, covariant=True)
else:  # before Python 3.13 a type variable has no default at run time
    from typing import TypeVar

    Item = TypeVar("Item", covariant=True)

OnGap: TypeAlias = Literal["raise", "yield"]

_ON_GAP = 'Iterate again to continue there, or subscribe with on_gap="yield"'


class Source(Protocol):
    """The side of a subscription that fills its feed: a cursor of the hub in this process, or a connection.

    It works in the background: a reader that times out or is cancelled ends only its own wait.

    Attributes:
        feed: The feed that it fills.
    """

    feed: Feed

    @property
    def home(self) -> Home:
        """The process and the event loop that it belongs to."""

    @property
    def away(self) -> str:
        """Why the server cannot be reached now; empty if it can."""

    def start(self) -> None:
        """Starts delivery and does not wait for it.

        Raises:
            CarillonError: Delivery cannot be started.
        """

    async def begun(self) -> None:
        """Waits until delivery has begun.

        Raises:
            CarillonError: Delivery ended before it had begun, or did not begin in time.
        """

    async def close(self) -> None:
        """Ends delivery. Idempotent."""

    def abandon(self) -> None:
        """Ends delivery without waiting. May be called from any thread."""


class ItemStream(Generic[Item]):
    """An async iterator of a channel's publications, and an async context manager.

    It yields `Message`. Where publications are lost it raises `GapError`, or with `on_gap="yield"` it yields
    a `Gap`. Either way it then continues behind the gap. Delivery starts when the context is entered, or with
    the first item that is asked for. If the queue of a slow reader is full, the rest is read from the log
    later.
    """

    def __init__(self, source: Source, on_gap: OnGap = "raise") -> None:
        one_of("on_gap", on_gap, get_args(OnGap))
        self._source = source
        self._raises_gaps = on_gap == "raise"
        self._is_started = False
        weakref.finalize(self, source.abandon).atexit = False

    @property
    def channel(self) -> str:
        """Name of the channel."""
        return self._source.feed.channel

    @property
    def position(self) -> Position | None:
        """Position behind the last item that was read.

        Give it as `since` to continue there: later, elsewhere, or over another transport.
        """
        return self._source.feed.taken

    @property
    def is_recovered(self) -> bool | None:
        """Whether the newest start, or return after a cut, was complete.

        True: nothing was lost behind the position; for `since="oldest"`: the log still has its beginning.
        False: something was lost, or the log's beginning is gone. None: no position was given, as with
        `last`.
        """
        return self._source.feed.is_recovered

    async def open(self) -> Self:
        """Starts delivery, waits until it has begun, and returns the subscription. Idempotent.

        After a timeout it may be called again.

        Raises:
            CarillonError: Delivery could not be started, or has not begun in time.
        """
        self._start()
        await self._source.begun()
        return self

    async def aclose(self) -> None:
        """Ends delivery. Items that are queued can still be read. Idempotent."""
        await self._source.close()

    async def next(self, timeout: float | None = None) -> Item:  # noqa: ASYNC109
        """Waits for the next item and returns it.

        Args:
            timeout: Longest time to wait, seconds; None waits without a limit.

        Raises:
            TimeoutError: Nothing came in time.
            GapError: Publications are lost (not with `on_gap="yield"`). Call again to continue behind them.
            ConnectionClosed: The subscription was closed on this side.
            CarillonError: The subscription ended for another reason.
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
            away = self._source.away
            where += f"; the client is disconnected: {away}" if away else ""
            raise TimeoutError(f"nothing on {self.channel!r} within {timeout:g} s, {where}") from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        item: Any = self._source.feed.take()
        if item is None:
            self._start()
            item = await self._source.feed.next()
        if type(item) is Gap and self._raises_gaps:
            item.raise_(_ON_GAP)
        return item  # type: ignore[no-any-return]

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

    if not TYPE_CHECKING:  # a type checker refuses these by itself

        def __iter__(self) -> None:
            raise TypeError("use async for; or carillon.sync, in code without an event loop")

        def __enter__(self) -> None:
            raise TypeError("use async with; or carillon.sync, in code without an event loop")

        def __exit__(self, *_: object) -> None: ...

    def _start(self) -> None:
        self._source.home.enter()
        if not self._is_started and not self._source.feed.is_over:
            self._source.start()
            self._is_started = True
