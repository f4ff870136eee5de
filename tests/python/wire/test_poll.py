"""Plain long-poll (design.md section 5) with `httpx` and plain sockets."""

from __future__ import annotations

import asyncio
import json
import resource
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from wire_clients import assert_delivered, open_http, open_sse, open_tcp, open_ws, poll, row_of, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

pytestmark = pytest.mark.wire


async def test_an_answer_byte_for_byte(server: Server) -> None:
    position = server.publish("c", 0)
    epoch = position.epoch
    server.publish("c", b'{"a":\n 1.50}', json=True, tags={"k": "v"})
    server.publish("c", b"\x00\xff")
    body = (
        '{"publications":[{"channel":"c","offset":2,"data":{"a": 1.50},"tags":{"k":"v"}},'
        f'{{"channel":"c","offset":3,"b64":"AP8="}}],"since":"{epoch}:3",'
        f'"status":[{{"channel":"c","recovered":true,"epoch":"{epoch}","offset":1}}]}}'
    )
    async with open_tcp(server) as tcp:
        await tcp.get(f"/poll?channel=c&since={position}")
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n\r\n"
        )
        assert (await tcp.read(len(head) + len(body))).decode() == head + body
    await assert_delivered(server, "c", 2)


async def test_it_is_answered_at_once_or_waits(server: Server) -> None:
    first = server.publish("c", 1)
    async with open_http(server) as client:
        waiting = asyncio.create_task(poll(client, "c", since=str(first), timeout=10))
        await until(lambda: server.channels().get("c") == 1)
        assert server.stats()["polls"] == 1
        assert not waiting.done()
        server.publish("c", 2)
        answer = await waiting
        assert [each["data"] for each in answer["publications"]] == [2]
        assert answer["since"] == f"{first.epoch}:2"
        at_once = await poll(client, "c", since=str(first), timeout=10)
        assert at_once["publications"] == answer["publications"]
        live = asyncio.create_task(poll(client, "c", timeout=10))  # without a position: from now
        await until(lambda: server.channels().get("c") == 1)
        server.publish("c", 3)
        assert [each["data"] for each in (await live)["publications"]] == [3]
    await assert_delivered(server, "c", 3)
    assert server.stats()["polls"] == 0


async def test_a_timeout_is_an_empty_list_with_a_position(server: Server) -> None:
    position = server.publish("c", 1)
    async with open_http(server) as client:
        for timeout in ("0", "0.05"):
            response = await client.get("/poll", params={"channel": "c", "timeout": timeout})
            assert response.json() == {
                "publications": [],
                "since": str(position),
                "status": [{"channel": "c", "recovered": None, "epoch": position.epoch, "offset": 1}],
            }
            assert response.headers["cache-control"] == "no-store"
            assert "etag" not in response.headers
            assert "last-modified" not in response.headers
        answer = await poll(client, "c", since=str(position), timeout=0)
        assert answer["publications"] == []
        assert answer["status"][0]["recovered"] is True
        for wrong in ("-1", "x", "nan", "1e99", "5s"):
            refused = await client.get("/poll", params={"channel": "c", "timeout": wrong})
            assert refused.status_code == 400, wrong


async def test_several_channels(serve: Callable[..., Server]) -> None:
    server = serve(channels={"live": {"history_size": 0}})
    a = server.publish("a", 1)
    async with open_http(server) as client:
        start = await poll(client, "a", "b", "live", timeout=0)
        b = server.history("b", limit=0).position
        assert start["since"] == f"{a},{b},-"
        server.publish("a", 2)
        server.publish("b", 3)
        answer = await poll(client, "a", "b", "live", since=start["since"], timeout=5)
        assert sorted(each["data"] for each in answer["publications"]) == [2, 3]
        assert answer["since"] == f"{a.epoch}:2,{b.epoch}:1,-"
        recovered = {each["channel"]: each["recovered"] for each in answer["status"]}
        assert recovered == {"a": True, "b": True, "live": None}
        waiting = asyncio.create_task(poll(client, "a", "b", "live", since=answer["since"], timeout=5))
        await until(lambda: server.channels().get("live") == 1)
        server.publish("live", 4)
        last = await waiting
        assert [each["data"] for each in last["publications"]] == [4]
        assert last["since"] == answer["since"]


async def test_a_position_of_another_transport(server: Server) -> None:
    async with open_ws(server) as ws, open_sse(server, "c") as sse, open_http(server) as client:
        joined = await ws.subscribe("c")
        await sse.event()
        for n in range(5):
            server.publish("c", n)
        offset = (await ws.publications(3))[-1]["offset"]
        answer = await poll(client, "c", since=f"{joined['epoch']}:{offset}")
        assert [each["data"] for each in answer["publications"]] == [3, 4]
        event = await sse.event()
        answer = await poll(client, "c", since=event.id)
        assert [each["data"] for each in answer["publications"]] == [1, 2, 3, 4]


