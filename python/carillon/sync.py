"""The network client for code without an event loop: the same names and arguments, and each call waits.

One background thread per client runs the client of `carillon.client`; none of its logic is repeated here.
Parameters, results and exceptions are those of the methods of the same name there.

Example:
    with carillon.sync.connect("http://127.0.0.1:8000") as client:
        client.publish("news", {"text": "hello"})
        for message in client.subscribe("news"):
            print(message.offset, message.json())
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, Unpack, overload

from .background_loop import BackgroundLoop
from .client import Client as AsyncClient
from .client import Subscription as AsyncSubscription
from .client import connect as connect_async
from .errors import ConnectionClosed
from .payload import PublishOptions, takes_publish_options
from .stream import Item

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from .client import ConnectOptions, TransportName
    from .items import ClientInfo, Gap, History, Message, Node, PresenceStats
    from .position import Position
    from .stream import OnGap
    from .transports.token import GetToken


class Subscription(Generic[Item]):
    """A subscription that blocks: an iterator and a context manager. See `carillon.Subscription`."""

    def __init__(self, loop: BackgroundLoop, inner: AsyncSubscription[Item]) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def channel(self) -> str:
        """Name of the channel."""
        return self._inner.channel

    @property
    def position(self) -> Position | None:
        """Position behind the last item that was read: give it as `since` to continue there later."""
        return self._inner.position

    @property
    def is_recovered(self) -> bool | None:
        """Whether the newest start was complete. See `carillon.Subscription.is_recovered`."""
        return self._inner.is_recovered

    def next(self, timeout: float | None = None) -> Item:
        """Waits for the next item and returns it. See `carillon.Subscription.next`."""
        return self._loop.run(self._inner.next(timeout))

    @takes_publish_options
    def publish(self, data: Any, **options: Unpack[PublishOptions]) -> Position | None:
        """Publishes to the channel of this subscription. See `carillon.Client.publish`."""
        return self._loop.run(self._inner.publish(data, **options))

    def open(self) -> Self:
        """Starts delivery and waits until it has begun. Idempotent."""
        self._loop.run(self._inner.open())
        return self

    def close(self) -> None:
        """Ends delivery. Idempotent."""
        if not self._loop.is_closed:
            self._loop.run(self._inner.aclose())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        try:
            item = self._loop.run(_next_or_none(self._inner))
        except ConnectionClosed:
            if not self._loop.is_closed:
                raise
            item = None  # the client was closed on this side
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    if not TYPE_CHECKING:  # a type checker refuses these by itself

        def __aiter__(self) -> None:
            raise TypeError("use for; or carillon.connect, in code with an event loop")

        def __aenter__(self) -> None:
            raise TypeError("use with; or carillon.connect, in code with an event loop")

        async def __aexit__(self, *_: object) -> None: ...


class Client:
    """A client of one server whose calls block. It may be used from any thread. See `carillon.Client`."""

    def __init__(self, inner: AsyncClient) -> None:
        self._inner = inner
        self._loop = BackgroundLoop("carillon-client", "the client is closed: connect again")

    @property
    def transport(self) -> TransportName:
        """`ws`, `sse` or `poll`."""
        return self._inner.transport

    @property
    def url(self) -> str:
        """The server's address. See `carillon.Client.url`."""
        return self._inner.url

    @property
    def client_id(self) -> str | None:
        """The id that the server gave this connection. See `carillon.Client.client_id`."""
        return self._inner.client_id

    @takes_publish_options
    def publish(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> Position | None:
        """Publishes to a channel and returns the position; None over a WebSocket without `api_key`.

        See `carillon.Client.publish`.
        """
        return self._loop.run(self._inner.publish(channel, data, **options))

    def history(
        self,
        channel: str,
        *,
        last: int | None = None,
        since: Position | str | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> History:
        """Returns messages out of the channel's log. See `carillon.Client.history`."""
        call = self._inner.history(channel, last=last, since=since, limit=limit, reverse=reverse)
        return self._loop.run(call)

    def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Returns the clients on a channel, by connection id. See `carillon.Client.presence`."""
        return self._loop.run(self._inner.presence(channel))

    def presence_stats(self, channel: str) -> PresenceStats:
        """Returns how many clients and users are on a channel. See `carillon.Client.presence_stats`."""
        return self._loop.run(self._inner.presence_stats(channel))

    def nodes(self) -> list[Node]:
        """Returns the servers that share a store with this one. See `carillon.Client.nodes`."""
        return self._loop.run(self._inner.nodes())

    def rpc(self, method: str, data: Any = None) -> Any:
        """Calls a method of the application and returns its result. See `carillon.Client.rpc`."""
        return self._loop.run(self._inner.rpc(method, data))

    def open(self) -> Self:
        """Connects. Idempotent."""
        try:
            self._loop.run(self._inner.open())
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Ends all subscriptions, the connection and the thread. Idempotent."""
        if not self._loop.is_closed:
            self._loop.run(self._inner.aclose())
            self._loop.close()

    @overload
    def subscribe(
        self,
        channel: str,
        since: Position | str | None = None,
        last: int | None = None,
        *,
        on_gap: Literal["raise"] = "raise",
        token: str | None = None,
        get_token: GetToken | None = None,
    ) -> Subscription[Message]: ...
    @overload
    def subscribe(
        self,
        channel: str,
        since: Position | str | None = None,
        last: int | None = None,
        *,
        on_gap: Literal["yield"],
        token: str | None = None,
        get_token: GetToken | None = None,
    ) -> Subscription[Message | Gap]: ...
    def subscribe(
        self,
        channel: str,
        since: Position | str | None = None,
        last: int | None = None,
        *,
        on_gap: OnGap = "raise",
        token: str | None = None,
        get_token: GetToken | None = None,
    ) -> Subscription[Any]:
        """Returns a subscription, for `for` and `with`. See `carillon.Client.subscribe`."""

        async def subscribe() -> AsyncSubscription[Any]:
            return self._inner.subscribe(
                channel, since, last, on_gap=on_gap, token=token, get_token=get_token
            )

        return Subscription(self._loop, self._loop.run(subscribe()))

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    if not TYPE_CHECKING:  # a type checker refuses these by itself

        def __aenter__(self) -> None:
            raise TypeError("use with; or carillon.connect, in code with an event loop")

        async def __aexit__(self, *_: object) -> None: ...

        def __await__(self) -> None:
            raise TypeError("use with or open(); or carillon.connect, in code with an event loop")

    def __repr__(self) -> str:
        return repr(self._inner).replace("carillon.Client", "carillon.sync.Client")


def connect(url: str | Sequence[str], **options: Unpack[ConnectOptions]) -> Client:
    """Returns a client whose calls block, for one server or for several that share a store.

    Nothing is sent before it is used.

    Example:
        with carillon.sync.connect("http://127.0.0.1:8000") as client:
            client.publish("news", {"text": "hello"})

    Args:
        url: Address of the server, `http://host:port`, or a list of addresses.
        **options: See `carillon.connect`.
    """
    return Client(connect_async(url, **options))


connect.__signature__ = inspect.signature(connect_async)  # type: ignore[attr-defined]  # for help()


async def _next_or_none(inner: AsyncSubscription[Item]) -> Item | None:
    return await anext(inner, None)
