"""Servers that answer as a test says: what a proxy, a web page or a broken Carillon would send."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from carillon.acceptor import Acceptor
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = bytes | Callable[[bytes], bytes] | None
    Script = Callable[["Peer"], Awaitable[None]]


@contextlib.asynccontextmanager
async def http_server(answer: Answer, heads: list[bytes] | None = None) -> AsyncIterator[str]:
    """Answers each request with these bytes and closes, or with None never answers. Yields its address."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if heads is not None:
                heads.append(head)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer if isinstance(answer, bytes) else answer(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()

    async with Acceptor(hear) as acceptor:
        yield f"http://127.0.0.1:{acceptor.port}"


@contextlib.asynccontextmanager
async def dripping_server(pause_s: float, begin: bytes) -> AsyncIterator[str]:
    """Answers with these bytes and then one byte after the other, without an end. Yields its address."""

    async def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(begin)
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(pause_s)  # the rate of what it sends, nothing waits for it

    async with Acceptor(hear) as acceptor:
        yield f"http://127.0.0.1:{acceptor.port}"


def response(status: str, body: str = "", *headers: str) -> bytes:
    """An HTTP answer that ends its connection."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close", *headers]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def event_stream(*events: str) -> bytes:
    """A stream that ends at once behind these events."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return (head + "".join(f"{event}\n\n" for event in events)).encode()


class Peer:
    """One WebSocket connection of `centrifuge_server`."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._lines: list[str] = []

    async def command(self, name: str) -> dict[str, Any]:
        """The next command of this name; others are passed over."""
        while True:
            while self._lines:
                command: dict[str, Any] = json.loads(self._lines.pop(0))
                if name in command:
                    return command
            self._lines = str(await self._socket.recv()).split("\n")

    async def reply(self, command: dict[str, Any], **result: Any) -> None:
        """Answers a command."""
        await self.send(json.dumps({"id": command["id"], **result}))

    async def send(self, text: str | bytes) -> None:
        """Sends a frame."""
        await self._socket.send(text)

    async def close(self, code: int) -> None:
        """Closes with this code."""
        await self._socket.close(code)


@contextlib.asynccontextmanager
async def centrifuge_server(script: Script) -> AsyncIterator[str]:
    """Answers the connect command, then does what the script says with each connection.

    The connection stays until the client leaves or the script closes it. Yields the server's address.
    """

    async def talk(socket: ServerConnection) -> None:
        peer = Peer(socket)
        with contextlib.suppress(ConnectionClosed):
            await peer.reply(await peer.command("connect"), connect={"client": "x", "version": "0"})
            await script(peer)
            await socket.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@contextlib.asynccontextmanager
async def tls_server(url: str, certificate: ssl.SSLContext) -> AsyncIterator[int]:
    """Takes TLS off and passes on to the server at `url`. Yields its port, on 127.0.0.1."""
    port = urlsplit(url).port

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _relay(reader, writer, "127.0.0.1", port or 80)

    async with Acceptor(serve_one, tls=certificate) as acceptor:
        yield acceptor.port


@contextlib.asynccontextmanager
async def proxy_server(port: int, asked: list[str]) -> AsyncIterator[str]:
    """An HTTP proxy behind which every host is 127.0.0.1 at `port`. Writes down what it is asked for."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode().split(" ", 2)
        asked.append(f"{method} {target}")
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _relay(reader, writer, "127.0.0.1", port)
        else:
            path = "/" + target.split("/", 3)[3]
            once = head.replace(target.encode(), path.encode(), 1).replace(b"keep-alive", b"close")
            await _relay(reader, writer, "127.0.0.1", port, once)

    async with Acceptor(serve_one) as acceptor:
        yield f"127.0.0.1:{acceptor.port}"


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, first: bytes = b""
) -> None:
    up_reader, up_writer = await asyncio.open_connection(host, port)
    up_writer.write(first)

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65536):
                sink.write(chunk)
                await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pipe(reader, up_writer), pipe(up_reader, writer))
    finally:
        up_writer.transport.abort()
