"""Clients that are all far behind, at a gateway that has nothing in memory."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

from .running import PUBLICATION, calls, gateways, quantiles

if TYPE_CHECKING:
    import carillon
    from carillon.testing import RedisServer


async def _behind(
    server: carillon.Server, channel: str, epoch: str, clients: int, entries: int
) -> list[float]:
    """Returns the times until each client that resumes has the last of its entries."""

    async def one() -> float:
        began = time.perf_counter()
        url = f"ws://127.0.0.1:{server.port}/connection/websocket"
        async with connect(url, proxy=None, compression=None, max_size=None) as socket_:
            since = {"channel": channel, "recover": True, "epoch": epoch, "offset": 0}
            await socket_.send('{"id":1,"connect":{}}\n' + json.dumps({"id": 2, "subscribe": since}))
            while True:
                text = str(await socket_.recv())
                if f'"offset":{entries}' in text:
                    return time.perf_counter() - began

    return list(await asyncio.gather(*(one() for _ in range(clients))))


def resume(redis: RedisServer, clients: int, entries: int) -> None:
    """Prints how long it takes until all have the last publication, with each store."""
    print(f"\n## {clients} clients resume at once, each {entries} publications behind, ms until the last")
    print("| store | p50 | p99 | reads of Redis |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for store in ("memory", f"sqlite:{folder}/carillon.db", redis.url):
            redis.cli("flushall")
            redis.cli("config", "resetstat")
            with gateways(store, 1) as (first,):
                position = first.publish("room", {"n": 0})
                first.publish_many([("room", PUBLICATION) for _ in range(entries - 1)])
                if store == "memory":
                    times = asyncio.run(_behind(first, "room", position.epoch, clients, entries))
            if store != "memory":
                with gateways(store, 1) as (second,):
                    times = asyncio.run(_behind(second, "room", position.epoch, clients, entries))
            p50, p99 = quantiles(times)
            reads = calls(redis, "xrange", "xrevrange") if store == redis.url else ""
            print(f"| {store.split(':')[0]} | {p50:.0f} | {p99:.0f} | {reads} |")
