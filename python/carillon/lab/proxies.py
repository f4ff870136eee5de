"""Proxies as they are found between clients and servers: some only look, others misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

from ..acceptor import Acceptor

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK = 65_536


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Target(Protocol):
    """A server or a listener."""

    @property
    def host(self) -> str:
        """Its address."""

    @property
    def port(self) -> int:
        """Its port."""


class Proxy:
    """Passes all bytes on, and records them.

    Attributes:
        seen: Bytes by direction: `up` (from clients) and `down` (to clients).
        url: Address for clients, once the proxy runs.
    """

    def __init__(self, target: Target | str) -> None:
        if isinstance(target, str):
            parts = urlsplit(target)
            self._point_at(parts.hostname or "127.0.0.1", parts.port or 80)
        else:
            self._point_at(target.host, target.port)
        self.seen: dict[str, bytearray] = {"up": bytearray(), "down": bytearray()}
        self.url: str = ""
        self._acceptor = Acceptor(self._pass_all_on)
        self._writers: set[asyncio.StreamWriter] = set()

    def _point_at(self, host: str, port: int) -> None:
        self.host: str = host
        self.port: int = port

    async def __aenter__(self) -> Self:
        self._acceptor.start()
        self.url = f"http://127.0.0.1:{self._acceptor.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._acceptor.close()

    def forget(self) -> None:
        """Forgets the bytes that were recorded so far."""
        for way in self.seen.values():
            way.clear()

    def cut(self) -> None:
        """Resets all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection, until both sides have closed it."""
        up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        self._writers |= {writer, up_writer}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self.pass_on("up", reader, up_writer))
                both.create_task(self.pass_on("down", up_reader, writer))
        except* OSError:
            pass  # a side has reset the connection
        finally:
            self._writers -= {writer, up_writer}
            await _close(up_writer)

    async def _pass_all_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except* OSError:
            pass  # the target does not accept connections
        finally:
            await _close(writer)

    async def pass_on(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on the bytes of one direction."""
        while data := await reader.read(_CHUNK):
            self.seen[way] += data
            writer.write(data)
            await writer.drain()
        writer.close()


class BufferingProxy(Proxy):
    """Holds an answer back until it is complete or its buffer of 4 KiB is full."""

    honours_header = False
    """Whether `X-Accel-Buffering: no` in an answer turns the buffer off."""

    async def pass_on(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on the bytes of one direction."""
        held = b""
        while data := await reader.read(_CHUNK):
            held += data
            head, _, body = held.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                None,
            )
            is_complete = length is not None and len(body) >= length
            is_asked = self.honours_header and b"x-accel-buffering: no" in head.lower()
            if is_asked or head.startswith(b"HTTP/1.1 101"):
                writer.write(held)
                await super().pass_on(way, reader, writer)
                return
            if way == "up" or is_complete or len(held) >= 4096:
                writer.write(held)
                held = b""
                await writer.drain()
        writer.write(held)
        writer.close()


class HonouringProxy(BufferingProxy):
    """Buffers, except where `X-Accel-Buffering: no` asks it not to."""

    honours_header = True


class IdleTimeoutProxy(Proxy):
    """Resets a connection that has carried nothing for a while, as load balancers and NAT boxes do.

    Attributes:
        idle_s: Seconds without a byte, after which a connection is reset.
        cuts: Connections that were reset.
    """

    def __init__(self, target: Target | str, idle_s: float = 1.0) -> None:
        super().__init__(target)
        self.idle_s = idle_s
        self.cuts: int = 0
        self._last = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection, until either side closes it or it is idle."""
        self._last = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            served = tasks.create_task(super().serve(reader, writer))
            while not served.done():
                await asyncio.wait([served], timeout=0.05)
                if not served.done() and time.perf_counter() - self._last > self.idle_s:
                    self.cuts += 1
                    writer.transport.abort()

    async def pass_on(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on the bytes of one direction."""
        while data := await reader.read(_CHUNK):
            self._last = time.perf_counter()
            writer.write(data)
            await writer.drain()
        writer.close()


class UpgradeDroppingProxy(Proxy):
    """Removes the header `Upgrade`, as a proxy that does not know WebSocket."""

    async def pass_on(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on the bytes of one direction."""
        if way == "up":
            writer.write((await reader.read(_CHUNK)).replace(b"Upgrade: websocket\r\n", b""))
        await super().pass_on(way, reader, writer)


class Balancer(Proxy):
    """Passes each new connection on to one gateway, until `move_to` names another one."""

    def move_to(self, target: Target) -> None:
        """Sends new connections to another gateway. Existing connections stay."""
        self._point_at(target.host, target.port)
