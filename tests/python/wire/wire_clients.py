"""Clients for the wire tests, thin enough to see the bytes: none of them is Carillon's own.

A WebSocket client of raw Centrifuge JSON on PyPI `websockets`, SSE on `httpx-sse`, long-poll on `httpx`, and
a plain TCP connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from carillon.testing import wait_until
from httpx_sse import aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from carillon import Server
    from httpx_sse import ServerSentEvent

TIMEOUT_S = 15.0

Json = dict[str, Any]


async def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Waits for the condition without holding up the loop."""
    await asyncio.to_thread(wait_until, condition, timeout_s)


async def settled(read: Callable[[], int], rest_s: float = 0.3) -> int:
    """What `read` returns once that has not changed for so long: for what must NOT go on."""
    value, since = read(), time.monotonic()
    async with asyncio.timeout(TIMEOUT_S):
        while time.monotonic() - since < rest_s:
            await asyncio.sleep(0.01)
            if (newer := read()) != value:
                value, since = newer, time.monotonic()
    return value


def row_of(server: Server, channel: str) -> Json:
    """The channel's row in the ledger; zeros if nobody has subscribed."""
    empty: Json = {"delivered": 0, "published": 0, "returned": 0, "dropped": {}, "subscriptions": 0}
    return next((row for row in server.ledger()["channels"] if row["channel"] == channel), empty)


async def assert_delivered(server: Server, channel: str, count: int) -> None:
    """The journals of the clients hold `count` entries of the channel, and so does the server's account."""

    def is_as_the_clients_say() -> bool:
        return bool(row_of(server, channel)["delivered"] >= count and server.ledger()["is_balanced"])

    with contextlib.suppress(TimeoutError):
        await until(is_as_the_clients_say, 5)
    assert row_of(server, channel)["delivered"] == count, server.ledger()
    assert server.ledger()["is_balanced"], server.ledger()


class Ws:
    """A WebSocket that speaks the Centrifuge JSON protocol, one object per line.

    Attributes:
        socket: The connection, to be used directly where a test wants to.
        pushes: What the server has sent by itself and the test has not taken.
        answers_pings: Whether `{}` is answered with `{}`.
        pings: How many `{}` have come.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.socket = connection
        self.pushes: deque[Json] = deque()
        self.answers_pings = True
        self.pings = 0
        self._replies: dict[int, Json] = {}
        self._last_id = 0

    async def command(self, **fields: Any) -> Json:
        """Sends one command and returns the whole reply."""
        return await self.reply(await self.send(**fields))

    async def send(self, **fields: Any) -> int:
        """Sends one command without waiting. Returns its id."""
        self._last_id += 1
        await self.socket.send(json.dumps({"id": self._last_id, **fields}))
        return self._last_id

    async def reply(self, number: int) -> Json:
        """The reply to a command, once it has come."""
        async with asyncio.timeout(TIMEOUT_S):
            while number not in self._replies:
                await self._read()
        return self._replies.pop(number)

    async def push(self) -> Json:
        """The next push."""
        async with asyncio.timeout(TIMEOUT_S):
            while not self.pushes:
                await self._read()
        return self.pushes.popleft()

    async def publications(self, count: int) -> list[Json]:
        """The next `count` pushes, which must all be publications."""
        return [(await self.push())["pub"] for _ in range(count)]

    async def connect(self) -> Json:
        """The first command. Returns its result."""
        result: Json = (await self.command(connect={}))["connect"]
        return result

    async def subscribe(self, channel: str, **fields: Any) -> Json:
        """Subscribes and returns the result."""
        reply = await self.command(subscribe={"channel": channel, **fields})
        assert "subscribe" in reply, reply
        result: Json = reply["subscribe"]
        return result

    async def closed(self) -> tuple[int, str]:
        """Reads on until the server closes. Returns code and reason."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    await self._read()
        except ConnectionClosed as error:
            return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "no close frame")

    async def next_ping(self) -> None:
        """Waits for the next `{}`."""
        seen = self.pings
        async with asyncio.timeout(TIMEOUT_S):
            while self.pings == seen:
                await self._read()

    async def _read(self) -> None:
        frame = await self.socket.recv()
        assert isinstance(frame, str), "JSON clients get text frames"
        for line in frame.split("\n"):
            message: Json = json.loads(line)
            if not message:
                self.pings += 1
                if self.answers_pings:
                    await self.socket.send("{}")
            elif "push" in message:
                self.pushes.append(message["push"])
            else:
                self._replies[message["id"]] = message


