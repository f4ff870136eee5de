"""The network client: the same over WebSocket, SSE and long-polling. It reconnects and resumes by itself."""

from __future__ import annotations

import base64
import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, Unpack, get_args, overload

from .address import base_url, credentials, server_urls
from .arguments import kind, one_of, seconds, text, text_map, whole_number
from .channel import channel_name
from .errors import CarillonError, ConfigError, ConnectionClosed
from .lifetime import Lifetime
from .payload import PublishOptions, encode, json_text, publication_of, takes_publish_options
from .start import HistoryQuery, Start
from .stream import Item, ItemStream, OnGap, Source
from .transports.http_api import HttpApi
from .transports.http_source import HttpTransport
from .transports.poll import PollSource
from .transports.route import proxy_url, tls_context
from .transports.settings import Settings
from .transports.sse import SseSource
from .transports.token import Credentials
from .transports.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from types import TracebackType

    from .items import ClientInfo, Gap, History, Message, Node, PresenceStats
    from .position import Position
    from .transports.base import Commands, Transport
    from .transports.route import Proxy, Verify
    from .transports.token import GetToken

TransportName: TypeAlias = Literal["ws", "sse", "poll"]


class ConnectOptions(TypedDict, total=False):
    """The options of `connect`, for functions that pass them on. `connect` describes them."""

    transport: TransportName
    token: str | None
    get_token: GetToken | None
    user: str | None
    name: str
    api_key: str | None
    headers: Mapping[str, str] | None
    verify: Verify
    proxy: Proxy
    min_reconnect_delay: float
    max_reconnect_delay: float
    open_timeout: float
    idle_timeout: float
    poll_timeout: float
    queue_size: int


class Subscription(ItemStream[Item]):
    """A subscription over a network, from `Client.subscribe`. See `ItemStream`."""

    def __init__(self, client: Client, source: Source, on_gap: OnGap) -> None:
        super().__init__(source, on_gap)
        self._client = client

    @takes_publish_options
    async def publish(self, data: Any, **options: Unpack[PublishOptions]) -> Position | None:
        """Publishes to the channel of this subscription. See `Client.publish`."""
        return await self._client.publish(self.channel, data, **options)


