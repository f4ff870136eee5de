"""Servers that answer as a test says: what a proxy, a web page or a broken Carillon would send."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
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

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


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
