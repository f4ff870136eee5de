"""The bytes of each transport, counted on plain sockets without a library in between.

The requests are those of a Chromium for `fetch`, `EventSource` and `WebSocket`, line by line. A real page
also sends its cookies.
"""

from __future__ import annotations

import base64
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..acceptor import Acceptor

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from types import TracebackType

    from ..server import Server
    from .table import Row

GROUPS = ("data", "envelope", "framing", "response head", "request head")
"""The parts of a message on the wire, from what the publisher gave to what the transport needs."""

_TIMEOUT_S = 10.0
_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
)
_HINTS = """sec-ch-ua-platform: "Linux"
User-Agent: {agent}
sec-ch-ua: "Not:A-Brand";v="8", "Chromium";v="156"
sec-ch-ua-mobile: ?0
Accept: {accept}
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: cors
Sec-Fetch-Dest: empty
Referer: {origin}/
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9"""
_REQUESTS = {
    "poll": "GET {path} HTTP/1.1\nHost: {host}\nConnection: keep-alive\n" + _HINTS,
    "sse": "GET {path} HTTP/1.1\nHost: {host}\nConnection: keep-alive\n"
    "Pragma: no-cache\nCache-Control: no-cache\n" + _HINTS,
    "post": "POST {path} HTTP/1.1\nHost: {host}\nConnection: keep-alive\n" + _HINTS,
    "ws": """GET {path} HTTP/1.1
Host: {host}
Connection: Upgrade
Pragma: no-cache
Cache-Control: no-cache
User-Agent: {agent}
Upgrade: websocket
Origin: {origin}
Sec-WebSocket-Version: 13
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9
Sec-WebSocket-Key: {key}
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits""",
}


