"""Fixtures for suites that test against a real server. pytest finds them when Carillon is installed.

They are plain fixtures: the server has threads of its own, so that no event loop and no asyncio plugin is
needed. At the end of each test every server's ledger must balance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .client import Client
    from .server import Server
    from .testing import Identified


@pytest.fixture
def carillon_server_factory() -> Iterator[Callable[..., Server]]:
    """Makes started servers; takes the arguments of `carillon.Server`. They are stopped after the test.

    `before_start=` is a function that gets the server before it starts: the place to register hooks.
    """
    from .server import Server
    from .testing import assert_ledger_balances

    servers: list[Server] = []

    def make(*, before_start: Callable[[Server], object] | None = None, **settings: Any) -> Server:
        server = Server(**settings)
        if before_start is not None:
            before_start(server)
        server.start()
        servers.append(server)
        return server

    yield make
    try:
        for server in servers:
            assert_ledger_balances(server)
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def carillon_server(carillon_server_factory: Callable[..., Server]) -> Server:
    """A server on a free port of 127.0.0.1, in memory, where everybody may do everything."""
    return carillon_server_factory()


@pytest.fixture
def carillon_url(carillon_server: Server) -> str:
    """The address of `carillon_server`."""
    return carillon_server.url


@pytest.fixture
def carillon_client(carillon_url: str) -> Callable[..., Client]:
    """Makes clients of `carillon_server`, to be awaited or entered with `async with`.

    Takes the arguments of `carillon.connect` but the address. Reconnects are fast, so that tests are.
    """
    from .client import connect

    def make(**options: Any) -> Client:
        return connect(carillon_url, **{"min_reconnect_delay": 0.02, "max_reconnect_delay": 0.2, **options})

    return make


@pytest.fixture
def carillon_cut(carillon_server: Server) -> Callable[[str | Identified], None]:
    """Cuts a connection of `carillon_server`: `carillon_cut(client)`. See `carillon.testing.cut`."""
    from .testing import cut

    return lambda connection: cut(carillon_server, connection)
