"""The order of one client's commands behind hooks that answer late, over real sockets."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import carillon
import pytest
from carillon import Server
from carillon.transports.websocket import WebSocketTransport
from wire_clients import open_ws

if TYPE_CHECKING:
    from carillon import PublishContext, SubscribeContext

pytestmark = pytest.mark.wire


@pytest.fixture
def slow_server() -> Server:
    """Not started. Its hooks take a while, and each question another while."""
    server = Server(threads=2)
    chance = random.Random(7)

    @server.on_subscribe("*")
    async def may_subscribe(context: SubscribeContext) -> bool:
        await asyncio.sleep(0.05)
        return True

    @server.on_publish("*")
    async def may_publish(context: PublishContext) -> bool:
        await asyncio.sleep(chance.random() * 0.02)
        return True

    return server


async def test_a_page_that_mounts_unmounts_and_mounts_is_subscribed(slow_server: Server) -> None:
    async with slow_server, open_ws(slow_server) as ws:
        await ws.send(subscribe={"channel": "room"})
        left = await ws.send(unsubscribe={"channel": "room"})
        back = await ws.send(subscribe={"channel": "room"})
        assert (await ws.reply(left))["unsubscribe"] == {}
        assert "subscribe" in await ws.reply(back)
        slow_server.publish("room", "hello")
        assert [each["data"] for each in await ws.publications(1)] == ["hello"]
        assert not ws.pushes


async def test_publishes_of_one_sender_keep_their_order(slow_server: Server) -> None:
    async with slow_server, open_ws(slow_server) as ws:
        numbers = [await ws.send(publish={"channel": "n", "data": n}) for n in range(12)]
        for number in numbers:
            assert "publish" in await ws.reply(number)
        assert [each.json() for each in slow_server.history("n").messages] == list(range(12))


async def test_what_is_read_behind_a_subscribe_has_no_hole(slow_server: Server) -> None:
    async with slow_server, open_ws(slow_server) as ws:
        subscribed = await ws.send(subscribe={"channel": "n"})
        asked = await ws.send(history={"channel": "n", "limit": 100})
        slow_server.publish("n", 1)
        top = (await ws.reply(subscribed))["subscribe"].get("offset", 0)
        assert (await ws.reply(asked))["history"].get("offset", 0) >= top == 1


async def test_our_own_client_leaves_before_it_was_there_and_comes_again(slow_server: Server) -> None:
    async with slow_server, carillon.connect(slow_server.url) as client:

        async def visit() -> None:
            async with client.subscribe("room") as room:
                async for _ in room:
                    pass

        for _ in range(3):
            visiting = asyncio.create_task(visit())
            await asyncio.sleep(0.01)
            visiting.cancel()
            await asyncio.gather(visiting, return_exceptions=True)
        async with client.subscribe("room") as room:
            await client.publish("room", "hello")
            assert (await anext(aiter(room))).json() == "hello"
        await client.history("room")  # what was sent before is answered by now
        assert isinstance(client._transport, WebSocketTransport)
        assert not client._transport._outbox._waiting, "a subscribe that was left is not waited for"
