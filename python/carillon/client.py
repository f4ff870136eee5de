"""The network client: the same over WebSocket, SSE and long-polling, and it resumes by itself."""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from .address import base_url, credentials
from .channel import channel_name
from .errors import ConnectionClosed
from .lifetime import Lifetime
from .payload import PublishOptions, json_text, publication, takes_publish_options
from .position import Position
from .stream import Item, ItemStream, OnGap, Source
from .transports.http_api import HttpApi
from .transports.http_source import HttpTransport
from .transports.poll import PollSource
from .transports.route import proxy_url, tls_context
from .transports.settings import Settings
from .transports.sse import SseSource
from .transports.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from types import TracebackType

    from .items import ClientInfo, Gap, History, Message
    from .transports.base import Commands, Transport
    from .transports.route import Proxy, Verify

TransportName = Literal["ws", "sse", "poll"]


class Subscription(ItemStream[Item]):
    """A subscription over a network, from `Client.subscribe`. See `ItemStream`."""

    def __init__(self, client: Client, source: Source, on_gap: OnGap) -> None:
        super().__init__(source, on_gap)
        self._client = client

    @takes_publish_options
    async def publish(self, data: Any, **options: Unpack[PublishOptions]) -> Position | None:
        """Publishes to this subscription's channel. See `Client.publish`."""
        return await self._client.publish(self.channel, data, **options)


