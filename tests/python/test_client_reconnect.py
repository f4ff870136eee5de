"""How often a client comes back: delays grow until a connection has lived for a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any, Literal

import carillon
import pytest
from carillon import Gap
from carillon.testing import wait_until
from carillon.transports import websocket
from carillon.transports.backoff import Backoff
from carillon.transports.reconnect import Reconnect, Refused
from carillon.transports.settings import Settings
from fake_servers import Peer, centrifuge_server, event_stream, http_server, response
from websockets.asyncio.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

Transport = Literal["ws", "sse", "poll"]

STARTED = {"channel": "c", "recovered": None, "epoch": "e", "offset": 1}
STATUS = json.dumps(STARTED)
POLL = json.dumps({"publications": [], "since": "e:1", "status": [STARTED]})


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


async def test_a_stream_that_ends_by_saying_when_to_come_back_is_obeyed(delays: list[float]) -> None:
    status = f"event: status\nid: e:1\ndata: {STATUS}"
    async with (
        http_server(event_stream("retry: 1", status, "retry: 70")) as url,
        carillon.connect(url, transport="sse", min_reconnect_delay=0.001) as client,
        client.subscribe("c"),
    ):
        await asyncio.to_thread(wait_until, lambda: delays)
    assert delays[0] == pytest.approx(0.071)


@pytest.mark.parametrize(("code", "is_position_kept"), [(2500, True), (2502, False)])
async def test_the_code_of_an_unsubscribe_says_whether_the_position_is_kept(
    code: int, *, is_position_kept: bool
) -> None:
    wishes: list[dict[str, Any]] = []

    async def end_once(peer: Peer) -> None:
        while True:
            command = await peer.command("subscribe")
            wishes.append(command["subscribe"])
            if len(wishes) == 2:  # of the subscription that has ended
                await peer.send(json.dumps({"push": {"channel": "c", "pub": {"data": 9, "offset": 9}}}))
            await peer.reply(command, subscribe={"epoch": "e", "offset": 1, "recovered": True})
            if len(wishes) == 1:
                push = {"channel": "c", "unsubscribe": {"code": code, "reason": "state"}}
                await peer.send(json.dumps({"push": push}))
            else:
                pub = {"channel": "c", "pub": {"data": 2, "offset": 2}}
                await peer.send(json.dumps({"push": pub}))

    async with (
        centrifuge_server(end_once) as url,
        carillon.connect(url, min_reconnect_delay=0.001) as client,
        client.subscribe("c", on_gap="yield") as subscription,
    ):
        item = await subscription.next(10)
        assert wishes[1].get("since") == ("e:1" if is_position_kept else None)
        assert isinstance(item, Gap) != is_position_kept


class PingingServer:
    """Answers the connect command of its first connection alone, sends pings there, then closes or waits.

    Args:
        ping_s: Interval of pings that it announces.
        pings: Number of pings that it sends, one every 50 ms.
        is_closing: Whether it closes the connection after them.
    """

    def __init__(self, ping_s: float, pings: int, *, is_closing: bool) -> None:
        self.connections = 0
        self.connections_after_pings = 0
        self._ping_s = ping_s
        self._pings = pings
        self._is_closing = is_closing

    async def talk(self, socket: ServerConnection) -> None:
        self.connections += 1
        if self.connections == 1:
            number = json.loads(str(await socket.recv()).split("\n")[0])["id"]
            await socket.send(json.dumps({"id": number, "connect": {"client": "x", "ping": self._ping_s}}))
            for _ in range(self._pings):
                await asyncio.sleep(0.05)  # the rate of the pings
                await socket.send("{}")
            self.connections_after_pings = self.connections
            if self._is_closing:
                await socket.close(3001)
        await socket.wait_closed()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Yields its address."""
        async with serve(self.talk, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def test_a_connection_lives_as_long_as_pings_come_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "_PING_SLACK_S", 0.8)
    server = PingingServer(ping_s=0.2, pings=30, is_closing=False)
    async with (
        server.running() as url,
        carillon.connect(url, open_timeout=1.0, min_reconnect_delay=0.001),
    ):
        await asyncio.to_thread(wait_until, lambda: server.connections >= 2)
    assert server.connections_after_pings == 1


async def test_every_connect_command_has_the_open_timeout_for_its_answer() -> None:
    server = PingingServer(ping_s=25, pings=0, is_closing=True)
    async with (
        server.running() as url,
        carillon.connect(url, open_timeout=0.3, min_reconnect_delay=0.001),
    ):
        await asyncio.to_thread(wait_until, lambda: server.connections >= 3)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
async def test_a_server_that_says_when_to_come_back_is_obeyed(
    delays: list[float], transport: Transport, status: str
) -> None:
    async with http_server(response(status, "", "Retry-After: 7")) as url:
        client = carillon.connect(url, transport=transport, min_reconnect_delay=0.001)
        reading = asyncio.create_task(client.subscribe("c").next())
        await asyncio.to_thread(wait_until, lambda: delays or reading.done())
        await client.aclose()
        with pytest.raises(carillon.ConnectionClosed, match="closed"):
            await reading
    assert delays[0] == pytest.approx(7.001)


@pytest.mark.parametrize(
    ("code", "is_final"),
    [(3499, False), (3500, True), (3999, True), (4000, False), (4499, False), (4500, True), (4999, True)],
)
async def test_the_code_of_a_close_says_whether_to_come_back(code: int, *, is_final: bool) -> None:
    connections = 0

    async def close(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.command("subscribe")
        await peer.close(code)

    async with (
        centrifuge_server(close) as url,
        carillon.connect(url, min_reconnect_delay=0.001, max_reconnect_delay=0.001) as client,
    ):
        reading = asyncio.create_task(client.subscribe("c").next())
        await asyncio.to_thread(wait_until, lambda: reading.done() or connections >= 3)
        assert reading.done() == is_final
        reading.cancel()
        if is_final:
            with pytest.raises(carillon.ConnectionClosed) as told:
                await reading
            assert told.value.code == code


@pytest.mark.parametrize(
    ("error", "is_final"),
    [({"code": 100, "temporary": True}, False), ({"code": 7}, False), ({"code": 103}, True)],
)
async def test_the_error_of_a_connect_says_whether_to_come_back(
    error: dict[str, Any], *, is_final: bool
) -> None:
    connections = 0

    async def refuse(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        number = json.loads(str(await socket.recv()).split("\n")[0])["id"]
        await socket.send(json.dumps({"id": number, "error": {"message": "no", **error}}))
        await socket.wait_closed()

    async with serve(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        client = carillon.connect(url, min_reconnect_delay=0.001, max_reconnect_delay=0.001)
        opening = asyncio.create_task(client.open())
        await asyncio.to_thread(wait_until, lambda: opening.done() or connections >= 3)
        assert opening.done() == is_final
        await client.aclose()
        with pytest.raises(carillon.CarillonError, match="no" if is_final else "closed"):
            await opening
