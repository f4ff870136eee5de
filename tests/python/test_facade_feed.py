"""The queue of a subscription: order, gaps, bounds."""

from __future__ import annotations

import asyncio

import pytest
from carillon.errors import CommandTimeout, ConnectionClosed, LoopError, ServerStopped
from carillon.feed import Feed
from carillon.items import Gap, Message
from carillon.lifetime import Home
from carillon.position import Position
from carillon.start import Start
from carillon.stream import ItemStream


def message(offset: int, epoch: str = "e") -> Message:
    return Message("c", offset, epoch if offset else "", b"1")


async def offsets(feed: Feed, count: int) -> list[object]:
    items = [await feed.next() for _ in range(count)]
    return [item.offset if isinstance(item, Message) else (item.lost_from, item.lost_to) for item in items]


async def test_what_comes_twice_is_dropped() -> None:
    feed = Feed("c", Start(Position(3, "e")), 10)
    feed.begin(Position(3, "e"), True)
    for offset in (3, 4, 4, 5):
        feed.push(message(offset))
    assert await offsets(feed, 2) == [4, 5]
    assert feed.taken == Position(5, "e")


async def test_what_is_missing_becomes_a_gap() -> None:
    feed = Feed("c", Start(Position(3, "e")), 10)
    feed.begin(Position(3, "e"), True)
    feed.push(message(5))
    feed.push(message(8))
    feed.push(message(2, "other"))
    assert await offsets(feed, 5) == [(4, 4), 5, (6, 7), 8, (None, 1)]


async def test_what_is_left_out_of_a_conflated_channel_is_no_gap() -> None:
    feed = Feed("c", Start(Position(3, "e")), 10)
    feed.is_conflated = True
    feed.begin(Position(3, "e"), True)
    for offset in (5, 8, 8, 7):
        feed.push(message(offset))
    feed.gap("e", 9, 9)
    feed.push(message(12))
    feed.push(message(2, "other"))
    assert await offsets(feed, 6) == [5, 8, (9, 9), 12, (None, 1), 2]


async def test_a_gap_that_is_told_is_told_once() -> None:
    feed = Feed("c", Start(Position(3, "e")), 10)
    feed.begin(Position(3, "e"), True)
    feed.gap("e", 4, 6)
    feed.push(message(7))
    assert await offsets(feed, 2) == [(4, 6), 7]


async def test_what_has_no_offset_moves_no_position() -> None:
    feed = Feed("c", Start(Position(3, "e")), 10)
    feed.begin(Position(3, "e"), True)
    feed.push(message(0))
    assert await offsets(feed, 1) == [0]
    assert feed.taken == feed.received == Position(3, "e")


async def test_a_refused_recovery_is_told_before_anything_else() -> None:
    feed = Feed("c", Start(Position(3, "e")), 10)
    feed.begin(Position(9, "e"), False)
    feed.push(message(10))
    assert await offsets(feed, 2) == [(4, 9), 10]
    assert feed.is_recovered is False


async def test_another_epoch_is_a_gap_of_unknown_size() -> None:
    feed = Feed("c", Start(Position(3, "old")), 10)
    feed.begin(Position(1, "new"), False)
    assert await feed.next() == Gap("c", "new", None, 1)
    assert feed.taken == Position(1, "new")


async def test_a_first_start_without_a_position_is_no_gap() -> None:
    feed = Feed("c", Start(), 10)
    feed.begin(Position(5, "e"), None)
    assert feed.taken == Position(5, "e")
    feed.push(message(6))
    assert await offsets(feed, 1) == [6]


@pytest.mark.parametrize("is_recovered", [True, False])
async def test_a_start_with_the_oldest_is_no_gap_and_repeated_until_it_has_begun(is_recovered: bool) -> None:
    asked = Start(is_oldest=True)
    feed = Feed("c", asked, 10)
    assert feed.start == asked
    feed.begin(Position(5, "e"), is_recovered)
    assert feed.is_recovered is is_recovered
    assert feed.start == Start(Position(5, "e"))
    feed.push(message(6))
    feed.begin(Position(6, "e"), True)
    feed.push(message(7))
    assert await offsets(feed, 2) == [6, 7]


