"""The server API over HTTP (protocol.md section 21), with `httpx` and with `curl`."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from carillon import Channel
from wire_clients import assert_delivered, open_http, open_sse, open_tcp, open_ws, row_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from carillon import Server

pytestmark = pytest.mark.wire

METHODS = [
    *("publish", "broadcast", "history", "presence", "presence_stats", "channels", "info"),
    *("disconnect", "stats", "ledger", "drain"),
]


async def call(client: httpx.AsyncClient, method: str, /, **fields: Any) -> dict[str, Any]:
    response = await client.post(f"/api/{method}", json=fields)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer: dict[str, Any] = response.json()
    assert len(answer) == 1
    return answer


async def result(client: httpx.AsyncClient, method: str, /, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await call(client, method, **fields))["result"]
    return answer


async def error_code(client: httpx.AsyncClient, method: str, /, **fields: Any) -> int:
    error = (await call(client, method, **fields))["error"]
    assert error["message"]
    return int(error["code"])


def assert_refusal(response: httpx.Response) -> str:
    """Every refusal has one form. Returns its message."""
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert set(error) == {"code", "message"}
    assert error["code"] == response.status_code >= 400
    return str(error["message"])


async def test_publish(serve: Callable[..., Server]) -> None:
    server = serve(channels={"live": {"history_size": 0}})
    async with open_http(server) as client, open_ws(server) as ws:
        epoch = (await ws.subscribe("c"))["epoch"]
        assert await result(client, "publish", channel="c", data={"t": "hé"}) == {"offset": 1, "epoch": epoch}
        assert await result(client, "publish", channel="c", b64data="AAH/", tags={"a": "b"}) == {
            "offset": 2,
            "epoch": epoch,
        }
        assert await result(client, "publish", channel="c", data="gone", skip_history=True) == {}
        assert await result(client, "publish", channel="live", data=1) == {}
        raw = '{"channel":"c","data":{"big":12345678901234567890,\n"x":1.10}}'
        assert (await client.post("/api/publish", content=raw)).json()["result"]["offset"] == 3
        pushes = await ws.publications(3)
        assert pushes[0]["data"] == {"t": "hé"}
        assert pushes[1] == {"data": {"b64": "AAH/"}, "binary": True, "offset": 2, "tags": {"a": "b"}}
        assert pushes[2] == {"data": "gone"}
        last = await asyncio.wait_for(ws.socket.recv(), 5)
        assert last == (
            '{"push":{"channel":"c","pub":{"data":{"big":12345678901234567890,"x":1.10},"offset":3}}}'
        )
        assert [each.offset for each in server.history("c").messages] == [1, 2, 3]
        assert server.history("c").messages[1].data == b"\x00\x01\xff"
        await assert_delivered(server, "c", 4)


async def test_a_payload_has_the_format_of_its_channel(serve: Callable[..., Server]) -> None:
    server = serve(
        channels={
            "json": Channel(publication_data_format="json"),
            "object": Channel(publication_data_format="json_object"),
            "any": Channel(publication_data_format="binary"),
        }
    )
    binary, text, table = {"b64data": "AP8="}, {"data": "text"}, {"data": {"n": 1}}
    async with open_http(server) as client:
        for channel, payload in (("json", binary), ("object", binary), ("object", text)):
            assert await error_code(client, "publish", channel=channel, **payload) == 107
        for channel, payload in (("json", text), ("object", table), ("any", binary), ("any", text)):
            await result(client, "publish", channel=channel, **payload)
        answers = (await result(client, "broadcast", channels=["json", "object"], **text))["responses"]
        assert ["error" in answer for answer in answers] == [False, True]
    for channel, data in (("json", b"\x00"), ("object", b"\x00"), ("object", [1])):
        with pytest.raises(ValueError, match="publication_data_format"):
            server.publish(channel, data)
    server.publish("object", {})
    server.publish("any", b"")


async def test_broadcast(serve: Callable[..., Server]) -> None:
    server = serve(limits={"channel_name_bytes": 10})
    async with open_http(server) as client, open_sse(server, "a", "b") as sse:
        await sse.status()
        await sse.status()
        responses = (await result(client, "broadcast", channels=["a", "x" * 11, "b"], data=1))["responses"]
        assert [each["result"]["offset"] for each in (responses[0], responses[2])] == [1, 1]
        assert responses[1]["error"]["code"] == 107
        assert sorted(each["channel"] for each in await sse.publications(2)) == ["a", "b"]
        twice = [
            await result(client, "broadcast", channels=["a", "b"], data=2, idempotency_key="k")
            for _ in range(2)
        ]
        assert twice[0] == twice[1]
        assert [each["data"] for each in await sse.publications(2)] == [2, 2]
        await assert_delivered(server, "a", 2)


async def test_history(server: Server) -> None:
    for n in range(1, 6):
        position = server.publish("c", n)
    since = {"offset": 2, "epoch": position.epoch}
    async with open_http(server) as client:

        async def offsets(**fields: Any) -> list[int]:
            found = await result(client, "history", channel="c", **fields)
            assert (found["offset"], found["epoch"]) == (5, position.epoch)
            return [each["offset"] for each in found["publications"]]

        assert await offsets() == [1, 2, 3, 4, 5]
        assert await offsets(last=2) == [4, 5]
        assert await offsets(last=0) == []
        assert await offsets(limit=2) == [1, 2]
        assert await offsets(limit=0) == []
        assert await offsets(since="oldest", limit=2) == [1, 2]
        assert await offsets(since=f"{position.epoch}:2") == [3, 4, 5]
        assert await offsets(since=since) == [3, 4, 5]
        assert await offsets(reverse=True) == [5, 4, 3, 2, 1]
        assert await offsets(limit=-1) == [1, 2, 3, 4, 5]
        assert await offsets(limit=2, since=since) == [3, 4]
        assert await offsets(limit=-1, reverse=True, since={**since, "offset": 4}) == [3, 2, 1]
        wrong = {"channel": "c", "limit": 1, "since": {"offset": 2, "epoch": "other"}}
        assert await error_code(client, "history", **wrong) == 112
        assert await error_code(client, "history", channel="c", since="other:2") == 112
        for fields in ({"last": 2, "limit": 2}, {"last": 2, "since": "oldest"}, {"since": "newest"}):
            assert await error_code(client, "history", channel="c", **fields) == 107
        response = await client.post("/api/history", json={"channel": "c", "since": 5})
        assert response.status_code == 400
        assert assert_refusal(response).startswith("since: broken JSON, or not a position, ")


async def test_a_history_without_a_number_is_the_newest_hundred(server: Server) -> None:
    for n in range(1, 131):
        server.publish("c", n)
    async with open_http(server) as client:
        found = await result(client, "history", channel="c")
        assert [each["offset"] for each in found["publications"]] == list(range(31, 131))
        found = await result(client, "history", channel="c", since="oldest")
        assert [each["offset"] for each in found["publications"]] == list(range(1, 101))
    assert [each.offset for each in server.history("c").messages] == list(range(31, 131))
    assert server.history("c", since="oldest").position.offset == 100


async def test_presence_channels_and_info(serve: Callable[..., Server]) -> None:
    server = serve(channels={"dark:*": {"presence": False}})
    async with open_http(server) as client, open_ws(server, "?user=ann") as ws:
        await ws.subscribe("c")
        await ws.subscribe("dark:1")
        async with open_sse(server, "c", user="bob") as sse:
            await sse.status()
            presence = (await result(client, "presence", channel="c"))["presence"]
            assert sorted(each["user"] for each in presence.values()) == ["ann", "bob"]
            assert all(each["client"] == name for name, each in presence.items())
            assert await result(client, "presence_stats", channel="c") == {"num_clients": 2, "num_users": 2}
            assert await result(client, "channels") == {
                "channels": {"c": {"num_clients": 2}, "dark:1": {"num_clients": 1}}
            }
            only = await result(client, "channels", pattern="dark:*")
            assert list(only["channels"]) == ["dark:1"]
            (node,) = (await result(client, "info"))["nodes"]
            assert node["uid"]
            assert node["name"]
            assert (node["num_subs"], node["num_channels"]) == (3, 2)
            assert node["num_clients"] >= 1
            assert {"version", "num_users", "uptime"} <= set(node)
        assert await error_code(client, "presence", channel="dark:1") == 108
        assert await error_code(client, "presence_stats", channel="dark:1") == 108
        assert await result(client, "presence", channel="nobody") == {"presence": {}}


async def test_disconnect(serve: Callable[..., Server]) -> None:
    server = serve(threads=2)
    async with (
        open_http(server) as client,
        open_ws(server, "?user=ann") as ann,
        open_ws(server, "?user=ann") as ann_again,
        open_ws(server, "?user=bob") as bob,
        open_ws(server, "?user=cid") as cid,
        open_sse(server, "c", user="ann") as sse,
    ):
        await sse.status()
        for each in (ann, ann_again, bob):
            await each.subscribe("c")
        presence = (await result(client, "presence", channel="c"))["presence"]
        (bobs,) = [name for name, info in presence.items() if info["user"] == "bob"]
        assert await result(client, "disconnect", client=bobs, user="ann") == {"connections": 0}
        enough = {"code": 4500, "reason": "enough"}
        assert await result(client, "disconnect", user="ann", disconnect=enough) == {"connections": 3}
        for each in (ann, ann_again):
            await each.socket.wait_closed()
            assert (each.socket.close_code, each.socket.close_reason) == (4500, "enough")
        lowest = {"code": 3000, "reason": "back soon"}
        assert await result(client, "disconnect", user="cid", disconnect=lowest) == {"connections": 1}
        await cid.socket.wait_closed()
        assert (cid.socket.close_code, cid.socket.close_reason) == (3000, "back soon")
        assert server.connections() == [bobs]
        assert await result(client, "disconnect", client=bobs) == {"connections": 1}
        await bob.socket.wait_closed()
        assert (bob.socket.close_code, bob.socket.close_reason) == (3503, "force disconnect")
        assert await error_code(client, "disconnect") == 107
        for wrong in ({"code": 1000}, {"code": 5000}, {"reason": "x" * 124}):
            assert await error_code(client, "disconnect", user="ann", disconnect=wrong) == 107


async def test_a_history_has_one_epoch(server: Server) -> None:
    for n in range(2):
        server.publish("c", n)
    async with open_http(server) as client:
        found = await result(client, "history", channel="c", limit=-1)
        assert found["publications"] == [{"data": 0, "offset": 1}, {"data": 1, "offset": 2}]


async def test_ledger(serve: Callable[..., Server]) -> None:
    server = serve(threads=2, channels={"z": {"join_leave": True}})
    async with open_http(server) as client:
        assert (await result(client, "ledger"))["channels"] == []
        async with open_ws(server) as ws, open_ws(server) as other:
            for channel in ("a", "b", "z"):
                await ws.subscribe(channel)  # takes no notices: the join on z is dropped for it
            await other.subscribe("a")
            for channel in ("a", "b", "b"):
                server.publish(channel, 1)
            await assert_delivered(server, "b", 2)
            await assert_delivered(server, "a", 2)
            await until(lambda: row_of(server, "z")["dropped"]["filtered"] == 1)
            whole = await result(client, "ledger")
            rows = whole["channels"]
            assert [row["channel"] for row in rows] == ["z", "a", "b"]  # that with drops first
            assert {**whole, "channels": [*rows[1:], rows[0]]} == server.ledger()
            assert (whole["is_balanced"], whole["unbalanced"], whole["missing_shards"]) == (True, 0, 0)
            assert (whole["subscriptions"], whole["published"], whole["delivered"]) == (4, 5, 4)
            assert whole["dropped"] == rows[0]["dropped"]
            assert await result(client, "ledger", limit=1) == {**whole, "channels": rows[:1]}
        assert (await client.post("/api/ledger", json={"limit": -1})).status_code == 400


async def test_requests_that_are_wrong(serve: Callable[..., Server]) -> None:
    server = serve(channels={"live": {"history_size": 0}})
    async with open_http(server) as client:
        assert await error_code(client, "publish", data=1) == 107
        assert await error_code(client, "publish", channel="", data=1) == 107
        assert await error_code(client, "publish", channel="c") == 107
        for method, fields, message in (
            ("presence", {}, "bad request: channel: missing or empty; give the name of a channel"),
            ("publish", {"chanel": "c"}, "bad request: 'chanel': unknown field; did you mean 'channel'?"),
            ("info", {"limit": 1}, "bad request: 'limit': unknown field; there are none"),
            (
                "publish",
                {"channel": "c"},
                "bad request: data: missing; give any JSON value, or bytes in base64",
            ),
            ("history", {"channel": "live"}, "not available: this channel has no history; set its options"),
            ("presence", {"channel": "a\nb"}, "bad request: channel: 'a?b' is not a channel name"),
        ):
            error = (await call(client, method, **fields))["error"]
            assert error["message"].startswith(message), method
        assert await error_code(client, "publish", channel="c", b64data="not base64!") == 107
        assert await error_code(client, "publish", channel="a\nb", data=1) == 107
        assert await error_code(client, "broadcast", channels=[], data=1) == 107
        assert await error_code(client, "history", channel="live") == 108
        for body in ("{", "[]", "nope", '{"channel":1,"data":1}', '{"channel":"c","data":1}x', '{"data":{]}'):
            response = await client.post("/api/publish", content=body)
            assert response.status_code == 400, body
            assert_refusal(response)
        response = await client.post("/api/publsh", json={})
        assert response.status_code == 404
        assert "did you mean 'publish'?" in assert_refusal(response)
        response = await client.post("/api/history", json={"channel": "c", "limit": "ten"})
        assert (response.status_code, assert_refusal(response)) == (
            400,
            "limit: broken JSON, or not a whole number",
        )
        assert_refusal(await client.post("/api/publish", content=b"x" * 20_000_000))
        assert_refusal(await client.get("/api/publish", headers={"Origin": "https://evil.test"}))
        assert_refusal(await client.get("/api/publish", headers={"Host": "evil.test"}))
        assert (await client.post("/api/nothing", json={})).status_code == 404
        assert (await client.get("/api/nothing")).status_code == 404
        assert (await client.get("/api/publish")).status_code == 405
        assert (await client.put("/api/publish", json={})).status_code == 405
        assert (await client.get("/nothing/here")).status_code == 404
        assert server.history("c").messages == []


async def test_who_may_call_it(serve: Callable[..., Server]) -> None:
    server = serve(api_key="open sesame")
    async with open_http(server) as client:

        async def status(headers: dict[str, str] | None = None, query: str = "", name: str = "info") -> int:
            response = await client.post(f"/api/{name}{query}", json={}, headers=headers)
            if response.status_code == 401:
                assert "as X-API-Key" in assert_refusal(response)
            return response.status_code

        assert await status({"X-API-Key": "open sesame"}) == 200
        assert await status({"Authorization": "apikey open sesame"}) == 200
        assert await status(query="?api_key=open%20sesame") == 200
        for name in METHODS:
            assert await status(name=name) == 401
        for wrong in ("closed", "open", "open sesamE", "open sesame2"):
            assert await status({"X-API-Key": wrong}) == 401
            assert await status({"Authorization": f"apikey {wrong}"}) == 401
        assert await status({"Authorization": "Bearer open sesame"}) == 401
        assert await status(query="?api_key=open") == 401
        assert (await client.get("/health")).json() == {}
    closed = serve(insecure=False)  # without a key nobody may
    async with open_http(closed) as client:
        response = await client.post("/api/info", headers={"X-API-Key": ""})
        assert response.status_code == 401
        assert "set http_api.key" in assert_refusal(response)


async def test_health_says_that_it_drains(server: Server) -> None:
    async with open_tcp(server) as tcp:
        await tcp.get("/health")
        assert (await tcp.read_response())[0] == 200
        # A poll waits with the connection's answer; the request behind it is read while the server drains.
        await tcp.get("/poll?channel=c&timeout=50")
        await until(lambda: server.stats()["polls"] == 1)
        draining = asyncio.create_task(asyncio.to_thread(server.drain, 5.0))
        assert (await tcp.read_response())[1]["connection"] == "close"
        tcp.cut()
        assert await draining
    assert server.stats()["is_draining"]


# curl, as in the README.


async def curl(path: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        path,
        *("--silent", "--show-error", "--noproxy", "*", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            name: value for name, value in os.environ.items() if name != "LD_PRELOAD"
        },  # a sanitizer's is not curl's
    )


async def output_of(process: asyncio.subprocess.Process) -> str:
    out, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, errors
    return out.decode()


async def test_curl_publishes(server: Server, require_tool: Callable[..., str]) -> None:
    path = require_tool("curl")
    body = '{"channel":"news","data":{"text":"ding"}}'
    answer = json.loads(await output_of(await curl(path, "-d", body, f"{server.url}/api/publish")))
    assert answer["result"] == {"offset": 1, "epoch": server.history("news", limit=0).position.epoch}
    assert server.history("news").messages[0].data == b'{"text":"ding"}'


async def test_curl_polls(server: Server, require_tool: Callable[..., str]) -> None:
    path = require_tool("curl")
    polling = await curl(path, f"{server.url}/poll?channel=news&timeout=20")
    await until(lambda: server.stats()["polls"] == 1)
    server.publish("news", "ding")
    answer = json.loads(await output_of(polling))
    assert answer["publications"] == [{"channel": "news", "offset": 1, "data": "ding"}]
    await assert_delivered(server, "news", 1)


async def test_curl_streams(server: Server, require_tool: Callable[..., str]) -> None:
    path = require_tool("curl")
    streaming = await curl(path, "--no-buffer", f"{server.url}/sse?channel=news")
    assert streaming.stdout is not None

    async def lines(count: int) -> list[str]:
        assert streaming.stdout is not None
        async with asyncio.timeout(10):
            return [(await streaming.stdout.readline()).decode() for _ in range(count)]

    assert (await lines(2)) == ["retry: 2000\n", "\n"]
    assert (await lines(4))[1] == "event: status\n"
    position = server.publish("news", "ding")
    assert await lines(3) == [
        f"id: {position}\n",
        'data: {"channel":"news","offset":1,"data":"ding"}\n',
        "\n",
    ]
    streaming.kill()
    await streaming.wait()
    await streaming.stdout.read()
    await until(lambda: server.stats()["sse"] == 0)
    await assert_delivered(server, "news", 1)