class Client:
    """A client of one server, or of several that share a store, from `connect`.

    Example:
        async with carillon.connect("http://127.0.0.1:8000") as client:
            await client.publish("news", {"text": "hello"})
            async for message in client.subscribe("news"):
                print(message.offset, message.json())

    `client = await connect(url)` opens it without a context; `aclose` ends it. A client belongs to the event
    loop and the process that use it first: on another loop its methods raise `LoopError`, in a forked child
    `ForkedError`. After a cut it reconnects with full jitter, and every
    subscription continues at its position: nothing twice, nothing out of order, and a `GapError` where the
    server no longer has what was missed. Each call that waits ends with a result or an exception, after
    `open_timeout` at the latest; a read waits as long as its caller wants. The client speaks JSON, in which
    binary payloads travel as base64.
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
        """Name of the transport: "ws", "sse" or "poll"."""
        return self._name

    @property
    def url(self) -> str:
        """Address of the server.

        With several servers: the one that the WebSocket is connected to or tries; over SSE and long-polling,
        where each subscription has a connection of its own, the one that the HTTP API is asked at first.
        """
        for each in (self._transport, self._api):
            if isinstance(each, (WebSocketTransport, HttpApi)):
                return each.url
        return self._settings.base_url

    @property
    def client_id(self) -> str | None:
        """Id that the server gave the connection; None while there is none, and over SSE and long-polling."""
        return self._transport.client_id if isinstance(self._transport, WebSocketTransport) else None

    async def open(self) -> Self:
        """Connects, and returns the client itself. Idempotent.

        Over SSE and long-polling each subscription connects for itself when it is opened.

        Raises:
            ConnectDenied: The server refuses the client.
            ConnectError: The server cannot be reached within `open_timeout`.
            ConnectionClosed: This client is closed.
        """
        await self._opened().open()
        return self

    async def aclose(self) -> None:
        """Ends all subscriptions, connections and waits. Idempotent. In a forked child it does nothing."""
        self._is_closed = True
        if self._lifetime is not None:
            await self._lifetime.close()
            if self._lifetime.home.can_end():
                for each in (self._transport, self._api):
                    if each is not None:
                        await each.close()

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
        """Returns a subscription, for `async for` and `async with`.

        Example:
            async for message in client.subscribe("news"):
                print(message.offset, message.json())

        Args:
            channel: Name of the channel.
            since: Where to start: behind a position (a `Position`, or its text `epoch:offset`), or with the
                oldest message that is kept (`"oldest"`). By default the subscription starts live.
            last: Number of newest messages to start with, in place of `since`.
            on_gap: What happens where publications are lost. "raise" (default): the iteration raises
                `GapError`, and continues behind the gap when it is resumed. "yield": it yields a `Gap`.
            token: Token of the subscription, for a channel that wants one; by default none. Over SSE and
                long-polling it stands in the place of the client's token.
            get_token: Function that returns a new token of the subscription; see `connect`. To give up, it
                raises `SubscribeDenied`.

        Raises:
            ValueError: The name of the channel or `on_gap` is not valid, or `since` and `last` are both
                given.
            PositionError: `since` is not a position.
            ConfigError: The header `Authorization`, where the token would go, is in use.
        """
        own = Credentials.of(token, get_token)
        _check_header(self._name, self._settings, own)
        source = self._opened().source(channel_name(channel), Start.of(since, last), own)
        return Subscription(self, source, on_gap)

    @takes_publish_options
    async def publish(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> Position | None:
        """Publishes to a channel and returns the position.

        A client with an `api_key` uses the server's HTTP API. Without one, a WebSocket client sends JSON
        without options as a command over its connection, if the channel allows that. Everything else is sent
        to the HTTP API, too.

        Args:
            channel: Name of the channel.
            data: Payload: dict, list, str, number, bool or None (sent as JSON), or a buffer such as bytes
                (sent as binary).
            **options: Options of the publication:
                - `json`: whether the buffer holds JSON text, which is sent byte for byte.
                - `tags`: dict of short texts that are delivered with the publication.
                - `key`: conflation key.
                - `idempotency_key`: a second publish with this key returns the position of the first one.
                - `skip_history`: deliver to current subscribers only, and do not store.
                - `delta`: subscribers that asked for deltas may get the difference to the publication
                  before, where that is shorter.
                - `expected_offset`: publish only if the channel's newest publication has this offset.
                - `version`, `version_epoch`: publish only if the version is above the last one of the channel
                  that had the same epoch.

        Returns:
            The position in the channel's log. None if it was sent as a command over a WebSocket: the client
            protocol gives no position. With `api_key`, or over SSE and long-polling, there always is one.

        Raises:
            CommandError: The server refuses. Code 100: its store did not take the publication, or the
                outcome is not known; the reason says which.
            StoreConflict: The channel is not as `expected_offset` or `version` has it; `top` is its position.
            ConnectError: The server cannot be reached. Nothing was published.
            PayloadTooLarge: The message is longer than the server accepts over a WebSocket. The client
                reconnects.
            ConnectionClosed: The connection was cut before the answer came. The payload may have been
                published, or not.
            CommandTimeout: No answer came within `open_timeout`. The payload may have been published, or not.
            ValueError: The name of the channel, the payload or an option is not valid.
            TypeError: The payload or an option is of a type that cannot be published.
        """
        what = publication_of(data, options)
        if options.get("json"):
            what = what._replace(payload=json_text(what.payload))
        commands = self._commands() if what.is_plain else self._http_api()
        return await commands.publish(channel_name(channel), what)

    async def history(
        self,
        channel: str,
        *,
        last: int | None = None,
        since: Position | str | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> History:
        """Returns messages out of the channel's log. Without arguments: the newest 100, oldest first.

        Args:
            channel: Name of the channel.
            last: Number of newest messages to return, oldest of them first.
            since: Position behind which the list starts, or `"oldest"`. With `reverse`: the position before
                which it starts.
            limit: Maximum number of messages, by default 100; 0 asks for the position only, -1 for all that
                the server gives in one answer.
            reverse: Return the newest message first.

        Raises:
            PositionError: `since` is not a position, or belongs to an earlier epoch.
            ValueError: `last` is given beside another argument, or a number is out of its range.
            CommandError: The server refuses.
            CommandTimeout: No answer came within `open_timeout`.
            ConnectError: The server cannot be reached.

        Example:
            history = await client.history("chat", last=50)
            subscription = client.subscribe("chat", since=history.position)  # no message between is lost
        """
        query = HistoryQuery.of(last, since, limit, reverse)
        return await self._commands().history(channel_name(channel), query)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Returns the clients that are subscribed to a channel, by connection id.

        Args:
            channel: Name of the channel.

        Raises:
            CommandError: The server refuses.
            CommandTimeout: No answer came within `open_timeout`.
            ConnectError: The server cannot be reached.
        """
        return await self._commands().presence(channel_name(channel))

    async def presence_stats(self, channel: str) -> PresenceStats:
        """Returns how many clients and users are subscribed to a channel.

        Args:
            channel: Name of the channel.

        Raises:
            CommandError: The server refuses.
            CommandTimeout: No answer came within `open_timeout`.
            ConnectError: The server cannot be reached.
        """
        return await self._commands().presence_stats(channel_name(channel))

    async def nodes(self) -> list[Node]:
        """Returns the servers that share a store with this one, by address; this one is among them.

        One that does not answer within `limits.fleet_answer_timeout_ms` is missing. It needs the key of the
        HTTP API.

        Raises:
            CommandError: The server refuses.
            CommandTimeout: No answer came within `open_timeout`.
            ConnectError: The server cannot be reached.
        """
        return await self._http_api().nodes()

    async def rpc(self, method: str, data: Any = None) -> Any:
        """Calls a method of the application behind the server, and returns its result, decoded from JSON.

        Args:
            method: Name of the method.
            data: Argument for it: dict, list, str, number, bool or None, which is sent as JSON.

        Raises:
            CarillonError: The client is connected over SSE or long-polling, which have no RPC.
            CommandError: The server or the application refuses.
            CommandTimeout: No answer came within `open_timeout`. The call may have been made, or not.
            ConnectError: The server cannot be reached.
            ConnectionClosed: The connection was cut before the answer came. The call may have been made, or
                not.
            ValueError: The name is empty, or the data has no JSON form.
            TypeError: The data is of a type that has no JSON form.
        """
        transport = self._opened()
        if not isinstance(transport, WebSocketTransport):
            raise CarillonError(f'rpc: is not available over {self._name}; connect with transport="ws"')
        payload, is_json = encode(data)
        if not is_json:
            raise TypeError(f"data: {kind(data)} is binary; rpc sends JSON")
        return await transport.rpc(text("method", method), bytes(payload))

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

    if not TYPE_CHECKING:  # a type checker refuses these by itself

        def __enter__(self) -> None:
            raise TypeError("use async with; or carillon.sync, in code without an event loop")

        def __exit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        return f"<carillon.Client of {self._settings.names} over {self._name}>"

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
    url: str | Sequence[str],
    *,
    transport: TransportName = "ws",
    token: str | None = None,
    get_token: GetToken | None = None,
    user: str | None = None,
    name: str = "carillon-python",
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    verify: Verify = True,
    proxy: Proxy = True,
    min_reconnect_delay: float = 0.2,
    max_reconnect_delay: float = 20.0,
    open_timeout: float = 15.0,
    idle_timeout: float = 45.0,
    poll_timeout: float = 25.0,
    queue_size: int = 1024,
) -> Client:
    """Returns a client for the server at an address, or for several servers that share a store.

    Nothing is sent before the client is entered, awaited or used.

    Example:
        async with carillon.connect("http://127.0.0.1:8000") as client:
            async for message in client.subscribe("news"):
                print(message.offset, message.json())

    Args:
        url: Address of the server, `http://host:port` (or https, ws, wss), with the path in front of the
            endpoints if there is one. A user and a password in front of the host are sent as
            `Authorization: Basic`. A list of addresses names servers that share a store: the client begins
            with any of them, and goes on with another one when it loses it, at its position. The first try at
            each of the others is made at once. After one round the delays of a reconnect apply.
        transport: Name of the transport: "ws" (default), "sse" or "poll".
        token: Token that proves who the client is, see `carillon.token`; by default none.
        get_token: Function without arguments that returns a new token, or an awaitable of one. It is asked
            before the first connect if there is no `token`, in time before a token expires, and when the
            server calls one expired. An `async` function runs on the client's event loop, any other on a
            thread of its own, where it may block. It has `open_timeout` for its answer. To say that there is
            no token for this user any more, it raises `ConnectDenied`, which ends the client. What else it
            raises is the cause of a `ConnectError` before the first connect; after that it is logged, and
            the function is asked again with the delays of a reconnect.
        user: Name of the user that the client claims to be. Only a server in insecure mode believes it; any
            other gives it to its `on_connect` hook as `claimed_user`, and ignores it without one.
        name: Name of the client for the server; by default "carillon-python".
        api_key: Key of the HTTP API, for publishing and reading as the application; by default none.
        headers: Headers of every request and handshake; by default none.
        verify: Certificates to trust over TLS. True (default): those of the system, or of the environment
            variables SSL_CERT_FILE and SSL_CERT_DIR. A path: those in this file or directory. False: every
            certificate, which protects against nothing. An `ssl.SSLContext` is used as it is.
        proxy: Address of an HTTP proxy, `http://host:port`. True (default): that of the environment variables
            HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, but none to this machine. None: no proxy.
        min_reconnect_delay: First limit of the reconnect delay, seconds; by default 0.2. The delay is a
            random part of the limit, which doubles with each failure.
        max_reconnect_delay: Last limit of the reconnect delay, seconds; by default 20. The limit is the first
            one again after a connection that was open for 5 seconds, or for this time if it is less.
        open_timeout: Longest time to wait for a connection, for the start of a subscription, or for the
            answer to a command, seconds; by default 15. A server waits up to `store.wait_ms` (10 s) for
            its store before it answers: give more than that. With several addresses each has an equal share
            of it to be connected to.
        idle_timeout: Time without data after which an event stream counts as broken, seconds; by default 45.
        poll_timeout: Time that a poll waits for publications, seconds; by default 25.
        queue_size: Maximum number of items in the queue of a subscription; by default 1,024. A slower reader
            gets the rest from the history later.

    Raises:
        ConfigError: An address of a server or of the proxy has another form, the certificates cannot be
            read, or the header `Authorization` is in use, where a token goes over SSE and long-polling.
        ValueError: Another argument is not valid.
        TypeError: An argument is of the wrong type.
    """
    one_of("transport", transport, get_args(TransportName))
    for option, given in (("user", user), ("api_key", api_key)):
        if given is not None:
            text(option, given, may_be_empty=True)
    text("name", name, may_be_empty=True)
    seconds("min_reconnect_delay", min_reconnect_delay)
    seconds("max_reconnect_delay", max_reconnect_delay)
    seconds("open_timeout", open_timeout, may_be_zero=False)
    seconds("idle_timeout", idle_timeout, may_be_zero=False)
    seconds("poll_timeout", poll_timeout, may_be_zero=False)
    whole_number("queue_size", queue_size, 1)
    urls = {base_url(each): each for each in server_urls(url)}
    common = Settings(
        base_url="",
        credentials=Credentials.of(token, get_token),
        user=user,
        name=name,
        api_key=api_key,
        headers=text_map("headers", {} if headers is None else headers),
        min_delay=min_reconnect_delay,
        max_delay=max_reconnect_delay,
        open_timeout=open_timeout,
        idle_timeout=idle_timeout,
        poll_timeout=poll_timeout,
        capacity=queue_size,
    )
    first, *others = (_for_server(common, address, given, verify, proxy) for address, given in urls.items())
    settings = dataclasses.replace(first, others=tuple(others))
    _check_header(transport, settings, settings.credentials)
    return Client(transport, settings)


def _for_server(common: Settings, address: str, given: str, verify: Verify, proxy: Proxy) -> Settings:
    way = proxy_url(address, proxy)
    return dataclasses.replace(
        common,
        base_url=address,
        headers=_authorization(given) | common.headers,
        tls=tls_context(address, verify),
        proxy=way,
        proxy_tls=tls_context(way or "", verify),
    )


def _check_header(transport: TransportName, settings: Settings, credentials: Credentials) -> None:
    names = (name.lower() for server in settings.servers for name in server.headers)
    is_used = "authorization" in names
    if transport != "ws" and credentials.are_given and is_used:
        raise ConfigError(
            "token: would go into the header Authorization, which is in use by headers or by the user in the "
            'address; leave that out, or connect with transport="ws"'
        )


def _authorization(url: str) -> dict[str, str]:
    if (given := credentials(url)) is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(given).encode()).decode()}
