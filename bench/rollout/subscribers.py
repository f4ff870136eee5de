"""Subscribers over plain TCP, each on one channel and one transport, that reconnect and check what they get.

The number of a publication is its offset, so one integer says whether any is missing, repeated, or twice in
the log. They include nothing of what they measure.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .links import Link, frame

TRANSPORTS = {  # with their share of the clients, in twentieths
    "ws": 7, "uni_ws": 2, "sse": 3, "poll": 2, "http_stream": 2, "sdk_sse": 1, "uni_sse": 1,
    "uni_http_stream": 2,
}  # fmt: skip
OPEN_S = 30.0
DELAY_S = (0.05, 0.5)  # of a reconnect, as SDKs choose one at random
REFUSED_S = (0.5, 1.5)
POLL_S = 25
BUCKETS_PER_DOUBLING = 8

Json = dict[str, Any]


def transport_of(number: int) -> str:
    """Transport of the client with this number."""
    names = [name for name, share in TRANSPORTS.items() for _ in range(share)]
    return names[number * 7 % len(names)]  # neighbours differ


@dataclass
class Tally:
    """What all subscribers of a process have seen."""

    opened: Counter[int] = field(default_factory=Counter)  # by second
    ended: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)  # by phase
    repeated: int = 0
    missing: int = 0
    changed: int = 0
    not_recovered: int = 0
    first_faults: list[str] = field(default_factory=list)
    latencies: dict[tuple[str, str], Counter[int]] = field(default_factory=dict)  # by phase and transport
    slowest_ns: Counter[tuple[str, str]] = field(default_factory=Counter)
    phase: str = "before"

    def fault(self, text: str) -> None:
        """Keeps a few descriptions."""
        if len(self.first_faults) < 10:
            self.first_faults.append(text)

    def note(self, transport: str, latency_ns: int) -> None:
        """Counts a delivery."""
        self.received[self.phase] += 1
        key = (self.phase, transport)
        self.latencies.setdefault(key, Counter())[bucket_of(latency_ns)] += 1
        if latency_ns > self.slowest_ns[key]:
            self.slowest_ns[key] = latency_ns


def bucket_of(value_ns: int) -> int:
    """Number of a logarithmic bucket, of at most 12.5 %."""
    shift = max(0, value_ns.bit_length() - BUCKETS_PER_DOUBLING.bit_length())
    return shift * BUCKETS_PER_DOUBLING + (value_ns >> shift)


def upper_bound_ns(bucket: int) -> int:
    """The largest value of a bucket."""
    if bucket < 2 * BUCKETS_PER_DOUBLING:
        return bucket
    shift = bucket // BUCKETS_PER_DOUBLING - 1
    return ((bucket - shift * BUCKETS_PER_DOUBLING) + 1 << shift) - 1


class Subscriber:
    """One client. It keeps its position, whatever becomes of its connections.

    Args:
        port: Port of the proxy, without TLS.
        channel: Its channel.
        transport: How it connects.
        tally: Where it counts.
        commands: Sends what an SDK over HTTP says to /emulation.
    """

    def __init__(self, port: int, channel: str, transport: str, tally: Tally, commands: Commands) -> None:
        self.port = port
        self.channel = channel
        self.transport = transport
        self.tally = tally
        self.commands = commands
        self.epoch = ""
        self.offset = -1  # -1: has not begun
        self.is_live = False
        self.is_over = False
        self.link: Link | None = None
        self.retry_s: float | None = None
        self.session: Json = {}

    async def connect(self) -> None:
        """Opens a connection; the link says when it has ended."""
        loop = asyncio.get_running_loop()
        self.is_live = False
        link = Link(self)
        try:
            await asyncio.wait_for(loop.create_connection(lambda: link, "127.0.0.1", self.port), OPEN_S)
        except (OSError, TimeoutError) as error:
            self.on_end(f"connect: {type(error).__name__}")
            return
        self.link = link
        self.tally.opened[int(time.monotonic())] += 1
        link.send(self._request())
        link.deadline = loop.call_later(OPEN_S, link.give_up)

    def on_end(self, why: str) -> None:
        """Connects again after a random delay."""
        self.is_live = False
        self.tally.ended[f"{self.transport}: {why}"] += 1
        if self.is_over:
            return
        low, high = REFUSED_S if why[0] in "c45" else DELAY_S
        delay_s = random.uniform(low, high) if self.retry_s is None else self.retry_s
        self.retry_s = None
        loop = asyncio.get_running_loop()
        loop.call_later(delay_s, lambda: keep(loop.create_task(self.connect())))

    def close(self) -> None:
        """Ends it."""
        self.is_over = True
        if self.link is not None and self.link.pipe is not None:
            self.link.pipe.abort()

    # What it asks.

    def _recover(self) -> Json:
        return {"recover": True, "epoch": self.epoch, "offset": self.offset} if self.offset >= 0 else {}

    def _request(self) -> bytes:
        subscribe = json.dumps({"id": 2, "subscribe": {"channel": self.channel, **self._recover()}})
        connect = '{"id":1,"connect":{}}\n' + subscribe
        subs = json.dumps({"subs": {self.channel: self._recover()}})
        match self.transport:
            case "ws":
                return _get("/connection/websocket", _UPGRADE)
            case "uni_ws":
                return _get(f"/connection/uni_websocket?cf_connect={quote(subs)}", _UPGRADE)
            case "http_stream":
                return _post("/connection/http_stream", connect)
            case "sdk_sse":
                return _post("/connection/sse", connect)
            case "uni_http_stream":
                return _post("/connection/uni_http_stream", subs)
            case "uni_sse":
                return _post("/connection/uni_sse", subs)
            case "sse":
                since = f"Last-Event-ID: {self.epoch}:{self.offset}\r\n" if self.offset >= 0 else ""
                return _get(f"/sse?channel={self.channel}", since)
        return self._poll()

    def _poll(self) -> bytes:
        since = f"&since={self.epoch}:{self.offset}" if self.offset >= 0 else ""
        wait_s = POLL_S if self.offset >= 0 else 0
        return _get(f"/poll?channel={self.channel}&timeout={wait_s}{since}")

    # What it gets.

    def on_upgrade(self) -> None:
        """The WebSocket is open."""
        if self.transport == "ws" and self.link is not None:
            subscribe = json.dumps({"id": 2, "subscribe": {"channel": self.channel, **self._recover()}})
            self.link.send(frame(1, b'{"id":1,"connect":{}}\n' + subscribe.encode()))

    def on_text(self, text: bytes) -> None:
        """Takes a line of JSON, or a message of several."""
        for line in text.split(b"\n"):
            if line.strip():
                self._take(json.loads(line))

    def on_event(self, event: dict[str, str]) -> None:
        """Takes a server-sent event."""
        if "retry" in event:
            self.retry_s = int(event["retry"]) / 1000
        data = event.get("data", "")
        if not data:
            return
        if self.transport != "sse":
            self.on_text(data.encode())
            return
        self.retry_s = None
        body = json.loads(data)
        if event.get("event") == "status":
            self._start(body["recovered"], body["epoch"], body["offset"])
        elif event.get("event", "message") == "message":
            self._publication(body)

    def on_poll(self, body: bytes) -> None:
        """Takes the answer to a poll, and polls again."""
        answer = json.loads(body)
        for status in answer["status"]:
            if self.offset < 0 or not status["recovered"]:
                self._start(status["recovered"], status["epoch"], status["offset"])
        self.is_live = True
        for publication in answer["publications"]:
            self._publication(publication)
        epoch, _, offset = answer["since"].rpartition(":")
        if (epoch, int(offset)) != (self.epoch, self.offset):
            self.tally.fault(f"poll: since {answer['since']} behind {self.epoch}:{self.offset}")
            self.tally.changed += 1
        if self.link is not None:
            self.link.send(self._poll())

    def _take(self, message: Json) -> None:
        push = message.get("push", message)
        if not message:
            if self.transport == "ws" and self.link is not None:
                self.link.send(frame(1, b"{}"))
            elif self.session:
                self.commands.send({**self.session, "data": "{}"})
        elif "pub" in push:
            self._publication(push["pub"])
        elif "subscribe" in push:
            self._subscribed(push["subscribe"])
        elif "connect" in push:
            hello = push["connect"]
            if self.transport in ("http_stream", "sdk_sse"):
                self.session = {name: hello[name] for name in ("session", "node")}
            for sub in hello.get("subs", {}).values():
                self._subscribed(sub)
        elif "error" in message or "unsubscribe" in push:
            self.tally.fault(f"{self.transport}: {json.dumps(message)}")
            self.tally.ended["error or unsubscribe"] += 1
            if self.link is not None:
                self.link.give_up()

    def _subscribed(self, sub: Json) -> None:
        self._start(bool(sub.get("recovered")), sub["epoch"], sub.get("offset", 0))
        for publication in sub.get("publications", []):
            self._publication(publication)

    def _start(self, recovered: bool, epoch: str, offset: int) -> None:
        self.is_live = True
        if self.link is not None and self.link.deadline is not None:
            self.link.deadline.cancel()
        if self.offset < 0:
            self.epoch, self.offset = epoch, offset
        elif not recovered or epoch != self.epoch:
            self.tally.not_recovered += 1
            self.tally.fault(f"{self.transport} {self.channel}: not recovered at {self.epoch}:{self.offset}")
            self.epoch, self.offset = epoch, offset

    def _publication(self, publication: Json) -> None:
        offset, data = publication["offset"], publication["data"]
        if data["n"] != offset:
            self.tally.changed += 1
            self.tally.fault(f"{self.transport} {self.channel}: number {data['n']} at offset {offset}")
        if offset <= self.offset:
            self.tally.repeated += 1
            self.tally.fault(f"{self.transport} {self.channel}: {offset} after {self.offset}")
            return
        if offset > self.offset + 1:
            self.tally.missing += offset - self.offset - 1
            self.tally.fault(f"{self.transport} {self.channel}: {offset} after {self.offset}")
        self.offset = offset
        self.tally.note(self.transport, time.monotonic_ns() - data["at"])


_tasks: set[asyncio.Task[None]] = set()


def keep(task: asyncio.Task[None]) -> None:
    """Keeps a task until it has ended."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


class Commands:
    """Sends the commands of SDKs over HTTP, over a few connections of their own.

    Args:
        port: Port of the proxy.
        tally: Where failures are counted.
    """

    def __init__(self, port: int, tally: Tally) -> None:
        self._port = port
        self._tally = tally
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._run()) for _ in range(4)]

    def send(self, command: Json) -> None:
        """Sends it when its turn comes."""
        self._waiting.put_nowait(json.dumps(command).encode())

    async def close(self) -> None:
        """Ends them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            body = await self._waiting.get()
            try:
                async with asyncio.timeout(OPEN_S):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    try:
                        writer.write(_post("/emulation", body.decode(), "Connection: close\r\n"))
                        line = await reader.readline()
                        self._tally.ended[f"emulation: {line.split(b' ')[1].decode()}"] += 1
                        await reader.read()
                    finally:
                        writer.close()
            except (OSError, TimeoutError, IndexError) as error:
                self._tally.ended[f"emulation: {type(error).__name__}"] += 1


_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(b'the sample nonce').decode()}\r\n"
)


def _get(target: str, headers: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def _post(target: str, body: str, headers: str = "") -> bytes:
    size = len(body.encode())
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {size}\r\n{headers}\r\n{body}".encode()
