"""What may be published arrives as what it was, by every way in and out, and harms no reader."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from carillon import Message, Server
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

DEPTH_MAX = 64

# JSON that is valid, and that somebody's reader chokes on.
POISON = [
    b"7" * 4_301,
    b"-" + b"1" * 50_000,
    b'{"deep":' + b"[" * (DEPTH_MAX - 1) + b"3" * 5_000 + b"]" * (DEPTH_MAX - 1) + b"}",
    b"[1e999999,-1e999,0.0000000001e-400]",
    b'"\\ud800"',
    b'{"\\udfff":"\\u0000"}',
    b'{"a":1,"a":2,"data":{"b64":"AAA="},"offset":99,"epoch":"x","channel":"other"}',
    '"\u2028\u2029\u0085\ufeff"'.encode(),
    b'{"__proto__":{"b64":"!"},"binary":true,"b64":"AAA="}',
]

# Values that are easily taken for nothing, or for something else.
VALUES: list[Any] = [
    *(None, False, 0, "", [], {}),
    {"b64": "aGk="},
    {"b64": ""},
    {"b64": "not base64"},
    {"b64": "aGk=", "binary": True},
    {"binary": True},
    b"",
    b"\x00\xff",
    b"null",
]


def same(message: object) -> Any:
    """The value of a message: bytes, or what its JSON text means."""
    assert isinstance(message, Message)
    return message.json() if message.is_json else message.data


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_a_client_gets_what_was_published_and_is_harmed_by_none(
    carillon_server_factory: Callable[..., Server], transport: Any
) -> None:
    server = carillon_server_factory(channels={"*": {"history_size": 100}})
    start = server.publish("c", "start")
    for text in POISON:
        server.publish("c", text, json=True)
    for value in VALUES:
        server.publish("c", value)
    accepted = server.stats()["accepted"]
    with carillon.sync.connect(server.url, transport=transport) as client:
        with client.subscribe("c", since=start) as resumed:
            got = [resumed.next(timeout=10) for _ in POISON + VALUES]
            server.publish("c", POISON[0], json=True)
            server.publish("c", "live")
            live = [resumed.next(timeout=10) for _ in range(2)]
        history = client.history("c", limit=-1, since=start).messages
    for messages in (got, history):
        assert [message.data for message in messages[: len(POISON)]] == POISON  # type: ignore[union-attr]
        assert [same(message) for message in messages[len(POISON) :][: len(VALUES)]] == VALUES
    assert isinstance(live[0], Message)
    assert live[0].data == POISON[0]
    with pytest.raises(ValueError, match="4300 digits"):
        live[0].json()
    assert same(live[1]) == "live"
    assert server.stats()["accepted"] - accepted < 12, "it came back again and again"


async def test_a_reader_in_the_process_gets_what_was_published(carillon_server: Server) -> None:
    async with carillon_server.subscribe("c") as reader:
        positions = [carillon_server.publish("c", text, json=True) for text in POISON]
        carillon_server.publish_many([("c", value) for value in VALUES])
        got = [await reader.next(10) for _ in POISON + VALUES]
    assert [message.data for message in got[: len(POISON)]] == POISON  # type: ignore[union-attr]
    assert [same(message) for message in got[len(POISON) :]] == VALUES
    assert len(carillon_server.history("c").messages) == len(got)
    assert positions[-1].offset == len(POISON)


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_a_client_publishes_every_value(carillon_server: Server, transport: Any) -> None:
    with carillon.sync.connect(carillon_server.url, transport=transport) as client:
        for text in POISON:
            client.publish("c", text, json=True)
        for value in VALUES:
            client.publish("c", value)
    messages = carillon_server.history("c").messages
    assert [message.data for message in messages[: len(POISON)]] == POISON
    assert [same(message) for message in messages[len(POISON) :]] == VALUES


def test_the_http_api_takes_every_value(carillon_server: Server) -> None:
    for value in VALUES:
        data = {"b64data": base64.b64encode(value).decode()} if isinstance(value, bytes) else {"data": value}
        reply = httpx.post(f"{carillon_server.url}/api/publish", json={"channel": "c"} | data)
        assert "result" in reply.json(), (value, reply.text)
    assert [same(message) for message in carillon_server.history("c").messages] == VALUES


def test_others_tell_binary_from_json_by_the_mark_beside_it(carillon_server: Server) -> None:
    carillon_server.publish("c", b"hi")
    carillon_server.publish("c", {"b64": "aGk="})
    history = httpx.post(f"{carillon_server.url}/api/history", json={"channel": "c", "limit": -1}).json()
    binary, text = history["result"]["publications"]
    assert (binary["data"], binary["binary"]) == ({"b64": "aGk="}, True)
    assert (text["data"], "binary" in text) == ({"b64": "aGk="}, False)
    start = carillon_server.history("c").position.epoch + ":0"
    query = {"channel": "c", "since": start, "timeout": "0"}
    binary, text = httpx.get(f"{carillon_server.url}/poll", params=query).json()["publications"]
    assert (binary["b64"], "data" in binary) == ("aGk=", False)
    assert (text["data"], "b64" in text) == ({"b64": "aGk="}, False)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_one_depth_by_every_way_in(carillon_server_factory: Callable[..., Server]) -> None:
    answers: list[Any] = []

    def register(server: Server) -> None:
        server.on_publish("hooked")(lambda ctx: answers[-1])
        server.on_connect(lambda ctx: carillon.User("ann", answers[-1]) if answers else True)

    server = carillon_server_factory(before_start=register)
    deepest, deeper = nested(DEPTH_MAX), nested(DEPTH_MAX + 1)
    texts = [json.dumps(value).encode() for value in (deepest, deeper)]

    server.publish("c", deepest)
    server.publish("c", texts[0], json=True)
    server.publish_many([("c", deepest)])
    for publish in (
        lambda: server.publish("c", deeper),
        lambda: server.publish("c", texts[1], json=True),
        lambda: server.publish_many([("c", deeper)]),
        lambda: server.publish("c", nested(100_000)),
    ):
        with pytest.raises(ValueError, match="nested deeper than 64"):
            publish()

    def api(body: bytes) -> dict[str, Any]:
        reply: dict[str, Any] = httpx.post(f"{server.url}/api/publish", content=body).json()
        return reply

    assert "result" in api(b'{"channel":"c","data":' + texts[0] + b"}")
    assert api(b'{"channel":"c","data":' + texts[1] + b"}")["error"] == {
        "code": 107,
        "message": "bad request: JSON nested deeper than 64 arrays and objects",
    }
    for transport in ("ws", "sse", "poll"):
        with carillon.sync.connect(server.url, transport=transport) as client:  # type: ignore[arg-type]
            client.publish("c", deepest)
            with pytest.raises(carillon.CommandError, match="nested deeper than 64"):
                client.publish("c", deeper)
            with pytest.raises(ValueError, match="nested deeper than 64"):
                client.publish("c", texts[1], json=True)
            client.publish("c", "goes on")
    assert len(server.history("c").messages) == 10

    url = server.url.replace("http", "ws", 1) + "/connection/websocket"
    for answer, is_allowed in ((deepest, True), (deeper, False)):
        answers.clear()
        with connect(url) as socket:
            socket.send('{"id":1,"connect":{}}')
            assert "connect" in json.loads(socket.recv(timeout=10))
            answers.append(answer)
            socket.send('{"id":2,"publish":{"channel":"hooked","data":1}}')
            reply = json.loads(socket.recv(timeout=10))
            assert ("publish" in reply) is is_allowed
            socket.send(f'{{"id":3,"rpc":{{"method":"carillon.inbox","data":{json.dumps(deeper)}}}}}')
            assert json.loads(socket.recv(timeout=10))["error"]["code"] == 107
        with connect(url) as socket:
            socket.send('{"id":1,"connect":{}}')
            if is_allowed:
                assert "connect" in json.loads(socket.recv(timeout=10))


async def test_a_number_that_python_refuses_keeps_nobody_from_presence(
    carillon_server_factory: Callable[..., Server],
) -> None:
    number = b"7" * 4_301

    def register(server: Server) -> None:
        server.on_connect(lambda ctx: carillon.User("ann", b' {"n":' + number + b"}"))

    server = carillon_server_factory(before_start=register)
    async with carillon.connect(server.url) as client, client.subscribe("c"):
        for found in (await client.presence("c"), await asyncio.to_thread(server.presence, "c")):
            (info,) = found.values()
            assert (info.user, info.conn_info) == ("ann", {"n": float("inf")})
