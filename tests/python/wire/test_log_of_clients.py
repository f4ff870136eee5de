"""From a line of the log to the ledger: losses, request ids, and the channels of a client."""

from __future__ import annotations

import json
import logging
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon.testing import wait_until
from wire_clients import open_http, open_sse, open_ws, poll, until
from wire_frames import TEXT, frame, open_raw_ws, read_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PAYLOAD = "x" * 100_000
Records = list[Any]


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> Callable[[str], Records]:
    """The access records of an event so far."""
    caplog.set_level(logging.INFO, "carillon")
    return lambda event: [
        record
        for record in list(caplog.records)
        if record.name == "carillon.access" and record.__dict__["event"] == event
    ]


# ---- losses


async def test_an_invented_position_has_a_record_at_each_transport(
    serve: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    server = serve()
    for number in range(3):
        server.publish("c", number)
    async with open_ws(server, "?user=ann") as ws, open_http(server) as http:
        await ws.command(subscribe={"channel": "c", "recover": True, "epoch": "other", "offset": 1})
        async with open_sse(server, "c", since="other:1") as sse:
            assert (await sse.status())["recovered"] is False
        await poll(http, "c", since="other:1", timeout=0)
        position = server.publish("c", 3)
        await poll(http, "c", since=f"{position.epoch}:3", timeout=0)  # it is recovered
    wait_until(lambda: len(access("not_recovered")) == 3)
    assert not access("gap"), "anybody can invent a position: nothing is known to be lost"
    found = {record.transport: record for record in access("not_recovered")}
    assert set(found) == {"websocket", "sse", "poll"}
    for record in found.values():
        assert record.channel == "c"
        # An SDK goes on with the next publication, and the others with the oldest that is kept.
        assert record.lost_to == (3 if record.transport == "websocket" else 0)
        assert "has not had" in record.reason
        assert not hasattr(record, "lost_from"), "nobody knows how many there were"
    assert found["websocket"].user == "ann"
    (connected,) = [each for each in access("connect") if each.transport == "websocket"]
    assert found["websocket"].client == connected.client


async def test_an_invented_offset_of_the_right_epoch_is_no_gap_either(
    serve: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    server = serve(channels={"c": {"history_size": 2}})
    for number in range(9):
        position = server.publish("c", number)
    async with open_ws(server) as ws, open_http(server) as http:
        await ws.command(subscribe={"channel": "c", "recover": True, "epoch": position.epoch, "offset": 1})
        async with open_sse(server, "c", since=f"{position.epoch}:1") as sse:
            assert (await sse.status())["recovered"] is False
        await poll(http, "c", since=f"{position.epoch}:1", timeout=0)
    wait_until(lambda: len(access("not_recovered")) == 3)
    assert not access("gap"), "whoever has subscribed once knows the epoch"
    assert all("does not reach back" in record.reason for record in access("not_recovered"))


async def test_a_gap_of_an_open_subscription_names_its_offsets(
    serve: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    options = {"slow_consumer": "skip", "slow_consumer_entries": 20, "history_bytes": 16 << 20}
    server = serve(channels={"c": options})
    async with open_raw_ws(server, receive_bytes=65_536) as tcp:
        await tcp.write(frame(TEXT, '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"c"}}'))
        await read_frame(tcp)
        await read_frame(tcp)
        tcp.stop_reading()
        for _ in range(100):
            server.publish("c", PAYLOAD)
        await until(lambda: server.stats()["clogged"] == 1)
        tcp.go_on_reading()
        while b'"unsubscribe"' not in (await read_frame(tcp)).payload:
            pass
        await until(lambda: access("gap"))
    (gap,) = access("gap")
    assert gap.reason == "skipped by slow_consumer"
    assert 1 < gap.lost_from <= gap.lost_to <= 100
    (row,) = server.ledger(channel=gap.channel)["channels"]
    assert row["dropped"]["skipped"] == gap.lost_to - gap.lost_from + 1, "the record leads to the account"


async def test_a_client_that_is_closed_as_slow_leads_to_its_channel(
    serve: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    options = {"slow_consumer": "disconnect", "slow_consumer_entries": 20, "history_bytes": 16 << 20}
    server = serve(channels={"c": options, "other": {}})
    async with open_raw_ws(server, receive_bytes=65_536) as tcp:
        commands: list[dict[str, Any]] = [{"id": 1, "connect": {}}]
        commands += [{"id": 2, "subscribe": {"channel": "c"}}, {"id": 3, "subscribe": {"channel": "other"}}]
        for command in commands:
            await tcp.write(frame(TEXT, json.dumps(command)))
            await read_frame(tcp)
        tcp.stop_reading()
        for _ in range(100):
            server.publish("c", PAYLOAD)
        await until(lambda: server.stats()["clogged"] == 1)
        tcp.go_on_reading()
        while (received := await read_frame(tcp)).opcode == TEXT:
            pass
        assert received.payload[:2] == (3008).to_bytes(2, "big")
    wait_until(lambda: access("close"))
    (slow,), (close,) = access("slow"), access("close")
    assert (slow.client, slow.channel, slow.code) == (close.client, "c", 3008)
    assert sorted(close.channels) == ["c", "other"]
    assert close.subscriptions == 2
    (row,) = server.ledger(channel=slow.channel)["channels"]
    assert row["returned"] > 0
    assert row["subscriptions"] == 0


async def test_a_close_names_ten_channels(
    serve: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    server = serve()
    async with open_ws(server) as ws:
        for number in range(12):
            await ws.subscribe(f"c{number}")
    wait_until(lambda: access("close"))
    (close,) = access("close")
    assert close.subscriptions == 12
    assert len(close.channels) == 10
    assert set(close.channels) < {f"c{number}" for number in range(12)}


async def test_the_ledger_of_one_client_and_of_one_channel(serve: Callable[..., Server]) -> None:
    server = serve()
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(open_ws(server)) for _ in range(2)]
        for ws, channels in ((one, "ab"), (two, "bc")):
            for channel in channels:
                await ws.subscribe(channel)
        async with open_sse(server, "a") as sse:
            await sse.status()
        for channel, count in (("a", 1), ("b", 2), ("c", 3)):
            for number in range(count):
                server.publish(channel, number)
        await one.publications(3)
        await two.publications(5)
        await until(lambda: len(server.connections()) == 2)
        first, second = sorted(
            server.connections(), key=lambda each: -server.ledger(client=each, channel="a")["published"]
        )

        def counts(**asked: str) -> dict[str, tuple[int, int]]:
            rows = server.ledger(**asked)["channels"]
            return {row["channel"]: (row["published"], row["subscriptions"]) for row in rows}

        assert counts(client=first) == {"a": (1, 1), "b": (2, 1)}
        assert counts(client=second) == {"b": (2, 1), "c": (3, 1)}
        assert counts(channel="b") == {"b": (4, 2)}
        assert counts(client=second, channel="b") == {"b": (2, 1)}
        assert counts(client="nobody") == {}
        assert server.ledger(channel="b")["published"] == 4
        async with open_http(server) as http:
            answer = await http.post("/api/ledger", json={"client": second, "channel": "c"})
        assert answer.json()["result"] == server.ledger(client=second, channel="c")


# ---- request ids


async def test_a_request_keeps_its_id_or_gets_one(
    serve: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    server = serve()
    async with open_http(server) as http:

        async def id_of(path: str, given: str | bytes | None = None, method: str = "GET") -> str | None:
            headers = {} if given is None else {"X-Request-Id": given}
            answer = await http.request(method, path, headers=headers, json={} if method == "POST" else None)
            return answer.headers.get("x-request-id")

        assert await id_of("/nowhere", "trace-1_a.b:c") == "trace-1_a.b:c"
        assert await id_of("/api/stats", "abc", "POST") == "abc"
        assert await id_of("/poll?channel=a&timeout=0", "of-poll") == "of-poll"
        assert await id_of("/health", "h") == "h"
        assert await id_of("/health") is None, "a probe needs none"
        assert await id_of("/poll?channel=a&timeout=0") is None
        made = [await id_of("/api/stats", method="POST"), await id_of("/nowhere")]
        for bad in ("", "a b", "x" * 65, 'a"b', "é".encode(), "a,b"):
            made.append(await id_of("/nowhere", bad))
        assert all(each and UUID.fullmatch(each) for each in made), made
        assert len(set(made)) == len(made)
    wait_until(lambda: len(access("refuse")) == 8)
    requests = [record.request for record in access("refuse")]
    assert requests == ["trace-1_a.b:c", *made[1:]], "each refusal has the id that its answer has"


async def test_the_id_of_one_request_is_not_that_of_the_next(serve: Callable[..., Server]) -> None:
    server = serve()
    async with open_http(server) as http:
        await http.get("/health", headers={"X-Request-Id": "first"})
        assert "x-request-id" not in (await http.get("/health")).headers


async def test_a_connect_has_the_id_of_its_request(
    serve: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    server = serve()
    headers = {"X-Request-Id": "of-ws"}
    async with open_ws(server, additional_headers=headers) as ws:
        assert ws.socket.response.headers["X-Request-Id"] == "of-ws"
    async with open_sse(server, "c", headers={"X-Request-Id": "of-sse"}) as sse:
        await sse.status()
        assert sse.response.headers["x-request-id"] == "of-sse"
    with httpx.stream(
        "POST",
        f"{server.url}/connection/http_stream",
        content='{"id":1,"connect":{}}',
        headers={"X-Request-Id": "of-hs"},
    ) as stream:
        assert stream.headers["x-request-id"] == "of-hs"
    async with open_ws(server):
        pass
    wait_until(lambda: len(access("connect")) == 4)
    found = [getattr(record, "request", None) for record in access("connect")]
    assert found == ["of-ws", "of-sse", "of-hs", None]


async def test_a_refused_connect_has_the_id_as_well(
    carillon_server_factory: Callable[..., Server], access: Callable[[str], Records]
) -> None:
    server = carillon_server_factory(
        insecure=False, config={"client": {"token": {"hmac_secret_key": "x" * 32}}}
    )
    async with open_ws(server, is_connected=False, additional_headers={"X-Request-Id": "of-ws"}) as ws:
        await ws.send(connect={"token": "wrong"})
        await until(lambda: access("refuse"))
    (refused,) = access("refuse")
    assert refused.request == "of-ws"


# ---- when a client is live


async def test_who_subscribes_late_is_not_slow_to_go_live(serve: Callable[..., Server]) -> None:
    server = serve(limits={"handshake_timeout_ms": 200})

    def measured() -> float:
        page = server.metrics()
        (line,) = re.findall(r"^carillon_connect_to_live_seconds_count(?:{.*})? (\S+)$", page, re.M)
        return float(line)

    async with open_ws(server) as early, open_ws(server) as late:
        await early.subscribe("a")
        await until(lambda: measured() == 1)
        await until(lambda: server.stats()["uptime_ms"] > 1_000)
        await late.subscribe("a")
        server.publish("a", 1)
        await late.publications(1)
        await early.subscribe("b")
        assert measured() == 1
    async with open_ws(server) as again:
        await again.subscribe("a")
        await until(lambda: measured() == 2)
