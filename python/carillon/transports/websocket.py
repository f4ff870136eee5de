"""All subscriptions of a client over one WebSocket, in the Centrifuge JSON protocol."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import json
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.exceptions import InvalidStatus

from ..address import endpoint_hint
from ..errors import (
    CarillonError,
    CommandTimeout,
    ConnectDenied,
    ConnectError,
    ConnectionClosed,
    PayloadTooLarge,
    SubscribeDenied,
)
from ..items import ClientInfo, History, PresenceStats
from ..position import Position
from . import raw_json
from .base import NetworkSource
from .http_api import (
    PresencePage,
    command_error,
    history_request,
    history_result,
    presence_page,
    presence_pages,
    presence_stats,
)
from .outbox import Outbox, Reply
from .reconnect import Reconnect, Refused, Unreadable, is_temporary, refusal_of, retry_after_s
from .renewal import Renewal
from .token import CONNECTION_EXPIRED, SUBSCRIPTION_EXPIRED, TOKEN_EXPIRED, Token, TokenFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..lifetime import Lifetime, Served
    from ..payload import Publication
    from ..start import HistoryQuery, Start
    from .backoff import Backoff
    from .settings import Settings
    from .token import Credentials

_PING_SLACK_S = 10.0  # what a ping may be late before the connection counts as dead
_RESUBSCRIBE = 2500  # unsubscribe codes from here on ask us to come back
_STATE_INVALIDATED = 2502
_MESSAGE_TOO_BIG = 1009


class WebSocketTransport:
    """One connection that comes back by itself. See `Transport`.

    Attributes:
        client_id: The id that the server gave the connection; None while there is none.
    """

    def __init__(self, settings: Settings, lifetime: Lifetime) -> None:
        self.client_id: str | None = None
        self._settings = settings
        self._lifetime = lifetime
        self._reconnect = Reconnect(settings)
        self._sources: dict[str, _WebSocketSource] = {}
        self._is_started = False
        self._is_connected = False  # there is a socket to write to
        self._is_ready = lifetime.event()
        self._outbox = Outbox()
        self._token = Token(settings.credentials, settings)
        self._renewal = self._new_renewal(
            self._token, settings.backoff(), "refresh", {}, lifetime, ConnectDenied
        )
        self._silence_s: float | None = settings.open_timeout
        self._heard_at = 0.0  # the newest message, by the clock of the loop
        self._is_filling = False  # a reader should get a turn of the loop
        self._has_pongs = False

    @property
    def url(self) -> str:
        """Address of the server that it is connected to, or tries."""
        return self._reconnect.url

    async def open(self) -> None:
        """Connects.

        Raises:
            ConnectError: The server cannot be reached, or refuses.
        """
        self._start()
        await self._connected()

    async def close(self) -> None:
        """Nothing is left to give back."""

    def source(self, channel: str, start: Start, credentials: Credentials) -> _WebSocketSource:
        """A subscription, not yet started."""
        token = Token(credentials, self._settings)
        return _WebSocketSource(self, self._settings, self._lifetime, self._reconnect, channel, start, token)

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._lifetime.start(self._reconnect.run(self._connection), "the WebSocket", self._lifetime)

    async def _connected(self) -> None:
        patience_s = self._settings.open_timeout
        try:
            async with asyncio.timeout(patience_s):
                await self._lifetime.until(self._is_ready)
        except TimeoutError:
            url, reason = self._settings.names, self._token.trouble or self._reconnect.reason
            raise ConnectError(f"no connection to {url} within {patience_s:g} s: {reason}") from None

    # Commands.

    async def publish(self, channel: str, publication: Publication) -> Position | None:
        """Publishes JSON text. The protocol does not tell the position."""
        text = _one_line(bytes(publication.payload))
        await self._command(f'"publish":{{"channel":{json.dumps(channel)},"data":{text}}}', _value("publish"))
        return None

    async def history(self, channel: str, query: HistoryQuery) -> History:
        """Reads the log."""
        result = await self._command(
            f'"history":{history_request(channel, query)}',
            lambda text, reply: history_result(text, reply["history"][1], channel, query),
        )
        assert isinstance(result, History)
        return result

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Asks who is there."""

        async def ask(request: str) -> PresencePage:
            return presence_page(await self._command(f'"presence":{request}', _value("presence")))

        return await presence_pages(channel, ask)

    async def presence_stats(self, channel: str) -> PresenceStats:
        """Asks how many are there."""
        request = json.dumps({"channel": channel})
        result = await self._command(f'"presence_stats":{request}', _value("presence_stats"))
        return presence_stats(result)

    async def rpc(self, method: str, data: bytes) -> Any:
        """Calls a method of the application with JSON text, and returns its decoded result."""
        body = f'"rpc":{{"method":{json.dumps(method)},"data":{_one_line(data)}}}'
        return (await self._command(body, _value("rpc"))).get("data")

    async def _command(self, body: str, read: Callable[[str, Reply], Any]) -> Any:
        self._start()
        while not self._is_ready.is_set():
            await self._connected()
        waiter = self._lifetime.future()

        def on_reply(text: str, reply: Reply) -> None:
            if waiter.done():
                return
            if "error" in reply:
                waiter.set_exception(command_error(reply["error"][0]))
            else:
                waiter.set_result(read(text, reply))

        number = self._outbox.add(body, on_reply, waiter=waiter)
        patience_s = self._settings.open_timeout
        try:
            async with asyncio.timeout(patience_s):
                return await waiter
        except TimeoutError:
            url = self.url
            if self._outbox.is_unsent(number):
                raise ConnectError(f"{url} took nothing within {patience_s:g} s: it was not sent") from None
            raise CommandTimeout(
                f"{url} did not answer within {patience_s:g} s: the command may be done, or not"
            ) from None
        finally:
            self._outbox.drop(number)

    # The connection.

    async def _connection(self) -> None:
        server = self._reconnect.server
        url = server.url("/connection/websocket").replace("http", "ws", 1)
        tls: dict[str, Any] = {"ssl": server.tls} if server.tls else {}
        if server.proxy_tls:
            tls["proxy_ssl"] = server.proxy_tls
        token = await self._token.current()
        try:
            async with _Connect(
                url,
                additional_headers=server.headers,
                open_timeout=self._settings.connect_timeout,  # with the upgrade, which waits for no store
                close_timeout=1.0,
                ping_interval=None,
                max_size=None,
                compression=None,
                user_agent_header=self._settings.name,
                proxy=server.proxy,
                **tls,
            ) as socket:
                await self._serve(socket, token)
        except InvalidStatus as error:
            raise _refusal(server.base_url, error) from None

    async def _serve(self, socket: ClientConnection, token: str | None) -> None:
        """Talks over a new connection until it ends, and tells what waited for answers over it."""
        self._is_connected = True
        self._silence_s = self._settings.open_timeout
        cut = ConnectionClosed(
            0, f"the connection to {self.url} was cut before the answer came: it may be done, or not"
        )
        try:
            hello = {"name": self._settings.name} | ({} if token is None else {"token": token})
            self._outbox.add(
                f'"connect":{json.dumps(hello)}', lambda _, reply: self._on_connect(token, reply)
            )
            for source in self._sources.values():
                self.resume(source)
            await _first_error(self._read(socket), self._write(socket), self._watch())
        except SocketClosed as closed:
            if closed.sent is not None and not closed.rcvd_then_sent:
                raise Unreadable(f"a message cannot be read: {closed.sent.reason}") from None
            end = _closed_by_server(closed)
            if end.code == _MESSAGE_TOO_BIG and self._can_go_on():
                raise Refused("a message was longer than the server takes") from None
            if end.code == CONNECTION_EXPIRED:
                self._token.expired(self._token.known)
            if not _is_final(end.code):
                raise Refused(f"{end.reason} (code {end.code})") from None
            cut = end
            if not self._is_ready.is_set() and end.code != _MESSAGE_TOO_BIG:
                raise ConnectDenied(end.code, end.reason) from None
            raise end from None
        finally:
            self._lost(cut)

    async def _read(self, socket: ClientConnection) -> None:
        clock = asyncio.get_running_loop().time
        self._heard_at = clock()
        while True:
            try:
                frame = await socket.recv(decode=True)
                self._heard_at = clock()
                for line in str(frame).split("\n"):
                    if line:
                        self._on_line(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Unreadable(f"a message cannot be read: {error!r}") from error
            if self._is_filling:
                self._is_filling = False
                await asyncio.sleep(0)

    async def _watch(self) -> None:
        """Raises when nothing has come for too long."""
        clock = asyncio.get_running_loop().time
        while self._silence_s is not None:
            left_s = self._heard_at + self._silence_s - clock()
            if left_s <= 0:
                raise TimeoutError(f"nothing came within {self._silence_s:g} s")
            await asyncio.sleep(left_s)

    async def _write(self, socket: ClientConnection) -> None:
        with contextlib.suppress(SocketClosed):  # the reader takes what came before the end, and tells it
            while True:
                await socket.send(await self._outbox.message(), text=True)

    def _can_go_on(self) -> bool:
        """A message of ours was too long for the server. What was in it alone ends, and nothing else does."""
        command = self._outbox.send_less()
        if command is None:
            return True  # the commands of that message go one by one now, or their callers have given up
        told = f"{command.size:,} bytes are more than the server takes in one WebSocket message "
        told += "(limits.message_bytes, websocket.message_size_limit): raise it"
        command.fail(
            PayloadTooLarge(
                f"{told}, or publish over the HTTP API (api_key), which takes limits.publication_bytes"
            )
        )
        if command.refuse is not None:
            command.refuse(_MESSAGE_TOO_BIG, told)
        return command.waiter is not None or command.refuse is not None

    def _lost(self, cut: ConnectionClosed) -> None:
        """The connection is gone: what waited for an answer over it is told."""
        self.client_id = None
        self._is_connected = False
        self._is_ready.clear()
        self._renewal.stop()
        for source in self._sources.values():
            source.rest()
        self._outbox.lost(cut)

    def _on_connect(self, token: str | None, reply: Reply) -> None:
        if "error" in reply:
            error = reply["error"][0]
            code, reason = int(error.get("code", 0)), str(error.get("message", ""))
            if is_temporary(error):
                raise Refused(f"refused for now: {reason} (code {code})")
            if code == TOKEN_EXPIRED and self._token.expired(token):
                raise Refused(f"{reason} (code {code})")
            raise ConnectDenied(code, reason, self._token.remedy(code))
        hello = reply["connect"][0]
        self.client_id = hello.get("client")
        self._silence_s = hello["ping"] + _PING_SLACK_S if hello.get("ping") else None
        self._has_pongs = bool(hello.get("pong"))
        self._renewal.schedule(hello)
        self._reconnect.served()
        self._is_ready.set()

    def _on_line(self, text: str) -> None:
        reply: Reply = {name: (value, start) for name, value, start, _ in raw_json.members(text)}
        if not reply:
            if self._has_pongs:
                self._outbox.add_pong()
        elif "push" in reply:
            self._on_push(text, *reply["push"])
        elif "id" in reply:
            command = self._outbox.answered(reply["id"][0])
            if command is not None:
                command.on_reply(text, reply)

    # Subscriptions.

    def attach(self, source: _WebSocketSource) -> None:
        """Subscribes now, or with the next connection."""
        channel = source.feed.channel
        if self._sources.setdefault(channel, source) is not source:
            raise CarillonError(
                f"this client is already subscribed to {channel!r}: read that subscription, or connect again"
            )
        self._start()
        self.resume(source)

    def detach(self, source: _WebSocketSource) -> None:
        """Unsubscribes."""
        if self._sources.get(source.feed.channel) is source:
            del self._sources[source.feed.channel]
            self.pause(source)

    def pause(self, source: _WebSocketSource) -> None:
        """Ends delivery for now; the position stays with the feed."""
        if self._is_connected and source.state is not _State.IDLE:
            self._outbox.add(f'"unsubscribe":{{"channel":{json.dumps(source.feed.channel)}}}', _ignore)
        if source.state is _State.ASKED:  # a subscribe that is left gets no answer
            self._outbox.drop(source.asked)
        source.rest()

    def resume(self, source: _WebSocketSource) -> None:
        """Goes on behind the last publication that came in."""
        is_ours = self._sources.get(source.feed.channel) is source
        if self._is_connected and is_ours and source.state is _State.IDLE and not source.feed.is_paused:
            if source.token.is_missing:
                self._ask_for_token(source)
            else:
                self._subscribe(source)

    def _ask_for_token(self, source: _WebSocketSource) -> None:
        if not source.is_asking:
            source.is_asking = True
            name = f"get_token of the subscription to {source.feed.channel!r}"
            self._lifetime.start(self._resume_with_token(source), name, source)

    async def _resume_with_token(self, source: _WebSocketSource) -> None:
        channel = source.feed.channel
        while self._sources.get(channel) is source:
            try:
                await source.token.current()
                break
            except TokenFailed as failed:
                if not source.has_begun:
                    raise ConnectError(f"cannot subscribe to {channel!r}: {failed}") from failed.__cause__
                await asyncio.sleep(source.backoff.next_delay())
        source.is_asking = False
        self.resume(source)

    async def _resume_later(self, source: _WebSocketSource) -> None:
        await asyncio.sleep(source.backoff.next_delay())
        self.resume(source)

    def _subscribe(self, source: _WebSocketSource) -> None:
        channel, start = source.feed.channel, source.feed.start
        source.state = _State.ASKED
        wish: dict[str, Any] = {"channel": channel, "positioned": True, "recoverable": True}
        wish |= start.fields()
        token = source.token.known
        if token is not None:
            wish["token"] = token

        def on_reply(text: str, reply: Reply) -> None:
            if self._sources.get(channel) is not source:
                return
            if "error" in reply:
                self._on_refusal(source, token, reply["error"][0])
            else:
                self._on_subscribed(source, start, text, *reply["subscribe"])

        refuse = functools.partial(self._refuse, source)
        source.asked = self._outbox.add(f'"subscribe":{json.dumps(wish)}', on_reply, refuse=refuse)

    def _on_subscribed(
        self, source: _WebSocketSource, start: Start, text: str, result: dict[str, Any], at: int
    ) -> None:
        source.state = _State.LIVE
        source.has_begun = True
        source.epoch = result.get("epoch", "")
        source.backoff.connected()
        source.renewal.schedule(result)
        position = Position(result.get("offset", 0), source.epoch) if source.epoch else None
        source.feed.is_conflated = bool(result.get("conflated"))
        was_asked = start.position is not None or bool(result.get("was_recovering"))
        source.feed.begin(position, bool(result.get("recovered")) if was_asked else None)
        if result.get("publications"):
            at = next(begin for name, _, begin, _ in raw_json.members(text, at) if name == "publications")
            for _, begin, _ in raw_json.elements(text, at):
                self._deliver(source, text, begin)

    def _on_refusal(self, source: _WebSocketSource, token: str | None, error: dict[str, Any]) -> None:
        code = int(error.get("code", 0))
        if is_temporary(error) or (code == TOKEN_EXPIRED and source.token.expired(token)):
            self._retry(source)
        else:
            self._refuse(source, code, str(error.get("message", "")))

    def _retry(self, source: _WebSocketSource) -> None:
        source.rest()
        name = f"the subscription to {source.feed.channel!r}"
        self._lifetime.start(self._resume_later(source), name, source.feed)

    def _refuse(self, source: _WebSocketSource, code: int, reason: str) -> None:
        if self._sources.get(source.feed.channel) is source:
            del self._sources[source.feed.channel]
        source.rest()
        source.feed.fail(SubscribeDenied(code, reason, source.token.remedy(code)))

    def _on_push(self, text: str, push: dict[str, Any], start: int) -> None:
        if "refresh" in push:  # the server has given this connection another end
            self._renewal.schedule(push["refresh"])
            return
        source = self._sources.get(push.get("channel", ""))
        if source is None or source.state is not _State.LIVE:
            return  # of a subscription that was left, or is about to start again at its position
        if "pub" in push:
            at = next(begin for name, _, begin, _ in raw_json.members(text, start) if name == "pub")
            self._deliver(source, text, at)
        elif "unsubscribe" in push:
            code = int(push["unsubscribe"].get("code", 0))
            if code < _RESUBSCRIBE:
                self._refuse(source, code, str(push["unsubscribe"].get("reason", "")))
                return
            if code == _STATE_INVALIDATED:
                source.feed.received = None
            if code == SUBSCRIPTION_EXPIRED:
                source.token.expired(source.token.known)
            self._retry(source)

    def _deliver(self, source: _WebSocketSource, text: str, start: int) -> None:
        if source.state is not _State.LIVE:
            return
        source.feed.push(raw_json.message(text, start, source.feed.channel, source.epoch))
        if source.feed.is_paused:
            self.pause(source)
        elif source.feed.is_filling:
            self._is_filling = True

    # Renewals.

    def renewal_of(self, source: _WebSocketSource) -> Renewal:
        """Returns what renews the token of a subscription."""
        fields = {"channel": source.feed.channel}
        return self._new_renewal(source.token, source.backoff, "sub_refresh", fields, source, SubscribeDenied)

    def _new_renewal(
        self,
        token: Token,
        backoff: Backoff,
        command: str,
        fields: dict[str, str],
        serves: Served,
        denied: type[ConnectDenied | SubscribeDenied],
    ) -> Renewal:
        return Renewal(self._lifetime, token, self._outbox, backoff, command, fields, serves, denied)


class _State(enum.Enum):
    IDLE = enum.auto()  # not subscribed
    ASKED = enum.auto()  # the answer is under way: pushes are of an earlier subscription
    LIVE = enum.auto()


class _WebSocketSource(NetworkSource):
    """One channel on the connection.

    Attributes:
        state: Where it stands on the current connection.
        asked: Number of the newest subscribe command.
        epoch: The log that offsets count in.
        backoff: Delays between subscribes that are refused, or ended by the server.
        is_asking: Whether a task asks for that token, and will subscribe.
        has_begun: Whether the server has let it subscribe before.
        renewal: What renews the token.
    """

    def __init__(
        self,
        transport: WebSocketTransport,
        settings: Settings,
        lifetime: Lifetime,
        reconnect: Reconnect,
        channel: str,
        start: Start,
        token: Token,
    ) -> None:
        super().__init__(settings, lifetime, reconnect, channel, start, token)
        self.state: _State = _State.IDLE
        self.asked = 0
        self.epoch = ""
        self.backoff: Backoff = settings.backoff()
        self.is_asking: bool = False
        self.has_begun: bool = False
        self._transport = transport
        self.renewal: Renewal = transport.renewal_of(self)

    def rest(self) -> None:
        """Notes that it is not subscribed on the current connection."""
        self.state = _State.IDLE
        self.renewal.stop()

    def fail(self, error: Exception) -> None:
        """Ends it with an error. See `Served`."""
        self.feed.fail(error)
        self._transport.detach(self)

    def _begin(self) -> None:
        self.feed.on_room = lambda: self._transport.resume(self)
        self._transport.attach(self)

    async def close(self) -> None:
        """Ends delivery. Idempotent."""
        if self.home.can_end():
            self._detach()
        else:
            self.feed.end()

    def abandon(self) -> None:
        """Ends delivery without waiting; may be called from any thread."""
        self.home.post(self._detach)

    def _detach(self) -> None:
        self.feed.end()
        self._transport.detach(self)


class _Connect(connect):
    """Follows no redirect: the address of a server is for its user to change."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _is_final(code: int) -> bool:
    return 3500 <= code < 4000 or 4500 <= code < 5000 or code == _MESSAGE_TOO_BIG


def _closed_by_server(closed: SocketClosed) -> ConnectionClosed:
    if closed.rcvd is None:
        return ConnectionClosed(1006, "connection lost")
    reason = closed.rcvd.reason or "closed by the server"
    if closed.rcvd.code == _MESSAGE_TOO_BIG:
        reason += ": longer than the server's limits.message_bytes (websocket.message_size_limit)"
    return ConnectionClosed(closed.rcvd.code, reason)


def _value(name: str) -> Callable[[str, Reply], Any]:
    return lambda text, reply: reply[name][0]


def _one_line(data: bytes) -> str:
    """JSON text for a protocol whose frames are lines; only white space can hold a line feed there."""
    return data.decode().replace("\n", " ").replace("\r", " ")


def _ignore(text: str, reply: Reply) -> None:
    pass


def _refusal(url: str, error: InvalidStatus) -> Exception:
    """What the answer to a handshake means."""
    status, headers = error.response.status_code, error.response.headers
    if status == 429 or status >= 500:
        return Refused(f"HTTP status {status}", retry_after_s(headers.get("Retry-After")))
    if place := headers.get("Location"):
        return ConnectError(f"{url} redirects to {place}: give the address of a server")
    if status in (401, 403):
        body, phrase = bytes(error.response.body or b""), error.response.reason_phrase
        return ConnectDenied(*refusal_of(status, headers, body, phrase))
    hint = endpoint_hint(url) if status == 404 else ""
    return ConnectError(f"{url} refuses WebSocket: HTTP status {status}{hint}")


async def _first_error(*works: Coroutine[Any, Any, None]) -> None:
    """Does works side by side until one raises, and raises that; the others are cancelled.

    Not a task group: with Python 3.11 that may lose a cancellation which comes together with the error.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
