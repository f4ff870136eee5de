"""Accepts connections for proxies and stand-in servers, and leaves none behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

Serve: TypeAlias = "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[object, object, None]]"

_BACKLOG = 100
_REST_S = 0.1  # after an accept that failed: no descriptors are left


class Acceptor:
    """Accepts TCP connections at a free port of 127.0.0.1. Each ends with its task, or with the acceptor.

    `asyncio.start_server` loses a connection that arrives in the turn in which it closes: nobody ends it.
    Here a connection belongs to its task from the call of accept on. An object belongs to one event loop.

    Args:
        serve: Serves one connection. What it leaves open is cut off when it returns.
        limit: Size of a reader's buffer, bytes.
        tls: Context for TLS; by default connections are plain.
    """

    def __init__(self, serve: Serve, *, limit: int = 65_536, tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._limit = limit
        self._tls = tls
        self._listening: socket.socket | None = None
        self._port = 0
        self._accepted: set[socket.socket] = set()  # whose tasks have not begun
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """The port; 0 before the start."""
        return self._port

    def start(self) -> None:
        """Listens. Called on the event loop."""
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listening.setblocking(False)
        self._port = self._listening.getsockname()[1]
        self._watch()

    async def close(self) -> None:
        """Stops listening and ends all connections. Idempotent."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        tasks = list(self._serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._accepted:  # their tasks were cancelled before they began
            connection.close()
        self._accepted.clear()
        await asyncio.sleep(0)  # a transport that is aborted closes its socket in the next turn

    def _watch(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            loop.remove_reader(listening)
            loop.call_later(_REST_S, self._watch)
            return
        connection.setblocking(False)
        self._accepted.add(connection)
        task = loop.create_task(self._run(connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _run(self, connection: socket.socket) -> None:
        self._accepted.discard(connection)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        with contextlib.suppress(OSError):  # the peer has gone, or does not speak TLS
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await self._serve(reader, writer)
            finally:
                transport.abort()
