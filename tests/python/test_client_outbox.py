"""Commands of a WebSocket client: which go together, which are forgotten, which one was too long."""

from __future__ import annotations

import asyncio
import json

import pytest
from carillon import ConnectionClosed
from carillon.transports.outbox import MESSAGE_BYTES, Outbox, Reply


def ignore(text: str, reply: Reply) -> None:
    pass


def bodies(message: bytes) -> list[str]:
    return [next(name for name in json.loads(line) if name != "id") for line in message.decode().split("\n")]


async def test_commands_go_together_as_far_as_they_fit() -> None:
    outbox = Outbox()
    for n in range(3):
        outbox.add(f'"c{n}":"{"x" * (MESSAGE_BYTES // 2 - 100)}"', ignore)
    outbox.add(f'"long":"{"x" * MESSAGE_BYTES}"', ignore)
    outbox.add('"last":1', ignore)
    messages = [await outbox.message() for _ in range(4)]
    assert [bodies(message) for message in messages] == [["c0", "c1"], ["c2"], ["long"], ["last"]]


async def test_a_message_is_waited_for_and_a_forgotten_command_is_not_sent() -> None:
    outbox = Outbox()
    waiting = asyncio.create_task(outbox.message())
    await asyncio.sleep(0)
    number = outbox.add('"forgotten":1', ignore)
    assert outbox.is_unsent(number)
    outbox.drop(number)
    outbox.add_pong()
    outbox.add_pong()
    assert await waiting == b"{}"
    assert outbox.answered(number) is None


async def test_a_message_that_was_too_long_is_taken_apart_and_then_its_command_is_to_blame() -> None:
    outbox = Outbox()
    numbers = [outbox.add(f'"{name}":1', ignore) for name in ("short", "a long one")]
    await outbox.message()
    assert outbox.send_less() is None
    outbox.lost(ConnectionClosed(0, "cut"))
    for name in ("short", "a long one"):
        outbox.add(f'"{name}":1', ignore)
    assert [bodies(await outbox.message()) for _ in range(2)] == [["short"], ["a long one"]]
    blamed = outbox.send_less()
    assert blamed is not None
    assert blamed.size == len('{"id":4,"a long one":1}')
    assert outbox.answered(numbers[0]) is None, "what waited over the first connection is forgotten"


async def test_whoever_waits_hears_that_the_connection_is_lost() -> None:
    outbox = Outbox()
    waiter: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    outbox.add('"publish":1', ignore, waiter=waiter)
    await outbox.message()
    outbox.lost(ConnectionClosed(0, "cut"))
    with pytest.raises(ConnectionClosed, match="cut"):
        await waiter


async def test_what_was_not_sent_before_a_cut_is_not_sent_after_it() -> None:
    outbox = Outbox()
    outbox.add('"old":1', ignore)
    outbox.lost(ConnectionClosed(0, "cut"))
    outbox.add('"new":1', ignore)
    assert bodies(await outbox.message()) == ["new"]
