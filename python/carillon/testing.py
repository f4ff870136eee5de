"""Helpers for test suites: a network that fails on command, waits that poll, and the types of the fixtures.

The fixtures themselves are in `carillon.pytest_plugin`, which pytest loads by itself; docs/testing.md has a
recipe for each case.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import linecache
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar, Unpack, get_args
from urllib.parse import urlsplit

from .acceptor import Acceptor
from .address import base_url
from .arguments import flag, milliseconds, one_of, seconds, shown
from .background_loop import BackgroundLoop
from .redis_server import RedisServer as RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from .client import Client, ConnectOptions
    from .server import Server, ServerOptions
    from .sync import Client as SyncClient

T = TypeVar("T")

Side: TypeAlias = Literal["client", "server"]

_CHUNK = 64 * 1024
_POLL_S = 0.01
_DEFAULT_PORTS = {"http": 80, "https": 443}


def wait_until(condition: Callable[[], object], timeout: float = 5.0, *, message: str | None = None) -> None:
    """Waits until a condition is true. Blocks the thread; in an async test use `wait_until_async`.

    Example:
        wait_until(lambda: server.stats()["websocket"] == 0)

    Args:
        condition: Function without arguments, called every 10 ms.
        timeout: Longest time to wait, seconds; by default 5.
        message: Text in front of the error's; by default none.

    Raises:
        TimeoutError: The condition did not become true in time. The message shows its source.
    """
    deadline = time.monotonic() + seconds("timeout", timeout)
    while not condition():
        if time.monotonic() > deadline:
            told = _in_vain(condition, timeout, message)
            if _is_in_a_loop():
                told += "; wait_until blocks the event loop: use await wait_until_async"
            raise TimeoutError(told)
        time.sleep(_POLL_S)


async def wait_until_async(
    condition: Callable[[], object | Awaitable[object]],
    timeout: float = 5.0,  # noqa: ASYNC109
    *,
    message: str | None = None,
) -> None:
    """Waits until a condition is true, while other tasks of the event loop run.

    Example:
        await wait_until_async(lambda: len(received) == 3)

    Args:
        condition: Function without arguments, called every 10 ms. If it returns an awaitable, its result is
            awaited.
        timeout: Longest time to wait, seconds; by default 5. An awaited condition is not interrupted.
        message: Text in front of the error's; by default none.

    Raises:
        TimeoutError: The condition did not become true in time. The message shows its source.
    """
    deadline = time.monotonic() + seconds("timeout", timeout)
    while True:
        result = condition()
        if await result if inspect.isawaitable(result) else result:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(_in_vain(condition, timeout, message))
        await asyncio.sleep(_POLL_S)


def assert_ledger_balances(server: Server, timeout: float = 5.0) -> None:
    """Asserts that every publication of a server is accounted for, once what is under way has settled.

    Args:
        server: A server that runs, or was stopped.
        timeout: Longest time to wait for the deliveries that are under way, seconds; by default 5.

    Raises:
        AssertionError: The ledger does not balance. The message has one line per channel that is off.
    """
    if server.is_running:
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: server.ledger()["is_balanced"], timeout)
    ledger = server.ledger()
    if not ledger["is_balanced"]:
        raise AssertionError(_imbalance(ledger))


class Identified(Protocol):
    """A client that knows the id of its connection: a WebSocket client of `carillon` or `carillon.sync`."""

    @property
    def client_id(self) -> str | None:
        """Id that the server gave the connection; None while there is none, and over SSE and long-polling."""


def cut(server: Server, connection: str | Identified) -> None:
    """Drops one TCP connection of a server at once, without a close frame, as a network failure does.

    A client of this package reconnects by itself, and its subscriptions continue where they were.

    Example:
        cut(server, client)

    Args:
        server: A server of this process.
        connection: A connected WebSocket client, or the id of a connection: one of `server.connections()`, or
            the `client` of a hook's context or of a record of the access log. To cut the streams of an SSE
            client, or polls, use `FaultProxy.cut`.

    Raises:
        ValueError: The server has no such connection now.
    """
    client = connection if isinstance(connection, str) else connection.client_id
    if not client or not server.cut(client):
        raise ValueError(f"cannot cut {connection!r}: the server has no such connection now")


class ServerFactory(Protocol):
    """Type of the fixture `carillon_server_factory`."""

    def __call__(
        self, *, before_start: Callable[[Server], object] | None = None, **options: Unpack[ServerOptions]
    ) -> Server:
        """Starts a server and returns it.

        Args:
            before_start: Function that gets the server before it starts: the place to register hooks.
            **options: Arguments of `carillon.Server`.
        """


class ClientFactory(Protocol):
    """Type of the fixture `carillon_client`."""

    def __call__(self, url: str | None = None, **options: Unpack[ConnectOptions]) -> Client:
        """Returns a client, to be awaited or entered with `async with`.

        Args:
            url: Address of the server or of a proxy; by default that of `carillon_server`.
            **options: Arguments of `carillon.connect`.
        """


class SyncClientFactory(Protocol):
    """Type of the fixture `carillon_sync_client`."""

    def __call__(self, url: str | None = None, **options: Unpack[ConnectOptions]) -> SyncClient:
        """Returns a client whose calls block; it is closed after the test.

        Args:
            url: Address of the server or of a proxy; by default that of `carillon_server`.
            **options: Arguments of `carillon.sync.connect`.
        """


class FaultProxy:
    """A TCP proxy in front of a server. Clients that use its `url` meet the faults that a test asks for.

    It forwards bytes in order or cuts the connection; it never drops bytes silently.

    Example:
        with FaultProxy(server) as proxy:
            client = carillon.sync.connect(proxy.url)
            proxy.cut()

    Args:
        server: A started server, or its address `http://host:port`.

    Raises:
        ServerStopped: The server is not started.
        ConfigError: The address has another form.
    """

    __slots__ = (  # so that a misspelt attribute is an error
        "__weakref__",
        "_accepted",
        "_acceptor",
        "_delay_ms",
        "_is_refusing",
        "_links",
        "_loop",
        "_may_read",
        "_target",
    )

    def __init__(self, server: Server | str) -> None:
        target = urlsplit(base_url(server if isinstance(server, str) else server.url))
        self._target = target.hostname, target.port or _DEFAULT_PORTS[target.scheme]
        self._delay_ms = 0.0
        self._is_refusing = False
        self._links: set[_Link] = set()
        self._accepted = 0
        self._acceptor = Acceptor(self._serve, limit=_CHUNK)
        self._loop: BackgroundLoop | None = None
        self._may_read: dict[Side, asyncio.Event] = {}

    @property
    def delay_ms(self) -> float:
        """Delay of each piece of data, milliseconds; 0 at first. It may be set."""
        return self._delay_ms

    @delay_ms.setter
    def delay_ms(self, value: float) -> None:
        self._delay_ms = milliseconds("delay_ms", value)

    @property
    def is_refusing(self) -> bool:
        """Whether new connections are closed at once; False at first. It may be set."""
        return self._is_refusing

    @is_refusing.setter
    def is_refusing(self, value: bool) -> None:
        self._is_refusing = flag("is_refusing", value)

    @property
    def url(self) -> str:
        """Address for clients, `http://host:port`.

        Raises:
            RuntimeError: The proxy was never started, so it has no port yet.
        """
        if not self._acceptor.port:
            raise RuntimeError("the proxy is not started: call start(), or use it in a with block")
        return f"http://127.0.0.1:{self._acceptor.port}"

    @property
    def connections(self) -> int:
        """Number of connections that are open now."""
        return len(self._links)

    @property
    def accepted(self) -> int:
        """Number of connections so far, including refused ones."""
        return self._accepted

    def start(self) -> Self:
        """Listens on a free port of 127.0.0.1."""
        self._loop = BackgroundLoop("carillon-fault-proxy", "the proxy is stopped")
        self._loop.run(self._start())
        return self

    def stop(self) -> None:
        """Cuts all connections and stops listening. Idempotent."""
        if self._loop is not None:
            self._loop.run(self._acceptor.close())
            self._loop.close()
            self._loop = None

    def cut(self) -> int:
        """Cuts all open connections, without a close frame, and returns their number."""
        return self._run(self._cut())

    def pause_reads(self, side: Side | None = None) -> None:
        """Stops reading, so that the buffers on the way fill up. Connections stay open.

        Args:
            side: "client": nothing from clients reaches the server. "server": nothing from the server reaches
                clients. By default both.
        """
        self._run(self._set_reading(self._sides(side), False))

    def resume(self, side: Side | None = None) -> None:
        """Reads again after `pause_reads`.

        Args:
            side: "client" or "server", as in `pause_reads`; by default both.
        """
        self._run(self._set_reading(self._sides(side), True))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @staticmethod
    def _sides(side: Side | None) -> tuple[Side, ...]:
        if side is None:
            return get_args(Side)
        one_of("side", side, get_args(Side))
        return (side,)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the proxy is not started: call start(), or use it in a with block")
        return self._loop.run(work)

    async def _start(self) -> None:
        self._may_read = {side: asyncio.Event() for side in self._sides(None)}
        await self._set_reading(self._sides(None), True)
        self._acceptor.start()

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    async def _set_reading(self, sides: tuple[Side, ...], may_read: bool) -> None:
        for side in sides:
            if may_read:
                self._may_read[side].set()
            else:
                self._may_read[side].clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        if self._is_refusing:
            return
        up_reader, up_writer = await asyncio.open_connection(*self._target, limit=_CHUNK)
        link = _Link(writer, up_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pipe(reader, up_writer, self._may_read["client"]),
                self._pipe(up_reader, writer, self._may_read["server"]),
            )
        finally:
            link.cut()
            self._links.discard(link)

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_read: asyncio.Event
    ) -> None:
        while True:
            await may_read.wait()
            chunk = await reader.read(_CHUNK)
            await may_read.wait()
            if self._delay_ms:
                await asyncio.sleep(self._delay_ms / 1000)
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


def _in_vain(condition: Callable[[], object], timeout: float, message: str | None) -> str:
    told = f"{_source_of(condition)} did not become true within {timeout:g} s"
    return told if message is None else f"{message}: {told}"


def _source_of(condition: Callable[[], object]) -> str:
    """Returns the expression of a lambda as it was written, or the name of another function."""
    name = str(getattr(condition, "__name__", None) or shown(condition))
    code = getattr(condition, "__code__", None)
    if name != "<lambda>" or code is None:
        return name
    spans = [span for span in code.co_positions() if None not in span and span[2] != span[3]]
    if not spans:
        return name
    (line, column) = min((line, column) for line, _, column, _ in spans)
    (end_line, end_column) = max((end_line, end_column) for _, end_line, _, end_column in spans)
    lines = [text.encode() for text in linecache.getlines(code.co_filename)[line - 1 : end_line]]
    if not lines:
        return name
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    return " ".join(b" ".join(lines).decode(errors="replace").split())


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _imbalance(ledger: dict[str, Any]) -> str:
    """Returns one line per channel that is off, and one for threads that have died."""
    rows = [*ledger["channels"]]
    if "forgotten" in ledger:
        rows.append({**ledger["forgotten"], "channel": "(channels that are not in memory any more)"})
    off = [row for row in rows if not row["is_balanced"]]
    lines = [f"the ledger does not balance: {len(off)} of {len(rows)} channels are off"]
    if missing := ledger["missing_shards"]:
        lines.append(
            f"  {missing} threads of the server have died, and the counts of their subscriptions with them"
        )
    for row in off:
        dropped = sum(row["dropped"].values())
        terms = {name: row[name] for name in ("published", "delivered", "conflated")}
        terms |= {"dropped": dropped, "returned": row["returned"], "pending": row["pending"]}
        missing = 2 * terms["published"] - sum(terms.values())
        counts = ", ".join(f"{name} {count}" for name, count in terms.items())
        lines.append(
            f"  {row['channel']!r}: {counts}: {missing} unaccounted for, "
            f"{row['unbalanced']} subscriptions off"
        )
    return "\n".join(lines)
