"""One test for each row of the table of limits that bounds publications and memory: set small, and reached.

`test_limits.py` checks that no row is forgotten: a test here is named after its row.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import carillon
import pytest
from wire_clients import assert_delivered, open_http, open_sse, open_ws, poll, row_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

ROOT = Path(__file__).parents[3]


async def test_publication_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"publication_bytes": 100})
    fits, too_long = "x" * 98, "x" * 99  # and two quotes
    async with open_ws(server) as ws, open_http(server) as client:
        assert "publish" in await ws.command(publish={"channel": "c", "data": fits})
        assert (await ws.command(publish={"channel": "c", "data": too_long}))["error"]["code"] == 107
        answers = [
            (await client.post("/api/publish", json={"channel": "c", "data": data})).json()
            for data in (fits, too_long)
        ]
        assert answers[0]["result"]["offset"] == 2
        assert answers[1]["error"]["code"] == 107
        assert "publication_bytes" in answers[1]["error"]["message"]
    assert server.publish("c", b"x" * 100).offset == 3
    for call in (server.publish, server.publish_nowait):
        with pytest.raises(carillon.PayloadTooLarge, match="publication_bytes"):
            call("c", b"x" * 101)
    with pytest.raises(carillon.PayloadTooLarge):
        server.publish_many([("c", too_long)])
    assert len(server.history("c").messages) == 3


async def test_channel_name_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"channel_name_bytes": 8})
    fits, too_long = "é" * 4, "é" * 4 + "x"
    async with open_ws(server) as ws, open_http(server) as client:
        await ws.subscribe(fits)
        for command in ("subscribe", "publish", "history", "presence", "presence_stats"):
            reply = await ws.command(**{command: {"channel": too_long, "data": 1}})
            assert reply["error"]["code"] == 107, command
        for path in ("/sse", "/poll"):
            response = await client.get(path, params={"channel": too_long})
            assert response.status_code == 400
        await poll(client, fits, timeout=0)
        for method in ("publish", "history", "presence", "presence_stats"):
            answer = await client.post(f"/api/{method}", json={"channel": too_long, "data": 1})
            assert answer.json()["error"]["code"] == 107, method
    server.publish(fits, 1)
    for call in (lambda: server.publish(too_long, 1), lambda: server.history(too_long)):
        with pytest.raises(ValueError, match="channel"):
            call()
    with pytest.raises(ValueError, match="channel"):
        await server.publish_async(too_long, 1)
    with pytest.raises(ValueError, match="channel"):
        await server.subscribe(too_long).open()
    with pytest.raises(ValueError, match="channel"):
        server.presence(too_long)


async def test_history_publications(serve: Callable[..., Server]) -> None:
    server = serve(limits={"history_publications": 5})
    first = server.publish("c", 0)
    for n in range(1, 13):
        server.publish("c", n)
    async with open_ws(server) as ws:
        for limit in (-1, 100):
            found = (await ws.command(history={"channel": "c", "limit": limit}))["history"]
            assert [each["data"] for each in found["publications"]] == [0, 1, 2, 3, 4]
        result = await ws.subscribe("c", recover=True, offset=1, epoch=first.epoch)
        assert [each["data"] for each in result["publications"]] == [1, 2, 3, 4, 5]
        assert [each["data"] for each in await ws.publications(7)] == [6, 7, 8, 9, 10, 11, 12]
        await assert_delivered(server, "c", 12)


async def test_recovery_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"recovery_bytes": 1_000})
    epoch = server.history("c", limit=0).position.epoch
    for n in range(20):
        server.publish("c", str(n).ljust(300))
    async with open_ws(server) as ws:
        result = await ws.subscribe("c", recover=True, offset=0, epoch=epoch)
        page = result["publications"]
        assert 0 < sum(len(each["data"]) for each in page) <= 1_000
        rest = await ws.publications(20 - len(page))
        assert [int(each["data"]) for each in page + rest] == list(range(20))
        await assert_delivered(server, "c", 20)


async def test_poll_publications(serve: Callable[..., Server]) -> None:
    server = serve(limits={"poll_publications": 3})
    since = str(server.history("c", limit=0).position)
    for n in range(8):
        server.publish("c", n)
    pages = []
    async with open_http(server) as client:
        for _ in range(3):
            answer = await poll(client, "c", since=since)
            pages.append([each["data"] for each in answer["publications"]])
            since = answer["since"]
    assert pages == [[0, 1, 2], [3, 4, 5], [6, 7]]
    await assert_delivered(server, "c", 8)


async def test_poll_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"poll_bytes": 1_000})
    since = str(server.history("c", limit=0).position)
    for n in range(10):
        server.publish("c", str(n).ljust(400))
    seen: list[int] = []
    async with open_http(server) as client:
        while len(seen) < 10:
            answer = await poll(client, "c", since=since)
            assert 0 < len(answer["publications"]) <= 3  # none is added once there are 1,000 bytes
            seen += [int(each["data"]) for each in answer["publications"]]
            since = answer["since"]
    assert seen == list(range(10))
    await assert_delivered(server, "c", 10)


async def test_poll_timeout_ms(serve: Callable[..., Server]) -> None:
    server = serve(limits={"poll_timeout_ms": 100})
    async with open_http(server) as client:
        started = time.monotonic()
        assert (await poll(client, "c", timeout=3600))["publications"] == []
        assert 0.08 <= time.monotonic() - started < 10


async def test_broadcast_channels(serve: Callable[..., Server]) -> None:
    server = serve(limits={"broadcast_channels": 2})
    async with open_http(server) as client:
        fits = await client.post("/api/broadcast", json={"channels": ["a", "b"], "data": 1})
        assert len(fits.json()["result"]["responses"]) == 2
        refused = await client.post("/api/broadcast", json={"channels": ["a", "b", "c"], "data": 1})
        assert refused.json()["error"]["code"] == 107
        assert "broadcast_channels" in refused.json()["error"]["message"]
    assert [len(server.history(name).messages) for name in "abc"] == [1, 1, 0]


async def test_batch_commands(serve: Callable[..., Server]) -> None:
    server = serve(limits={"batch_commands": 2})
    commands = [{"publish": {"channel": "a", "data": number}} for number in range(3)]
    async with open_http(server) as client:
        fits = await client.post("/api/batch", json={"commands": commands[:2]})
        assert len(fits.json()["replies"]) == 2
        refused = await client.post("/api/batch", json={"commands": commands})
        assert refused.json()["error"]["code"] == 107
        assert "batch_commands" in refused.json()["error"]["message"]
    assert len(server.history("a").messages) == 2


async def test_deliveries_per_visit(serve: Callable[..., Server]) -> None:
    await serves_all_with(serve(limits={"deliveries_per_visit": 1}))


async def test_deliveries_per_turn(serve: Callable[..., Server]) -> None:
    await serves_all_with(serve(limits={"deliveries_per_turn": 1}))


async def serves_all_with(server: Server) -> None:
    readers = [read_values(server, "big", 100) for _ in range(30)] + [read_values(server, "small", 100)]
    reading = [asyncio.create_task(each) for each in readers]
    await until(lambda: server.channels() == {"big": 30, "small": 1})
    server.publish_many([(name, n) for n in range(100) for name in ("big", "small")])
    for each in reading:
        assert await each == list(range(100))
    await assert_delivered(server, "big", 3_000)


async def read_values(server: Server, channel: str, count: int) -> list[int]:
    async with open_ws(server) as ws:
        await ws.subscribe(channel)
        return [each["data"] for each in await ws.publications(count)]


async def test_batch_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"batch_bytes": 1_024})
    async with open_ws(server) as ws, open_sse(server, "c") as sse:
        await ws.subscribe("c")
        await sse.status()
        sizes = [10, 600, 600, 5_000, 1, 1_024, 2_000] * 20  # some of them larger than a whole piece
        server.publish_many([("c", "x" * size) for size in sizes])
        assert [len(each["data"]) for each in await ws.publications(len(sizes))] == sizes
        assert [len(each["data"]) for each in await sse.publications(len(sizes))] == sizes
        await assert_delivered(server, "c", 2 * len(sizes))


async def test_history_bytes_total(serve: Callable[..., Server]) -> None:
    limit = 262_144
    server = serve(limits={"history_bytes_total": limit})
    first = server.publish("a", "x" * 1_000)
    for n in range(1_000):
        server.publish("a" if n % 2 else "b", "x" * 1_000)
        assert server.stats()["history_bytes"] <= limit * 9 // 8 + 4_096
    async with open_sse(server, "a", since=str(first)) as sse, open_ws(server) as ws:
        assert (await sse.status())["recovered"] is False
        result = await ws.subscribe("a", recover=True, offset=1, epoch=first.epoch)
        assert not result.get("recovered", False)
        late = server.history("a", limit=1, reverse=True).messages[0]
        assert late.offset == 501
    near = f"{first.epoch}:500"
    async with open_sse(server, "a", since=near) as sse:
        assert (await sse.status())["recovered"] is True
        assert (await sse.publications(1))[0]["offset"] == 501


def test_early_entries() -> None:
    """Only a store that announces out of order reaches it: the property tests of the hub have one."""
    world = (ROOT / "tests/cpp/hub/hub_world.cpp").read_text()
    assert re.search(r"limits\.early_entries = \d;", world)
    tests = (ROOT / "tests/cpp/hub/hub_property_test.cpp").read_text()
    assert "TEST(HubProperty, TheSameHoldsOverAStoreThatIsLateOutOfOrderAndSometimesFails)" in tests


def test_catching_up_channels() -> None:
    """Seen only from inside: a test of the hub counts what is under way."""
    tests = (ROOT / "tests/cpp/hub/hub_late_store_test.cpp").read_text()
    assert re.search(r"\.catching_up_channels = \d", tests)


async def test_stored_pages(carillon_server_factory: Callable[..., Server], tmp_path: Path) -> None:
    """What the memory has no room for, clients read from the store, one page after another."""
    server = carillon_server_factory(
        store=f"sqlite:{tmp_path / 'log.db'}",
        limits={"stored_pages": 1, "history_bytes_total": 65_536},
        channels={"*": {"history_size": 5_000}},
    )
    first = server.publish("a", {"n": 1})
    for begin in range(2, 1_502, 250):
        server.publish_many([("a", {"n": n, "text": "x" * 200}) for n in range(begin, begin + 250)])
    async with AsyncExitStack() as stack:
        since = f"{first.epoch}:0"
        streams = [await stack.enter_async_context(open_sse(server, "a", since=since)) for _ in range(5)]
        for sse in streams:
            assert (await sse.status())["recovered"] is True
        lists = await asyncio.gather(*(sse.publications(1_501) for sse in streams))
    for publications in lists:
        assert [each["offset"] for each in publications] == list(range(1, 1_502))
    await until(lambda: server.ledger()["is_balanced"])


async def test_dormant_channels(serve: Callable[..., Server]) -> None:
    server = serve(limits={"dormant_channels": 64})
    old = server.history("old", limit=0).position  # touched, nothing in it: dormant at the next look
    await until(lambda: server.stats()["channels_in_memory"] == 0)  # before any other
    async with open_ws(server) as ws:
        await ws.subscribe("in use")
        used = server.publish("in use", 1)
        for n in range(5_000):
            server.history(f"c{n}", limit=0)
        await until(lambda: server.stats()["channels_in_memory"] == 1)
        await until(lambda: server.stats()["channels_known"] <= 64 + 1)
        assert server.history("in use", limit=0).position == used
    fresh = server.history("old", limit=0).position
    assert fresh.epoch != old.epoch
    assert fresh.offset == 0
    async with open_sse(server, "old", since=str(old)) as sse:
        told = await sse.status()
        assert (told["recovered"], told["epoch"]) == (False, fresh.epoch)


async def test_channel_lifetime_ms(serve: Callable[..., Server]) -> None:
    server = serve(limits={"channel_lifetime_ms": 1_000})
    old = server.history("c", limit=0).position
    await until(lambda: server.stats()["channels_known"] == 0)
    assert server.history("c", limit=0).position.epoch != old.epoch


async def test_idempotency_keys(serve: Callable[..., Server]) -> None:
    server = serve(limits={"idempotency_keys": 64})
    first = server.publish("c", "first", idempotency_key="0")
    assert server.publish("c", "first", idempotency_key="0") == first
    for n in range(1, 200):
        server.publish("c", n, idempotency_key=str(n))
    assert server.publish("c", 199, idempotency_key="199").offset == 200
    assert server.publish("c", "first again", idempotency_key="0").offset == 201


async def test_idempotency_key_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"idempotency_key_bytes": 40})
    first = server.publish("c", 1, idempotency_key="k" * 40)
    assert server.publish("c", 1, idempotency_key="k" * 40) == first
    text = r"idempotency_key: 41 bytes are more than limits\.idempotency_key_bytes \(40\)"
    with pytest.raises(ValueError, match=text):
        server.publish("c", 1, idempotency_key="k" * 41)
    with pytest.raises(ValueError, match=text):
        await server.publish_async("c", 1, idempotency_key="k" * 41)
    async with open_http(server) as client:
        fields = {"data": 1, "idempotency_key": "k" * 41}
        refused = (await client.post("/api/publish", json={"channel": "c", **fields})).json()["error"]
        many = (await client.post("/api/broadcast", json={"channels": ["c", "d"], **fields})).json()
    for error in (refused, *(each["error"] for each in many["result"]["responses"])):
        assert error["code"] == 107
        assert re.search(text, error["message"])
    assert server.publish("c", 2).offset == 2, "nothing of it was published"


async def test_idempotency_window_ms(serve: Callable[..., Server]) -> None:
    server = serve(limits={"idempotency_window_ms": 300})
    started = time.monotonic()
    first = server.publish("c", 1, idempotency_key="k")
    if server.publish("c", 1, idempotency_key="k") != first:
        assert time.monotonic() - started > 0.3
    await until(lambda: server.publish("c", 2, idempotency_key="k") != first)
    assert time.monotonic() - started >= 0.25


async def test_bridge_items(serve: Callable[..., Server]) -> None:
    server = serve(limits={"bridge_items": 16}, channels={"*": {"history_size": 10_000}})
    async with server.subscribe("c") as cursor:
        for n in range(5_000):  # the loop does not run meanwhile
            server.publish("c", n)
        row = row_of(server, "c")
        assert row["pending"] > 0
        assert row["delivered"] < 1_000
        assert [(await cursor.next(10)).offset for _ in range(5_000)] == list(range(1, 5_001))  # type: ignore[union-attr]
    await assert_delivered(server, "c", 5_000)