class Client:
    """A client of one server. `async with connect(url) as client:` or `client = await connect(url)`.

    It belongs to the event loop and the process that use it first: on another loop its methods raise
    `LoopError`, in a forked child `ForkedError`. After a cut it reconnects with full jitter, and every
    subscription continues at its position: nothing twice, nothing out of order, and a `GapError` where the
    server no longer has what was missed. Each call that waits ends with a result or an exception, after
    `open_timeout` at the latest; a read waits as long as its caller wants.
    """

    def __init__(self, transport: TransportName, settings: Settings) -> None:
        self._settings = settings
        self._name = transport
        self._lifetime: Lifetime | None = None  # none before the first use
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
            ConnectError: The server cannot be reached within `open_timeout`, or refuses.
            ConnectionClosed: The server closed the connection for good, or this client is closed.
        """
        await self._opened().open()
        return self

    async def aclose(self) -> None:
        """Ends all subscriptions, connections and waits. Idempotent; in a forked child it does nothing."""
        self._is_closed = True
        if self._lifetime is not None:
            await self._lifetime.close()
            if self._lifetime.home.can_end():
                for each in (self._transport, self._api):
                    if each is not None:
                        await each.close()

    @overload
    def subscribe(
        self, channel: str, since: Position | str | None = None, *, on_gap: Literal["raise"] = "raise"
    ) -> Subscription[Message]: ...
    @overload
    def subscribe(
        self, channel: str, since: Position | str | None = None, *, on_gap: Literal["yield"]
    ) -> Subscription[Message | Gap]: ...
    def subscribe(
        self, channel: str, since: Position | str | None = None, *, on_gap: OnGap = "raise"
    ) -> Subscription[Any]:
        """Returns a subscription, for `async for` and `async with`.

        Example:
            async for message in client.subscribe("news"):
                print(message.offset, message.json())

        Args:
            channel: Name of the channel.
            since: Position behind which delivery starts, from any transport; by default now.
            on_gap: What happens where publications are lost. "raise" (default): the iteration raises
                `GapError`, and continues behind the gap when it is resumed. "yield": it yields a `Gap`.

        Raises:
            ValueError: The name of the channel or `on_gap` is not valid.
            PositionError: `since` is not a position.
        """
        source = self._opened().source(channel_name(channel), Position.of(since))
        return Subscription(self, source, on_gap)

    @takes_publish_options
    async def publish(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> Position | None:
        """Publishes.

        A client with an `api_key` uses the server's HTTP API. Without one, a WebSocket client sends plain
        JSON as a command over its connection, if the channel allows that; all else goes to the HTTP API as
        well.

        Args:
            channel: Where.
            data: dict, list, str, number, bool or None (sent as JSON), or any buffer (sent as binary).
            **options: `json=True`: the buffer is JSON text, sent byte for byte. `tags`: short texts that
                travel with the publication. `key`: conflation key. `idempotency_key`: a second publish with
                this key returns the position of the first. `skip_history=True`: deliver to the subscribers
                of this moment, and keep nothing.

        Returns:
            The place in the log; None if it was sent as a command, which does not tell it.

        Raises:
            CommandError: The server refuses.
            ConnectError: The server cannot be reached: it was not published.
            PayloadTooLarge: It is longer than a WebSocket message may be; the client goes on, as after a cut.
            ConnectionClosed: The connection was cut before the answer came: it may have been published, or
                not.
            CommandTimeout: No answer came within `open_timeout`: it may have been published, or not.
            ValueError: The name of the channel or the payload is not valid.
        """
        what = publication(data, **options)
        if options.get("json"):
            what = what._replace(payload=json_text(what.payload))
        commands = self._commands() if what.is_plain else self._http_api()
        return await commands.publish(channel_name(channel), what)

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
            CommandTimeout: No answer came within `open_timeout`.
            ConnectError: The server cannot be reached.
        """
        if not isinstance(limit, int) or not -1 <= limit < 2**31:
            raise ValueError(f"limit: {limit!r} is not a limit; give a whole number from -1 to {2**31 - 1}")
        return await self._commands().history(channel_name(channel), limit, Position.of(since), bool(reverse))

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is on a channel now, by connection id.

        Raises:
            CommandError: The server refuses.
            CommandTimeout: No answer came within `open_timeout`.
            ConnectError: The server cannot be reached.
        """
        return await self._commands().presence(channel_name(channel))

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
            raise ConnectionClosed(0, "the client is closed: connect again")
        if self._transport is None:
            self._transport = _TRANSPORTS[self._name](self._settings, self._life())
        return self._transport

    def _http_api(self) -> HttpApi:
        self._opened()
        if self._api is None:
            self._api = HttpApi(self._settings, self._life())
        return self._api

    def _commands(self) -> Commands:
        transport = self._opened()
        if isinstance(transport, WebSocketTransport) and not self._settings.api_key:
            return transport
        return self._http_api()

    def _life(self) -> Lifetime:
        if self._lifetime is None:
            self._lifetime = Lifetime()
        return self._lifetime


_TRANSPORTS: Mapping[str, Callable[[Settings, Lifetime], Transport]] = {
    "ws": WebSocketTransport,
    "sse": functools.partial(HttpTransport, SseSource),
    "poll": functools.partial(HttpTransport, PollSource),
}


def connect(
    url: str,
    *,
    transport: TransportName = "ws",
    user: str | None = None,
    name: str = "carillon-python",
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    verify: Verify = True,
    proxy: Proxy = True,
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
            A user and a password in front of the host are sent as `Authorization: Basic`.
        transport: `ws`, `sse` or `poll`.
        user: Who we say we are; only a server in insecure mode believes it.
        name: Name for the server's statistics, at most 16 characters.
        api_key: Key of the HTTP API, for publishing and asking as the application.
        headers: Sent with every request.
        verify: Whose certificates are trusted over TLS. True: the authorities that the system trusts, or
            those that the environment variables SSL_CERT_FILE and SSL_CERT_DIR name. A path: the authorities
            in this file or directory. False: everybody's, which protects against nobody. An
            `ssl.SSLContext`: what it says.
        proxy: Address of an HTTP proxy (`http://host:port`) to go through. True: what the environment
            variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say, but never for this machine itself.
            None: no proxy.
        min_reconnect_delay: First limit of the reconnect delay, seconds; the delay is a random part of it.
        max_reconnect_delay: Last limit of it, seconds; it doubles in between, and starts again from the first
            after a connection has lived for 5 seconds (or for `max_reconnect_delay`, if that is less).
        open_timeout: Seconds to wait for a connection, the start of a subscription, or the answer to a
            command.
        idle_timeout: Seconds of silence after which an event stream counts as dead.
        poll_timeout: Seconds that a poll waits for something new.
        queue_size: Items queued per subscription; a slower reader is brought up from the log later.

    Raises:
        ConfigError: The address of the server or of the proxy has another form, or the certificates cannot
            be read.
        ValueError: The transport is none of these.
    """
    if transport not in _TRANSPORTS:
        raise ValueError(f"transport must be ws, sse or poll, not {transport!r}")
    address = base_url(url)
    way = proxy_url(address, proxy)
    settings = Settings(
        base_url=address,
        user=user,
        name=name,
        api_key=api_key,
        headers=_authorization(url) | dict(headers or {}),
        tls=tls_context(address, verify),
        proxy=way,
        proxy_tls=tls_context(way or "", verify),
        min_delay=min_reconnect_delay,
        max_delay=max_reconnect_delay,
        open_timeout=open_timeout,
        idle_timeout=idle_timeout,
        poll_timeout=poll_timeout,
        capacity=queue_size,
    )
    return Client(transport, settings)


def _authorization(url: str) -> dict[str, str]:
    if (given := credentials(url)) is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(given).encode()).decode()}
