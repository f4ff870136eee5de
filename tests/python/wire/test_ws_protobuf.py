"""The Protobuf encoding over WebSocket, with the schema that PyPI `centrifuge-python` has."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import Channel
from centrifuge.protocol import client_pb2 as schema
from google.protobuf.internal.decoder import _DecodeVarint32 as decode_varint
from google.protobuf.internal.encoder import _VarintBytes as varint_of
from google.protobuf.json_format import MessageToDict, ParseDict
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from wire_clients import open_ws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from carillon import Server

pytestmark = pytest.mark.wire
CHANNELS = {"*": Channel(join_leave=True, presence=True)}


class Protobuf:
    """One client; replies in the order in which they came."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._replies: list[schema.Reply] = []
        self._id = 0

    async def send(self, **command: Any) -> int:
        self._id += 1
        message = ParseDict({"id": self._id, **command}, schema.Command()).SerializeToString()
        await self.socket.send(varint_of(len(message)) + message)
        return self._id

    async def reply(self) -> schema.Reply:
        async with asyncio.timeout(10):
            while not self._replies:
                frame = await self.socket.recv()
                assert isinstance(frame, bytes), "a text frame"
                at = 0
                while at < len(frame):
                    size, at = decode_varint(frame, at)
                    self._replies.append(schema.Reply.FromString(frame[at : at + size]))
                    at += size
        return self._replies.pop(0)

    async def call(self, **command: Any) -> dict[str, Any]:
        """Sends a command and returns its reply; pushes before it are an error."""
        number = await self.send(**command)
        reply = await self.reply()
        assert reply.id == number, reply
        return MessageToDict(reply, preserving_proto_field_name=True)

    async def push(self) -> schema.Push:
        reply = await self.reply()
        assert reply.HasField("push"), reply
        return reply.push


@contextlib.asynccontextmanager
async def open_protobuf(
    server: Server, query: str = "?format=protobuf", **options: Any
) -> AsyncIterator[Protobuf]:
    address = f"ws://127.0.0.1:{server.port}/connection/websocket{query}"
    async with connect(address, proxy=None, compression=None, ping_interval=None, **options) as socket:
        client = Protobuf(socket)
        result = (await client.call(connect={}))["connect"]
        assert len(result["client"]) == 36
        assert (result["ping"], result["pong"]) == (25, True)
        yield client


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve(channels=CHANNELS)


@pytest.mark.parametrize(
    ("query", "subprotocols", "accepted"),
    [
        ("", ["centrifuge-protobuf"], "centrifuge-protobuf"),
        ("?format=protobuf", None, None),
        ("?cf_protocol=protobuf&cf_protocol_version=v2", None, None),
        ("?format=protobuf", ["chat"], None),
    ],
)
async def test_a_client_chooses_the_encoding(
    server: Server, query: str, subprotocols: list[Any] | None, accepted: str | None
) -> None:
    async with open_protobuf(server, query, subprotocols=subprotocols) as client:
        assert client.socket.subprotocol == accepted
        assert "error" not in await client.call(subscribe={"channel": "c"})


async def test_each_command_has_its_reply(server: Server) -> None:
    async with open_protobuf(server, "?format=protobuf&user=ann") as client:
        subscribed = (await client.call(subscribe={"channel": "c", "join_leave": True}))["subscribe"]
        assert subscribed["recoverable"]
        assert subscribed["positioned"]
        joined = await client.push()
        assert (joined.channel, joined.join.info.user) == ("c", "ann")

        number = await client.send(publish={"channel": "c", "data": "AP8="})
        replies = [await client.reply(), await client.reply()]
        (publication,) = (each.push for each in replies if each.HasField("push"))
        (done,) = (each for each in replies if each.id)
        assert (done.id, done.HasField("publish")) == (number, True)
        assert publication.pub.data == b"\x00\xff"
        assert publication.pub.offset == 1
        assert publication.pub.info.user == "ann"
        assert publication.pub.info.client == joined.join.info.client

        presence = (await client.call(presence={"channel": "c"}))["presence"]["presence"]
        assert presence == {joined.join.info.client: {"user": "ann", "client": joined.join.info.client}}
        stats = (await client.call(presence_stats={"channel": "c"}))["presence_stats"]
        assert stats == {"num_clients": 1, "num_users": 1}
        history = (await client.call(history={"channel": "c", "limit": -1}))["history"]
        assert [each["data"] for each in history["publications"]] == ["AP8="]
        assert (history["epoch"], history["offset"]) == (subscribed["epoch"], "1")
        assert (await client.call(ping={}))["ping"] == {}
        assert (await client.call(rpc={"method": "nothing"}))["error"]["code"] == 108
        unread = (await client.call(rpc={"method": "carillon.unread"}))["rpc"]["data"]
        assert unread == "eyJ1bnJlYWQiOnt9fQ=="  # {"unread":{}}
        assert (await client.call(unsubscribe={"channel": "c"}))["unsubscribe"] == {}
        assert (await client.call(subscribe={"channel": "x:y" * 200}))["error"]["code"] == 107


