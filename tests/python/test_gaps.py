"""A gap: the loop that everybody writes stops with an exception, and goes on when it is resumed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import carillon
import pytest
from carillon import Channel, Gap, GapError, Message, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from carillon.stream import ItemStream, OnGap

pytestmark = pytest.mark.wire

SOURCES = ["cursor", "ws", "sse", "poll"]
each_source = pytest.mark.parametrize("source", SOURCES)


@contextlib.asynccontextmanager
async def following(
    server: Server, source: str, since: carillon.Position | str, on_gap: OnGap = "raise"
) -> AsyncIterator[ItemStream]:
    async with contextlib.AsyncExitStack() as stack:
        where: Server | carillon.Client = server
        if source != "cursor":
            where = await stack.enter_async_context(carillon.connect(server.url, transport=source))
        yield await stack.enter_async_context(where.subscribe("c", since, on_gap=on_gap))


@pytest.fixture
def short(carillon_server_factory: Callable[..., Server]) -> Server:
    """Keeps five of the ten publications that were made."""
    server = carillon_server_factory(channels={"c": Channel(history_size=5)})
    server.publish_many([("c", n) for n in range(10)])
    return server


def start_of(server: Server) -> str:
    return f"{server.history('c', limit=0).position.epoch}:2"


@each_source
async def test_a_loop_stops_at_a_gap_and_goes_on_when_it_is_resumed(short: Server, source: str) -> None:
    seen: list[int] = []

    async def read(stream: ItemStream) -> None:
        async for message in stream:
            seen.append(message.offset)
            if message.json() == "last":
                return

    async with following(short, source, start_of(short)) as stream:
        with pytest.raises(GapError, match=r"^'c': offsets 3 to 5 are lost. .* on_gap=\"yield\"$") as raised:
            await read(stream)
        gap = raised.value
        assert (gap.channel, gap.lost_to, gap.position) == ("c", 5, stream.position), "6 to 10 are kept"
        assert str(gap.position) in str(gap)
        last = short.publish("c", "last").offset
        await read(stream)
        assert seen == list(range(gap.lost_to + 1, last + 1)), "nothing else is lost, and nothing comes twice"


@each_source
async def test_next_raises_a_gap_once(short: Server, source: str) -> None:
    async with following(short, source, "otherlog:7") as stream:
        with pytest.raises(GapError, match="'c': the channel has another log now"):
            await stream.next(5)
        last = short.publish("c", "last").offset
        while (await stream.next(5)).offset != last:
            pass


@each_source
async def test_a_gap_is_an_item_where_it_is_asked_for(short: Server, source: str) -> None:
    async with following(short, source, start_of(short), "yield") as stream:
        gap = await stream.next(5)
        assert isinstance(gap, Gap)
        assert (gap.lost_from, gap.position) == (3, stream.position)
        short.publish("c", "last")
        assert isinstance(await stream.next(5), Message)


def test_a_loop_that_blocks_stops_at_a_gap_and_goes_on_when_it_is_resumed(short: Server) -> None:
    with carillon.sync.connect(short.url) as client:
        with client.subscribe("c", start_of(short)) as subscription:
            with pytest.raises(GapError) as raised:
                next(subscription)
            last = short.publish("c", "last").offset
            offset = raised.value.lost_to
            while offset != last:
                offset += 1
                assert next(subscription).offset == offset
        with client.subscribe("c", start_of(short), on_gap="yield") as subscription:
            assert isinstance(next(subscription), Gap)


def test_another_word_for_on_gap_is_refused(carillon_server: Server) -> None:
    with carillon.sync.connect(carillon_server.url) as client:
        for subscribe in (carillon_server.subscribe, client.subscribe):
            with pytest.raises(ValueError, match='on_gap: \'ignore\' is not known; use "raise" or "yield"'):
                subscribe("c", on_gap="ignore")  # type: ignore[call-overload]
