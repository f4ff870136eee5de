"""The network client: the same over WebSocket, SSE and long-polling, and it resumes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from .errors import CarillonError
from .payload import encode
from .position import Position
from .stream import ItemStream, Source
from .transports.http_api import HttpApi
from .transports.poll import PollTransport
from .transports.settings import Settings, base_url
from .transports.sse import SseTransport
from .transports.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import TracebackType

    from .items import ClientInfo, History
    from .transports.base import Transport

TransportName = Literal["ws", "sse", "poll"]


class Subscription(ItemStream):
    """What `Client.subscribe` returns. See `ItemStream`."""

    def __init__(self, client: Client, source: Source) -> None:
        super().__init__(source)
        self._client = client

    async def publish(self, data: Any, **options: Any) -> Position | None:
        """Publishes to this subscription's channel. See `Client.publish`."""
        return await self._client.publish(self.channel, data, **options)


class Client:
    """A client of one server. `async with connect(url) as client:` or `client = await connect(url)`.

    It belongs to the event loop that it is opened on. After a cut it comes back with full jitter and every
    subscription goes on at its position: nothing twice, nothing out of order, and a `Gap` where the server no
    longer has what was missed.
    """

    def __init__(self, transport: TransportName, settings: Settings) -> None:
        self._settings = settings
        self._name = transport
        self._transport: Transport | None = None
        self._api: HttpApi | None = None
        self._is_closed = False

    @property
    def transport(self) -> TransportName:
        """`ws`, `sse` or `poll`."""
        return self._name

    @property
    def url(self) -> str:
        """The server's address."""
        return self._settings.base_url

    @property
    def client_id(self) -> str | None:
        """The id that the server gave this connection; None while there is none, and over SSE and polls."""
        return self._transport.client_id if isinstance(self._transport, WebSocketTransport) else None

    async def open(self) -> Self:
        """Connects (over WebSocket; the others connect when they subscribe). Idempotent.

        Raises:
            ConnectError: The server cannot be reached, or refuses.
        """
        await self._opened().open()
        return self

    async def aclose(self) -> None:
        """Ends all subscriptions and connections. Idempotent."""
        self._is_closed = True
        if self._transport is not None:
            await self._transport.close()
        if self._api is not None:
            await self._api.close()

    def subscribe(self, channel: str, since: Position | str | None = None) -> Subscription:
        """A subscription, for `async for` and `async with`.

        Args:
            channel: Which.
            since: Yield what came after this position first. None starts now. A position from any transport
                will do.
        """
        return Subscription(self, self._opened().source(channel, Position.of(since)))

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        json: bool = False,
        tags: Mapping[str, str] | None = None,
        key: str = "",
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> Position | None:
        """Publishes.

        A client with an `api_key` uses the server's HTTP API. Without one, a WebSocket client sends plain
        JSON as a command over its connection, if the channel allows that; all else goes to the HTTP API as
        well.

        Args:
            channel: Where.
            data: dict, list, str, number, bool or None (sent as JSON), or any buffer (sent as binary).
            json: The buffer is JSON text, sent byte for byte.
            tags: Short texts that travel with the publication.
            key: Conflation key.
            idempotency_key: A second publish with this key returns the position of the first.
            skip_history: Deliver to those who are there, keep nothing.

        Returns:
            The place in the log; None if it was sent as a command, which does not tell it.

        Raises:
            CommandError: The server refuses.
            ConnectError: The server cannot be reached.
            PayloadTooLarge: It is longer than a WebSocket message may be; the client goes on, as after a cut.
            ConnectionClosed: The connection was cut before the answer came: it may have been published, or
                not.
        """
        payload, is_json = encode(data, json=json)
        transport = self._opened()
        is_plain = is_json and not (tags or key or idempotency_key or skip_history)
        if isinstance(transport, WebSocketTransport) and is_plain and not self._settings.api_key:
            await transport.open()
            return await transport.publish(channel, bytes(payload))
        return await self._http_api().publish(
            channel,
            payload,
            is_json,
            tags=tags,
            key=key,
            idempotency_key=idempotency_key,
            skip_history=skip_history,
        )

    async def history(
        self, channel: str, limit: int = 100, since: Position | str | None = None, reverse: bool = False
    ) -> History:
        """What the log holds.

        Args:
            channel: Which.
            limit: Messages at most; 0 asks for the position only, -1 for all that the server gives.
            since: Only what came after (with `reverse`: before) this position.
            reverse: Newest first.

        Raises:
            PositionError: `since` belongs to an earlier epoch.
            CommandError: The server refuses.
        """
        return await (await self._commands()).history(channel, limit, Position.of(since), reverse)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is on a channel now, by connection id.

        Raises:
            CommandError: The server refuses.
        """
        return await (await self._commands()).presence(channel)

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

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    def __repr__(self) -> str:
        return f"<carillon.Client of {self.url} over {self._name}>"

    def _opened(self) -> Transport:
        if self._is_closed:
            raise CarillonError("the client is closed: connect again")
        if self._transport is None:
            self._transport = _TRANSPORTS[self._name](self._settings)
        return self._transport

    def _http_api(self) -> HttpApi:
        if self._api is None:
            self._api = HttpApi(self._settings)
        return self._api

    async def _commands(self) -> WebSocketTransport | HttpApi:
        transport = self._opened()
        if isinstance(transport, WebSocketTransport) and not self._settings.api_key:
            await transport.open()
            return transport
        return self._http_api()


_TRANSPORTS: Mapping[str, type[WebSocketTransport] | type[SseTransport] | type[PollTransport]] = {
    "ws": WebSocketTransport,
    "sse": SseTransport,
    "poll": PollTransport,
}


def connect(
    url: str,
    *,
    transport: TransportName = "ws",
    user: str | None = None,
    name: str = "carillon-python",
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    min_reconnect_delay: float = 0.2,
    max_reconnect_delay: float = 20.0,
    open_timeout: float = 10.0,
    idle_timeout: float = 45.0,
    poll_timeout: float = 25.0,
    queue_size: int = 1024,
) -> Client:
    """A client for the server at `url`. Nothing is sent before it is entered, awaited or used.

    Args:
        url: `http://host:port` (or https, ws, wss), with the path in front of the endpoints if there is one.
        transport: `ws`, `sse` or `poll`.
        user: Who we say we are; only a server in insecure mode believes it.
        name: Name for the server's statistics, at most 16 characters.
        api_key: Key of the HTTP API, for publishing and asking as the application.
        headers: Sent with every request.
        min_reconnect_delay: First limit of the reconnect delay, seconds; the delay is a random part of it.
        max_reconnect_delay: Last limit of it, seconds; it doubles in between.
        open_timeout: Seconds for a handshake, or for the answer to a command.
        idle_timeout: Seconds of silence after which an event stream counts as dead.
        poll_timeout: Seconds that the server holds a poll.
        queue_size: Items queued per subscription; a slower reader is brought up from the log later.

    Raises:
        ValueError: The address or the transport is none of these.
    """
    if transport not in _TRANSPORTS:
        raise ValueError(f"transport must be ws, sse or poll, not {transport!r}")
    settings = Settings(
        base_url=base_url(url),
        user=user,
        name=name,
        api_key=api_key,
        headers=dict(headers or {}),
        min_delay=min_reconnect_delay,
        max_delay=max_reconnect_delay,
        open_timeout=open_timeout,
        idle_timeout=idle_timeout,
        poll_timeout=poll_timeout,
        capacity=queue_size,
    )
    return Client(transport, settings)
