"""The network client for code without an event loop: the same names, each call waits.

One background thread per client runs the client of `carillon.client`; nothing of its logic is repeated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .background_loop import BackgroundLoop
from .client import Client as AsyncClient
from .client import Subscription as AsyncSubscription
from .client import connect as connect_async
from .errors import CarillonError

if TYPE_CHECKING:
    from types import TracebackType

    from .items import ClientInfo, Gap, History, Message
    from .position import Position


class Subscription:
    """An iterator of `Message` and `Gap`, and a context manager."""

    def __init__(self, loop: BackgroundLoop, inner: AsyncSubscription) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def channel(self) -> str:
        """The channel."""
        return self._inner.channel

    @property
    def position(self) -> Position | None:
        """Behind the last item read."""
        return self._inner.position

    @property
    def is_recovered(self) -> bool | None:
        """Whether nothing was lost the last time a position was given; None if none was."""
        return self._inner.is_recovered

    def open(self) -> Self:
        """Starts delivery and waits until it has begun. Idempotent."""
        self._loop.run(self._inner.open())
        return self

    def close(self) -> None:
        """Ends delivery. Idempotent."""
        if not self._loop.is_closed:
            self._loop.run(self._inner.aclose())

    def next(self, timeout: float | None = None) -> Message | Gap:
        """The next item.

        Args:
            timeout: Seconds to wait at most; None waits for ever.

        Raises:
            TimeoutError: Nothing came in time.
            CarillonError: The subscription has ended.
        """
        return self._loop.run(self._inner.next(timeout))

    def publish(self, data: Any, **options: Any) -> Position | None:
        """Publishes to this channel. See `carillon.Client.publish`."""
        return self._loop.run(self._inner.publish(data, **options))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message | Gap:
        item = self._loop.run(_next_or_none(self._inner))
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A client of one server; may be used from any thread. See `carillon.Client`."""

    def __init__(self, inner: AsyncClient) -> None:
        self._inner = inner
        self._loop = BackgroundLoop("carillon-client")

    @property
    def url(self) -> str:
        """The server's address."""
        return self._inner.url

    @property
    def client_id(self) -> str | None:
        """The id that the server gave this connection. See `carillon.Client.client_id`."""
        return self._inner.client_id

    def open(self) -> Self:
        """Connects. Idempotent."""
        try:
            self._run_open()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Ends all subscriptions, the connection and the thread. Idempotent."""
        if not self._loop.is_closed:
            self._loop.run(self._inner.aclose())
            self._loop.close()

    def subscribe(self, channel: str, since: Position | str | None = None) -> Subscription:
        """A subscription. See `carillon.Client.subscribe`."""
        self._check()
        return Subscription(self._loop, self._loop.run(_call(self._inner.subscribe, channel, since)))

    def publish(self, channel: str, data: Any, **options: Any) -> Position | None:
        """Publishes. See `carillon.Client.publish`."""
        self._check()
        return self._loop.run(self._inner.publish(channel, data, **options))

    def history(
        self, channel: str, limit: int = 100, since: Position | str | None = None, reverse: bool = False
    ) -> History:
        """What the log holds. See `carillon.Client.history`."""
        self._check()
        return self._loop.run(self._inner.history(channel, limit, since, reverse))

    def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is on a channel now. See `carillon.Client.presence`."""
        self._check()
        return self._loop.run(self._inner.presence(channel))

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._inner).replace("carillon.Client", "carillon.sync.Client")

    def _run_open(self) -> None:
        self._check()
        self._loop.run(self._inner.open())

    def _check(self) -> None:
        if self._loop.is_closed:
            raise CarillonError("the client is closed: connect again")


def connect(url: str, **options: Any) -> Client:
    """A blocking client. Takes what `carillon.connect` takes."""
    return Client(connect_async(url, **options))


async def _next_or_none(inner: AsyncSubscription) -> Message | Gap | None:
    return await anext(inner, None)


async def _call(function: Any, *arguments: Any) -> Any:
    return function(*arguments)