async def test_payloads_cross_the_encodings(server: Server) -> None:
    async with open_protobuf(server) as client, open_ws(server) as other:
        await client.call(subscribe={"channel": "c"})
        await other.subscribe("c")
        server.publish("c", {"text": "für ann"}, tags={"k": "v"})
        server.publish("c", b"\xfe\x00")
        await client.send(publish={"channel": "c", "data": "eyJhIjoKMX0="})  # {"a":\n1}
        await client.send(publish={"channel": "c", "data": "aGVsbG8="})  # hello, which is no JSON
        pushes = []
        while len(pushes) < 4:
            if (reply := await client.reply()).HasField("push"):
                pushes.append(reply.push.pub)
        assert json.loads(pushes[0].data) == {"text": "für ann"}
        assert dict(pushes[0].tags) == {"k": "v"}
        assert [each.data for each in pushes[1:]] == [b"\xfe\x00", b'{"a":\n1}', b"hello"]
        seen = await other.publications(4)
        assert [each["data"] for each in seen] == [
            {"text": "für ann"},
            {"b64": "/gA="},
            {"a": 1},
            {"b64": "aGVsbG8="},
        ]


async def test_a_resume_gets_what_was_missed(server: Server) -> None:
    async with open_protobuf(server) as client:
        start = (await client.call(subscribe={"channel": "c"}))["subscribe"]
    for n in range(700):
        server.publish("c", n)
    async with open_protobuf(server) as client:
        wish = {"channel": "c", "recover": True, "epoch": start["epoch"], "offset": 0}
        result = (await client.call(subscribe=wish))["subscribe"]
        assert result["recovered"]
        assert result["was_recovering"]
        offsets = [int(each["offset"]) for each in result["publications"]]
        while len(offsets) < 700:
            offsets.append((await client.push()).pub.offset)
        assert offsets == list(range(1, 701))
        lost = {"channel": "d", "recover": True, "epoch": "another", "offset": 3, "flag": 2}
        assert (await client.call(subscribe=lost))["error"]["code"] == 112


async def test_pings_are_empty_replies_and_pongs_empty_commands(serve: Callable[..., Server]) -> None:
    server = serve(heartbeat={"ping_interval_ms": 400, "pong_timeout_ms": 390})
    address = f"ws://127.0.0.1:{server.port}/connection/websocket?format=protobuf"
    async with connect(address, proxy=None, ping_interval=None) as socket:
        await socket.send(b"\x04\x08\x01\x22\x00")
        await socket.recv()
        for _ in range(3):
            assert await socket.recv() == b"\x00"
            await socket.send(b"\x00")
        with contextlib.suppress(ConnectionClosed):
            while True:  # one that is not answered
                await socket.recv()
        assert socket.close_code == 3012


@pytest.mark.parametrize(
    "frame", [b"", b"\x05\x08\x01", b"\x02\x08\x02", b"\x04\x08\x02\x2a\x09", b"\xff" * 11, b"{}"]
)
async def test_what_is_malformed_ends_the_connection(server: Server, frame: bytes) -> None:
    async with open_protobuf(server) as client:
        await client.socket.send(frame)
        with pytest.raises(ConnectionClosed):
            await client.socket.recv()
        assert client.socket.close_code == 3501


async def test_data_of_other_commands_is_json(server: Server) -> None:
    async with open_protobuf(server) as client:
        for command in (
            {"subscribe": {"channel": "c", "data": "/w=="}},
            {"rpc": {"method": "carillon.unread", "data": "/w=="}},
        ):
            assert (await client.call(**command))["error"]["code"] == 107


async def test_a_hook_gets_the_bytes_and_may_replace_them(serve: Callable[..., Server]) -> None:
    seen: list[bytes] = []

    async def judge(context: carillon.PublishContext) -> Any:
        seen.append(context.data)
        return {"instead": True} if context.data == b"\xff" else True

    server = serve(before_start=lambda server: server.on_publish("*")(judge))
    async with open_protobuf(server) as client:
        await client.call(subscribe={"channel": "c"})
        for data in ("/w==", "/gA="):
            await client.send(publish={"channel": "c", "data": data})
        pushes = []
        while len(pushes) < 2:
            if (reply := await client.reply()).HasField("push"):
                pushes.append(reply.push.pub.data)
        assert seen == [b"\xff", b"\xfe\x00"]
        assert [json.loads(pushes[0]), pushes[1]] == [{"instead": True}, b"\xfe\x00"]