@asynccontextmanager
async def open_ws(
    server: Server, query: str = "", *, is_connected: bool = True, **options: Any
) -> AsyncIterator[Ws]:
    """A WebSocket; without `is_connected` the connect command is left to the test."""
    address = f"ws://127.0.0.1:{server.port}/connection/websocket{query}"
    settings = {
        "ping_interval": None,
        "compression": None,
        "proxy": None,
        "max_size": None,
        "max_queue": None,
        "close_timeout": 2,
        **options,
    }
    async with connect(address, **settings) as connection:
        client = Ws(connection)
        if is_connected:
            await client.connect()
        yield client


class Sse:
    """An event stream read by `httpx-sse`.

    Attributes:
        response: Its head.
        retry_ms: The reconnection time that was told last.
    """

    def __init__(self, response: httpx.Response, events: AsyncIterator[ServerSentEvent]) -> None:
        self.response = response
        self.retry_ms: int | None = None
        self._events = events

    async def event(self) -> ServerSentEvent:
        """The next event. A browser sees none where there is no data, but takes the `retry` in it."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                event = await anext(self._events)
                if event.data:
                    return event
                self.retry_ms = event.retry or self.retry_ms

    async def status(self) -> Json:
        """The next event, which must be a status."""
        event = await self.event()
        assert event.event == "status", event
        return dict(event.json())

    async def publications(self, count: int) -> list[Json]:
        """The next `count` events, which must all be publications."""
        events = [await self.event() for _ in range(count)]
        assert {event.event for event in events} <= {"message"}, events
        return [event.json() for event in events]

    async def ended(self) -> None:
        """Waits for the end of the stream; nothing may come before it."""
        async with asyncio.timeout(TIMEOUT_S):
            async for event in self._events:
                assert not event.data, f"an event came before the end: {event}"
                self.retry_ms = event.retry or self.retry_ms


@asynccontextmanager
async def open_sse(
    server: Server, *channels: str, headers: Mapping[str, str] | None = None, **query: str
) -> AsyncIterator[Sse]:
    """An event stream on these channels."""
    parameters = [*(("channel", name) for name in channels), *query.items()]
    async with (
        open_http(server) as client,
        aconnect_sse(client, "GET", "/sse", params=parameters, headers=dict(headers or {})) as source,
    ):
        events = source.aiter_sse()
        try:
            yield Sse(source.response, events)
        finally:
            await events.aclose()


def open_http(server: Server, **options: Any) -> httpx.AsyncClient:
    """An HTTP client of the server, to be entered with `async with`."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncClient(
        base_url=server.url, timeout=TIMEOUT_S, trust_env=False, limits=limits, **options
    )


async def poll(client: httpx.AsyncClient, *channels: str, **query: Any) -> Json:
    """One long-poll that must be answered with 200."""
    parameters = [*(("channel", name) for name in channels), *query.items()]
    response = await client.get("/poll", params=parameters)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


class Tcp:
    """A plain TCP connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, data: bytes | str) -> None:
        """Sends these bytes."""
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def get(self, target: str, *headers: str) -> None:
        """Sends a GET request; headers as whole lines."""
        lines = [f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]
        await self.write("\r\n".join(lines))

    async def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readexactly(count)

    async def read_until(self, mark: bytes | str) -> bytes:
        """All up to and including the mark."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readuntil(mark.encode() if isinstance(mark, str) else mark)

    async def read_response(self) -> tuple[int, dict[str, str], bytes]:
        """One whole response that has a Content-Length: status, headers in lower case, body."""
        head = (await self.read_until(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        return int(head[0].split()[1]), headers, await self.read(int(headers.get("content-length", 0)))

    async def read_to_end(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read(-1)

    def stop_reading(self) -> None:
        """Takes nothing more: what the server sends stays in the kernel."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def go_on_reading(self) -> None:
        """Ends `stop_reading`."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def cut(self) -> None:
        """Leaves at once, without a goodbye."""
        self.writer.transport.abort()


@asynccontextmanager
async def open_tcp(server: Server, receive_bytes: int | None = None) -> AsyncIterator[Tcp]:
    """A connection, cut at the end without a goodbye. `receive_bytes` is what its kernel takes unread."""
    raw = socket.socket()
    raw.setblocking(False)
    if receive_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    tcp = Tcp(*await asyncio.open_connection(sock=raw, limit=1 << 24))
    try:
        yield tcp
    finally:
        tcp.cut()
        with contextlib.suppress(OSError):
            await tcp.writer.wait_closed()
