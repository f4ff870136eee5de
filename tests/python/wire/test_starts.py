"""`since="oldest"` and `last=N`, the same on every way to subscribe."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import carillon
import pytest
from carillon import Channel, Gap, Message, Position, Server, sync
from carillon.testing import FaultProxy
from wire_clients import open_http, open_ws, poll, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

Way = Literal["ws", "sse", "poll", "server"]
WAYS: list[Way] = ["ws", "sse", "poll", "server"]
each_way = pytest.mark.parametrize("way", WAYS)
CHANNELS = {"short": Channel(history_size=3), "live": Channel(history_size=0)}


async def started(
    server: Server, way: Way, channel: str, count: int, **start: Any
) -> tuple[list[int], bool | None]:
    """Offsets of the first items of a subscription (a Gap is negative), and whether it is recovered."""
    if way == "server":
        async with server.subscribe(channel, on_gap="yield", **start) as cursor:
            items = [await cursor.next(10) for _ in range(count)]
            is_recovered = cursor.is_recovered
    else:
        async with (
            carillon.connect(server.url, transport=way) as client,
            client.subscribe(channel, on_gap="yield", **start) as subscription,
        ):
            items = [await subscription.next(10) for _ in range(count)]
            is_recovered = subscription.is_recovered
    return [item.offset if isinstance(item, Message) else -item.lost_to for item in items], is_recovered


@each_way
async def test_a_start_brings_what_is_kept_and_says_whether_it_is_all(
    serve: Callable[..., Server], way: Way
) -> None:
    server = serve(channels=CHANNELS)
    for n in range(1, 6):
        for channel in ("a", "short", "live"):
            position = server.publish(channel, n)
    assert await started(server, way, "a", 5, since="oldest") == ([1, 2, 3, 4, 5], True)
    assert await started(server, way, "a", 2, last=2) == ([4, 5], None)
    assert await started(server, way, "a", 5, last=100) == ([1, 2, 3, 4, 5], None)
    assert await started(server, way, "a", 0, last=0) == ([], None)
    assert await started(server, way, "short", 3, since="oldest") == ([3, 4, 5], False)
    assert await started(server, way, "short", 3, last=100) == ([3, 4, 5], None)
    assert await started(server, way, "live", 0, since="oldest") == ([], None)
    assert await started(server, way, "live", 0, last=5) == ([], None)
    assert position.offset == 0


@each_way
async def test_after_a_change_of_epoch_the_new_log_comes_behind_one_gap(
    serve: Callable[..., Server], way: Way
) -> None:
    server = serve(channels=CHANNELS)
    epoch = ""
    for n in range(1, 6):
        epoch = server.publish("a", n).epoch
        server.publish("short", n)
    old = Position(40, "another1")
    if way == "server":
        cursor = server.subscribe("a", old, on_gap="yield")
        gap = await cursor.next(10)
        await cursor.aclose()
    else:
        async with carillon.connect(server.url, transport=way) as client:
            gap = await client.subscribe("a", old, on_gap="yield").next(10)
    assert gap == Gap("a", epoch, None, 0)
    assert await started(server, way, "a", 6, since=old) == ([0, 1, 2, 3, 4, 5], False)
    assert await started(server, way, "short", 4, since=old) == ([-2, 3, 4, 5], False)


@each_way
async def test_more_than_a_page_and_what_comes_meanwhile_is_in_order(
    serve: Callable[..., Server], way: Way
) -> None:
    server = serve(limits={"history_publications": 20, "poll_publications": 30})
    for n in range(500):
        server.publish("c", n)

    async def publish() -> None:
        for n in range(500, 600):
            await server.publish_async("c", n)
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish())
    assert await started(server, way, "c", 600, since="oldest") == (list(range(1, 601)), True)
    await publishing
    offsets, _ = await started(server, way, "c", 300, last=300)
    assert offsets == list(range(301, 601))


@pytest.mark.parametrize("start", [{"since": "oldest"}, {"last": 200}])
@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
async def test_a_start_that_is_cut_is_made_again_and_nothing_comes_twice(
    carillon_server: Server, transport: Literal["ws", "sse", "poll"], start: dict[str, Any]
) -> None:
    for n in range(200):
        carillon_server.publish("c", n)
    with FaultProxy(carillon_server) as proxy:
        async with carillon.connect(
            proxy.url, transport=transport, min_reconnect_delay=0.01, max_reconnect_delay=0.05
        ) as client:
            subscription = client.subscribe("c", **start)
            offsets = []
            for n in range(400):
                if n % 50 == 25:
                    await asyncio.to_thread(proxy.cut)
                if n >= 200:
                    carillon_server.publish("c", n)
                item = await subscription.next(10)
                assert isinstance(item, Message)
                offsets.append(item.offset)
            assert offsets == list(range(1, 401))
            await subscription.aclose()


def test_the_blocking_client_starts_alike(carillon_server: Server) -> None:
    for n in range(1, 6):
        carillon_server.publish("c", n)
    with sync.connect(carillon_server.url) as client:
        with client.subscribe("c", since="oldest") as subscription:
            assert [subscription.next(5).json() for _ in range(5)] == [1, 2, 3, 4, 5]
            assert subscription.is_recovered is True
        with client.subscribe("c", last=2) as subscription:
            assert [subscription.next(5).json() for _ in range(2)] == [4, 5]
            assert subscription.is_recovered is None


async def test_a_start_that_cannot_be_is_refused_by_name(carillon_server: Server) -> None:
    async with carillon.connect(carillon_server.url) as client:
        for subscribe in (client.subscribe, carillon_server.subscribe):
            for start, error, text in (
                ({"since": "oldest", "last": 2}, ValueError, "since and last: both are given"),
                ({"since": "newest"}, carillon.PositionError, "'newest' is not a position.*or 'oldest'"),
                ({"since": 5}, TypeError, "since: 5 is an int"),
                ({"last": "5"}, TypeError, "last: '5' is a str"),
                ({"last": True}, TypeError, "last: True is a bool"),
                ({"last": -1}, ValueError, "last: -1 is too small"),
            ):
                with pytest.raises(error, match=text):
                    subscribe("c", **start)  # type: ignore[arg-type]


async def test_the_last_ones_then_live_lose_nothing_between(carillon_server: Server) -> None:
    """A page load: the history that is shown, and the subscription behind it."""
    for n in range(1, 201):
        carillon_server.publish("chat", n)
    async with carillon.connect(carillon_server.url) as client:
        for history in (await client.history("chat", limit=50), await client.history("chat", last=50)):
            carillon_server.publish("chat", "meanwhile")
            offsets = [message.offset for message in history.messages]
            newest = carillon_server.history("chat", limit=0).position.offset
            subscription = client.subscribe("chat", since=history.position)
            while offsets[-1] < newest:
                item = await subscription.next(5)
                assert isinstance(item, Message)
                offsets.append(item.offset)
            assert offsets == list(range(offsets[0], newest + 1)), "no message between is lost"
            await subscription.aclose()


async def test_the_wire_says_the_three_apart(serve: Callable[..., Server]) -> None:
    server = serve(channels=CHANNELS)
    for n in range(1, 6):
        server.publish("a", n)
        server.publish("short", n)
    async with open_http(server) as http, open_ws(server) as ws:
        for start, recovered in (({}, None), ({"last": "2"}, None), ({"since": "oldest"}, True)):
            answer = await poll(http, "a", timeout=0, **start)
            assert [each["recovered"] for each in answer["status"]] == [recovered]
        answer = await poll(http, "a", "short", since="oldest", timeout=20)
        assert [each["recovered"] for each in answer["status"]] == [True, False]
        assert len(answer["publications"]) == 8
        reply = await ws.subscribe("a", since="oldest")
        assert (reply["was_recovering"], reply["recovered"], len(reply["publications"])) == (True, True, 5)
        reply = await ws.subscribe("short", last=2)
        assert "was_recovering" not in reply
        assert [each["offset"] for each in reply["publications"]] == [4, 5]


async def test_polls_of_a_channel_without_history_report_no_gap(serve: Callable[..., Server]) -> None:
    server = serve(channels=CHANNELS)

    def is_waiting(polls: int) -> bool:
        stats = server.stats()
        return (stats["requests"], stats["polls"]) == (polls, 1)

    async with (
        carillon.connect(server.url, transport="poll") as client,
        client.subscribe("live", since="oldest", on_gap="yield") as subscription,
    ):
        for n in range(3):
            await until(lambda n=n: is_waiting(n + 2))  # between two polls nobody is there
            server.publish("live", n)
            item = await subscription.next(10)
            assert isinstance(item, Message), item
            assert item.json() == n
        assert subscription.is_recovered is None
