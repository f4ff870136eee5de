"""One test for each row of the table of limits that bounds a connection: set small, and reached.

`test_limits.py` checks that no row is forgotten: a test here is named after its row.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import string
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx
import pytest
import websockets
from wire_clients import Tcp, open_http, open_tcp, open_ws, poll, row_of, settled, until
from wire_frames import TEXT, close, frame, open_raw_ws, read_close, read_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server
    from wire_clients import Ws

pytestmark = pytest.mark.wire

CONNECT = '{"id":1,"connect":{}}'


async def test_connections(serve: Callable[..., Server]) -> None:
    server = serve(limits={"connections": 2})
    async with open_tcp(server) as first, open_ws(server) as second:
        await first.get("/health")
        assert (await first.read_response())[0] == 200
        async with open_tcp(server) as operator:  # is heard whoever has taken the places
            await operator.get("/health")
            status, headers, _ = await operator.read_response()
            assert (status, headers["connection"]) == (200, "close")
        for target in ("/poll?channel=c&timeout=0", "/"):
            async with open_tcp(server) as third:
                await third.get(target)
                status, headers, _ = await third.read_response()
                assert (status, headers["connection"]) == (503, "close")
                assert 1 <= int(headers["retry-after"]) <= 3
                assert await third.read_to_end() == b""
        async with open_tcp(server) as third:
            await third.get("/sse?channel=c")
            stream = (await third.read_to_end()).decode()
            head, _, body = stream.partition("\r\n\r\n")
            assert head.startswith("HTTP/1.1 200 OK\r\n")
            assert "text/event-stream" in head
            assert 2000 <= int(body.removeprefix("retry: ").strip()) <= 4000
        with pytest.raises(websockets.InvalidStatus) as refusal:
            async with open_ws(server):
                pass
        assert refusal.value.response.status_code == 503
        assert "Retry-After" in refusal.value.response.headers
        assert server.stats()["refused"] == 4
        assert (await second.command(presence={"channel": "c"}))["presence"] == {"presence": {}}
    await until(lambda: server.stats()["connections"] == 0)
    async with open_ws(server) as again:
        await again.subscribe("c")


async def test_handshake_timeout_ms(serve: Callable[..., Server]) -> None:
    server = serve(limits={"handshake_timeout_ms": 150})
    async with open_tcp(server) as slow, open_raw_ws(server) as silent, open_ws(server) as good:
        await slow.write("GET /health HTTP/1.1\r\nHost: loc")
        status, headers, _ = await slow.read_response()
        assert (status, headers["connection"]) == (408, "close")
        assert await slow.read_to_end() == b""
        assert await read_close(silent) == (3502, "stale")
        assert (await good.command(presence={"channel": "c"}))["presence"] == {"presence": {}}
    async with open_tcp(server) as drip:  # a byte now and then does not help
        sending = asyncio.create_task(drip_slowly(drip))
        assert (await drip.read_response())[0] == 408
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def drip_slowly(tcp: Tcp) -> None:
    for character in "GET /health HTTP/1.1\r\nX-Long: " + "x" * 10_000:
        await tcp.write(character)
        await asyncio.sleep(0.01)


async def test_keepalive_timeout_ms(serve: Callable[..., Server]) -> None:
    server = serve(limits={"keepalive_timeout_ms": 150})
    async with open_tcp(server) as tcp:
        for _ in range(2):
            await tcp.get("/health")
            assert (await tcp.read_response())[0] == 200
        started = time.monotonic()
        assert await tcp.read_to_end() == b""
        assert time.monotonic() - started >= 0.1
        tcp.cut()
    async with open_http(server) as client:  # a waiting poll is not idle
        answer = await poll(client, "c", timeout=0.6)
        assert answer["publications"] == []


async def test_stall_timeout_ms(serve: Callable[..., Server]) -> None:
    server = serve(
        limits={"stall_timeout_ms": 300, "kernel_backlog_bytes": 4096},
        channels={"*": {"history_bytes": 1 << 26}},
    )
    async with open_raw_ws(server, receive_bytes=4096) as tcp, open_ws(server) as good:
        await tcp.write(frame(TEXT, CONNECT + '\n{"id":2,"subscribe":{"channel":"c"}}'))
        await read_frame(tcp)
        await read_frame(tcp)
        tcp.stop_reading()
        await good.subscribe("c")
        for _ in range(100):
            server.publish("c", "x" * 50_000)
        assert len(await good.publications(100)) == 100
        await until(lambda: server.stats()["slow"] == 1)
        await until(lambda: server.stats()["websocket"] == 1)
    (row,) = server.ledger()["channels"]
    assert row["returned"] > 0
    assert 100 <= row["delivered"] < 200


async def test_close_timeout_ms(serve: Callable[..., Server]) -> None:
    server = serve(limits={"close_timeout_ms": 200})
    async with open_raw_ws(server) as deaf, open_raw_ws(server) as polite:
        for tcp in (deaf, polite):
            await tcp.write(frame(TEXT, CONNECT))
            await read_frame(tcp)
        for client in server.connections():
            server.disconnect(client, 4002, "bye")
        assert await read_close(polite) == (4002, "bye")
        await polite.write(close(4002))
        assert await polite.read_to_end() == b""
        polite.cut()
        await until(lambda: server.stats()["connections"] == 1)
        started = time.monotonic()
        assert await read_close(deaf) == (4002, "bye")
        assert await deaf.read_to_end() == b""
        assert time.monotonic() - started < 2
        await until(lambda: server.stats()["connections"] == 0)


async def test_header_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"header_bytes": 512})
    async with open_tcp(server) as good, open_tcp(server) as bad:
        await good.get("/health", "X-Pad: " + "x" * 400)
        assert (await good.read_response())[0] == 200
        await bad.get("/health", "X-Pad: " + "x" * 600)
        status, headers, _ = await bad.read_response()
        assert (status, headers["connection"]) == (431, "close")
        assert await bad.read_to_end() == b""


async def test_body_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"body_bytes": 100})
    async with open_http(server) as client:
        fits = json.dumps({"channel": "c", "data": 1}).ljust(100)
        assert (await client.post("/api/publish", content=fits)).status_code == 200
        assert (await client.post("/api/publish", content=fits + " ")).status_code == 413
    async with open_tcp(server) as tcp:  # in chunks, without a length told before
        await tcp.write("POST /api/publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await tcp.write("28\r\n" + " " * 40 + "\r\n")
        assert (await tcp.read_response())[0] == 413
    assert [each.json() for each in server.history("c").messages] == [1]


async def test_body_bytes_total(serve: Callable[..., Server]) -> None:
    server = serve(limits={"body_bytes_total": 40})
    body = json.dumps({"channel": "c", "data": 1})
    async with open_tcp(server) as first, open_http(server) as client:
        head = f"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        await first.write(head + body[:5])
        await until(lambda: server.stats()["body_bytes"] == len(body))
        refused = await client.post("/api/publish", content=body)
        assert refused.status_code == 503
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert server.stats()["bodies_refused"] == 1
        await first.write(body[5:])
        assert (await first.read_response())[0] == 200
        assert (await client.post("/api/publish", content=body)).status_code == 200
    assert server.stats()["body_bytes"] == 0


async def test_pipelined_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"pipelined_bytes": 256})
    count = 3_000
    one = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Pad: " + "x" * 8_000 + "\r\n\r\n"
    async with open_tcp(server) as tcp:
        await tcp.get("/poll?channel=c&timeout=50")
        await until(lambda: server.stats()["polls"] == 1)

        async def write_all() -> None:
            for _ in range(count):
                await tcp.write(one)

        writing = asyncio.create_task(write_all())
        # 24 MB are more than the buffers of the network take: the writer has to wait for the poll.
        await asyncio.wait([writing], timeout=0.5)
        assert not writing.done()
        assert server.stats()["requests"] == 1
        server.publish("c", "go on")
        assert b"go on" in (await tcp.read_response())[2]
        for _ in range(count):
            assert (await tcp.read_response())[0] == 404
        await writing


async def test_message_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"message_bytes": 1024})
    async with open_raw_ws(server) as tcp:
        await tcp.write(frame(TEXT, CONNECT.ljust(1024)))
        assert (await read_frame(tcp)).payload.startswith(b'{"id":1,"connect"')
        await tcp.write(frame(TEXT, b"", declared=1025))  # only its header: that is enough
        assert (await read_close(tcp))[0] == 1009
        assert await tcp.read_to_end() == b""


async def test_inflate_ratio(serve: Callable[..., Server]) -> None:
    server = serve(limits={"inflate_ratio": 2}, config={"websocket": {"compression": True}})
    padding = "".join(random.Random(1).choices(string.ascii_letters, k=20_000))  # shrinks to three quarters
    async with open_ws(server, compression="deflate") as ws:
        assert (await ws.command(rpc={"method": padding}))["error"]["code"] > 0
        small = await ws.command(rpc={"method": " " * 15_000})  # up to 16 KiB in any case
        assert small["error"]["code"] > 0
        await ws.send(rpc={"method": " " * 20_000})
        assert (await ws.closed())[0] == 1009
    assert server.stats()["inflated"] == 4, "the connect and these three"


async def test_channels_per_connection(serve: Callable[..., Server]) -> None:
    server = serve(limits={"channels_per_connection": 2})
    async with open_ws(server) as ws, open_http(server) as client:
        await ws.subscribe("a")
        await ws.subscribe("b")
        assert (await ws.command(subscribe={"channel": "c"}))["error"]["code"] == 106
        await ws.command(unsubscribe={"channel": "a"})
        await ws.subscribe("c")
        for path in ("/sse", "/poll"):
            response = await client.get(path, params={"channel": ["a", "b", "c"]})
            assert response.status_code == 400
            assert "channels_per_connection" in response.text
        await poll(client, "a", "b", timeout=0)


async def test_user_connections(serve: Callable[..., Server]) -> None:
    server = serve(limits={"user_connections": 1})
    async with (
        open_ws(server, "?user=ann"),
        open_ws(server, "?user=bob"),
        open_raw_ws(server, target="/connection/websocket?user=ann") as tcp,
    ):
        await tcp.write(frame(TEXT, CONNECT))
        assert await read_close(tcp) == (3504, "connection limit")
    await until(lambda: server.stats()["connections"] == 0)
    async with open_ws(server, "?user=ann"), open_ws(server), open_ws(server):
        pass


async def test_backlog_bytes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"backlog_bytes": 4096, "kernel_backlog_bytes": 4096})
    for _ in range(20):
        server.publish("c", "x" * 2_000)
    asked = 2_000
    async with open_raw_ws(server, receive_bytes=4096) as tcp:
        await tcp.write(frame(TEXT, CONNECT))
        await read_frame(tcp)
        tcp.stop_reading()

        async def ask() -> None:
            for n in range(asked):
                ask_history = {"id": n + 2, "history": {"channel": "c", "limit": 1}}
                await tcp.write(frame(TEXT, json.dumps(ask_history)))

        asking = asyncio.create_task(ask())
        read = await settled(lambda: server.stats()["commands"])
        assert 1 < read < asked
        tcp.go_on_reading()
        for n in range(asked):
            assert json.loads((await read_frame(tcp)).payload)["id"] == n + 2
        await asking


async def test_unsent_bytes_total(serve: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    limit = 1_048_576
    server = serve(limits={"unsent_bytes_total": limit, "kernel_backlog_bytes": 4096})
    for _ in range(5):
        server.publish("large", "x" * 8_000)
    server.publish("small", "x")

    async def is_served(reader: Ws) -> bool:
        history = (await reader.command(history={"channel": "small", "limit": 1}))["history"]
        return bool(history["publications"][0]["data"] == "x")

    async with AsyncExitStack() as stack, open_ws(server) as reader:
        for _ in range(20):
            tcp = await stack.enter_async_context(open_raw_ws(server, receive_bytes=4096))
            await tcp.write(frame(TEXT, CONNECT))
            await read_frame(tcp)
            tcp.stop_reading()
            for n in range(10):
                history = {"id": n + 2, "history": {"channel": "large", "limit": 5}}
                with contextlib.suppress(ConnectionError):  # over the total it may be closed by now
                    await tcp.write(frame(TEXT, json.dumps(history)))
            await until(lambda: server.stats()["unsent_bytes"] <= limit)
            assert await is_served(reader)
        await until(lambda: server.stats()["unsent_closed"] > 0)
        warning = f"limits.unsent_bytes_total ({limit} bytes)"
        await until(
            lambda: any(
                level == logging.WARNING and warning in text for _, level, text in caplog.record_tuples
            )
        )
        stats = server.stats()
        assert stats["unsent_bytes"] > 0
        assert stats["unsent_closed"] <= stats["slow"]
        await until(lambda: server.stats()["websocket"] == 21 - server.stats()["unsent_closed"])
        assert await is_served(reader)
    await until(lambda: server.stats()["unsent_bytes"] == 0)


async def test_kernel_backlog_bytes(serve: Callable[..., Server]) -> None:
    async def taken(limit: int) -> int:
        wide = {"history_size": 5_000, "history_bytes": 1 << 26}
        server = serve(limits={"kernel_backlog_bytes": limit}, channels={"*": wide})
        async with open_raw_ws(server, receive_bytes=4096) as tcp:
            await tcp.write(frame(TEXT, CONNECT + '\n{"id":2,"subscribe":{"channel":"c"}}'))
            await read_frame(tcp)
            await read_frame(tcp)
            tcp.stop_reading()
            for _ in range(3_000):
                server.publish("c", "x" * 1_000)
            delivered = await settled(lambda: row_of(server, "c")["delivered"])
            assert row_of(server, "c")["pending"] == 3_000 - delivered  # it lags in the log
            return delivered

    assert await taken(4096) < await taken(1 << 20)


def test_log_records_per_s(serve: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "carillon")
    server = serve(limits={"log_records_per_s": 5})
    total = 50
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        for _ in range(total):
            assert http.get("/nowhere").status_code == 404
    server.stop()  # it reports what is left to be reported

    def of(event: str) -> list[logging.LogRecord]:
        return [each for each in caplog.records if each.__dict__.get("event") == event]

    written = len(of("refuse"))
    reports = [each.__dict__ for each in of("records_suppressed")]
    assert 5 <= written < total
    assert {each["suppressed_event"] for each in reports} == {"refuse"}
    assert written + sum(each["count"] for each in reports) == total
    assert server.stats()["log_records_suppressed"] == total - written
    assert f"carillon_log_records_suppressed_total {total - written}\n" in server.metrics()
