"""How often a client comes back: delays grow until a connection has lived for a while."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, Literal

import carillon
import pytest
from carillon.testing import wait_until
from carillon.transports.backoff import Backoff
from carillon.transports.reconnect import Reconnect, Refused
from carillon.transports.settings import Settings
from fake_servers import Peer, centrifuge_server, event_stream, http_server, response

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

Transport = Literal["ws", "sse", "poll"]

STATUS = json.dumps({"channel": "c", "recovered": False, "epoch": "e", "offset": 1})
POLL = json.dumps({"publications": [], "since": "e:1", "status": []})


class Largest(random.Random):
    """Draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """All delays that clients draw from now on; each is the limit of its moment."""
    drawn: list[float] = []

    class Noted(Backoff):
        def next_delay(self, at_least: float = 0.0) -> float:
            drawn.append(super().next_delay(at_least))
            return drawn[-1]

    def backoff(self: Settings) -> Backoff:
        return Noted(self.min_delay, self.max_delay, stable=5.0, rng=Largest())

    monkeypatch.setattr(Settings, "backoff", backoff)
    return drawn


def serving_and_dropping(transport: Transport) -> AbstractAsyncContextManager[str]:
    """A server that lets everybody in, and drops them at once."""

    async def drop(peer: Peer) -> None:
        await peer.reply(await peer.command("subscribe"), subscribe={"epoch": "e", "offset": 1})
        await peer.close(3001)

    if transport == "ws":
        return centrifuge_server(drop)
    if transport == "sse":
        return http_server(event_stream("retry: 1", f"event: status\nid: e:1\ndata: {STATUS}"))
    return http_server(response("200 OK", POLL, "Content-Type: application/json"))


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
async def test_a_server_that_lets_in_and_drops_at_once_is_asked_ever_more_rarely(
    delays: list[float], transport: Transport
) -> None:
    async with (
        serving_and_dropping(transport) as url,
        carillon.connect(
            url, transport=transport, min_reconnect_delay=0.001, max_reconnect_delay=0.016
        ) as client,
        client.subscribe("c"),
    ):
        await asyncio.to_thread(wait_until, lambda: len(delays) >= 6)
    assert delays[:6] == [0.001, 0.002, 0.004, 0.008, 0.016, 0.016]


@pytest.mark.parametrize(
    "ending",
    [
        {"push": {"channel": "c", "unsubscribe": {"code": 2500, "reason": "insufficient state"}}},
        {"error": {"code": 100, "message": "internal server error", "temporary": True}},
    ],
)
async def test_a_subscription_that_is_ended_at_once_is_asked_for_ever_more_rarely(
    delays: list[float], ending: dict[str, Any]
) -> None:
    async def end(peer: Peer) -> None:
        while True:
            command = await peer.command("subscribe")
            if "error" in ending:
                await peer.reply(command, **ending)
            else:
                await peer.reply(command, subscribe={"epoch": "e", "offset": 1})
                await peer.send(json.dumps(ending))

    async with (
        centrifuge_server(end) as url,
        carillon.connect(url, min_reconnect_delay=0.001, max_reconnect_delay=0.016) as client,
    ):
        subscription = client.subscribe("c")
        reading = asyncio.create_task(subscription.next())
        await asyncio.to_thread(wait_until, lambda: len(delays) >= 6)
        reading.cancel()
        await asyncio.wait({reading})
    assert delays[:6] == [0.001, 0.002, 0.004, 0.008, 0.016, 0.016]


async def test_a_server_that_refuses_for_now_has_been_reached() -> None:
    ends = iter([Refused("later"), OSError("gone"), carillon.SubscribeDenied(1, "no")])

    async def attempt() -> None:
        raise next(ends)

    with pytest.raises(carillon.SubscribeDenied):
        await Reconnect(Settings("http://h", min_delay=0.0, max_delay=0.0)).run(attempt)
