"""A takeover while a backend or a hook is slow: nobody waits for it, and nobody is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from backend_double import Backend, proxied, running_backend
from carillon import Server
from carillon.testing import wait_until
from wire_clients import Ws, open_ws

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.wire

SLOW_S = 5.0
PAUSE_S = 3.0  # much more than it takes on a busy machine, and less than what is slow
PER_S = 100
DECIDERS = ("backend", "hook")


@pytest.fixture
def backend() -> Iterator[Backend]:
    with running_backend() as backend:
        yield backend


class Slow:
    """Answers at once, but for what is called "slow": that only when it is asked again."""

    def __init__(self) -> None:
        self.asked = 0

    def takes_s(self, name: object) -> float:
        self.asked += name == "slow"
        return SLOW_S if name == "slow" and self.asked <= self.patience else 0.0

    patience = 10**9


def server_of(decider: str, backend: Backend, slow: Slow, path: Path, port: int = 0) -> Server:
    config: dict[str, Any] = {"takeover": {"socket": str(path)}}
    if decider == "backend":

        def connect(asked: dict[str, Any]) -> dict[str, Any]:
            time.sleep(slow.takes_s(asked.get("data")))
            return {"result": {"user": "ann"}}

        def rpc(asked: dict[str, Any]) -> dict[str, Any]:
            time.sleep(slow.takes_s(asked["method"]))
            return {"result": {"data": 1}}

        backend.answers |= {"/connect": connect, "/rpc": rpc}
        return Server(port=port, config=proxied(backend, "connect", "rpc", timeout="10s") | config)
    server = Server(port=port, config=config, insecure=True)

    @server.on_connect
    async def on_connect(ctx: carillon.ConnectContext) -> bool:
        await asyncio.sleep(slow.takes_s(json.loads(ctx.data or "null")))
        return True

    @server.on_rpc("*")
    async def on_rpc(ctx: carillon.RpcContext) -> Any:
        await asyncio.sleep(slow.takes_s(ctx.method))
        return 1

    return server


class Listener:
    """Gets many publications a second, and keeps the longest time between two."""

    def __init__(self, ws: Ws) -> None:
        self.ws = ws
        self.data: list[int] = []
        self.longest_s = 0.0

    async def publish(self) -> None:
        """Publishes by its own connection, and so does not stop at the end of a process."""
        for number in range(10**6):
            await self.ws.send(publish={"channel": "open:c", "data": number})
            await asyncio.sleep(1 / PER_S)

    async def listen(self) -> None:
        last = time.monotonic()
        while True:
            (publication,) = await self.ws.publications(1)
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last)
            last = now
            self.data.append(publication["data"])


@contextlib.asynccontextmanager
async def listening(server: Server) -> Any:
    async with open_ws(server) as ws:
        await ws.subscribe("open:c")
        listener = Listener(ws)
        tasks = [asyncio.create_task(work) for work in (listener.listen(), listener.publish())]
        try:
            yield listener
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Any) -> None:
    await asyncio.to_thread(wait_until, condition)


@pytest.mark.parametrize("decider", DECIDERS)
async def test_a_connect_that_is_under_way_is_asked_again_and_nobody_waits_for_it(
    tmp_path: Path, backend: Backend, decider: str
) -> None:
    slow = Slow()
    slow.patience = 1
    with server_of(decider, backend, slow, tmp_path / "s").start() as old:
        old.offer_takeover()
        async with listening(old) as listener, open_ws(old, is_connected=False) as newcomer:
            first = await newcomer.send(connect={"data": "slow"})
            second = await newcomer.send(subscribe={"channel": "open:d"})
            await until(lambda: slow.asked == 1)
            new = server_of(decider, backend, slow, tmp_path / "s", old.port)
            began = time.monotonic()
            with await asyncio.to_thread(new.take_over):
                assert "connect" in await newcomer.reply(first)
                assert "subscribe" in await newcomer.reply(second)
                assert time.monotonic() - began < SLOW_S - 1, "it was asked again, and not waited for"
                assert slow.asked == 2
                seen = len(listener.data)
                await until(lambda: len(listener.data) > seen + 10)
                assert listener.data == list(range(len(listener.data)))
                assert listener.longest_s < PAUSE_S
                assert new.stats()["websocket"] == 2


@pytest.mark.parametrize("decider", DECIDERS)
async def test_commands_and_streams_that_are_under_way_are_waited_for_as_long_as_the_option_says(
    tmp_path: Path, backend: Backend, decider: str
) -> None:
    slow = Slow()
    old = server_of(decider, backend, slow, tmp_path / "s").start()
    old.offer_takeover()
    async with (
        listening(old) as listener,
        open_ws(old) as calls,
        httpx.AsyncClient(base_url=old.url, timeout=20) as http,
    ):
        await calls.send(rpc={"method": "slow"})
        query = {"channel": "open:c", "data": '"slow"'}
        stream = asyncio.create_task(http.get("/sse", params=query))
        poll = asyncio.create_task(http.get("/poll", params=query))
        await until(lambda: slow.asked == 3)
        new = server_of(decider, backend, slow, tmp_path / "s", old.port)
        began = time.monotonic()
        with await asyncio.to_thread(new.take_over):
            # Without a drain of the old process: nobody serves them there any more.
            assert (await calls.closed())[0] == 3001
            assert (await stream).text.startswith("retry: ")
            answer = await poll
            assert (answer.status_code, answer.headers["Retry-After"].isdigit()) == (503, True)
            assert time.monotonic() - began < SLOW_S - 1
            seen = len(listener.data)
            await until(lambda: len(listener.data) > seen + 10)
            assert listener.data == list(range(len(listener.data)))
            assert listener.longest_s < PAUSE_S
            await asyncio.to_thread(old.stop)
