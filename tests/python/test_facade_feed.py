"""The queue of a subscription: order, gaps, bounds."""

from __future__ import annotations

import pytest
from carillon.errors import ServerStopped
from carillon.feed import Feed
from carillon.items import Gap, Message
from carillon.position import Position


def message(offset: int, epoch: str = "e") -> Message:
    return Message("c", offset, epoch if offset else "", b"1")


async def offsets(feed: Feed, count: int) -> list[object]:
    items = [await feed.next() for _ in range(count)]
    return [item.offset if isinstance(item, Message) else (item.lost_from, item.lost_to) for item in items]


async def test_what_comes_twice_is_dropped() -> None:
    feed = Feed("c", Position(3, "e"), 10)
    feed.begin(Position(3, "e"), True)
    for offset in (3, 4, 4, 5):
        feed.push(message(offset))
    assert await offsets(feed, 2) == [4, 5]
    assert feed.taken == Position(5, "e")


async def test_what_is_missing_becomes_a_gap() -> None:
    feed = Feed("c", Position(3, "e"), 10)
    feed.begin(Position(3, "e"), True)
    feed.push(message(7))
    assert await offsets(feed, 2) == [(4, 6), 7]


async def test_a_refused_recovery_is_told_before_anything_else() -> None:
    feed = Feed("c", Position(3, "e"), 10)
    feed.begin(Position(9, "e"), False)
    feed.push(message(10))
    assert await offsets(feed, 2) == [(4, 9), 10]
    assert feed.is_recovered is False


async def test_another_epoch_is_a_gap_of_unknown_size() -> None:
    feed = Feed("c", Position(3, "old"), 10)
    feed.begin(Position(1, "new"), False)
    assert await feed.next() == Gap("c", "new", None, 1)
    assert feed.taken == Position(1, "new")


async def test_a_first_start_without_a_position_is_no_gap() -> None:
    feed = Feed("c", None, 10)
    feed.begin(Position(5, "e"), None)
    assert feed.taken == Position(5, "e")
    feed.push(message(6))
    assert await offsets(feed, 1) == [6]


async def test_a_second_start_without_a_position_is_a_gap() -> None:
    feed = Feed("c", None, 10)
    feed.begin(None, None)
    feed.push(message(0))
    feed.begin(None, None)
    assert await offsets(feed, 2) == [0, (None, 0)]


async def test_a_full_queue_pauses_its_source_and_asks_it_back_when_read() -> None:
    feed = Feed("c", Position(0, "e"), 4)
    asked: list[Position | None] = []
    feed.on_room = lambda: asked.append(feed.received)
    feed.begin(Position(0, "e"), True)
    for offset in range(1, 10):
        feed.push(message(offset))
    assert feed.is_paused
    assert await offsets(feed, 2) == [1, 2]
    assert not feed.is_paused
    assert asked == [Position(4, "e")]


async def test_what_is_queued_is_read_before_the_error() -> None:
    feed = Feed("c", Position(0, "e"), 4)
    feed.begin(Position(0, "e"), True)
    feed.push(message(1))
    feed.fail(ServerStopped("gone"))
    assert await offsets(feed, 1) == [1]
    with pytest.raises(ServerStopped):
        await feed.next()