async def test_a_channel_without_a_log_starts_live_after_its_first_start() -> None:
    feed = Feed("c", Start(last=3), 10)
    feed.begin(None, None)
    assert feed.start == Start()
    assert feed.is_recovered is None


async def test_a_second_start_without_a_position_is_a_gap() -> None:
    feed = Feed("c", Start(), 10)
    feed.begin(None, None)
    feed.push(message(0))
    feed.begin(None, None)
    assert await offsets(feed, 2) == [0, (None, 0)]


async def test_a_full_queue_pauses_its_source_and_asks_it_back_when_read() -> None:
    feed = Feed("c", Start(Position(0, "e")), 4)
    asked: list[Position | None] = []
    feed.on_room = lambda: asked.append(feed.received)
    feed.begin(Position(0, "e"), True)
    for offset in range(1, 10):
        assert feed.is_paused == (offset > 4)
        feed.push(message(offset))
    feed.gap("e", 10, 12)
    assert await offsets(feed, 1) == [1]
    assert feed.is_paused
    assert await offsets(feed, 1) == [2]
    assert not feed.is_paused
    assert asked == [Position(4, "e")]
    assert await offsets(feed, 2) == [3, 4]


async def test_what_is_queued_is_read_before_the_error() -> None:
    feed = Feed("c", Start(Position(0, "e")), 4)
    feed.begin(Position(0, "e"), True)
    feed.push(message(1))
    feed.fail(ServerStopped("gone"))
    feed.fail(ConnectionClosed(0, "the first reason counts"))
    feed.push(message(2))
    await feed.begun()
    assert await offsets(feed, 1) == [1]
    with pytest.raises(ServerStopped):
        await feed.next()


async def test_an_end_wakes_whoever_waits() -> None:
    feed = Feed("c", Start(), 4)
    waiting = [asyncio.create_task(feed.begun()), asyncio.create_task(feed.next())]
    await asyncio.sleep(0)
    feed.fail(ServerStopped("gone"))
    async with asyncio.timeout(5):
        for each in waiting:
            with pytest.raises(ServerStopped):
                await each


async def test_a_stream_that_cannot_be_opened_is_closed() -> None:
    source = FakeSource()
    source.error = ServerStopped("gone")
    with pytest.raises(ServerStopped):
        async with ItemStream(source):
            pass
    assert source.closed == 1


