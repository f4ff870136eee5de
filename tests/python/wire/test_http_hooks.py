"""Backends that are asked over HTTP: who decides, in which shapes, and what a bad backend costs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from backend_double import Backend, Raw, proxied, running_backend
from carillon import ConfigError, Server
from websockets.asyncio.client import connect as connect_socket
from wire_clients import open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.wire

TRY_AGAIN = {"code": 100, "message": "internal server error", "temporary": True}


@pytest.fixture
def threads() -> int:
    """Each thread asks by itself: one is enough, and tells how connections are used."""
    return 1


@pytest.fixture
def backend() -> Iterator[Backend]:
    with running_backend() as backend:
        yield backend


def soon() -> int:
    """An end that comes in one to two seconds."""
    return int(time.time()) + 2


# ---- connect


async def test_connect(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/connect"] = lambda asked: {
        "result": {
            "user": "ann",
            "info": {"name": "Ann"},
            "data": {"hello": 1},
            "channels": ["open:a"],
            "subs": {
                "open:b": {
                    "data": {"b": 2},
                    "info": {"role": "host"},
                    "override": {"presence": {"value": True}},
                }
            },
            "meta": {"ignored": True},
        }
    }
    config = proxied(
        backend, "connect", http_headers=["X-Request", "cookie"], http={"static_headers": {"X-Key": "k"}}
    )
    server = serve(config=config)
    headers = {"X-Request": "7", "Cookie": "s=1", "X-Other": "no"}
    async with open_ws(server, is_connected=False, additional_headers=headers) as ws:
        hello = (await ws.command(connect={"data": {"tab": 1}}))["connect"]
        assert hello["data"] == {"hello": 1}
        assert set(hello["subs"]) == {"open:a", "open:b"}
        assert hello["subs"]["open:b"]["data"] == {"b": 2}
        (info,) = server.presence("open:b").values()
        assert (info.user, info.conn_info, info.chan_info) == ("ann", {"name": "Ann"}, {"role": "host"})
    (asked,) = backend.of("/connect")
    assert asked == {
        "client": hello["client"],
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
        "data": {"tab": 1},
    }
    (sent,) = backend.headers
    assert (sent["x-request"], sent["cookie"], sent["x-key"]) == ("7", "s=1", "k")
    assert "x-other" not in sent
    assert sent["content-type"] == "application/json"


async def test_a_backend_may_refuse_a_client(serve: Callable[..., Server], backend: Backend) -> None:
    server = serve(config=proxied(backend, "connect"))
    backend.answers["/connect"] = lambda asked: {"disconnect": {"code": 4501, "reason": "banned"}}
    async with open_ws(server, is_connected=False) as ws:
        await ws.send(connect={})
        assert await ws.closed() == (4501, "banned")
    backend.answers["/connect"] = lambda asked: {"error": {"code": 401, "message": "who?", "temporary": True}}
    async with open_ws(server, is_connected=False) as ws:
        reply = await ws.command(connect={})
        assert reply["error"] == {"code": 401, "message": "who?", "temporary": True}
    backend.answers["/connect"] = lambda asked: {}
    async with open_ws(server):
        pass  # nobody is anonymous here, by client.allow_anonymous_connect_without_token
    config = proxied(backend, "connect")
    del config["client"]["allow_anonymous_connect_without_token"]
    async with open_ws(serve(config=config), is_connected=False) as ws:
        await ws.send(connect={})
        assert await ws.closed() == (3501, "bad request")


async def test_a_backend_can_only_narrow_what_a_token_grants(
    serve: Callable[..., Server], backend: Backend
) -> None:
    config = proxied(backend, "connect")
    config["client"]["token"] = {"hmac_secret_key": "s"}
    server = serve(config=config)
    token = carillon.token("s", "ann", channels=["open:a", "open:b"])
    backend.answers["/connect"] = lambda asked: {"result": {"channels": ["open:b", "open:c"]}}
    async with open_ws(server, is_connected=False) as ws:
        hello = (await ws.command(connect={"token": token}))["connect"]
        assert set(hello["subs"]) == {"open:b"}
    (asked,) = backend.of("/connect")
    assert asked["user"] == "ann"
    assert "token" not in asked
    backend.answers["/connect"] = lambda asked: {"result": {"user": "bob"}}
    async with open_ws(server, is_connected=False) as ws:
        await ws.send(connect={"token": token})
        assert (await ws.closed())[0] == 3004, "as where a hook in Python names another user"
    async with open_ws(server, is_connected=False) as ws:
        await ws.send(connect={"token": "wrong"})
        assert (await ws.closed())[0] == 3500
    assert len(backend.of("/connect")) == 2, "a wrong token asks nobody"


async def test_plain_transports_ask_too(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/connect"] = lambda asked: {"result": {"user": "ann"}}
    backend.answers["/subscribe"] = lambda asked: (
        {"result": {}} if asked["channel"] == "chat:1" else {"error": {"code": 403, "message": "no"}}
    )
    server = serve(config=proxied(backend, "connect", "subscribe"))
    async with httpx.AsyncClient(base_url=server.url) as http:
        refused = await http.get("/poll", params={"channel": "chat:2", "timeout": 0})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, 403)
        assert (await http.get("/poll", params={"channel": "chat:1", "timeout": 0})).status_code == 200
        assert backend.of("/subscribe")[-1]["user"] == "ann"
        backend.answers["/connect"] = lambda asked: Raw(500)
        assert (await http.get("/poll", params={"channel": "chat:1"})).status_code == 503


async def test_no_client_gets_what_was_said_to_another(
    serve: Callable[..., Server], backend: Backend
) -> None:
    def answer(asked: dict[str, Any]) -> Raw:
        said = json.dumps({"result": {"data": asked["data"]}}).encode()
        mine = Raw(body=said)
        if asked["data"] == "between":
            mine.before = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        foreign = b'HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{"result":{"data":"foreign"}}'
        if asked["data"] == "later":
            mine.after = foreign
        if asked["data"] == "behind":
            mine.behind = foreign
        return mine

    backend.answers["/rpc"] = answer
    server = serve(config=proxied(backend, "rpc"))
    calls = ["first", "between", "second", "later", "third", "behind", "fourth", "fifth"]
    async with open_ws(server) as ws:
        for data in calls:
            assert (await ws.command(rpc={"method": "m", "data": data}))["rpc"]["data"] == data
            await asyncio.sleep(0.15)  # what comes late is there
    assert [asked["data"] for asked in backend.of("/rpc")] == calls


# ---- refresh, sub_refresh


async def test_refresh(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/connect"] = lambda asked: {"result": {"user": "ann", "expire_at": soon()}}
    backend.answers["/refresh"] = lambda asked: (
        {"result": {"expire_at": soon(), "info": {"n": 1}}}
        if len(backend.of("/refresh")) < 3
        else {"result": {"expired": True}}
    )
    server = serve(config=proxied(backend, "connect", "refresh"))
    async with open_ws(server, is_connected=False) as ws:
        hello = (await ws.command(connect={}))["connect"]
        assert "expires" not in hello
        assert await ws.closed() == (3005, "connection expired")
    asked = backend.of("/refresh")
    assert len(asked) == 3
    assert asked[0] == {
        "client": hello["client"],
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
        "user": "ann",
    }


@pytest.mark.parametrize("operation", ["refresh", "sub_refresh"])
async def test_a_refresh_without_an_answer_says_what_becomes_of_the_client(
    serve: Callable[..., Server], backend: Backend, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "carillon")
    backend.answers["/connect"] = lambda asked: {"result": {"user": "ann", "expire_at": soon()}}
    backend.answers["/subscribe"] = lambda asked: {"result": {"expire_at": soon()}}
    backend.answers[f"/{operation}"] = lambda asked: Raw(500)
    first = {"refresh": "connect", "sub_refresh": "subscribe"}[operation]
    server = serve(config={**proxied(backend, first, operation), "limits": {"refresh_retry_ms": 1_234}})
    async with open_ws(server) as ws:
        if operation == "sub_refresh":
            await ws.subscribe("chat:1")
        await until(lambda: len(backend.of(f"/{operation}")) > 1)
        assert (await ws.command(ping={}))["id"], "it is still there"
    what = {"refresh": "connection", "sub_refresh": "subscription"}[operation]
    (access, *_) = [each for each in caplog.records if getattr(each, "event", "") == "refuse"]
    assert f"the {what} goes on, and the question is asked again after 1234 ms" in access.getMessage()
    assert "''" not in access.getMessage(), "what has no name is not named"
    (told, *_) = [each for each in caplog.records if getattr(each, "event", "") == "proxy"]
    assert f"the {what}s go on, and it is asked again after 1234 ms (limits.refresh_ret" in told.getMessage()
    assert "asked to try again" not in told.getMessage()


async def test_sub_refresh(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/subscribe"] = lambda asked: {"result": {"expire_at": soon()}}
    backend.answers["/sub_refresh"] = lambda asked: (
        {"result": {"expire_at": soon(), "info": {"role": "host"}}}
        if len(backend.of("/sub_refresh")) < 2
        else {"result": {"expired": True}}
    )
    server = serve(config=proxied(backend, "subscribe", "sub_refresh"))
    async with open_ws(server) as ws:
        assert "expires" not in await ws.subscribe("chat:1")
        await until(
            lambda: [info.chan_info for info in server.presence("chat:1").values()] == [{"role": "host"}]
        )
        push = await ws.push()
        assert push["unsubscribe"] == {"code": 2501, "reason": "subscription expired"}
    assert [asked["channel"] for asked in backend.of("/sub_refresh")] == ["chat:1", "chat:1"]


# ---- subscribe, publish


async def test_subscribe(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/subscribe"] = lambda asked: (
        {
            "result": {
                "info": {"role": "host"},
                "b64data": base64.b64encode(b'{"topic":"x"}').decode(),
                "override": {"force_recovery": {"value": True}},
            }
        }
        if asked.get("data") == {"invited": True}
        else {"error": {"code": 470, "message": "by invitation"}}
    )
    server = serve(config=proxied(backend, "subscribe"))
    async with open_ws(server) as ws:
        refused = await ws.command(subscribe={"channel": "chat:1"})
        assert refused["error"] == {"code": 470, "message": "by invitation"}
        granted = await ws.subscribe("chat:1", data={"invited": True}, token="t")
        assert (granted["data"], granted["recoverable"]) == ({"topic": "x"}, True)
        (info,) = server.presence("chat:1").values()
        assert info.chan_info == {"role": "host"}
        await ws.subscribe("open:1")
    asked = backend.of("/subscribe")
    assert len(asked) == 2, "only where the namespace says so"
    assert (asked[1]["channel"], asked[1]["user"], asked[1]["token"]) == ("chat:1", "", "t")


async def test_a_private_channel_is_up_to_its_token_and_a_listed_user_to_its_name(
    serve: Callable[..., Server], backend: Backend
) -> None:
    config = proxied(backend, "connect", "subscribe")
    config["channel"]["namespaces"][0]["allow_user_limited_channels"] = True
    backend.answers["/connect"] = lambda asked: {"result": {"user": "42"}}
    async with open_ws(serve(config=config)) as ws:
        assert (await ws.command(subscribe={"channel": "$chat:1"}))["error"]["code"] == 103
        await ws.subscribe("chat:a#42")
        assert (await ws.command(subscribe={"channel": "chat:a#43"}))["error"]["code"] == 103
    assert backend.of("/subscribe") == []


async def test_publish(serve: Callable[..., Server], backend: Backend) -> None:
    answers: dict[str, Any] = {
        "as it is": {"result": {}},
        "other": {"result": {"data": {"by": "backend"}, "tags": {"k": "v"}}},
        "bytes": {"result": {"b64data": base64.b64encode(b"\xff").decode()}},
        "unkept": {"result": {"skip_history": True}},
        "no": {"error": {"code": 450, "message": "no"}},
        "out": {"disconnect": {"code": 4502, "reason": "out"}},
    }
    backend.answers["/publish"] = lambda asked: answers[asked["data"]]
    server = serve(config=proxied(backend, "publish"))
    async with open_ws(server) as ws:
        for word in ("as it is", "other", "bytes", "unkept"):
            reply = await ws.command(publish={"channel": "chat:1", "data": word})
            assert "publish" in reply, reply
        messages = server.history("chat:1").messages
        assert [one.data for one in messages] == [b'"as it is"', b'{"by": "backend"}', b"\xff"]
        assert messages[1].tags == {"k": "v"}
        assert (await ws.command(publish={"channel": "chat:1", "data": "no"}))["error"]["code"] == 450
        await ws.command(publish={"channel": "open:1", "data": "free"})
        await ws.send(publish={"channel": "chat:1", "data": "out"})
        assert await ws.closed() == (4502, "out")
    assert len(backend.of("/publish")) == 6


async def test_data_that_is_no_json_travels_as_base64(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/rpc"] = lambda asked: {"result": {"b64data": asked["b64data"]}}
    server = serve(config=proxied(backend, "rpc", binary_encoding=True))
    async with open_ws(server) as ws:
        reply = await ws.command(rpc={"method": "m", "data": {"a": 1}})
        assert reply["rpc"]["data"] == {"a": 1}
    (asked,) = backend.of("/rpc")
    assert asked["encoding"] == "binary"
    assert json.loads(base64.b64decode(asked["b64data"])) == {"a": 1}


# ---- rpc


async def test_rpc(serve: Callable[..., Server], backend: Backend) -> None:
    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] == "room:close":
            return {"error": {"code": 403, "message": "not yours"}}
        return {"result": {"data": {"sum": sum(asked["data"]), "precise": 12345678901234567890}}}

    backend.answers["/rpc"] = answer
    async with open_ws(serve(config=proxied(backend, "rpc"))) as ws:
        reply = await ws.command(rpc={"method": "sum", "data": [1, 2]})
        assert reply["rpc"]["data"] == {"sum": 3, "precise": 12345678901234567890}
        assert (await ws.command(rpc={"method": "room:close"}))["error"]["code"] == 403
        assert (await ws.command(rpc={"method": "off:x"}))["error"]["code"] == 104
        assert (await ws.command(rpc={"method": "unknown:x"}))["error"]["code"] == 104
    assert [asked["method"] for asked in backend.of("/rpc")] == ["sum", "room:close"]


# ---- a bad backend


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Raw(500), "answered with status 500"),
        (Raw(302, headers={"Location": "http://example.org/"}), "answered with status 302"),
        (Raw(body=b"<html>"), "it is not a JSON object"),
        (Raw(body=b"[]"), "it is not a JSON object"),
        (Raw(body=b""), "it is not a JSON object"),
        (Raw(body=b'{"result":[]}'), "result: is not an object"),
        (Raw(body=b'{"result":{"expire_at":"soon"}}'), "result.expire_at"),
        (Raw(body=b'{"result":{"b64data":"!"}}'), "result.b64data"),
        (Raw(body=b'{"error":{"code":0}}'), "error: is not an object"),
        (Raw(body=b'{"disconnect":{"code":1000}}'), "disconnect: is not an object"),
        (Raw(body=b'{"result":{"data":' + b"[" * 100 + b"]" * 100 + b"}}"), "result.data"),
        (Raw(headers={"Content-Length": "nonsense"}), "did not answer in HTTP"),
        (Raw(body=b"{", headers={"Content-Length": "100"}, closes=True), "in the middle of its answer"),
    ],
)
async def test_a_bad_answer_is_none(
    serve: Callable[..., Server],
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    answer: Raw,
    problem: str,
) -> None:
    backend.answers["/rpc"] = lambda asked: answer
    server = serve(config=proxied(backend, "rpc"))
    with caplog.at_level(logging.WARNING, "carillon.server"):
        async with open_ws(server) as ws:
            assert (await ws.command(rpc={"method": "m", "data": "secret"}))["error"] == TRY_AGAIN
            backend.answers["/rpc"] = lambda asked: {"result": {"data": 1}}
            assert (await ws.command(rpc={"method": "m"}))["rpc"]["data"] == 1, "the next one is answered"
        await until(lambda: problem in caplog.text)
    assert "rpc.proxy: the backend at http://127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
    assert server.stats()["proxies_undecided"] == 1


async def test_a_backend_that_is_down(
    serve: Callable[..., Server], backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    config = proxied(backend, "connect", "publish")
    server = serve(config=config)
    async with open_ws(server) as ws:
        backend.close()
        with caplog.at_level(logging.WARNING, "carillon.server"):
            for _ in range(20):
                reply = await ws.command(publish={"channel": "chat:1", "data": "x"})
                assert reply["error"] == TRY_AGAIN
            await until(lambda: "cannot be reached" in caplog.text)
        told = [record for record in caplog.records if "channel.proxy.publish" in record.message]
        assert len(told) <= 3, "at most one a second"
        assert "publish" in await ws.command(publish={"channel": "open:1", "data": "x"})
        async with open_ws(server, is_connected=False) as other:
            assert (await other.command(connect={"token": "t-secret"}))["error"] == TRY_AGAIN
        assert "t-secret" not in caplog.text


async def test_a_slow_backend_keeps_nobody_else_waiting(
    serve: Callable[..., Server], backend: Backend
) -> None:
    may_answer = threading.Event()

    def slowly(asked: dict[str, Any]) -> dict[str, Any]:
        may_answer.wait(10)
        return {"result": {"user": "ann"}}

    backend.answers["/connect"] = lambda asked: {"result": {"user": "bob"}}
    backend.answers["/publish"] = slowly
    server = serve(config=proxied(backend, "connect", "publish"))
    async with open_ws(server) as slow, open_ws(server) as quick:
        number = await slow.send(publish={"channel": "chat:1", "data": "x"})
        await until(lambda: backend.of("/publish"))
        await quick.subscribe("open:1")
        assert "publish" in await quick.command(publish={"channel": "open:1", "data": 1})
        assert (await quick.push())["pub"]["data"] == 1
        async with open_ws(server):  # who comes is asked about meanwhile
            pass
        await slow.subscribe("open:1")  # and so is what the slow one wants of others
        assert server.stats()["proxy_requests"] == 1
        may_answer.set()
        assert "publish" in await slow.reply(number)


async def test_a_time_out(
    serve: Callable[..., Server], backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    may_answer = threading.Event()
    backend.answers["/rpc"] = lambda asked: {"result": {"data": may_answer.wait(10)}}
    server = serve(config=proxied(backend, "rpc", timeout="100ms"))
    with caplog.at_level(logging.WARNING, "carillon.server"):
        async with open_ws(server) as ws:
            assert (await ws.command(rpc={"method": "m"}))["error"] == TRY_AGAIN
            may_answer.set()
            assert (await ws.command(rpc={"method": "m"}))["rpc"]["data"] is True
        await until(lambda: "did not answer within 100 ms" in caplog.text)


async def test_connections_are_kept_alive(serve: Callable[..., Server], backend: Backend) -> None:
    backend.answers["/rpc"] = lambda asked: {"result": {"data": 1}}
    server = serve(config=proxied(backend, "rpc"))
    async with open_ws(server) as ws:
        for _ in range(20):
            assert (await ws.command(rpc={"method": "m"}))["rpc"]["data"] == 1
        assert backend.connections == 1
        backend.close_connections()  # while it is idle: the client notices nothing
        assert (await ws.command(rpc={"method": "m"}))["rpc"]["data"] == 1
        assert backend.connections == 2
        backend.answers["/rpc"] = lambda asked: Raw(
            body=b'{"result":{}}', headers={"Connection": "close"}, closes=True
        )
        for _ in range(3):
            assert "rpc" in await ws.command(rpc={"method": "m"})
        assert backend.connections == 4, "the first of them came over the one that was open"


async def test_a_client_that_has_gone_is_not_missed(serve: Callable[..., Server], backend: Backend) -> None:
    may_answer = threading.Event()
    backend.answers["/rpc"] = lambda asked: {"result": {"data": may_answer.wait(10)}}
    server = serve(config=proxied(backend, "rpc"))
    async with open_ws(server) as ws:
        await ws.send(rpc={"method": "m"})
        await until(lambda: backend.of("/rpc"))
    may_answer.set()
    await until(lambda: server.stats()["proxy_requests"] == 0)
    async with open_ws(server) as ws:
        assert (await ws.command(rpc={"method": "m"}))["rpc"]["data"] is True


def test_a_stop_does_not_wait_for_a_backend(
    carillon_server_factory: Callable[..., Server], backend: Backend
) -> None:
    may_answer = threading.Event()
    backend.answers["/connect"] = lambda asked: {"result": {"user": str(may_answer.wait(10))}}
    server = carillon_server_factory(config=proxied(backend, "connect"), port=0)

    async def ask_and_stop() -> None:
        address = f"ws://127.0.0.1:{server.port}/connection/websocket"
        socket = await connect_socket(address, proxy=None)
        await socket.send('{"id":1,"connect":{}}')
        await until(lambda: backend.of("/connect"))
        await asyncio.to_thread(server.stop)
        with contextlib.suppress(Exception):
            await socket.close()

    asyncio.run(ask_and_stop())
    assert not may_answer.is_set()
    may_answer.set()


async def test_a_takeover_waits_for_an_answer(backend: Backend, tmp_path: Path) -> None:
    may_answer = threading.Event()
    backend.answers["/rpc"] = lambda asked: {"result": {"data": may_answer.wait(10)}}
    config = {**proxied(backend, "rpc"), "takeover": {"socket": str(tmp_path / "s")}}
    with Server(config=config, port=0, threads=2) as old:
        old.offer_takeover()
        async with open_ws(old) as ws:
            number = await ws.send(rpc={"method": "m"})
            await until(lambda: backend.of("/rpc"))
            new = Server(config=config, port=old.port, threads=2)
            taking = asyncio.create_task(asyncio.to_thread(new.take_over))
            await asyncio.sleep(0.1)
            may_answer.set()
            with await taking:
                assert (await ws.reply(number))["rpc"]["data"] is True
                assert (await ws.command(rpc={"method": "m"}))["rpc"]["data"] is True
                assert new.stats()["websocket"] == 1


# ---- configuration


def test_a_hook_and_a_proxy_for_the_same_are_a_mistake(backend: Backend) -> None:
    server = Server(config=proxied(backend, "connect", "subscribe"), port=0)
    server.on_connect(lambda ctx: True)
    with pytest.raises(
        ConfigError, match=r"on_connect: client\.proxy\.connect asks a backend about the same"
    ):
        server.start()
    server = Server(config=proxied(backend, "connect"), port=0)
    server.on_subscribe("*")(lambda ctx: True)
    with server:
        pass


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"client": {"proxy": {"connect": {"enabled": True}}}}, ["client.proxy.connect.endpoint", "empty"]),
        (
            {"channel": {"without_namespace": {"publish_proxy_enabled": True}}},
            ["channel.proxy.publish.endpoint", "empty"],
        ),
        ({"rpc": {"without_namespace": {"proxy_enabled": True}}}, ["rpc.proxy.endpoint", "empty"]),
        ({"rpc": {"proxy": {"endpoint": "https://a/b"}}}, ["plain HTTP", "local proxy"]),
        ({"rpc": {"proxy": {"endpoint": "grpc://a:1"}}}, ["not gRPC"]),
        ({"rpc": {"proxy": {"endpoint": "http://u:p@a/b"}}}, ["static_headers"]),
        ({"rpc": {"proxy": {"timeout": 5}}}, ["rpc.proxy.timeout", "has no unit"]),
        ({"rpc": {"proxy": {"http": {"static_headers": {"Host": "x"}}}}}, ["static_headers.Host"]),
        (
            {"rpc": {"proxy": {"http": {"static_headers": {"X": "a\nb"}}}}},
            ["static_headers.X", "single line"],
        ),
        ({"rpc": {"proxy": {"grpc": {"compression": True}}}}, ["rpc.proxy.grpc.compression", "HTTP alone"]),
        ({"rpc": {"proxy": {"http": {"tls": {"enabled": True}}}}}, ["rpc.proxy.http.tls.enabled", "TLS"]),
        ({"rpc": {"namespaces": [{"proxy_enabled": True}]}}, ["rpc.namespaces[0]", "name"]),
        ({"rpc": {"namespaces": [{"name": "a", "proxy_name": "b"}]}}, ["rpc.namespaces[0].proxy_name"]),
        ({"rpc": {"ping": {"enabled": True}}}, ["rpc.ping.enabled"]),
        ({"proxies": [{"name": "a"}]}, ["proxies", "one backend per operation"]),
        (
            {"channel": {"without_namespace": {"publish_proxy_name": "b"}}},
            ["publish_proxy_name", "one backend"],
        ),
        (
            {"channel": {"without_namespace": {"subscribe_stream_proxy_enabled": True}}},
            ["subscribe_stream_proxy_enabled"],
        ),
    ],
)
def test_a_mistake_of_the_configuration_is_told(document: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        Server(config=document)
    for word in words:
        assert word in str(refused.value)
