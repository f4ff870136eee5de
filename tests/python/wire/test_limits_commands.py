"""One test for each row of the table of limits that bounds the commands of a connection.

`test_limits.py` checks that no row is forgotten: a test here is named after its row.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from carillon import Server
from wire_clients import Ws, open_ws, settled, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from carillon import PublishContext

pytestmark = pytest.mark.wire


@asynccontextmanager
async def slow_publishes(limits: dict[str, int]) -> AsyncIterator[tuple[Server, Ws, threading.Event]]:
    """A server whose hook answers once the event is set, but at once on the channel `quick`."""
    server = Server(limits=limits, threads=1)
    gate = threading.Event()

    @server.on_publish("*")
    async def decide(context: PublishContext) -> bool:
        return context.channel == "quick" or await asyncio.to_thread(gate.wait, 4)

    async with server, open_ws(server) as ws:
        try:
            yield server, ws, gate
        finally:
            gate.set()


async def test_commands_under_way() -> None:
    async with slow_publishes({"commands_under_way": 3}) as (server, ws, gate):
        numbers = [await ws.send(publish={"channel": f"c{n}", "data": n}) for n in range(10)]
        assert await settled(lambda: int(server.stats()["commands_under_way"])) == 3
        assert server.stats()["command_pauses"] == 1
        assert server.stats()["published"] == 0
        async with asyncio.timeout(5):
            await (await ws.socket.ping())  # commands are not read meanwhile, but control frames are
        gate.set()
        for number in numbers:
            assert "publish" in await ws.reply(number)
        await until(lambda: server.stats()["commands_under_way"] == 0)


async def test_commands_under_way_bytes() -> None:
    async with slow_publishes({"commands_under_way_bytes": 1_000}) as (server, ws, gate):
        numbers = [await ws.send(publish={"channel": f"c{n}", "data": "x" * 400}) for n in range(6)]
        assert await settled(lambda: int(server.stats()["commands_under_way"])) == 3
        gate.set()
        for number in numbers:
            assert "publish" in await ws.reply(number)


async def test_concurrency() -> None:
    async with slow_publishes({"concurrency": 1}) as (server, ws, gate):
        slow = await ws.send(publish={"channel": "slow", "data": 1})
        quick = await ws.send(publish={"channel": "quick", "data": 1})
        assert "ping" in await ws.command(ping={}), "pings pass"
        assert await settled(lambda: int(server.stats()["commands_under_way"])) == 2
        assert not server.history("quick").messages
        gate.set()
        assert "publish" in await ws.reply(slow)
        assert "publish" in await ws.reply(quick)
    async with slow_publishes({"concurrency": 0}) as (server, ws, gate):
        await ws.send(publish={"channel": "slow", "data": 1})
        assert "publish" in await ws.command(publish={"channel": "quick", "data": 1})
