"""One test for each row of the table of limits that bounds questions to backends: set small, and reached.

`test_limits.py` checks that no row is forgotten: a test here is named after its row.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from backend_double import Backend, proxied, running_backend
from wire_clients import open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

pytestmark = pytest.mark.wire


@pytest.fixture
def threads() -> int:
    """The limits hold for each thread."""
    return 1


@pytest.fixture
def backend() -> Iterator[Backend]:
    with running_backend() as backend:
        yield backend


async def outcomes(
    serve: Callable[..., Server], backend: Backend, limits: dict[str, int], size: int, refused: int
) -> tuple[Server, int]:
    """Eight clients call a backend that answers when all have; `refused` are told to try again.

    Returns how many requests were under way at most.
    """
    may_answer = threading.Event()
    running: list[int] = [0, 0]
    lock = threading.Lock()

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        with lock:
            running[0] += 1
            running[1] = max(running)
        may_answer.wait(10)
        with lock:
            running[0] -= 1
        return {"result": {"data": 1}}

    backend.answers["/rpc"] = answer
    server = serve(config=proxied(backend, "rpc"), limits=limits)

    async def call() -> int:
        async with open_ws(server) as ws:
            reply = await ws.command(rpc={"method": "m", "data": "x" * size})
            return reply["error"]["code"] if "error" in reply else 0

    calls = [asyncio.create_task(call()) for _ in range(8)]
    await until(lambda: server.stats()["proxies_refused"] == refused)
    await until(lambda: server.stats()["proxy_requests"] == 8 - refused)
    await until(lambda: running[0] == min(limits.get("proxy_requests", 8), 8 - refused))
    may_answer.set()
    assert sorted(await asyncio.gather(*calls)) == [0] * (8 - refused) + [100] * refused
    return server, running[1]


async def test_proxy_requests(serve: Callable[..., Server], backend: Backend) -> None:
    _, most = await outcomes(serve, backend, {"proxy_requests": 3}, size=1, refused=0)
    assert most == 3, "the others waited for these"


async def test_proxy_waiting(serve: Callable[..., Server], backend: Backend) -> None:
    await outcomes(serve, backend, {"proxy_requests": 3, "proxy_waiting": 2}, size=1, refused=3)


async def test_proxy_waiting_bytes(serve: Callable[..., Server], backend: Backend) -> None:
    limits = {"proxy_requests": 1, "proxy_waiting_bytes": 50_000}
    await outcomes(serve, backend, limits, size=20_000, refused=6)


async def test_proxy_idle_connections(serve: Callable[..., Server], backend: Backend) -> None:
    server, _ = await outcomes(serve, backend, {"proxy_idle_connections": 2}, size=1, refused=0)
    assert server.stats()["proxy_connections"] == 8
    backend.answers["/rpc"] = lambda asked: {"result": {"data": 1}}
    barrier = threading.Barrier(4)
    backend.answers["/rpc"] = lambda asked: {"result": {"data": barrier.wait(10)}}

    async def call() -> None:
        async with open_ws(server) as ws:
            assert "rpc" in await ws.command(rpc={"method": "m"})

    await asyncio.gather(*(call() for _ in range(4)))
    assert server.stats()["proxy_connections"] == 10, "two of the four were there"


async def test_proxy_idle_timeout_ms(serve: Callable[..., Server], backend: Backend) -> None:
    server = serve(config=proxied(backend, "rpc"), limits={"proxy_idle_timeout_ms": 50})
    async with open_ws(server) as ws:
        assert "rpc" in await ws.command(rpc={"method": "m"})
        await until(lambda: all(_is_closed(connection) for connection in backend.open))
        assert "rpc" in await ws.command(rpc={"method": "m"})
    assert server.stats()["proxy_connections"] == 2


def _is_closed(connection: Any) -> bool:
    return bool(connection.fileno() < 0)


async def test_proxy_reply_bytes(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/rpc"] = lambda asked: {"result": {"data": "x" * asked["data"]}}
    server = serve(config=proxied(backend, "rpc"), limits={"proxy_reply_bytes": 1_000})
    async with open_ws(server) as ws:
        assert (await ws.command(rpc={"method": "m", "data": 900}))["rpc"]["data"] == "x" * 900
        assert (await ws.command(rpc={"method": "m", "data": 1_000}))["error"]["code"] == 100
