"""The Centrifuge JSON protocol over WebSocket, spoken by PyPI `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from wire_clients import Ws, assert_delivered, open_ws, row_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire


async def test_connect_tells_who_and_how(server: Server) -> None:
    async with open_ws(server, is_connected=False) as ws:
        result = await ws.connect()
        assert len(result["client"]) == 36
        assert result["version"]
        assert (result["ping"], result["pong"]) == (25, True)
        assert server.connections() == [result["client"]]
    await until(lambda: server.stats()["connections"] == 0)


async def test_connect_and_subscribe_in_one_frame(server: Server) -> None:
    async with open_ws(server, is_connected=False) as ws:
        await ws.socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"c"}}')
        assert "connect" in await ws.reply(1)
        assert (await ws.reply(2))["subscribe"]["recoverable"]


async def test_a_live_subscription_gets_all_in_order(server: Server) -> None:
    async with open_ws(server) as ws:
        result = await ws.subscribe("c")
        assert result["positioned"]
        assert len(result["epoch"]) == 8
        assert result.get("offset", 0) == 0
        for n in range(500):
            server.publish("c", {"n": n})
        publications = await ws.publications(500)
        assert [each["data"]["n"] for each in publications] == list(range(500))
        assert [each["offset"] for each in publications] == list(range(1, 501))
        assert publications[0]["epoch"] == result["epoch"]
        assert "epoch" not in publications[1]
        await assert_delivered(server, "c", 500)


async def test_a_push_is_the_bytes_that_the_protocol_says(server: Server) -> None:
    async with open_ws(server) as ws:
        await ws.subscribe("c")
        server.publish("c", 0)
        await ws.push()
        server.publish("c", b'{"price":1.10,\n "b" : [1e3] }', json=True, tags={"lang": "fr"})
        frame = await asyncio.wait_for(ws.socket.recv(), 5)
        assert frame == (
            '{"push":{"channel":"c","pub":{"data":{"price":1.10, "b" : [1e3] },"offset":2,'
            '"tags":{"lang":"fr"}}}}'
        )
        server.publish("c", b"\x00\xff")
        assert (await ws.push())["pub"]["data"] == {"b64": "AP8="}


async def test_recovery_is_a_page_and_then_pushes(serve: Callable[..., Server]) -> None:
    server = serve(limits={"history_publications": 10})
    position = server.publish("c", 0)
    for n in range(1, 50):
        server.publish("c", n)
    async with open_ws(server) as ws:
        result = await ws.subscribe("c", recover=True, offset=position.offset, epoch=position.epoch)
        assert (result["was_recovering"], result["recovered"], result["offset"]) == (True, True, 1)
        page = result["publications"]
        assert [each["offset"] for each in page] == list(range(2, 12))
        assert [each["offset"] for each in await ws.publications(39)] == list(range(12, 51))
        server.publish("c", 50)
        assert (await ws.publications(1))[0]["offset"] == 51
        await assert_delivered(server, "c", 50)


async def test_recovery_from_the_start_and_at_the_top(server: Server) -> None:
    async with open_ws(server) as ws:
        result = await ws.subscribe("empty")
        await ws.command(unsubscribe={"channel": "empty"})
        result = await ws.subscribe("empty", recover=True, offset=0, epoch=result["epoch"])
        assert (result["recovered"], result.get("publications", [])) == (True, [])
        await ws.command(unsubscribe={"channel": "empty"})
        server.publish("empty", "first")
        result = await ws.subscribe("empty", recover=True, offset=0, epoch=result["epoch"])
        assert [each["data"] for each in result["publications"]] == ["first"]
        await assert_delivered(server, "empty", 1)


@pytest.mark.parametrize(
    ("offset", "epoch"), [(1, None), (12, None), (10, "wrong")], ids=["trimmed", "beyond the top", "epoch"]
)
async def test_what_cannot_be_recovered_is_told(
    serve: Callable[..., Server], offset: int, epoch: str | None
) -> None:
    server = serve(channels={"*": {"history_size": 5}})
    for n in range(10):
        position = server.publish("c", n)
    request = {"recover": True, "offset": offset, "epoch": epoch or position.epoch}
    async with open_ws(server) as ws:
        reply = await ws.command(subscribe={"channel": "c", "flag": 2, **request})
        assert reply["error"]["code"] == 112
        result = await ws.subscribe("c", **request)
        assert (result["was_recovering"], result.get("recovered", False)) == (True, False)
        assert result.get("publications", []) == []
        assert (result["offset"], result["epoch"]) == (10, position.epoch)
        server.publish("c", "next")
        assert (await ws.publications(1))[0]["offset"] == 11


async def test_a_channel_without_history_has_no_position(serve: Callable[..., Server]) -> None:
    server = serve(channels={"live:*": {"history_size": 0}})
    async with open_ws(server) as ws:
        result = await ws.subscribe("live:1")
        assert not {"epoch", "offset", "recoverable", "positioned"} & set(result)
        server.publish("live:1", 1)
        assert (await ws.publications(1)) == [{"data": 1}]
        assert (await ws.command(history={"channel": "live:1"}))["error"]["code"] == 108
        await assert_delivered(server, "live:1", 1)


async def test_unsubscribe_ends_delivery_and_presence(server: Server) -> None:
    async with open_ws(server) as ws:
        await ws.subscribe("c")
        server.publish("c", 1)
        await ws.publications(1)
        assert (await ws.command(unsubscribe={"channel": "c"}))["unsubscribe"] == {}
        server.publish("c", 2)
        assert server.presence("c") == {}
        assert (await ws.command(unsubscribe={"channel": "c"}))["unsubscribe"] == {}
        assert not ws.pushes
        await assert_delivered(server, "c", 1)


async def test_publish_carries_the_publisher(server: Server) -> None:
    async with open_ws(server, "?user=ann") as ann, open_ws(server, "?user=bob") as bob:
        await ann.subscribe("c")
        await bob.subscribe("c")
        assert (await ann.command(publish={"channel": "c", "data": {"text": "hé"}}))["publish"] == {}
        for client in (ann, bob):
            (publication,) = await client.publications(1)
            assert publication["data"] == {"text": "hé"}
            assert publication["info"]["user"] == "ann"
            assert publication["info"]["client"] in server.connections()
        await assert_delivered(server, "c", 2)


async def test_history_pages_both_ways(server: Server) -> None:
    for n in range(1, 11):
        position = server.publish("c", n)
    epoch = position.epoch

    async def offsets(**fields: Any) -> list[int]:
        result = (await ws.command(history={"channel": "c", **fields}))["history"]
        assert (result["offset"], result["epoch"]) == (10, epoch)
        return [each["offset"] for each in result["publications"]]

    async with open_ws(server) as ws:
        assert await offsets() == []
        assert await offsets(limit=-1) == list(range(1, 11))
        assert await offsets(limit=3) == [1, 2, 3]
        assert await offsets(limit=3, since={"offset": 3, "epoch": epoch}) == [4, 5, 6]
        assert await offsets(limit=2, reverse=True) == [10, 9]
        assert await offsets(limit=-1, reverse=True, since={"offset": 3, "epoch": epoch}) == [2, 1]
        wrong = await ws.command(history={"channel": "c", "limit": 1, "since": {"offset": 1, "epoch": "x"}})
        assert wrong["error"]["code"] == 112
        zero = await ws.command(
            history={"channel": "c", "limit": 1, "reverse": True, "since": {"offset": 0, "epoch": epoch}}
        )
        assert zero["error"]["code"] == 107


async def test_presence_and_its_statistics(serve: Callable[..., Server]) -> None:
    server = serve(channels={"dark": {"presence": False}})
    async with open_ws(server, "?user=ann") as first, open_ws(server, "?user=ann") as second:
        await first.subscribe("c")
        await second.subscribe("c")
        presence = (await first.command(presence={"channel": "c"}))["presence"]["presence"]
        assert sorted(presence) == server.connections()
        assert all(info["user"] == "ann" and info["client"] == key for key, info in presence.items())
        stats = (await first.command(presence_stats={"channel": "c"}))["presence_stats"]
        assert stats == {"num_clients": 2, "num_users": 1}
        none = (await first.command(presence_stats={"channel": "nobody"}))["presence_stats"]
        assert none == {"num_clients": 0, "num_users": 0}
        assert (await first.command(presence={"channel": "dark"}))["error"]["code"] == 108
    await until(lambda: server.presence("c") == {})


async def test_a_presence_that_is_long_is_read_in_pages(serve: Callable[..., Server]) -> None:
    server = serve(limits={"backlog_bytes": 2_000})
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_ws(server, f"?user=u{n:0100}")) for n in range(9)]
        for client in clients:
            await client.subscribe("c")
        found: list[str] = []
        pages, has_more = 0, True
        while has_more:
            pages += 1
            after = {"after": found[-1]} if found else {}
            result = (await clients[0].command(presence={"channel": "c", **after}))["presence"]
            assert len(json.dumps(result)) < 1_200
            found += sorted(result["presence"])
            has_more = result.get("has_more", False)
        assert pages > 1
        assert found == server.connections()
        assert sorted(server.presence("c")) == found
        async with (
            carillon.connect(server.url, transport="ws") as by_socket,
            carillon.connect(server.url, transport="sse") as by_http,
        ):
            assert sorted(await by_socket.presence("c")) == found
            assert sorted(await by_http.presence("c")) == found


async def test_join_and_leave(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": {"join_leave": True}})
    async with open_ws(server, "?user=ann") as ann:
        await ann.subscribe("c", join_leave=True)
        own = (await ann.push())["join"]["info"]
        assert own["user"] == "ann"
        async with open_ws(server, "?user=bob") as bob:
            await bob.subscribe("c", join_leave=True)
            assert (await ann.push())["join"]["info"]["user"] == "bob"
            await bob.command(unsubscribe={"channel": "c"})
            assert (await ann.push())["leave"]["info"]["user"] == "bob"
            await bob.subscribe("c", join_leave=True)
            assert "join" in await ann.push()
        assert (await ann.push())["leave"]["info"]["user"] == "bob"
    await until(lambda: row_of(server, "c")["subscriptions"] == 0)


async def refused(ws: Ws, code: int, message: str, **command: Any) -> None:
    error = (await ws.command(**command))["error"]
    assert (error["code"], error["message"]) == (code, message)


async def test_error_codes(serve: Callable[..., Server]) -> None:
    anybody = {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}
    server = serve(insecure=False, api_key="k", channels={"open": anybody})
    async with open_ws(server) as ws:
        await refused(ws, 103, "permission denied", subscribe={"channel": "closed"})
        for name in ("publish", "history", "presence", "presence_stats"):
            await refused(ws, 103, "permission denied", **{name: {"channel": "open", "data": 1}})
        await ws.subscribe("open")
        await refused(ws, 105, "already subscribed", subscribe={"channel": "open"})
        await refused(ws, 107, "bad request", publish={"channel": "open"})
        await refused(ws, 108, "not available", rpc={"method": "m"})
        await refused(ws, 104, "method not found", rpc={"method": "carillon.m"})
        await refused(ws, 103, "permission denied", rpc={"method": "carillon.unread"})
        await refused(ws, 108, "not available", refresh={"token": "t"})


@pytest.mark.parametrize(
    ("frames", "code", "reason"),
    [
        (['{"id":1,"subscribe":{"channel":"c"}}'], 3501, "bad request"),
        (['{"id":1,"connect":{}}', '{"id":2,"connect":{}}'], 3501, "bad request"),
        (['{"id":1,"connect":{}}', '{"id":2}'], 3501, "bad request"),
        (['{"id":1,"connect":{}}', '{"id":2,"subscribe":{"channel":""}}'], 3501, "bad request"),
        (['{"id":1,"connect":{}}', "not json"], 3501, "bad request"),
        (['{"id":1,"connect":{}}', ""], 3501, "bad request"),
        (['{"id":1,"connect":{}}\n\n{"id":2,"ping":{}}'], 3501, "bad request"),
        (['{"id":1,"connect":{}}', '{"send":{"data":1}}'], 3508, "not available"),
    ],
    ids=[
        "before connect",
        "connect twice",
        "no request",
        "empty channel",
        "no JSON",
        "empty frame",
        "empty line",
        "send",
    ],
)
async def test_disconnect_codes(server: Server, frames: list[str], code: int, reason: str) -> None:
    async with open_ws(server, is_connected=False) as ws:
        for frame in frames:
            await ws.socket.send(frame)
        assert await ws.closed() == (code, reason)
    await until(lambda: server.stats()["connections"] == 0)


async def test_the_server_disconnects_and_drains(server: Server) -> None:
    async with open_ws(server, is_connected=False) as first, open_ws(server) as second:
        client = (await first.connect())["client"]
        assert server.disconnect(client, 4001, "go away")
        assert await first.closed() == (4001, "go away")
        assert not server.disconnect(client)
        draining = asyncio.create_task(asyncio.to_thread(server.drain, 5.0))
        assert await second.closed() == (3001, "shutdown")
        assert await draining


async def test_unknown_fields_are_ignored_and_ids_are_echoed(server: Server) -> None:
    async with open_ws(server, "?cf_protocol_version=v2", is_connected=False) as ws:
        await ws.socket.send('{"id":4294967295,"x":[1,{"y":null}],"connect":{"name":"n","flag":1}}')
        assert (await ws.reply(4294967295))["connect"]["client"]
        await ws.socket.send(json.dumps({"id": 7, "ping": {}}))
        assert (await ws.reply(7))["ping"] == {}


async def test_a_channel_of_no_configured_namespace_is_unknown(serve: Callable[..., Server]) -> None:
    server = serve(config={"client": {"insecure": True}, "channel": {"namespaces": [{"name": "chat"}]}})
    async with open_ws(server) as ws:
        for command in ("subscribe", "history", "presence"):
            assert (await ws.command(**{command: {"channel": "other:x"}}))["error"]["code"] == 102
        reply = await ws.command(publish={"channel": "other:x", "data": 1})
        assert reply["error"]["code"] == 102
        await ws.subscribe("chat:x")
        await ws.subscribe("plain")
    async with httpx.AsyncClient(base_url=server.url) as api:
        answer = (await api.post("/api/publish", json={"channel": "other:x", "data": 1})).json()
        assert answer["error"]["code"] == 102
        assert (await api.get("/poll", params={"channel": "other:x"})).status_code == 400