class Wire:
    """One socket, and HTTP by hand: the bytes that are sent and read are the bytes on the wire."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket = socket.create_connection((server.host, server.port), timeout=_TIMEOUT_S)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()
        self._socket.close()

    def request(
        self, kind: str, path: str, more: str = "", body: bytes = b""
    ) -> tuple[list[bytes], list[bytes]]:
        """Sends a request of Chromium; returns its lines, and the lines of the response head.

        Args:
            kind: `poll`, `sse`, `post` or `ws`.
            path: Path and query.
            more: Further header lines.
            body: Body of the request.
        """
        text = _REQUESTS[kind].format(
            path=path,
            host=f"{self._server.host}:{self._server.port}",
            origin=self._server.url,
            agent=_AGENT,
            accept="text/event-stream" if kind == "sse" else "*/*",
            key=base64.b64encode(os.urandom(16)).decode(),
        )
        lines = [*(f"{line}\r\n".encode() for line in (text + more).split("\n")), b"\r\n"]
        self._socket.sendall(b"".join(lines) + body)
        answer = [self._stream.readline()]
        while answer[-1] != b"\r\n":
            answer.append(self._stream.readline())
        return lines, answer

    def body(self, head: Sequence[bytes]) -> bytes:
        """Reads the body that belongs to a response head."""
        name = b"content-length:"
        line = next(line for line in head if line.lower().startswith(name))
        return self._stream.read(int(line[len(name) :]))

    def event(self) -> bytes:
        """Reads one event of a stream, with the empty line that ends it."""
        lines = [self._stream.readline()]
        while lines[-1] != b"\n":
            lines.append(self._stream.readline())
        return b"".join(lines)

    def frame(self) -> tuple[bytes, bytes]:
        """Reads one WebSocket frame of the server: its header and its payload."""
        header = self._stream.read(2)
        length = header[1] & 127
        if length >= 126:
            header += self._stream.read(2 if length == 126 else 8)
            length = int.from_bytes(header[2:])
        return header, self._stream.read(length)

    def send_frame(self, text: str) -> int:
        """Sends a text frame, masked as a client must; returns the size of its header and mask."""
        data, mask = text.encode(), os.urandom(4)
        is_short = len(data) < 126
        size = bytes([128 | len(data)]) if is_short else bytes([128 | 126]) + len(data).to_bytes(2)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self._socket.sendall(b"\x81" + size + mask + masked)
        return 1 + len(size) + len(mask)

    def open_websocket(self, channel: str) -> Row:
        """Upgrades, connects and subscribes; returns the bytes that it took."""
        asked, answered = self.request("ws", "/connection/websocket")
        commands = ['{"id":1,"connect":{}}', f'{{"id":2,"subscribe":{{"channel":"{channel}"}}}}']
        sent = sum(self.send_frame(command) + len(command) for command in commands)
        replies = sum(map(len, self.frame() + self.frame()))
        return _opening(asked, answered, sent, replies)


@dataclass
class OneMessage:
    """One message over each transport, taken apart.

    Attributes:
        parts: A row per part: `transport`, `group` (one of `GROUPS`), `part` (its text), `bytes`.
        opening: Bytes before the first message, by transport and kind.
    """

    parts: list[Row] = field(default_factory=list)
    opening: dict[str, Row] = field(default_factory=dict)

    def overhead(self, transport: str) -> int:
        """Returns the bytes of the message beside its data."""
        return sum(
            row["bytes"] for row in self.parts if row["transport"] == transport and row["group"] != "data"
        )


def take_apart(server: Server, data: bytes) -> OneMessage:
    """Publishes a message to one subscriber over each transport, and returns its bytes by part.

    Args:
        server: A server in insecure mode.
        data: The message, as JSON.
    """
    found = OneMessage()

    def around(text: bytes) -> str:
        return text.decode().replace(data.decode(), "…").strip()

    def add(transport: str, group: str, part: str, size: int) -> None:
        found.parts.append({"transport": transport, "group": group, "part": part, "bytes": size})

    server.publish("bytes", "the first one")  # it carries the epoch as well; later messages do not
    with Wire(server) as wire:
        found.opening["ws"] = wire.open_websocket("bytes")
        server.publish("bytes", data, json=True)
        header, payload = wire.frame()
        add("ws", "framing", "frame header", len(header))
        add("ws", "envelope", around(payload), len(payload) - len(data))
        add("ws", "data", "data", len(data))
    with Wire(server) as wire:
        asked, answered = wire.request("sse", "/sse?channel=bytes")
        first = wire.event() + wire.event()  # the delay before a reconnect, and the start of the stream
        found.opening["sse"] = _opening(asked, answered, 0, len(first))
        position = server.publish("bytes", data, json=True)
        for line in wire.event().splitlines(keepends=True):
            name, _, value = line.partition(b" ")
            if name == b"data:":
                envelope = value.rstrip(b"\n").replace(data, b"")
                add("sse", "framing", "data: and its line end", len(line) - len(value.rstrip(b"\n")))
                add("sse", "envelope", around(value), len(envelope))
            else:
                add("sse", "framing", around(line) or "empty line", len(line))
        add("sse", "data", "data", len(data))
    with Wire(server) as wire:
        server.publish("bytes", data, json=True)
        found.opening["poll"] = _opening([], [], 0, 0)
        asked, answered = wire.request("poll", f"/poll?channel=bytes&timeout=25&since={position}")
        body = wire.body(answered)
        for group, lines in (("request head", asked), ("response head", answered)):
            for line in lines:
                add("poll", group, around(line) or "empty line", len(line))
        add("poll", "envelope", around(body), len(body) - len(data))
        add("poll", "data", "data", len(data))
    return found


def poll_overhead(server: Server, data: str, waiting: Sequence[int]) -> list[float]:
    """Returns the overhead of a message in a poll, in bytes, by the number of messages that wait for it.

    Args:
        server: A server in insecure mode.
        data: The message; two quotes are added to it.
        waiting: Numbers of messages.
    """
    found = []
    with Wire(server) as wire:
        for count in waiting:
            position = server.publish("waiting", "before")
            server.publish_many([("waiting", data)] * count)
            asked, answered = wire.request("poll", f"/poll?channel=waiting&timeout=25&since={position}")
            total = sum(map(len, asked)) + sum(map(len, answered)) + len(wire.body(answered))
            found.append(total / count - len(data) - 2)
    return found


def publish_overhead(server: Server, data: bytes) -> dict[str, int]:
    """Returns the overhead of a message that a client publishes, in bytes, by transport.

    Args:
        server: A server in insecure mode.
        data: The message, as JSON.
    """
    command = f'{{"id":3,"publish":{{"channel":"up","data":{data.decode()}}}}}'
    with Wire(server) as wire:
        wire.open_websocket("elsewhere")
        frame = wire.send_frame(command) + len(command) + sum(map(len, wire.frame())) - len(data)
    request = b'{"channel":"up","data":' + data + b"}"
    with Wire(server) as wire:
        more = f"\nContent-Type: application/json\nOrigin: {server.url}\nContent-Length: {len(request)}"
        asked, answered = wire.request("post", "/api/publish", more, request)
        sizes = sum(map(len, asked)) + len(request) + sum(map(len, answered)) + len(wire.body(answered))
    return {"ws": frame, "sse": sizes - len(data), "poll": sizes - len(data)}


def frame_headers(data: bytes) -> list[int]:
    """Returns the size of the header of every WebSocket frame in some bytes, the mask included."""
    at, sizes = 0, []
    while at < len(data):
        length, size = data[at + 1] & 127, 2
        if length >= 126:
            size += 2 if length == 126 else 8
            length = int.from_bytes(data[at + 2 : at + size])
        size += 4 if data[at + 1] & 128 else 0  # the mask of a client
        sizes.append(size)
        at += size + length
    return sizes


async def byte_values_that_survive() -> dict[str, int]:
    """Sends all 256 byte values through each bare transport; returns how many arrive unchanged.

    They go through an echo of WebSocket frames, the body of an HTTP response, and an event stream, which is
    always read as UTF-8, and in which CR and LF end a line. No hub is in between.
    """
    import httpx
    import websockets

    every = bytes(range(256))

    async def echo(connection: Any) -> None:
        async for frame in connection:
            await connection.send(frame)

    async with websockets.serve(echo, "127.0.0.1", 0) as bare:
        port = next(iter(bare.sockets)).getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}", proxy=None) as connection:
            await connection.send(every)
            over_ws = bytes(await connection.recv())  # type: ignore[arg-type]

    async def fetch(kind: str, body: bytes) -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with Acceptor(answer) as acceptor, httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"http://127.0.0.1:{acceptor.port}/")).content

    over_body = await fetch("application/octet-stream", every)
    events = b"".join(b"data: <" + bytes([byte]) + b">\n\n" for byte in every)
    stream = (await fetch("text/event-stream", events)).decode("utf-8", errors="replace")  # as a browser
    over_sse = set(stream.split("\n\n"))
    return {
        "ws": sum(byte in over_ws for byte in every),
        "poll": sum(byte in over_body for byte in every),
        "sse": sum(f"data: <{chr(byte)}>" in over_sse for byte in every if chr(byte) not in "\r\n"),
    }


def _opening(asked: Sequence[bytes], answered: Sequence[bytes], sent: int, received: int) -> Row:
    return {
        "request head": sum(map(len, asked)),
        "response head": sum(map(len, answered)),
        "commands": sent,
        "replies or first events": received,
    }