async def test_what_is_lost_is_told_at_once(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": {"history_size": 3}})
    positions = [server.publish("c", n) for n in range(10)]
    async with open_http(server) as client:
        starts = {str(positions[2]): 7, f"{positions[0].epoch}:77": 10, "other:4": 7}
        for since, offset in starts.items():  # what is kept comes with it
            answer = await poll(client, "c", since=since, timeout=25)
            (told,) = answer["status"]
            assert (told["recovered"], told["epoch"]) == (False, positions[0].epoch)
            assert answer["since"] == str(positions[-1])
            assert told["offset"] == offset
            assert [each["offset"] for each in answer["publications"]] == list(range(offset + 1, 11))


async def test_pages_lose_nothing(serve: Callable[..., Server]) -> None:
    server = serve(limits={"poll_publications": 7})
    starts = [server.history(name, limit=0).position for name in ("a", "b")]
    for n in range(50):
        server.publish("a", n)
        server.publish("b", n)
    since = ",".join(map(str, starts))
    seen: dict[str, list[int]] = {"a": [], "b": []}
    async with open_http(server) as client:
        pages = 0
        while min(map(len, seen.values())) < 50:
            answer = await poll(client, "a", "b", since=since, timeout=5)
            assert 0 < len(answer["publications"]) <= 7
            assert all(told["recovered"] for told in answer["status"])
            for each in answer["publications"]:
                seen[each["channel"]].append(each["data"])
            since = answer["since"]
            pages += 1
    assert seen == {"a": list(range(50)), "b": list(range(50))}
    assert pages >= 15
    await assert_delivered(server, "a", 50)
    await assert_delivered(server, "b", 50)


async def test_a_connection_is_used_again(server: Server) -> None:
    position = server.publish("c", 0)
    async with open_tcp(server) as tcp:
        for n in range(1, 21):
            await tcp.get(f"/poll?channel=c&since={position}")
            if n % 2:
                await until(lambda: server.stats()["polls"] == 1)
            position = server.publish("c", n)
            status, _, body = await tcp.read_response()
            assert status == 200
            assert [each["data"] for each in json.loads(body)["publications"]] == [n]
        assert server.stats()["connections"] == 1
        await tcp.get("/poll?channel=c&timeout=0", "Connection: close")
        assert b"Connection: close\r\n" in await tcp.read_to_end()
    await assert_delivered(server, "c", 20)


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    position = server.publish("c", 1)
    async with open_tcp(server) as tcp:
        api = json.dumps({"channel": "d", "data": "from the pipeline"})
        await tcp.write(
            f"GET /poll?channel=c&since={position}&timeout=20 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
            f"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(api)}\r\n\r\n{api}"
            "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
            "GET /poll?channel=d&timeout=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        await until(lambda: server.stats()["polls"] == 1)
        assert server.history("d").messages == []  # it waits for its turn
        server.publish("c", 2)
        assert json.loads((await tcp.read_response())[2])["publications"][0]["data"] == 2
        assert await tcp.read_response() == (
            200,
            {"content-type": "application/json", "content-length": "2", "cache-control": "no-store"},
            b"{}",
        )
        assert json.loads((await tcp.read_response())[2])["result"]["offset"] == 1
        assert (await tcp.read_response())[0] == 404
        assert b'"recovered":null' in await tcp.read_to_end()


@pytest.mark.parametrize("leaves", ["with a reset", "with an end"])
@pytest.mark.parametrize("ahead", [0, 1, 100], ids=["", "pipelined", "more than is read ahead"])
async def test_a_client_that_leaves_while_it_waits_is_noticed(
    serve: Callable[..., Server], leaves: str, ahead: int
) -> None:
    server = serve(limits={"pipelined_bytes": 1024})
    async with open_tcp(server) as tcp:
        await tcp.get("/poll?channel=c&channel=d&timeout=50")
        await tcp.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * ahead)
        await until(lambda: server.channels() == {"c": 1, "d": 1})
        if leaves == "with a reset":
            tcp.cut()
        else:
            tcp.writer.write_eof()
        await until(lambda: server.stats()["polls"] == 0)
        await until(lambda: server.stats()["connections"] == 0)
    assert server.channels() == {}
    server.publish("c", 1)
    assert row_of(server, "c")["delivered"] == 0


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
async def test_a_thousand_waiting_polls(serve: Callable[..., Server]) -> None:
    server = serve()
    async with AsyncExitStack() as stack:
        waiting = []
        for _ in range(1000):
            tcp = await stack.enter_async_context(open_tcp(server))
            await tcp.get("/poll?channel=c&timeout=50")
            waiting.append(tcp)
        await until(lambda: server.channels().get("c") == 1000)
        assert server.stats()["polls"] == 1000
        position = server.publish("c", "bell")
        answers = {(await tcp.read_response())[2] for tcp in waiting}
        assert len(answers) == 1
        assert json.loads(answers.pop())["since"] == str(position)
        await until(lambda: server.stats()["polls"] == 0)
        await assert_delivered(server, "c", 1000)
        for tcp in waiting:
            await tcp.get(f"/poll?channel=c&timeout=50&since={position}")
        await until(lambda: server.stats()["polls"] == 1000)
    await until(lambda: server.stats()["polls"] == 0 and server.stats()["connections"] == 0)


async def test_drain_answers_waiting_polls(server: Server) -> None:
    position = server.publish("c", 1)
    async with open_tcp(server) as tcp:
        await tcp.get("/poll?channel=c&timeout=50")
        await until(lambda: server.stats()["polls"] == 1)
        draining = asyncio.create_task(asyncio.to_thread(server.drain, 5.0))
        status, headers, body = await tcp.read_response()
        assert (status, headers["connection"]) == (200, "close")
        answer = json.loads(body)
        assert (answer["publications"], answer["since"]) == ([], str(position))
        assert await tcp.read_to_end() == b""
        tcp.cut()
        assert await draining
