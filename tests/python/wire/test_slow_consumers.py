"""Clients that stop reading: they cost a position, not memory, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from carillon.testing import wait_until
from wire_clients import (
    Tcp,
    assert_delivered,
    open_http,
    open_sse,
    open_tcp,
    open_ws,
    poll,
    row_of,
    settled,
    until,
)
from wire_frames import TEXT, frame, open_raw_ws, read_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

MEGABYTE = 1 << 20
PAYLOAD = "x" * 100_000
SUBSCRIBE = '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"c"}}'


def resident_bytes() -> int:
    """Memory of this process, the server's with it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def stall_ws(server: Server, stack: AsyncExitStack) -> Tcp:
    """Subscribes to c over WebSocket and stops reading."""
    tcp = await stack.enter_async_context(open_raw_ws(server, receive_bytes=65_536))
    await tcp.write(frame(TEXT, SUBSCRIBE))
    await read_frame(tcp)
    assert b'"subscribe"' in (await read_frame(tcp)).payload
    tcp.stop_reading()
    return tcp


async def stall_sse(server: Server, stack: AsyncExitStack) -> Tcp:
    """The same over SSE."""
    tcp = await stack.enter_async_context(open_tcp(server, receive_bytes=65_536))
    await tcp.get("/sse?channel=c")
    await tcp.read_until(b"event: status\n")
    await tcp.read_until(b"\n\n")
    tcp.stop_reading()
    return tcp


async def ws_message(tcp: Tcp) -> dict[str, Any]:
    """The next push that is no heartbeat."""
    while not (message := json.loads((await read_frame(tcp)).payload)):
        pass
    push: dict[str, Any] = message["push"]
    return push


async def sse_event(tcp: Tcp) -> dict[str, Any]:
    """Fields of the next event that is no comment."""
    while (text := (await tcp.read_until(b"\n\n")).decode()).startswith(":"):
        pass
    return dict(line.split(": ", 1) for line in text.splitlines() if line)


class Publisher(threading.Thread):
    """Publishes `count` payloads on c, at most 20 (2 MB) ahead of `taken`, which its reader counts."""

    def __init__(self, server: Server, count: int) -> None:
        super().__init__()
        self.taken = 0
        self.history_bytes_max = 0
        self._server = server
        self._count = count

    def run(self) -> None:
        for n in range(self._count):
            wait_until(lambda limit=n - 20: self.taken >= limit)  # type: ignore[misc]
            self._server.publish("c", PAYLOAD)
            self.history_bytes_max = max(self.history_bytes_max, self._server.stats()["history_bytes"])


@pytest.mark.slow
async def test_fifty_megabytes_past_clients_that_do_not_read(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat={"ping_interval_ms": 0, "pong_timeout_ms": 0, "comment_interval_ms": 0})
    count = 500
    async with AsyncExitStack() as stack:
        sockets = [await stall_ws(server, stack) for _ in range(5)]
        streams = [await stall_sse(server, stack) for _ in range(5)]
        good = await stack.enter_async_context(open_ws(server))
        result = await good.subscribe("c")
        publisher = Publisher(server, count)
        before = resident_bytes()
        publisher.start()
        for n in range(count):
            (publication,) = await good.publications(1)
            assert publication["offset"] == n + 1
            publisher.taken = n + 1
        await asyncio.to_thread(publisher.join)
        # Ten queues of copies would be 500 MB. Here is one history of 4 MB, encoded once for each transport.
        assert publisher.history_bytes_max < 16 * MEGABYTE
        if "asan" not in os.environ.get("LD_PRELOAD", ""):  # it keeps what is freed for a while
            assert resident_bytes() - before < 32 * MEGABYTE
        stalled = row_of(server, "c")
        assert stalled["pending"] > 0
        assert server.stats()["connections"] == 11

        # WebSocket: what was on its way comes whole and in order, then it is told; it comes back from there.
        seen = count
        for tcp in sockets:
            tcp.go_on_reading()
            offset = 0
            while (push := await ws_message(tcp)).get("pub"):
                assert push["pub"]["offset"] == offset + 1
                offset += 1
            seen += offset
            assert push["unsubscribe"] == {"code": 2500, "reason": "insufficient state"}
            again = {"channel": "c", "recover": True, "offset": offset, "epoch": result["epoch"]}
            await tcp.write(frame(TEXT, json.dumps({"id": 3, "subscribe": again})))
            reply = json.loads((await read_frame(tcp)).payload)
            assert reply["subscribe"]["was_recovering"]
            assert "recovered" not in reply["subscribe"]
            assert reply["subscribe"]["offset"] == count
        # SSE: the same, told in the stream, which goes on by itself with what is still there.
        for tcp in streams:
            tcp.go_on_reading()
            offset = 0
            while (event := await sse_event(tcp)).get("event") != "status":
                assert json.loads(event["data"])["offset"] == offset + 1
                offset += 1
            told = json.loads(event["data"])
            assert told["recovered"] is False
            assert offset < told["offset"] < count
            for n in range(told["offset"] + 1, count + 1):
                assert json.loads((await sse_event(tcp))["data"])["offset"] == n
            seen += offset + count - told["offset"]
        server.publish("c", "live again")
        for tcp in sockets:
            assert (await ws_message(tcp))["pub"]["data"] == "live again"
        for tcp in streams:
            assert json.loads((await sse_event(tcp))["data"])["data"] == "live again"
        assert row_of(server, "c")["dropped"]["trimmed"] > 0
        await assert_delivered(server, "c", seen + 11)


