"""Publishers and subscribers of one channel over every transport, and the judge who reads their journals.

They go on whatever happens: whose connection fails goes to the next server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
from carillon.testing import wait_until_async
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

ROOM = "room"
PAUSE_S = 0.02
ANSWER_S = 5.0
SETTLE_S = 20.0
RING_OF_NUMBERS = 1_000_000

Json = dict[str, Any]
Position = tuple[str, int]
_FAILURES = (OSError, WebSocketException, asyncio.TimeoutError, httpx.HTTPError, json.JSONDecodeError)


# Journals.


@dataclass
class Stretch:
    """What came between two moments at which the subscriber was told that something may be missing."""

    epoch: str
    start: int
    entries: list[tuple[int, int]] = field(default_factory=list)  # offset, number

    @property
    def top(self) -> int:
        return self.entries[-1][0] if self.entries else self.start


@dataclass
class Journal:
    """What one subscriber has got, in order, how often it was told of a loss, and what was wrong."""

    transport: str
    stretches: list[Stretch] = field(default_factory=list)
    told: int = 0
    doubled: int = 0
    reordered: int = 0
    silent: list[str] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        return bool(self.stretches)

    @property
    def position(self) -> Position:
        """Where it goes on; no epoch: it has not begun."""
        return (self.stretches[-1].epoch, self.stretches[-1].top) if self.stretches else ("", 0)

    def begin(self, epoch: str, offset: int) -> None:
        """Delivery starts behind this position: the first time, or because something may be lost."""
        self.told += self.is_live
        self.stretches.append(Stretch(epoch, offset))

    def go_on(self, epoch: str, offset: int) -> None:
        """The server says that nothing was lost behind this position."""
        if self.position != (epoch, offset):
            self.silent.append(f"at {self.position}, and it goes on behind {(epoch, offset)}")

    def take(self, epoch: str, offset: int, number: int) -> None:
        stretch = self.stretches[-1]
        if epoch != stretch.epoch:
            self.silent.append(f"epoch {epoch} after {stretch.epoch}, and nobody was told")
            stretch = Stretch(epoch, offset - 1)
            self.stretches.append(stretch)
        elif offset <= stretch.top:
            if (offset, number) in stretch.entries:
                self.doubled += 1
            else:
                self.reordered += 1
            return
        elif offset != stretch.top + 1:
            self.silent.append(f"{offset} after {stretch.top}")
        stretch.entries.append((offset, number))


# Subscribers. `ports` goes round the servers; each iteration is one connection.


def _round(ports: Sequence[int], first: int) -> Callable[[], int]:
    at = first

    def next_port() -> int:
        nonlocal at
        at += 1
        return ports[(at - 1) % len(ports)]

    return next_port


async def by_websocket(next_port: Callable[[], int], journal: Journal, stay_s: float) -> None:
    while True:
        url = f"ws://127.0.0.1:{next_port()}/connection/websocket"
        with contextlib.suppress(*_FAILURES):
            async with (
                _stay(stay_s),
                connect(url, proxy=None, compression=None, max_size=None, close_timeout=0.2) as socket,
            ):
                await socket.send(json.dumps({"id": 1, "connect": {}}))
                await _subscribe(socket, journal)
                async for frame in socket:
                    for line in str(frame).split("\n"):
                        await _take(json.loads(line), journal, socket)
        await asyncio.sleep(PAUSE_S)


@contextlib.asynccontextmanager
async def _stay(stay_s: float) -> AsyncIterator[None]:
    """Cuts its body off after that time, more or less; 0: never."""
    async with asyncio.timeout(random.uniform(stay_s / 2, stay_s * 1.5) if stay_s else None):
        yield


async def _subscribe(socket: Any, journal: Journal) -> None:
    epoch, offset = journal.position
    since = {"recover": True, "epoch": epoch, "offset": offset} if epoch else {}
    await socket.send(json.dumps({"id": 2, "subscribe": {"channel": ROOM, **since}}))


async def _take(message: Json, journal: Journal, socket: Any) -> None:
    push = message.get("push", {})
    if not message:
        await socket.send("{}")
    elif "subscribe" in message:
        result = message["subscribe"]
        if not (journal.is_live and result.get("recovered")):
            journal.begin(result["epoch"], result.get("offset", 0))
        for publication in result.get("publications", []):
            journal.take(result["epoch"], publication["offset"], publication["data"]["n"])
    elif "error" in message and message["id"] == 2:
        assert message["error"].get("temporary"), message
        await asyncio.sleep(PAUSE_S)
        await _subscribe(socket, journal)
    elif "unsubscribe" in push:
        await _subscribe(socket, journal)
    elif "pub" in push:
        publication = push["pub"]
        journal.take(journal.position[0], publication["offset"], publication["data"]["n"])


async def by_event_source(next_port: Callable[[], int], journal: Journal, stay_s: float) -> None:
    last = ""
    while True:
        url = f"http://127.0.0.1:{next_port()}/sse?channel={ROOM}"
        with contextlib.suppress(*_FAILURES):
            headers = {"Last-Event-ID": last} if last else {}
            async with (
                _stay(stay_s),
                httpx.AsyncClient(timeout=None, trust_env=False, verify=False) as client,
                aconnect_sse(client, "GET", url, headers=headers) as source,
            ):
                async for event in source.aiter_sse():
                    last = event.id or last
                    if not event.data:  # a block with retry: alone
                        continue
                    body = json.loads(event.data)
                    if event.event == "message":
                        epoch, _, offset = event.id.rpartition(":")
                        journal.take(epoch, int(offset), body["data"]["n"])
                    else:
                        _take_status(body, journal)
                        last = f"{body['epoch']}:{body['offset']}"
        await asyncio.sleep(PAUSE_S)


def _take_status(status: Json, journal: Journal) -> None:
    if status["recovered"] and journal.is_live:
        journal.go_on(status["epoch"], status["offset"])
    else:
        journal.begin(status["epoch"], status["offset"])


async def by_poll(next_port: Callable[[], int], journal: Journal, stay_s: float) -> None:
    """Each poll is at the next server."""
    since = ""
    async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=False) as client:
        while True:
            query = {"channel": ROOM, "timeout": "0.5"} | ({"since": since} if since else {"timeout": "0"})
            with contextlib.suppress(*_FAILURES):
                response = await client.get(f"http://127.0.0.1:{next_port()}/poll", params=query)
                if response.status_code == 200:
                    answer = response.json()
                    for status in answer["status"]:
                        _take_status(status, journal)
                    since = answer["since"]
                    epoch = since.rpartition(":")[0]
                    for publication in answer["publications"]:
                        journal.take(epoch, publication["offset"], publication["data"]["n"])
                    continue
                assert response.status_code == 503, response.text
            await asyncio.sleep(PAUSE_S)


SUBSCRIBERS = {"websocket": by_websocket, "event source": by_event_source, "poll": by_poll}


# Publishers.


@dataclass
class Publisher:
    """Publishes numbers one after another.

    Over the HTTP API with a key, each until it is acknowledged; without one, and over a WebSocket, once: what
    is not acknowledged is in doubt.
    """

    kind: str
    next_port: Callable[[], int]
    first: int
    pause_s: float = 0.0
    acknowledged: dict[int, Position | None] = field(default_factory=dict)
    in_doubt: set[int] = field(default_factory=set)
    is_done: bool = False

    async def run(self) -> None:
        await (self._by_websocket() if self.kind == "websocket" else self._by_http())

    async def _by_http(self) -> None:
        number = self.first
        port = self.next_port()
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=False) as client:
            while not self.is_done:
                body: Json = {"channel": ROOM, "data": {"n": number}}
                if self.kind == "key":
                    body["idempotency_key"] = f"n{number}"
                try:
                    response = await client.post(f"http://127.0.0.1:{port}/api/publish", json=body)
                    answer = response.json()
                except _FAILURES:
                    answer = {}
                    port = self.next_port()
                if "result" in answer:
                    self.acknowledged[number] = (answer["result"]["epoch"], answer["result"]["offset"])
                    number += 1
                    await asyncio.sleep(self.pause_s)
                    continue
                self.in_doubt.add(number)
                number += self.kind != "key"
                await asyncio.sleep(PAUSE_S)

    async def _by_websocket(self) -> None:
        number = self.first
        while not self.is_done:
            url = f"ws://127.0.0.1:{self.next_port()}/connection/websocket"
            with contextlib.suppress(*_FAILURES):
                async with connect(url, proxy=None, compression=None, close_timeout=0.2) as socket:
                    await socket.send(json.dumps({"id": 1, "connect": {}}))
                    async with asyncio.timeout(ANSWER_S):
                        await socket.recv()
                    while not self.is_done:
                        self.in_doubt.add(number)
                        publish = {"channel": ROOM, "data": {"n": number}}
                        await socket.send(json.dumps({"id": number + 2, "publish": publish}))
                        number += 1
                        async with asyncio.timeout(ANSWER_S):
                            reply = await self._reply(socket, number + 1)
                        if "publish" in reply:
                            self.in_doubt.discard(number - 1)
                            self.acknowledged[number - 1] = None
                        await asyncio.sleep(self.pause_s)
            await asyncio.sleep(PAUSE_S)

    @staticmethod
    async def _reply(socket: Any, number: int) -> Json:
        while True:
            for line in str(await socket.recv()).split("\n"):
                message: Json = json.loads(line)
                if not message:
                    await socket.send("{}")
                elif message.get("id") == number:
                    return message


PUBLISHERS = ("key", "no key", "websocket")


class Crowd:
    """Publishers and subscribers of one channel, who go on whatever happens to the servers at these ports.

    Args:
        ports: Of all servers; any of them serves anybody.
        publishers: How many; their kinds alternate, if not all have a key.
        subscribers: How many; their transports alternate.
        stay_s: How long a subscriber stays at one server; 0: until the connection fails.
        pause_s: How long a publisher pauses after each publication.
    """

    def __init__(
        self,
        ports: int | Sequence[int],
        *,
        publishers: int,
        subscribers: int,
        stay_s: float = 0.0,
        pause_s: float = 0.0,
    ) -> None:
        self.ports = [ports] if isinstance(ports, int) else list(ports)
        self.stay_s = stay_s
        transports = list(SUBSCRIBERS)
        self.journals = [Journal(transports[i % len(transports)]) for i in range(subscribers)]
        self.publishers = [
            Publisher(PUBLISHERS[i % len(PUBLISHERS)], _round(self.ports, i), i * RING_OF_NUMBERS, pause_s)
            for i in range(publishers)
        ]
        self.history: dict[int, int] = {}
        self.top: Position = ("", 0)

    async def meet(self, event: Callable[[], Awaitable[None]], *, times: int = 1) -> None:
        """Works while this happens, and until everybody has come to the end of the log, if that comes."""
        clients = [
            asyncio.create_task(
                SUBSCRIBERS[journal.transport](
                    _round(self.ports, i // len(SUBSCRIBERS)), journal, self.stay_s
                )
            )
            for i, journal in enumerate(self.journals)
        ]
        await wait_until_async(lambda: all(journal.is_live for journal in self.journals))
        work = [asyncio.create_task(publisher.run()) for publisher in self.publishers]
        try:
            await self._all_publish()
            for _ in range(times):
                await event()
                await self._all_publish()
        finally:
            for publisher in self.publishers:
                publisher.is_done = True
            await asyncio.gather(*work)
        await self._settle()
        for client in clients:
            client.cancel()
        results = await asyncio.gather(*clients, return_exceptions=True)
        failed = [each for each in results if not isinstance(each, asyncio.CancelledError)]
        assert not failed, failed

    async def _all_publish(self) -> None:
        before = [len(publisher.acknowledged) for publisher in self.publishers]
        await wait_until_async(
            lambda: all(
                len(publisher.acknowledged) > count + 1
                for publisher, count in zip(self.publishers, before, strict=True)
            ),
            30,
        )

    async def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(*_FAILURES, KeyError):
                await self._read_history()
                if all(journal.position == self.top for journal in self.journals):
                    return
            await asyncio.sleep(0.1)

    async def _read_history(self) -> None:
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=False) as client:
            history: dict[int, int] = {}
            since: Json | str = "oldest"
            while True:  # an answer is cut where it becomes too large
                body = {"channel": ROOM, "since": since, "limit": -1}
                response = await client.post(f"http://127.0.0.1:{self.ports[0]}/api/history", json=body)
                result = response.json()["result"]
                page = {each["offset"]: each["data"]["n"] for each in result["publications"]}
                history |= page
                if not page or max(page) == result["offset"]:
                    break
                since = {"epoch": result["epoch"], "offset": max(page)}
        self.top = (result["epoch"], result["offset"])
        self.history = history

    @property
    def acknowledged(self) -> dict[int, Position | None]:
        """The position of every publication that its publisher counts as published, where it was told."""
        return {number: at for publisher in self.publishers for number, at in publisher.acknowledged.items()}


# The judge.


class Promise(Enum):
    """What the setting promises about this fault."""

    LOSSLESS = "nothing is lost, and nobody is told of a loss"
    KEPT = "nothing is lost; subscribers may be told that something may be"
    TOLD = "what is lost is told"


@dataclass
class Figures:
    """What the journals of a crowd come to."""

    acknowledged: int = 0
    lost: int = 0  # acknowledged, and not in the log at the end
    told: int = 0  # of these: every subscriber was told
    resets: int = 0  # how often subscribers were told of a loss
    doubled: int = 0
    reordered: int = 0
    mixed: int = 0  # positions that name two publications
    silent: list[str] = field(default_factory=list)

    def row(self) -> str:
        figures = (
            self.acknowledged,
            f"{self.lost} and {self.told}",
            self.doubled,
            self.reordered,
            self.mixed,
            len(self.silent),
        )
        return " | ".join(map(str, figures))


HEADINGS = "acknowledged | lost and told | doubled | reordered | mixed | silent gaps"


def figures_of(crowd: Crowd) -> Figures:
    """Reads all journals."""
    acknowledged = crowd.acknowledged
    figures = Figures(acknowledged=len(acknowledged), resets=sum(journal.told for journal in crowd.journals))
    # Which number has which position, as everybody has seen it.
    seen = {(crowd.top[0], offset): {number} for offset, number in crowd.history.items()}
    for number, position in acknowledged.items():
        if position is not None:
            seen.setdefault(position, set()).add(number)
    for journal in crowd.journals:
        figures.doubled += journal.doubled
        figures.reordered += journal.reordered
        figures.silent += [f"{journal.transport}: {each}" for each in journal.silent]
        for stretch in journal.stretches:
            for offset, number in stretch.entries:
                seen.setdefault((stretch.epoch, offset), set()).add(number)
        if journal.position != crowd.top:
            figures.silent.append(f"{journal.transport}: ended at {journal.position}, the log at {crowd.top}")
    figures.mixed = sum(len(numbers) - 1 for numbers in seen.values())
    by_epoch: dict[str, list[tuple[int, int]]] = {}
    for (epoch, offset), numbers in seen.items():
        by_epoch.setdefault(epoch, []).extend((offset, number) for number in numbers)
    doubts = {number for publisher in crowd.publishers for number in publisher.in_doubt}
    for entries in by_epoch.values():
        entries.sort()
        counts = Counter(number for _, number in entries)
        figures.doubled += sum(count - 1 for count in counts.values())
        figures.reordered += _disorder([number for _, number in entries if number not in doubts])
    kept = set(crowd.history.values())
    everybody_told = all(journal.told for journal in crowd.journals)
    for number, position in acknowledged.items():
        if number in kept:
            continue
        figures.lost += 1
        if position is not None and position[0] == crowd.top[0]:
            figures.silent.append(f"{number} is lost at {position}, and the epoch goes on")
        elif not everybody_told:
            figures.silent.append(f"{number} is lost at {position}, and not everybody was told")
        else:
            figures.told += 1
    return figures


def _disorder(numbers: list[int]) -> int:
    """How often a publisher's number is before one that it had published earlier."""
    by_publisher: dict[int, list[int]] = {}
    for number in numbers:
        by_publisher.setdefault(number // RING_OF_NUMBERS, []).append(number)
    return sum(a > b for each in by_publisher.values() for a, b in pairwise(each))


def check_journals(crowd: Crowd, promise: Promise, *, at_least: int = 20) -> Figures:
    """Doubled 0, reordered 0, mixed 0, silent gaps 0; lost only where that is not excluded, and told then."""
    figures = figures_of(crowd)
    assert figures.acknowledged > at_least, figures
    assert figures.doubled == 0, figures
    assert figures.reordered == 0, figures
    assert figures.mixed == 0, figures
    assert not figures.silent, (len(figures.silent), figures.silent[:5])
    if promise is not Promise.TOLD:
        assert figures.lost == 0, figures
    if promise is Promise.LOSSLESS:
        assert figures.resets == 0, "epochs go on"
    return figures
