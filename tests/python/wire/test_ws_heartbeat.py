"""Pings and pongs of both kinds, and peers that are gone without having said so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from wire_clients import assert_delivered, open_ws, until
from wire_frames import PING, PONG, TEXT, frame, open_raw_ws, read_close, read_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

FAST = {"ping_interval_ms": 60, "pong_timeout_ms": 40}
PATIENT = {"ping_interval_ms": 400, "pong_timeout_ms": 390}  # enough for a client on a loaded machine


async def test_who_answers_pings_stays(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat=PATIENT)
    async with open_ws(server, is_connected=False) as ws:
        result = await ws.connect()
        assert (result["ping"], result["pong"]) == (1, True)
        await ws.subscribe("c")
        for _ in range(2):
            await ws.next_ping()
        server.publish("c", 1)
        assert (await ws.publications(1))[0]["data"] == 1
        assert server.stats()["no_pong"] == 0
        await assert_delivered(server, "c", 1)


async def test_who_does_not_answer_is_closed_with_3012(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat=FAST)
    async with open_ws(server) as ws:
        await ws.subscribe("c")
        ws.answers_pings = False
        assert await ws.closed() == (3012, "no pong")
    assert server.stats()["no_pong"] == 1
    await until(lambda: server.presence("c") == {})


async def test_other_traffic_is_no_pong(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat=FAST)
    async with open_ws(server) as ws:
        ws.answers_pings = False

        async def talk() -> None:
            while True:
                await ws.socket.send('{"id":99,"presence":{"channel":"c"}}')
                await asyncio.sleep(0.005)

        talking = asyncio.create_task(talk())
        assert await ws.closed() == (3012, "no pong")
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


async def test_an_unasked_pong_does_no_harm(server: Server) -> None:
    async with open_ws(server) as ws:
        await ws.socket.send("{}")
        await ws.socket.send("{}\n{}")
        assert (await ws.command(presence={"channel": "c"}))["presence"] == {"presence": {}}


async def test_pings_can_be_switched_off(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat={"ping_interval_ms": 0, "pong_timeout_ms": 0})
    async with open_ws(server, is_connected=False) as ws:
        assert not {"ping", "pong"} & set(await ws.connect())


async def test_native_pings(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat=PATIENT)
    async with open_raw_ws(server) as protocol_level:
        await protocol_level.write(frame(PING, "are you there"))
        assert await read_frame(protocol_level) == (True, PONG, b"are you there")
    # `websockets` answers native pings by itself, and nothing else answers here.
    async with open_ws(server, "?cf_ws_frame_ping_pong=true", is_connected=False) as ws:
        result = await ws.connect()
        assert not {"ping", "pong"} & set(result)
        ws.answers_pings = False
        reading = asyncio.create_task(ws.push())
        await asyncio.wait([reading], timeout=1.2)  # two pings, and the time to answer them
        assert ws.pings == 0
        assert not reading.done(), "it was closed although it answered"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_native_pings_unanswered(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat=FAST, limits={"close_timeout_ms": 100})
    address = "/connection/websocket?cf_ws_frame_ping_pong=true"
    async with open_raw_ws(server, target=address) as tcp:
        await tcp.write(frame(TEXT, '{"id":1,"connect":{}}'))
        assert (await read_frame(tcp)).opcode == TEXT
        assert await read_frame(tcp) == (True, PING, b"")
        assert await read_close(tcp) == (3012, "no pong")
        assert await tcp.read_to_end() == b""


@pytest.mark.parametrize("has_subscription", [False, True], ids=["idle", "with a busy channel"])
async def test_a_peer_that_never_reads_nor_answers_is_freed(
    serve: Callable[..., Server], has_subscription: bool
) -> None:
    server = serve(
        heartbeat=FAST,
        limits={"stall_timeout_ms": 300, "close_timeout_ms": 100, "kernel_backlog_bytes": 4096},
    )
    async with open_raw_ws(server) as tcp:
        tcp.stop_reading()
        await tcp.write(frame(TEXT, '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"c"}}'))
        await until(lambda: server.channels().get("c") == 1)
        if has_subscription:
            for _ in range(200):
                server.publish("c", "x" * 20_000)
        await until(lambda: server.stats()["connections"] == 0)
    assert server.presence("c") == {}
    assert server.stats()["slow" if has_subscription else "no_pong"] == 1