async def test_who_gives_up_waiting_ends_nothing_but_the_wait() -> None:
    source = FakeSource()
    stream = ItemStream(source)
    with pytest.raises(TimeoutError):
        await stream.next(timeout=0.01)
    opening = asyncio.create_task(stream.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    source.feed.begin(Position(3, "e"), None)
    source.feed.push(message(4))
    assert await stream.open() is stream
    assert await stream.next() == message(4)
    assert (source.starts, source.closed) == (1, 0)


async def test_a_stream_that_is_closed_while_it_opens_says_so() -> None:
    source = FakeSource()
    stream = ItemStream(source)
    waiting = [asyncio.create_task(stream.open()), asyncio.create_task(stream.next())]
    await asyncio.sleep(0)
    await stream.aclose()
    async with asyncio.timeout(5):
        for each in (*waiting, stream.open(), stream.next()):
            with pytest.raises(ConnectionClosed, match="closed"):
                await each
    assert [item async for item in stream] == []


async def test_what_is_queued_when_a_stream_is_closed_can_be_read_and_starts_nothing() -> None:
    source = FakeSource()
    rooms: list[int] = []
    source.feed.on_room = lambda: rooms.append(1)
    source.begin()
    stream = await ItemStream(source).open()
    for offset in range(1, 5):
        source.feed.push(message(offset))
    assert source.feed.is_paused
    await stream.aclose()
    assert [item.offset async for item in stream if isinstance(item, Message)] == [1, 2, 3, 4]
    assert rooms == []


async def test_the_first_end_counts() -> None:
    feed = Feed("c", Start(), 4)
    feed.end()
    feed.fail(ServerStopped("later"))
    with pytest.raises(StopAsyncIteration):
        await feed.next()


def test_a_stream_belongs_to_the_loop_that_used_it_first() -> None:
    source = FakeSource()
    stream = ItemStream(source)
    source.begin()
    asyncio.run(open_(stream))
    for use in (stream.open, stream.next):
        with pytest.raises(LoopError, match="event loop"):
            asyncio.run(use())  # type: ignore[arg-type]
    asyncio.run(stream.aclose())  # its loop has ended: nothing is left to end


async def open_(stream: ItemStream) -> None:
    await stream.open()


async def test_a_stream_that_cannot_be_started_says_so_each_time() -> None:
    source = FakeSource()
    stream = ItemStream(source)
    source.error = ServerStopped("gone")
    for _ in range(2):
        with pytest.raises(ServerStopped, match="gone"):
            await stream.next(timeout=5)
    source.error = None
    source.feed.push(message(1))
    assert await stream.next(timeout=5) == message(1)


async def test_a_time_out_that_ended_a_stream_is_not_one_of_the_read() -> None:
    source = FakeSource()
    source.feed.fail(CommandTimeout("no answer"))
    with pytest.raises(CommandTimeout, match="no answer"):
        await ItemStream(source).next(timeout=5)


class FakeSource:
    """Begins when the test says so."""

    away = ""

    def __init__(self) -> None:
        self.feed = Feed("c", Start(), 4)
        self.home = Home("stream")
        self.error: Exception | None = None
        self.starts = self.closed = 0

    def begin(self) -> None:
        self.feed.begin(Position(0, "e"), None)

    def start(self) -> None:
        self.starts += 1
        if self.error is not None:
            raise self.error

    async def begun(self) -> None:
        await self.feed.begun()

    async def close(self) -> None:
        self.closed += 1
        self.feed.end()

    def abandon(self) -> None: ...


async def test_a_run_behind_the_newest_item_goes_in_whole() -> None:
    feed = Feed("c", Start(Position(3, "e")), 4)
    feed.begin(Position(3, "e"), True)
    feed.push_run([message(4), message(5)])
    assert feed.received == Position(5, "e")
    assert not feed.is_paused
    feed.push_run([message(6), message(7)])
    assert feed.is_paused
    feed.push_run([message(8)])
    assert feed.received == Position(7, "e")
    assert await offsets(feed, 4) == [4, 5, 6, 7]
    assert feed.taken == Position(7, "e")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ([message(3), message(4)], [4]),
        ([message(6), message(7)], [(4, 5), 6, 7]),
        ([message(1, "other"), message(2, "other")], [(None, 0), 1, 2]),
        ([message(0)], [0]),
    ],
)
async def test_a_run_from_elsewhere_is_looked_at_piece_by_piece(
    run: list[Message], expected: list[object]
) -> None:
    feed = Feed("c", Start(Position(3, "e")), 10)
    feed.begin(Position(3, "e"), True)
    feed.push_run(run)
    assert await offsets(feed, len(expected)) == expected


def test_what_waits_is_taken_at_once() -> None:
    feed = Feed("c", Start(Position(3, "e")), 2)
    rooms: list[int] = []
    feed.on_room = lambda: rooms.append(1)
    feed.begin(Position(3, "e"), True)
    assert feed.take() is None
    feed.push_run([message(4), message(5)])
    feed.push(message(6))
    assert feed.take() == message(4)
    assert rooms == [1]
    feed.gap("", 0, 0)
    assert isinstance((feed.take(), feed.take())[1], Gap)
    assert feed.taken == Position(5, "e"), "a gap without a log moves no position"
