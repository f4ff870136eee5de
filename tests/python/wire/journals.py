"""What subscribers of every transport have received, each written down by a task of its own."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import carillon
from carillon import Gap, Message
from wire_clients import open_http, open_sse, open_ws, poll, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from carillon import Server
    from carillon.stream import ItemStream

TRANSPORTS = ("ws", "sse", "poll", "cursor")
OURS = ("client ws", "client sse", "client poll")


@dataclass
class Journal:
    """Of one subscriber of one channel.

    Attributes:
        transport: One of `TRANSPORTS`, which others wrote but for the cursor, or of `OURS`.
        offsets: In the order in which they came.
        data: The payloads, decoded.
        times: When, seconds.
        told: Everything that is no publication.
    """

    transport: str
    offsets: list[int] = field(default_factory=list)
    data: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    def write(self, offset: int, data: Any) -> None:
        """One publication came."""
        self.offsets.append(offset)
        self.data.append(data)
        self.times.append(time.monotonic())

    @property
    def top(self) -> int:
        """The offset that came last."""
        return self.offsets[-1] if self.offsets else 0

    def faults(self, first: int, last: int) -> str:
        """What is not as it should be, if all of these offsets are to be here, once and in order."""
        expected = list(range(first, last + 1))
        if self.offsets == expected and not self.told:
            return ""
        missing = sorted(set(expected) - set(self.offsets))
        count = f"{len(self.offsets)} of {len(expected)}"
        return f"{self.transport}: {count}, missing {missing[:5]}, told {self.told[:3]}"


async def _by_ws(server: Server, channel: str, journal: Journal, ready: asyncio.Event) -> None:
    async with open_ws(server, max_queue=4096) as ws:
        await ws.subscribe(channel)
        ready.set()
        while True:
            push = await ws.push()
            if "pub" in push:
                journal.write(push["pub"]["offset"], push["pub"]["data"])
            else:
                journal.told.append(push)


async def _by_sse(server: Server, channel: str, journal: Journal, ready: asyncio.Event) -> None:
    async with open_sse(server, channel) as sse:
        await sse.status()
        ready.set()
        while True:
            event = await sse.event()
            if event.event == "message":
                journal.write(event.json()["offset"], event.json()["data"])
            else:
                journal.told.append(event.json())


async def _by_poll(server: Server, channel: str, journal: Journal, ready: asyncio.Event) -> None:
    async with open_http(server) as client:
        since = (await poll(client, channel, timeout=0))["since"]
        ready.set()
        while True:
            answer = await poll(client, channel, since=since, timeout=5)
            since = answer["since"]
            for each in answer["publications"]:
                journal.write(each["offset"], each["data"])
            journal.told += [each for each in answer["status"] if not each["recovered"]]


async def _by_stream(stream: ItemStream[Message | Gap], journal: Journal, ready: asyncio.Event) -> None:
    async with stream:
        ready.set()
        async for item in stream:
            if isinstance(item, Gap):
                journal.told.append(item)
            else:
                journal.write(item.offset, item.json())


async def _by_cursor(server: Server, channel: str, journal: Journal, ready: asyncio.Event) -> None:
    await _by_stream(server.subscribe(channel, on_gap="yield"), journal, ready)


async def _by_client(server: Server, channel: str, journal: Journal, ready: asyncio.Event) -> None:
    async with carillon.connect(server.url, transport=journal.transport.split()[1]) as client:
        await _by_stream(client.subscribe(channel, on_gap="yield"), journal, ready)


_WRITERS = {"ws": _by_ws, "sse": _by_sse, "poll": _by_poll, "cursor": _by_cursor} | dict.fromkeys(
    OURS, _by_client
)


@asynccontextmanager
async def journals(server: Server, channel: str, transports: Sequence[str]) -> AsyncIterator[list[Journal]]:
    """Subscribes once for each transport that is named; all listen before anything is published."""
    all_of_them = [Journal(transport) for transport in transports]
    ready = [asyncio.Event() for _ in all_of_them]
    tasks = [
        asyncio.create_task(_WRITERS[journal.transport](server, channel, journal, event))
        for journal, event in zip(all_of_them, ready, strict=True)
    ]
    try:
        async with asyncio.timeout(30):
            await asyncio.gather(*(event.wait() for event in ready))
        yield all_of_them
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        assert not failed, failed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_reach(written: list[Journal], offset: int) -> None:
    """Waits until each of them has come to this offset."""
    await until(lambda: all(journal.top >= offset for journal in written), 30)
