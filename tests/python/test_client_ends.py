"""What a client leaves behind when something of it ends: nothing."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from typing import TYPE_CHECKING, Literal

import carillon
import pytest
from carillon import Server, sync
from carillon.background_loop import BackgroundLoop
from carillon.testing import wait_until
from carillon.transports.websocket import WebSocketTransport
from fake_servers import Peer, centrifuge_server, http_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.wire

Transport = Literal["ws", "sse", "poll"]
GAUGES = {"ws": "subscriptions", "sse": "sse", "poll": "polls"}


@pytest.mark.parametrize("how", ["it is closed", "it is left behind", "its client is closed"])
@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
async def test_a_subscription_is_not_served_after_its_end(
    carillon_server: Server, transport: Transport, how: str
) -> None:
    async def becomes(gauge: str, number: int) -> None:
        await asyncio.to_thread(wait_until, lambda: carillon_server.stats()[gauge] == number)

    client = carillon.connect(carillon_server.url, transport=transport)
    subscription = await client.subscribe("c").open()
    await becomes(GAUGES[transport], 1)
    if how == "it is closed":
        await subscription.aclose()
    elif how == "its client is closed":
        await client.aclose()
    else:
        del subscription
        gc.collect()
    await becomes(GAUGES[transport], 0)
    await client.aclose()
    await becomes("connections", 0)


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
async def test_a_reader_hears_that_somebody_cancelled_the_background_task(
    carillon_server: Server, transport: Transport
) -> None:
    async with (
        carillon.connect(carillon_server.url, transport=transport) as client,
        client.subscribe("c") as subscription,
    ):
        assert client._lifetime is not None
        (task,) = client._lifetime._tasks
        task.cancel()
        with pytest.raises(carillon.ConnectionClosed, match="was cancelled"):
            await subscription.next(10)


async def test_a_request_whose_caller_is_cancelled_is_cancelled() -> None:
    heads: list[bytes] = []
    async with http_server(None, heads) as url, carillon.connect(url, transport="poll") as client:
        publishing = asyncio.create_task(client.publish("c", 1))
        await asyncio.to_thread(wait_until, lambda: heads)
        requests = [task for task in asyncio.all_tasks() if task.get_name() == "carillon command"]
        publishing.cancel()
        _, left = await asyncio.wait({publishing, *requests}, timeout=5)
        assert len(requests) == 1
        assert not left


@pytest.mark.parametrize("how", ["answered", "late", "cancelled"])
async def test_a_command_is_forgotten_after_its_end(how: str) -> None:
    asked = asyncio.Event()

    async def answer(peer: Peer) -> None:
        command = await peer.command("publish")
        asked.set()
        if how == "answered":
            await peer.reply(command, publish={})

    patience_s = 0.2 if how == "late" else 10.0
    async with centrifuge_server(answer) as url, carillon.connect(url, open_timeout=patience_s) as client:
        publishing = asyncio.create_task(client.publish("c", 1))
        await asked.wait()
        if how == "cancelled":
            publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        assert publishing.cancelled() == (how == "cancelled")
        assert isinstance(client._transport, WebSocketTransport)
        assert client._lifetime is not None
        assert not client._transport._outbox._waiting
        assert not client._lifetime._waits


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, as on a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_cancels_what_the_main_thread_waits_for() -> None:
    loop = BackgroundLoop("test", "closed")
    was_cancelled = threading.Event()

    async def work() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            was_cancelled.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert was_cancelled.wait(5)
    loop.close()


def test_a_blocking_subscription_is_not_served_after_its_end(carillon_server: Server) -> None:
    with sync.connect(carillon_server.url) as client:
        with client.subscribe("c"):
            assert carillon_server.stats()["subscriptions"] == 1
        wait_until(lambda: carillon_server.stats()["subscriptions"] == 0)
    assert not [thread for thread in threading.enumerate() if thread.name == "carillon-client"]
