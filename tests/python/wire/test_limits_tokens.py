"""The limits of tokens, reached over the wire. See `test_limits_connections.py`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import User
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from wire_clients import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import RefreshContext, Server

pytestmark = pytest.mark.wire

SECRET = "secret"


def with_keys(factory: Callable[..., Server], **limits: int) -> Server:
    config = {"client": {"token": {"hmac_secret_key": SECRET}, "ping_interval": "0s"}, "limits": limits}
    return factory(port=0, config=config)


async def open_with(server: Server, token: str) -> tuple[ClientConnection, dict[str, Any]]:
    address = f"ws://127.0.0.1:{server.port}/connection/websocket"
    socket = await connect(address, proxy=None, compression=None, ping_interval=None)
    await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
    return socket, json.loads(await socket.recv())


async def test_expired_close_delay_ms(carillon_server_factory: Callable[..., Server]) -> None:
    server = with_keys(carillon_server_factory, expired_close_delay_ms=100)
    socket, reply = await open_with(server, carillon.token(SECRET, "ann", expires=2))
    assert reply["connect"]["expires"]
    begun = time.monotonic()
    async with asyncio.timeout(15):
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3005, "connection expired")
    assert 0.9 < time.monotonic() - begun < 10  # the default would have been 25 s more


async def test_expired_sub_close_delay_ms(carillon_server_factory: Callable[..., Server]) -> None:
    server = with_keys(carillon_server_factory, expired_sub_close_delay_ms=100)
    socket, _ = await open_with(server, carillon.token(SECRET, "ann"))
    token = carillon.token(SECRET, "ann", channel="$a", expires=2)
    await socket.send(json.dumps({"id": 2, "subscribe": {"channel": "$a", "token": token}}))
    reply = json.loads(await socket.recv())
    assert reply["subscribe"]["expires"]
    assert 1 <= reply["subscribe"]["ttl"] <= 3
    async with asyncio.timeout(15):
        push = json.loads(await socket.recv())["push"]
    assert push["unsubscribe"] == {"code": 2501, "reason": "subscription expired"}
    await socket.close()


async def test_token_bytes(carillon_server_factory: Callable[..., Server]) -> None:
    server = with_keys(carillon_server_factory, token_bytes=500)
    socket, reply = await open_with(server, carillon.token(SECRET, "ann", info="x" * 100))
    assert "connect" in reply
    await socket.close()
    with pytest.raises(ConnectionClosed) as closed:
        await open_with(server, carillon.token(SECRET, "ann", info="x" * 500))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 3500


async def test_refresh_retry_ms(carillon_server_factory: Callable[..., Server]) -> None:
    asked: list[float] = []

    def register(server: Server) -> None:
        server.on_connect(lambda ctx: User("ann", expires_at=time.time() + 1))

        @server.on_refresh
        def renew(ctx: RefreshContext) -> User:
            asked.append(time.monotonic())
            if len(asked) == 1:
                raise RuntimeError("the database is away")
            return User(ctx.user)

    server = carillon_server_factory(port=0, limits={"refresh_retry_ms": 1_000}, before_start=register)
    socket, reply = await open_with(server, "")
    assert "expires" not in reply["connect"]
    await until(lambda: len(asked) == 2)  # the default would have been 60 s
    assert asked[1] - asked[0] > 0.9
    await socket.close()
