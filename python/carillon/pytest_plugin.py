"""Fixtures for test suites that use a real server. pytest finds them when Carillon is installed.

They are plain fixtures: a server has threads of its own, so that neither an event loop nor an asyncio plugin
is needed. At the end of each test the ledger of every server must balance. docs/testing.md has recipes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .client import Client, ConnectOptions
    from .server import Server, ServerOptions
    from .sync import Client as SyncClient
    from .testing import (
        ClientFactory,
        FaultProxy,
        Identified,
        RedisServer,
        ServerFactory,
        SyncClientFactory,
    )

# So that tests do not wait: by default clients wait up to 20 seconds.
_FAST: ConnectOptions = {"min_reconnect_delay": 0.02, "max_reconnect_delay": 0.2}


@pytest.fixture
def carillon_server_factory() -> Iterator[ServerFactory]:
    """Makes started servers: takes the arguments of `carillon.Server`, and `before_start`.

    The servers are stopped after the test. `before_start` is a function that gets the server before it
    starts: the place to register hooks.

    Example:
        def test_history(carillon_server_factory):
            server = carillon_server_factory(channels={"*": carillon.Channel(history_size=3)})

        def test_hooks(carillon_server_factory):
            def register(server):
                server.on_connect(lambda context: context.token == "secret")

            server = carillon_server_factory(before_start=register)
    """
    from .server import Server
    from .testing import assert_ledger_balances

    servers: list[Server] = []

    def make(
        *, before_start: Callable[[Server], object] | None = None, **options: Unpack[ServerOptions]
    ) -> Server:
        server = Server(**options)
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
def carillon_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A started `carillon.testing.RedisServer`, killed after the test. Without Redis the test is skipped.

    It keeps nothing when it ends. `RedisServer(tmp_path, "--appendonly", "yes")` makes another one.

    Example:
        def test_a_key(carillon_redis):
            carillon_redis.cli("set", "a", "1")
            assert carillon_redis.cli("get", "a") == "1"
    """
    from .testing import RedisServer

    if why := RedisServer.missing():
        pytest.skip(why)
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as redis:
        yield redis


@pytest.fixture
def carillon_server(carillon_server_factory: ServerFactory) -> Server:
    """A server on a free port of 127.0.0.1, in memory, on which every client may do everything.

    Example:
        def test_publish(carillon_server):
            assert carillon_server.publish("news", 1).offset == 1
    """
    return carillon_server_factory()


@pytest.fixture
def carillon_url(carillon_server: Server) -> str:
    """The address of `carillon_server`, `http://host:port`."""
    return carillon_server.url


@pytest.fixture
def carillon_client(carillon_url: str) -> ClientFactory:
    """Makes clients, to be awaited or entered with `async with`. They reconnect within 0.2 s.

    Takes the arguments of `carillon.connect`. Without an address it is a client of `carillon_server`.

    Example:
        async def test_follow(carillon_server, carillon_client):
            async with carillon_client() as client, client.subscribe("news") as news:
                carillon_server.publish("news", 1)
                assert (await news.next(timeout=5)).json() == 1
    """
    from .client import connect

    def make(url: str | None = None, **options: Unpack[ConnectOptions]) -> Client:
        return connect(url or carillon_url, **(_FAST | options))

    return make


@pytest.fixture
def carillon_sync_client(carillon_url: str) -> Iterator[SyncClientFactory]:
    """Makes clients whose calls block. They reconnect within 0.2 s and are closed after the test.

    Takes the arguments of `carillon.sync.connect`. Without an address it is a client of `carillon_server`.

    Example:
        def test_follow(carillon_server, carillon_sync_client):
            with carillon_sync_client().subscribe("news") as news:
                carillon_server.publish("news", 1)
                assert news.next(timeout=5).json() == 1
    """
    from .sync import connect

    clients: list[SyncClient] = []

    def make(url: str | None = None, **options: Unpack[ConnectOptions]) -> SyncClient:
        client = connect(url or carillon_url, **(_FAST | options))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def carillon_proxy(carillon_server: Server) -> Iterator[FaultProxy]:
    """A started `carillon.testing.FaultProxy` in front of `carillon_server`, stopped after the test.

    Example:
        def test_cut(carillon_proxy, carillon_sync_client):
            client = carillon_sync_client(carillon_proxy.url)
            carillon_proxy.cut()
    """
    from .testing import FaultProxy

    with FaultProxy(carillon_server) as proxy:
        yield proxy


@pytest.fixture
def carillon_cut(carillon_server: Server) -> Callable[[str | Identified], None]:
    """Cuts a connection of `carillon_server`. See `carillon.testing.cut`.

    Example:
        def test_cut(carillon_cut, carillon_sync_client):
            client = carillon_sync_client().open()
            carillon_cut(client)
    """
    from .testing import cut

    return lambda connection: cut(carillon_server, connection)
