"""For test suites: a network that misbehaves on command, and a wait that does not sleep for luck."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from .background_loop import BackgroundLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .server import Server

T = TypeVar("T")

_CHUNK = 64 * 1024
_POLL_S = 0.01


def wait_until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Returns as soon as `condition()` is true.

    Args:
        condition: Asked every 10 ms.
        timeout: Seconds to wait at most.

    Raises:
        TimeoutError: It did not become true in time; names the condition.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            name = getattr(condition, "__name__", repr(condition))
            raise TimeoutError(f"{name} did not become true within {timeout} s")
        time.sleep(_POLL_S)


def assert_ledger_balances(server: Server, timeout: float = 5.0) -> None:
    """Asserts that every publication of the server is accounted for, once what is under way has settled."""
    if not server.is_running:
        assert server.ledger()["is_balanced"], server.ledger()
        return
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: server.ledger()["is_balanced"], timeout)
    assert server.ledger()["is_balanced"], f"the ledger does not balance: {server.ledger()}"


class Identified(Protocol):
    """Whatever knows the id of its connection: a WebSocket client of `carillon` or `carillon.sync`."""

    @property
    def client_id(self) -> str | None:
        """The id that the server gave it; None while it is not connected, and over SSE and long-poll."""


def cut(server: Server, connection: str | Identified) -> None:
    """Drops one TCP connection of a server at once, without a goodbye, as a network does.

    A client of this package comes back by itself, and its subscriptions go on where they were.

    Args:
        server: A server of this process.
        connection: The id of a connection (one of `server.connections()`, or what a hook or a record of the
            access log calls `client`), or a connected WebSocket client. For the streams of an SSE client,
            which do not know their ids, and for polls: `FaultProxy.cut`.

    Raises:
        ValueError: It is not there.
    """
    client = connection if isinstance(connection, str) else connection.client_id
    if not client or not server.cut(client):
        raise ValueError(f"cannot cut {connection!r}: the server has no such connection now")


class FaultProxy:
    """A TCP proxy in front of a server. Clients that use its `url` meet the faults that a test asks for.

    What it has taken from one side it passes on in order, or cuts both sides: it never drops bytes in
    silence.

    Args:
        server: The server, or its `http://host:port`.

    Attributes:
        delay_ms: Each piece of data waits this long, milliseconds.
        is_refusing: New connections are closed at once.
    """

    def __init__(self, server: Server | str) -> None:
        target = urlsplit(server if isinstance(server, str) else server.url)
        assert target.hostname is not None
        self._target = target.hostname, target.port or 80
        self.delay_ms = 0.0
        self.is_refusing = False
        self._links: set[_Link] = set()
        self._accepted = 0
        self._port = 0
        self._loop: BackgroundLoop | None = None
        self._listener: asyncio.Server | None = None
        self._may_read: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._links)

    @property
    def accepted(self) -> int:
        """How many there were so far."""
        return self._accepted

    def start(self) -> Self:
        """Listens on a free port of 127.0.0.1."""
        self._loop = BackgroundLoop("carillon-fault-proxy", "the proxy is stopped")
        self._loop.run(self._start())
        return self

    def stop(self) -> None:
        """Cuts everything and stops listening. Idempotent."""
        if self._loop is not None:
            self._loop.run(self._stop())
            self._loop.close()
            self._loop = None

    def cut(self) -> int:
        """Cuts all connections that are open now, without a goodbye. Returns how many."""
        return self._run(self._cut())

    def pause_reads(self) -> None:
        """Takes nothing more from either side, so that the buffers in between fill up."""
        self._run(self._set_reading(False))

    def resume(self) -> None:
        """Goes on after `pause_reads`."""
        self._run(self._set_reading(True))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the proxy is not started: use it in a with block")
        return self._loop.run(work)

    async def _start(self) -> None:
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        await self._set_reading(True)
        await self._cut()

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    async def _set_reading(self, may_read: bool) -> None:
        assert self._may_read is not None
        if may_read:
            self._may_read.set()
        else:
            self._may_read.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        if self.is_refusing:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, up_writer)
        self._links.add(link)
        try:
            await asyncio.gather(self._pipe(reader, up_writer), self._pipe(up_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # a cancelled handler is an error in the log of asyncio before 3.12
        finally:
            link.cut()
            self._links.discard(link)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._may_read is not None
        while True:
            await self._may_read.wait()
            chunk = await reader.read(_CHUNK)
            await self._may_read.wait()
            if self.delay_ms:
                await asyncio.sleep(self.delay_ms / 1000)
            if not chunk:
                with contextlib.suppress(OSError, RuntimeError):
                    writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()


class _Link:
    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
