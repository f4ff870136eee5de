"""All subscriptions of a client over one WebSocket, in the Centrifuge JSON protocol."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.exceptions import InvalidHandshake, InvalidStatus

from ..errors import CarillonError, ConnectError, ConnectionClosed, PayloadTooLarge, SubscribeDenied
from ..feed import Feed
from ..items import ClientInfo, History
from ..position import Position
from . import raw_json
from .http_api import command_error, history_request, history_result, presence_result
from .http_source import Refused, is_loopback, retry_after_s

if TYPE_CHECKING:
    from .settings import Settings

_log = logging.getLogger("carillon.client")

_PING_SLACK_S = 10.0  # what a ping may be late before the connection counts as dead
_RESUBSCRIBE = 2500  # unsubscribe codes from here on ask us to come back
_STATE_INVALIDATED = 2502
_MESSAGE_TOO_BIG = 1009

Reply = dict[str, tuple[Any, int]]  # member of the reply -> its value, and where it begins in the text
OnReply = Callable[[str, Reply], None]


@dataclass
class _Command:
    """One that waits for its answer."""

    on_reply: OnReply
    done: asyncio.Future[Any] | None  # whoever waits for it
    size: int  # characters


class WebSocketTransport:
    """One connection that comes back by itself. Belongs to one event loop. See `Transport`.

    Attributes:
        client_id: The id that the server gave the connection; None while there is none.
    """

    def __init__(self, settings: Settings) -> None:
        self.client_id: str | None = None
        self._settings = settings
        self._sources: dict[str, _WebSocketSource] = {}
        self._task: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._is_ready = asyncio.Event()
        self._was_ready = False
        self._is_closed = False
        self._error: CarillonError | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Command] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._backoff = settings.backoff()
        self._silence_s: float | None = settings.open_timeout
        self._has_pongs = False

    async def open(self) -> None:
        """Connects.

        Raises:
            ConnectError: The server cannot be reached, or refuses.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="carillon websocket")
        await self._is_ready.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Closes the connection and ends all subscriptions. Idempotent."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end(None)

    def source(self, channel: str, since: Position | None) -> _WebSocketSource:
        """A subscription, not yet started."""
        return _WebSocketSource(self, self._settings.capacity, channel, since)

    # Commands.

    async def publish(self, channel: str, data: bytes) -> Position | None:
        """Publishes JSON text. The protocol does not tell the position."""
        await self._command(
            f'"publish":{{"channel":{json.dumps(channel)},"data":{_one_line(data)}}}', _value("publish")
        )
        return None

    async def history(self, channel: str, limit: int, since: Position | None, reverse: bool) -> History:
        """Reads the log."""
        result = await self._command(
            f'"history":{history_request(channel, limit, since, reverse)}',
            lambda text, reply: history_result(text, reply["history"][1], channel),
        )
        assert isinstance(result, History)
        return result

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Asks who is there."""
        return presence_result(
            await self._command(f'"presence":{{"channel":{json.dumps(channel)}}}', _value("presence"))
        )

    async def _command(self, body: str, read: Callable[[str, Reply], Any]) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_reply(text: str, reply: Reply) -> None:
            if done.done():
                return
            if "error" in reply:
                done.set_exception(command_error(reply["error"][0]))
            else:
                done.set_result(read(text, reply))

        async with asyncio.timeout(self._settings.open_timeout):
            await self._is_ready.wait()
            if self._error is not None or self._is_closed:
                raise self._error or ConnectionClosed(0, "the client is closed")
            self._request(body, on_reply, done)
            return await done

    def _request(self, body: str, on_reply: OnReply, done: asyncio.Future[Any] | None = None) -> None:
        self._send(self._expect(body, on_reply, done))

    def _expect(self, body: str, on_reply: OnReply, done: asyncio.Future[Any] | None = None) -> str:
        number = next(self._ids)
        self._waiting[number] = _Command(on_reply, done, len(body))
        return f'{{"id":{number},{body}}}'

    def _send(self, text: str) -> None:
        if self._socket is not None:
            task = asyncio.create_task(_send_quietly(self._socket, text))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)

    # The connection.

    async def _run(self) -> None:
        while True:
            at_least = 0.0
            try:
                await self._connection()
            except ConnectionClosed as closed:
                reason = closed.reason
                if _is_final(closed.code):
                    self._end(closed)
                    return
            except InvalidStatus as error:
                status = error.response.status_code
                at_least = retry_after_s(error.response.headers.get("Retry-After"))
                reason = f"HTTP status {status}"
                if status != 429 and status < 500:
                    self._end(ConnectError(f"{self._settings.base_url} refuses WebSocket: {reason}"))
                    return
            except ConnectError as error:
                self._end(error)
                return
            except Refused as refused:
                at_least, reason = refused.retry_after, "refused for now"
            except (OSError, TimeoutError, InvalidHandshake, ValueError, KeyError, TypeError) as error:
                reason = str(error) or type(error).__name__
                if not self._was_ready:
                    self._end(ConnectError(f"cannot reach {self._settings.base_url}: {reason}"))
                    return
            delay_s = self._backoff.next_delay(at_least)
            _log.info("%s: %s; trying again in %.1f s", self._settings.base_url, reason, delay_s)
            await asyncio.sleep(delay_s)

    async def _connection(self) -> None:
        url = self._settings.url("/connection/websocket").replace("http", "ws", 1)
        async with connect(
            url,
            additional_headers=self._settings.headers,
            open_timeout=self._settings.open_timeout,
            close_timeout=1.0,
            ping_interval=None,
            max_size=None,
            compression=None,
            user_agent_header=self._settings.name,
            proxy=None if is_loopback(urlsplit(url).hostname or "") else True,
        ) as socket:
            self._socket = socket
            self._silence_s = self._settings.open_timeout
            cut: ConnectionClosed | None = None
            try:
                hello = json.dumps({"name": self._settings.name})
                commands = [self._expect(f'"connect":{hello}', self._on_connect)]
                commands += [
                    self._subscribe_command(source) for source in self._sources.values() if source.is_wanted
                ]
                await socket.send("\n".join(commands))
                while True:
                    async with asyncio.timeout(self._silence_s):
                        frame = await socket.recv(decode=True)
                    assert isinstance(frame, str)
                    for line in frame.split("\n"):
                        if line:
                            self._on_line(line)
            except SocketClosed as closed:
                cut = _closed_by_server(closed)
                if cut.code == _MESSAGE_TOO_BIG and self._blame_the_longest():
                    cut = ConnectionClosed(0, cut.reason)  # the others come back
                raise cut from None
            finally:
                self._lost(cut)

    def _blame_the_longest(self) -> bool:
        """A message of ours was too long: its caller is told. False: nobody waits for it."""
        longest = max(self._waiting.values(), key=lambda command: command.size, default=None)
        if not self._is_ready.is_set() or longest is None or longest.done is None:
            return False
        if not longest.done.done():
            longest.done.set_exception(
                PayloadTooLarge(
                    f"{longest.size:,} characters are more than the server takes in one WebSocket message "
                    "(limits.message_bytes, websocket.message_size_limit): raise it, or publish over "
                    "the HTTP API (api_key), which takes limits.publication_bytes"
                )
            )
        return True

    def _lost(self, cut: ConnectionClosed | None) -> None:
        """The connection is gone: what waited for an answer over it is told."""
        if cut is None or not _is_final(cut.code):
            cut = ConnectionClosed(0, "the connection was cut before the answer came")
        self._socket = self.client_id = None
        if self._error is None:
            self._is_ready.clear()
        for source in self._sources.values():
            source.state = _State.IDLE
        waiting, self._waiting = self._waiting, {}
        for command in waiting.values():
            if command.done is not None and not command.done.done():
                command.done.set_exception(cut)

    def _end(self, error: CarillonError | None) -> None:
        """No connection comes after this."""
        self._error = self._error or error or ConnectionClosed(0, "the client is closed")
        self._is_ready.set()
        for source in list(self._sources.values()):
            if error is not None:
                source.feed.fail(error)
            source.feed.end()
        self._sources.clear()

    def _on_connect(self, _: str, reply: Reply) -> None:
        if "error" in reply:
            error = reply["error"][0]
            if error.get("temporary") or error.get("code", 0) < 100:
                raise Refused(0.0)
            raise ConnectError(f"the server refuses: {error.get('message')} (code {error.get('code')})")
        hello = reply["connect"][0]
        self.client_id = hello.get("client")
        self._silence_s = hello["ping"] + _PING_SLACK_S if hello.get("ping") else None
        self._has_pongs = bool(hello.get("pong"))
        if self._was_ready:
            _log.info("%s: connected again", self._settings.base_url)
        self._was_ready = True
        self._is_ready.set()
        self._backoff.reset()
        for source in self._sources.values():
            self.resume(source)  # those that were not part of the first frame

    def _on_line(self, text: str) -> None:
        reply: Reply = {name: (value, start) for name, value, start, _ in raw_json.members(text)}
        if not reply:
            if self._has_pongs:
                self._send("{}")
        elif "push" in reply:
            self._on_push(text, *reply["push"])
        elif "id" in reply:
            command = self._waiting.pop(reply["id"][0], None)
            if command is not None:
                command.on_reply(text, reply)

    # Subscriptions.

    def attach(self, source: _WebSocketSource) -> None:
        """Subscribes now, or with the next connection."""
        if self._error is not None:
            raise self._error
        channel = source.feed.channel
        if self._sources.setdefault(channel, source) is not source:
            raise CarillonError(
                f"this client is already subscribed to {channel!r}: read that subscription, or connect again"
            )
        self.resume(source)

    def detach(self, source: _WebSocketSource) -> None:
        """Unsubscribes."""
        if self._sources.get(source.feed.channel) is source:
            del self._sources[source.feed.channel]
            self.pause(source)

    def pause(self, source: _WebSocketSource) -> None:
        """Ends delivery for now; the position stays with the feed."""
        source.state = _State.IDLE
        if self._is_ready.is_set():
            self._request(
                f'"unsubscribe":{{"channel":{json.dumps(source.feed.channel)}}}', lambda text, reply: None
            )

    def resume(self, source: _WebSocketSource) -> None:
        """Goes on behind the last publication that came in."""
        is_ours = self._sources.get(source.feed.channel) is source
        if self._is_ready.is_set() and is_ours and source.state is _State.IDLE and source.is_wanted:
            self._send(self._subscribe_command(source))

    def _subscribe_command(self, source: _WebSocketSource) -> str:
        channel, since = source.feed.channel, source.feed.received
        source.state = _State.ASKED
        wish: dict[str, Any] = {"channel": channel, "positioned": True, "recoverable": True}
        if since is not None:
            wish |= {"recover": True, "offset": since.offset, "epoch": since.epoch}

        def on_reply(text: str, reply: Reply) -> None:
            if self._sources.get(channel) is not source:
                return
            if "error" in reply:
                self._on_refusal(source, reply["error"][0])
            else:
                self._on_subscribed(source, since is not None, text, *reply["subscribe"])

        return self._expect(f'"subscribe":{json.dumps(wish)}', on_reply)

    def _on_subscribed(
        self, source: _WebSocketSource, was_asked: bool, text: str, result: dict[str, Any], start: int
    ) -> None:
        source.state = _State.LIVE
        source.epoch = result.get("epoch", "")
        source.backoff.reset()
        position = Position(result.get("offset", 0), source.epoch) if source.epoch else None
        source.feed.is_conflated = bool(result.get("conflated"))
        source.feed.begin(position, bool(result.get("recovered")) if was_asked else None)
        if result.get("publications"):
            at = next(begin for name, _, begin, _ in raw_json.members(text, start) if name == "publications")
            for _, begin, _ in raw_json.elements(text, at):
                self._deliver(source, text, begin)

    def _on_refusal(self, source: _WebSocketSource, error: dict[str, Any]) -> None:
        code = int(error.get("code", 0))
        if code < 100 or error.get("temporary"):
            source.state = _State.IDLE
            asyncio.get_running_loop().call_later(source.backoff.next_delay(), self.resume, source)
        else:
            del self._sources[source.feed.channel]
            source.feed.fail(SubscribeDenied(code, str(error.get("message", ""))))

    def _on_push(self, text: str, push: dict[str, Any], start: int) -> None:
        source = self._sources.get(push.get("channel", ""))
        if source is None or source.state is not _State.LIVE:
            return  # of a subscription that was left, or is about to start again at its position
        if "pub" in push:
            at = next(begin for name, _, begin, _ in raw_json.members(text, start) if name == "pub")
            self._deliver(source, text, at)
        elif "unsubscribe" in push:
            code = int(push["unsubscribe"].get("code", 0))
            source.state = _State.IDLE
            if code < _RESUBSCRIBE:
                del self._sources[source.feed.channel]
                source.feed.fail(SubscribeDenied(code, str(push["unsubscribe"].get("reason", ""))))
            else:
                if code == _STATE_INVALIDATED:
                    source.feed.received = None
                self.resume(source)

    def _deliver(self, source: _WebSocketSource, text: str, start: int) -> None:
        if source.state is not _State.LIVE:
            return
        source.feed.push(raw_json.message(text, start, source.feed.channel, source.epoch))
        if source.feed.is_paused:
            self.pause(source)


class _State(enum.Enum):
    IDLE = enum.auto()  # not subscribed
    ASKED = enum.auto()  # the answer is under way: pushes are of an earlier subscription
    LIVE = enum.auto()


class _WebSocketSource:
    """One channel on the connection.

    Attributes:
        feed: Where its items go.
        state: Where it stands on the current connection.
        epoch: The log that offsets count in.
        backoff: Delays between refused subscribes.
    """

    def __init__(
        self, transport: WebSocketTransport, capacity: int, channel: str, since: Position | None
    ) -> None:
        self.feed = Feed(channel, since, capacity)
        self.state = _State.IDLE
        self.epoch = ""
        self.backoff = transport._settings.backoff()
        self._transport = transport
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether a new connection should subscribe to it at once."""
        return not self.feed.is_paused

    async def open(self) -> None:
        """Starts delivery and waits until it has begun."""
        self._loop = asyncio.get_running_loop()
        self.feed.on_room = lambda: self._transport.resume(self)
        await self._transport.open()
        self._transport.attach(self)
        await self.feed.begun()

    async def close(self) -> None:
        """Ends delivery. Idempotent."""
        self._detach()

    def abandon(self) -> None:
        """Ends delivery without waiting; may be called from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._detach)

    def _detach(self) -> None:
        self.feed.end()
        self._transport.detach(self)


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


async def _send_quietly(socket: ClientConnection, text: str) -> None:
    with contextlib.suppress(SocketClosed):
        await socket.send(text)
