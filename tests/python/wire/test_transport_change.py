"""A change of transport in mid-stream, and one order for all, while publishers run at full speed."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import Message
from wire_clients import assert_delivered, open_http, open_sse, open_ws, poll, row_of, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from carillon import Server

pytestmark = pytest.mark.wire

WIDE = {"*": {"history_size": 100_000, "history_bytes": 1 << 28}}
CHANGES = 12
LEAD = 1_000
BURST = 100


@contextmanager
def publisher(server: Server, channel: str, offset_read: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Publishes 0, 1, 2 … as fast as it can until the block ends, at most LEAD ahead of the reader.

    Yields what ends it and tells how many there were.
    """
    is_over = threading.Event()
    published = [0]

    def run() -> None:
        while not is_over.is_set():
            if published[0] - offset_read() > LEAD:
                time.sleep(0.001)  # lets the reader have the GIL
                continue
            burst = range(published[0], published[0] + BURST)
            server.publish_many([(channel, n) for n in burst])
            published[0] += BURST

    thread = threading.Thread(target=run)

    def finish() -> int:
        is_over.set()
        thread.join()
        return published[0]

    thread.start()
    try:
        yield finish
    finally:
        finish()


class Journal:
    """What one client has seen, over whatever it came."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.offset = 0
        self.values: list[int] = []

    @property
    def token(self) -> str:
        return f"{self.epoch}:{self.offset}"

    def take(self, publications: list[dict[str, Any]]) -> None:
        for each in publications:
            assert each["offset"] == self.offset + 1, "a gap or a duplicate"
            self.offset = each["offset"]
            self.values.append(each["data"])


async def over_ws(server: Server, journal: Journal, count: int) -> None:
    async with open_ws(server) as ws:
        result = await ws.subscribe("c", recover=True, offset=journal.offset, epoch=journal.epoch)
        assert result["recovered"], result
        journal.take(result.get("publications", []))
        journal.take(await ws.publications(count))


async def over_sse(server: Server, journal: Journal, count: int) -> None:
    async with open_sse(server, "c", since=journal.token) as sse:
        assert (await sse.status())["recovered"]
        journal.take(await sse.publications(count))


async def over_poll(server: Server, journal: Journal, count: int) -> None:
    until_offset = journal.offset + count
    async with open_http(server) as client:
        while journal.offset < until_offset:
            answer = await poll(client, "c", since=journal.token)
            assert all(told["recovered"] for told in answer["status"])
            journal.take(answer["publications"])
            assert answer["since"] == journal.token


async def test_a_client_changes_its_transport_in_mid_stream(serve: Callable[..., Server]) -> None:
    server = serve(channels=WIDE)
    journal = Journal(server.history("c", limit=0).position.epoch)
    with publisher(server, "c", lambda: journal.offset) as finish:
        for i, change in enumerate(itertools.cycle([over_ws, over_sse, over_poll])):
            if i == CHANGES:
                break
            await change(server, journal, 40 + 13 * i)
        total = finish()
    while journal.offset < total:
        await over_poll(server, journal, 1)
    assert journal.values == list(range(total))
    assert server.ledger()["is_balanced"]


SENDERS = 3
EACH = 150


async def publish_over_ws(server: Server, name: str) -> None:
    async with open_ws(server) as ws:
        numbers = [await ws.send(publish={"channel": "c", "data": f"{name} {n}"}) for n in range(EACH)]
        for number in numbers:
            assert (await ws.reply(number))["publish"] == {}


async def publish_over_http(server: Server, name: str) -> None:
    async with open_http(server) as client:
        for n in range(EACH):
            answer = await client.post("/api/publish", json={"channel": "c", "data": f"{name} {n}"})
            assert "result" in answer.json()


async def publish_in_python(server: Server, name: str) -> None:
    def run() -> None:
        for n in range(EACH):
            server.publish("c", f"{name} {n}")

    await asyncio.to_thread(run)


async def publish_many_in_python(server: Server, name: str) -> None:
    def run() -> None:
        for begin in range(0, EACH, 30):
            positions = server.publish_many([("c", f"{name} {n}") for n in range(begin, begin + 30)])
            assert [each.offset for each in positions] == sorted(each.offset for each in positions)

    await asyncio.to_thread(run)


SENDER_KINDS: dict[str, Callable[[Server, str], Awaitable[None]]] = {
    "ws": publish_over_ws,
    "http": publish_over_http,
    "python": publish_in_python,
    "many": publish_many_in_python,
}
TOTAL = EACH * SENDERS * len(SENDER_KINDS)

Entries = list[tuple[int, str]]


async def read_ws(server: Server) -> Entries:
    async with open_ws(server) as ws:
        await ws.subscribe("c")
        return [(each["offset"], each["data"]) for each in await ws.publications(TOTAL)]


async def read_sse(server: Server) -> Entries:
    async with open_sse(server, "c") as sse:
        await sse.status()
        return [(each["offset"], each["data"]) for each in await sse.publications(TOTAL)]


async def read_polls(server: Server) -> Entries:
    seen: Entries = []
    since: dict[str, str] = {}
    async with open_http(server) as client:
        while len(seen) < TOTAL:
            answer = await poll(client, "c", **since)
            seen += [(each["offset"], each["data"]) for each in answer["publications"]]
            since = {"since": answer["since"]}
    return seen


async def read_cursor(server: Server) -> Entries:
    seen: Entries = []
    async with server.subscribe("c") as cursor:
        while len(seen) < TOTAL:
            item = await cursor.next(10)
            assert isinstance(item, Message)
            seen.append((item.offset, item.json()))
    return seen


async def test_many_publishers_and_one_order_for_all(serve: Callable[..., Server]) -> None:
    server = serve(channels=WIDE)
    readers = [read(server) for read in (read_ws, read_sse, read_polls, read_cursor) for _ in range(2)]
    reading = asyncio.gather(*readers)
    await until(lambda: server.channels().get("c") == len(readers))
    senders = [send(server, f"{kind} {i}") for kind, send in SENDER_KINDS.items() for i in range(SENDERS)]
    await asyncio.gather(*senders)
    journals = await asyncio.wait_for(reading, 30)
    first = journals[0]
    assert [offset for offset, _ in first] == list(range(1, TOTAL + 1))
    assert all(journal == first for journal in journals)
    by_sender: dict[str, list[int]] = {}
    for _, text in first:
        name, _, number = text.rpartition(" ")
        by_sender.setdefault(name, []).append(int(number))
    assert len(by_sender) == SENDERS * len(SENDER_KINDS)
    assert all(numbers == list(range(EACH)) for numbers in by_sender.values())
    assert [(each.offset, each.json()) for each in server.history("c", limit=-1).messages] == first
    await until(lambda: row_of(server, "c")["subscriptions"] == 0)
    await assert_delivered(server, "c", TOTAL * len(readers))


async def test_idempotency_keys(server: Server) -> None:
    async with open_ws(server) as ws, open_http(server) as client:
        await ws.subscribe("c")

        async def publish(data: str, channel: str = "c") -> dict[str, Any]:
            request = {"channel": channel, "data": data, "idempotency_key": "k1"}
            answer: dict[str, Any] = (await client.post("/api/publish", json=request)).json()["result"]
            return answer

        results = await asyncio.gather(*(publish("retried") for _ in range(20)))
        assert all(each == results[0] for each in results)
        assert server.publish("c", "retried", idempotency_key="k1").offset == results[0]["offset"]
        assert (await publish("elsewhere", "d"))["offset"] == 1  # keys belong to a channel
        assert server.publish("c", "last").offset == 2
        assert [each["data"] for each in await ws.publications(2)] == ["retried", "last"]
        await assert_delivered(server, "c", 2)


async def test_publishing_from_many_threads_of_http_clients(server: Server) -> None:
    def run(name: int) -> list[int]:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            answers = [
                client.post("/api/publish", json={"channel": "c", "data": [name, n]}) for n in range(50)
            ]
            return [each.json()["result"]["offset"] for each in answers]

    offsets = await asyncio.gather(*(asyncio.to_thread(run, name) for name in range(4)))
    assert all(each == sorted(each) for each in offsets)
    assert sorted(itertools.chain(*offsets)) == list(range(1, 201))
