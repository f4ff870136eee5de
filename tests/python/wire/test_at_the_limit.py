"""What is answered while every place for a connection is taken."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from wire_clients import open_http, open_tcp, open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire


@pytest.mark.parametrize(
    "said",
    ["", "GET /", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ids=["silent", "half a request", "refused, and stays"],
)
async def test_the_api_is_answered_at_the_limit_of_connections_whoever_else_comes(
    serve: Callable[..., Server], said: str
) -> None:
    server = serve(limits={"connections": 2})
    async with open_ws(server), open_ws(server), contextlib.AsyncExitStack() as intruders:
        for number in range(80):  # more than are heard at once
            intruder = await intruders.enter_async_context(open_tcp(server))
            with contextlib.suppress(ConnectionError):
                await intruder.write(said)
            if number % 10 == 9:
                async with open_http(server) as client:
                    published = await client.post("/api/publish", json={"channel": "c", "data": number})
                    assert published.status_code == 200
        stats = server.stats()  # on a slow machine those that say nothing are closed before they are too many
        assert stats["turned_away"] + stats["refused"] + stats["handshake_timeouts"] > 0
    await until(lambda: server.stats()["connections"] == 0)