async def test_within_the_history_a_late_reader_gets_everything(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": {"history_bytes": 16 * MEGABYTE}})
    async with AsyncExitStack() as stack:
        socket = await stall_ws(server, stack)
        stream = await stall_sse(server, stack)
        for _ in range(100):
            server.publish("c", PAYLOAD)
        await until(lambda: row_of(server, "c")["pending"] > 0)
        socket.go_on_reading()
        stream.go_on_reading()
        for n in range(1, 101):
            assert (await ws_message(socket))["pub"]["offset"] == n
            assert json.loads((await sse_event(stream))["data"])["offset"] == n
        await until(lambda: row_of(server, "c")["delivered"] == 200)


async def test_who_stands_too_long_is_dropped_and_accounted_for(serve: Callable[..., Server]) -> None:
    # long enough for the one who reads on a busy machine
    server = serve(limits={"stall_timeout_ms": 3_000}, channels={"*": {"history_bytes": 16 * MEGABYTE}})
    async with AsyncExitStack() as stack:
        await stall_ws(server, stack)
        await stall_sse(server, stack)
        good = await stack.enter_async_context(open_ws(server))
        await good.subscribe("c")
        for _ in range(100):
            server.publish("c", PAYLOAD)
        assert len(await good.publications(100)) == 100
        await until(lambda: server.stats()["slow"] == 2)
        await until(lambda: server.stats()["connections"] == 1)
        assert len(server.presence("c")) == 1
        server.publish("c", "last")
        assert (await good.publications(1))[0]["data"] == "last"
    row = row_of(server, "c")
    assert row["returned"] > 0
    assert row["published"] == 301


async def test_what_the_kernel_took_and_nobody_fetched_counts_as_slow_too(
    serve: Callable[..., Server],
) -> None:
    server = serve(limits={"stall_timeout_ms": 300})
    async with AsyncExitStack() as stack:
        tcp = await stack.enter_async_context(open_raw_ws(server, receive_bytes=4096))
        await tcp.write(frame(TEXT, SUBSCRIBE))
        await read_frame(tcp)
        await read_frame(tcp)
        tcp.stop_reading()
        for _ in range(8):  # more than the peer's window, less than the kernel keeps for us: nothing clogs
            server.publish("c", PAYLOAD[:10_000])
        await until(lambda: server.stats()["connections"] == 0)
        assert server.stats()["slow"] == 1


async def test_a_slow_client_of_one_channel_does_not_hold_up_another(serve: Callable[..., Server]) -> None:
    server = serve()
    async with AsyncExitStack() as stack:
        stalled = [await stall_ws(server, stack) for _ in range(3)]
        sse = await stack.enter_async_context(open_sse(server, "other"))
        await sse.status()
        for n in range(200):
            server.publish("c", PAYLOAD)
            server.publish("other", n)
        assert [each["data"] for each in await sse.publications(200)] == list(range(200))
        assert len(stalled) == 3


def policy(name: str) -> dict[str, Any]:
    """Settings of a server whose subscribers may be 20 publications behind, and whose log has them all."""
    options = {"slow_consumer": name, "slow_consumer_entries": 20, "history_bytes": 16 * MEGABYTE}
    return {"channels": {"*": options}}


async def test_with_skip_a_late_reader_is_told_and_goes_on_at_the_top(serve: Callable[..., Server]) -> None:
    server = serve(**policy("skip"))
    async with AsyncExitStack() as stack:
        socket = await stall_ws(server, stack)
        stream = await stall_sse(server, stack)
        for _ in range(100):
            position = server.publish("c", PAYLOAD)
        await until(lambda: server.stats()["clogged"] == 2)
        socket.go_on_reading()
        offset = 0
        while (push := await ws_message(socket)).get("pub"):
            offset += 1
            assert push["pub"]["offset"] == offset
        assert push["unsubscribe"] == {"code": 2500, "reason": "insufficient state"}
        again = {"channel": "c", "recover": True, "offset": offset, "epoch": position.epoch}
        await socket.write(frame(TEXT, json.dumps({"id": 3, "subscribe": again})))
        reply = json.loads((await read_frame(socket)).payload)["subscribe"]
        assert reply["was_recovering"]
        assert "recovered" not in reply, "the log has it all, but this channel is for who wants the newest"
        assert reply["offset"] == 100

        stream.go_on_reading()
        seen = 0
        while (event := await sse_event(stream)).get("event") != "status":
            seen += 1
            assert json.loads(event["data"])["offset"] == seen
        told = json.loads(event["data"])
        assert (told["recovered"], told["offset"]) == (False, 100)
        assert event["id"] == f"{position.epoch}:100"

        server.publish("c", "live again")
        assert (await ws_message(socket))["pub"]["data"] == "live again"
        assert json.loads((await sse_event(stream))["data"])["data"] == "live again"
        assert row_of(server, "c")["dropped"]["skipped"] == 200 - offset - seen
        await assert_delivered(server, "c", offset + seen + 2)


async def test_with_disconnect_a_late_reader_is_sent_away_and_resumes(serve: Callable[..., Server]) -> None:
    server = serve(**policy("disconnect"))
    async with AsyncExitStack() as stack:
        socket = await stall_ws(server, stack)
        stream = await stall_sse(server, stack)
        for _ in range(100):
            position = server.publish("c", PAYLOAD)
        await until(lambda: server.stats()["clogged"] == 2)
        socket.go_on_reading()
        offset = 0
        while (received := await read_frame(socket)).opcode == TEXT:
            offset += 1
            assert json.loads(received.payload)["push"]["pub"]["offset"] == offset
        assert received.payload == (3008).to_bytes(2, "big") + b"slow"
        again = await stack.enter_async_context(open_ws(server))
        since = {"recover": True, "offset": offset, "epoch": position.epoch}
        result = await again.subscribe("c", **since)
        assert result["recovered"]
        first = [each["offset"] for each in result["publications"]]
        rest = [each["offset"] for each in await again.publications(100 - offset - len(first))]
        assert first + rest == list(range(offset + 1, 101))

        stream.go_on_reading()
        events = (await stream.read_to_end()).decode().split("\n\n")
        assert events.pop() == ""
        assert events.pop().startswith("retry: ")
        last = dict(line.split(": ", 1) for line in events[-1].splitlines())["id"]
        assert last == f"{position.epoch}:{len(events)}"
        resumed = await stack.enter_async_context(open_sse(server, "c", headers={"Last-Event-ID": last}))
        assert (await resumed.status())["recovered"]
        rest = [each["offset"] for each in await resumed.publications(100 - len(events))]
        assert rest == list(range(len(events) + 1, 101))
        assert server.stats()["slow"] == 2
        await until(lambda: row_of(server, "c")["subscriptions"] == 2)
        assert row_of(server, "c")["returned"] == 200 - offset - len(events)
        await assert_delivered(server, "c", 200)


@pytest.mark.parametrize("name", ["wait", "skip", "disconnect"])
async def test_a_poll_gets_what_it_asks_for_whatever_the_policy(
    serve: Callable[..., Server], name: str
) -> None:
    server = serve(**policy(name))
    first = server.publish("c", 1)
    for n in range(2, 101):
        server.publish("c", n)
    async with open_http(server) as client:
        answer = await poll(client, "c", since=str(first))
    assert [each["data"] for each in answer["publications"]] == list(range(2, 101))
    assert answer["status"][0]["recovered"]


async def test_the_kernels_share_stands_beside_the_memory_of_the_process(
    serve: Callable[..., Server],
) -> None:
    bound = 32_768
    server = serve(limits={"kernel_backlog_bytes": bound})
    readers = 10
    async with AsyncExitStack() as stack:
        stalled = [await stall_sse(server, stack) for _ in range(readers)]
        for _ in range(100):
            server.publish("c", PAYLOAD)
        await until(lambda: server.stats()["clogged"] == readers)
        held = await settled(lambda: server.stats()["kernel_bytes"], 0.5)
        # Bookkeeping included; at most one piece of a send stands beyond the bound.
        assert readers * bound / 2 < held < readers * (bound + 3 * 65_536)
        resident = server.stats()["resident_bytes"]
        assert abs(resident - resident_bytes()) < resident / 4
        assert len(stalled) == readers
    await until(lambda: server.stats()["kernel_bytes"] == 0)
