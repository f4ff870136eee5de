"""Plain SSE byte for byte (design.md section 5), read by `httpx-sse` and by a plain socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from wire_clients import assert_delivered, open_http, open_sse, open_tcp, open_ws, row_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    "X-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
)


def status(channel: str, epoch: str, offset: int, is_recovered: bool | None = None) -> str:
    """A status event without its id."""
    answer = json.dumps(
        {"channel": channel, "recovered": is_recovered, "epoch": epoch, "offset": offset},
        separators=(",", ":"),
    )
    return f"event: status\ndata: {answer}\n\n"


async def test_one_channel_byte_for_byte(server: Server) -> None:
    epoch = server.history("c", limit=0).position.epoch
    async with open_tcp(server) as tcp:
        await tcp.get("/sse?channel=c")
        start = HEAD + "retry: 2000\n\n" + f"id: {epoch}:0\n" + status("c", epoch, 0)
        assert (await tcp.read(len(start))).decode() == start  # at once, before anything is published
        server.publish("c", b'{"a":\n 1.50,\r\n"b":"\xc3\xa9\\n"}', json=True)
        server.publish("c", b"\x00\x01\xfe", tags={"lang": "fr", "a": '"'})
        server.publish("c", "loose", skip_history=True)
        server.publish("c", None)
        events = (
            f'id: {epoch}:1\ndata: {{"channel":"c","offset":1,"data":{{"a": 1.50,"b":"é\\n"}}}}\n\n'
            f'id: {epoch}:2\ndata: {{"channel":"c","offset":2,"b64":"AAH+",'
            '"tags":{"a":"\\"","lang":"fr"}}\n\n'
            'data: {"channel":"c","data":"loose"}\n\n'
            f'id: {epoch}:3\ndata: {{"channel":"c","offset":3,"data":null}}\n\n'
        ).encode()
        assert await tcp.read(len(events)) == events
        await assert_delivered(server, "c", 4)


async def test_several_channels_byte_for_byte(server: Server) -> None:
    a = server.publish("a", 1).epoch
    b = server.history("b", limit=0).position.epoch
    async with open_tcp(server) as tcp:
        await tcp.get("/sse?channel=a&channel=b")
        await tcp.read_until(b"retry: 2000\n\n")
        seen = (await tcp.read_until(status("b", b, 0))).decode()
        assert status("a", a, 1) in seen
        assert f"id: {a}:1,{b}:0\n" in seen
        server.publish("b", "x")
        expected = f'id: {a}:1,{b}:1\ndata: {{"channel":"b","offset":1,"data":"x"}}\n\n'
        assert (await tcp.read(len(expected))).decode() == expected
        server.publish("a", "y")
        expected = f'id: {a}:2,{b}:1\ndata: {{"channel":"a","offset":2,"data":"y"}}\n\n'
        assert (await tcp.read(len(expected))).decode() == expected
        await assert_delivered(server, "a", 1)
        await assert_delivered(server, "b", 1)


async def test_a_channel_without_history(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": {"history_size": 0}})
    async with open_tcp(server) as tcp:
        await tcp.get("/sse?channel=c")
        await tcp.read_until(b"retry: 2000\n\n")
        start = await tcp.read_until(b"\n\n")
        assert start.startswith(b'id: -\nevent: status\ndata: {"channel":"c","recovered":null,'), start
        server.publish("c", 7)
        assert await tcp.read_until(b"\n\n") == b'data: {"channel":"c","data":7}\n\n'
        await assert_delivered(server, "c", 1)
    async with open_sse(server, "c", lastEventId="", since="-") as sse:
        assert (await sse.status())["recovered"] is None


async def test_comments_are_heartbeats_of_an_idle_stream(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat={"comment_interval_ms": 50, "sse_retry_ms": 1234})
    async with open_tcp(server) as tcp:
        await tcp.get("/sse?channel=c")
        await tcp.read_until(b"retry: 1234\n\n")
        assert (await tcp.read_until(b"\n\n")).startswith(b"id: ")
        for _ in range(3):
            assert await tcp.read(3) == b":\n\n"


async def test_a_stream_resumes_by_id_by_since_and_by_header_before_since(server: Server) -> None:
    positions = [server.publish("c", n) for n in range(10)]
    async with open_sse(server, "c", since=str(positions[3])) as sse:
        assert sse.response.headers["content-type"] == "text/event-stream"
        told = await sse.status()
        assert told == {"channel": "c", "recovered": True, "epoch": positions[0].epoch, "offset": 4}
        assert [each["data"] for each in await sse.publications(6)] == [4, 5, 6, 7, 8, 9]
    header = {"Last-Event-ID": str(positions[7])}
    async with open_sse(server, "c", headers=header, since=str(positions[3])) as sse:
        assert (await sse.status())["offset"] == 8
        assert [each["data"] for each in await sse.publications(2)] == [8, 9]
        server.publish("c", 10)
        assert [each["offset"] for each in await sse.publications(1)] == [11]
    await assert_delivered(server, "c", 9)


async def test_a_stream_that_has_received_nothing_can_resume(server: Server) -> None:
    async with open_sse(server, "a", "b") as sse:
        await sse.status()
        position = (await sse.event()).id
    server.publish("b", "missed")
    async with open_sse(server, "a", "b", headers={"Last-Event-ID": position}) as sse:
        told = [await sse.status(), await sse.status()]
        assert all(each["recovered"] for each in told)
        assert [each["data"] for each in await sse.publications(1)] == ["missed"]


async def test_a_gap_is_told_as_a_status(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": {"history_size": 3}})
    positions = [server.publish("c", n) for n in range(10)]
    starts = {str(positions[1]): 7, f"{positions[0].epoch}:99": 10, "another:3": 7}
    for since, offset in starts.items():  # what is kept follows
        async with open_sse(server, "c", since=since) as sse:
            event = await sse.event()
            assert event.id == f"{positions[0].epoch}:{offset}"
            assert event.json() == {
                "channel": "c",
                "recovered": False,
                "epoch": positions[0].epoch,
                "offset": offset,
            }
            assert len(await sse.publications(10 - offset)) == 10 - offset
    async with open_sse(server, "c", since=str(positions[6])) as sse:
        assert (await sse.status())["recovered"] is True
        assert [each["offset"] for each in await sse.publications(3)] == [8, 9, 10]


async def test_join_and_leave_are_events_of_their_own(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": {"join_leave": True}})
    async with open_sse(server, "c", user="ann") as watching, open_ws(server, "?user=bob") as ws:
        await watching.status()
        seen = [await watching.event()]
        await ws.subscribe("c", join_leave=True)
        async with open_sse(server, "c", user="eve") as passing:
            await passing.status()
        await ws.command(unsubscribe={"channel": "c"})
        seen += [await watching.event() for _ in range(4)]
        assert sorted((each.event, each.json()["info"]["user"]) for each in seen) == [
            *(("join", "ann"), ("join", "bob"), ("join", "eve"), ("leave", "bob"), ("leave", "eve"))
        ]
        (client,) = server.presence("c")
        assert seen[0].json() == {"channel": "c", "info": {"user": "ann", "client": client}}
        server.publish("c", 1)
        assert [each["data"] for each in await watching.publications(1)] == [1]
        assert row_of(server, "c")["dropped"]["filtered"] == 0


async def test_a_client_that_leaves_is_noticed(server: Server) -> None:
    async with open_sse(server, "c", "d", user="ann") as sse:
        await sse.status()
        await sse.status()
        assert (server.stats()["sse"], [info.user for info in server.presence("c").values()]) == (1, ["ann"])
    await until(lambda: server.stats()["sse"] == 0)
    assert (server.presence("c"), server.presence("d"), server.channels()) == ({}, {}, {})
    async with open_tcp(server) as tcp:
        await tcp.get("/sse?channel=c")
        await tcp.read_until(b"\n\n")
        await until(lambda: server.stats()["sse"] == 1)
        tcp.cut()
        await until(lambda: server.stats()["sse"] == 0)


async def test_refusals(serve: Callable[..., Server]) -> None:
    anybody = {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}
    server = serve(insecure=False, channels={"open": anybody})
    async with open_http(server) as client:
        for target, code in {
            "/sse": 400,
            "/sse?channel=": 400,
            "/sse?channel=open&channel=open": 400,
            "/sse?channel=open&since=nonsense": 400,
            "/sse?channel=open&since=abc:1,abc:2": 400,
            "/sse?channel=secret": 403,
        }.items():
            response = await client.get(target)
            assert (response.status_code, response.headers["cache-control"]) == (code, "no-store"), target
            assert response.json()["error"]["code"] == code
        for method in ("POST", "HEAD", "PUT"):
            assert (await client.request(method, "/sse?channel=open")).status_code == 405
    async with open_sse(server, "open") as sse:
        await sse.status()


async def test_drain_ends_a_stream_with_a_retry(server: Server) -> None:
    async with open_tcp(server) as tcp, open_tcp(server) as late:
        await tcp.get("/sse?channel=c")
        await tcp.read_until(b"retry: 2000\n\n")
        await tcp.read_until(b"\n\n")
        await until(lambda: server.stats()["connections"] == 2)
        draining = asyncio.create_task(asyncio.to_thread(server.drain, 5.0))
        goodbye = (await tcp.read_to_end()).decode()
        assert goodbye.startswith("retry: ")
        assert goodbye.endswith("\n\n")
        assert 2000 <= int(goodbye[7:]) <= 4000
        assert await late.read_to_end() == b""  # it had not asked for anything yet
        tcp.cut()
        late.cut()
        assert await draining
    await assert_delivered(server, "c", 0)
