"""Channels whose subscribers are served by a sweep: whoever reads with a position does not wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from carillon import Channel
from wire_clients import TIMEOUT_S, open_http, open_sse, open_ws, poll

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server
    from wire_clients import Ws

pytestmark = pytest.mark.wire

SWEEPS = {
    "write": Channel(),
    "read": Channel(fanout="read", sweep_interval="1h"),
    "hybrid": Channel(fanout="hybrid", fanout_threshold=1, sweep_interval="1h"),
    "batch_interval": Channel(batch_interval="1h"),
    "conflate": Channel(batch_interval="1h", conflate=True),
}


@pytest.mark.parametrize("sweep", SWEEPS)
async def test_every_kind_of_read_is_answered_before_the_sweep(
    serve: Callable[..., Server], sweep: str
) -> None:
    server = serve(channels={"c": SWEEPS[sweep]})
    async with open_ws(server) as live, open_ws(server) as other, open_http(server) as client:
        start = server.publish("c", 0)
        for ws in (live, other):  # two subscribers: above the threshold of hybrid
            await ws.subscribe("c")
        server.publish("c", 1)
        await turned(live)
        for number in (2, 3):
            server.publish("c", number)

        async with open_ws(server) as ws:
            result = await ws.subscribe("c", recover=True, offset=start.offset, epoch=start.epoch)
            assert result["recovered"]
            assert [each["data"] for each in result["publications"]] == [1, 2, 3]
            reply = await ws.command(history={"channel": "c", "limit": 10})
            assert [each["data"] for each in reply["history"]["publications"]] == [0, 1, 2, 3]
        async with open_sse(server, "c", since=str(start)) as sse:
            assert (await sse.status())["recovered"]
            assert [each["data"] for each in await sse.publications(3)] == [1, 2, 3]
        for channels, since in ((("c",), str(start)), (("c", "d"), f"{start},-")):
            body = await poll(client, *channels, since=since, timeout=TIMEOUT_S * 2)
            assert [each["data"] for each in body["publications"]] == [1, 2, 3]
        async with asyncio.timeout(TIMEOUT_S), server.subscribe("c", since=start) as subscription:
            assert [(await anext(subscription)).json() for _ in range(3)] == [1, 2, 3]
        found = await client.post("/api/history", json={"channel": "c", "limit": 10})
        assert len(found.json()["result"]["publications"]) == 4


async def turned(ws: Ws) -> None:
    """Waits until the connection's thread has looked at what was published before."""
    await ws.command(history={"channel": "c", "limit": 0})
