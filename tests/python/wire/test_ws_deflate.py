"""permessage-deflate (RFC 7692) with clients that others wrote, and what no client of theirs would send."""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from carillon import Channel
from wire_clients import assert_delivered, open_tcp, open_ws
from wire_frames import CONTINUATION, HANDSHAKE_HEADERS, PING, PONG, TEXT, Frame, frame, read_close

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from carillon import Server
    from wire_clients import Tcp

pytestmark = pytest.mark.wire

COMPRESSING = {"websocket": {"compression": True}}
COMPRESSED = 4  # RSV1, as `frame` takes it
PLAIN_ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def compress(payload: bytes, window_bits: int = 15) -> bytes:
    """A message as a client compresses it that keeps no window."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -window_bits)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def record(number: int) -> dict[str, Any]:
    """Some 2 kB, half of it noise."""
    noise = random.Random(number)
    return {"number": number, "rows": [{"name": "carillon", "value": noise.random()} for _ in range(45)]}


@pytest.fixture
def deflating(carillon_server_factory: Callable[..., Server]) -> Server:
    config = {"client": {"insecure": True, "ping_interval": "0s"}, **COMPRESSING}
    return carillon_server_factory(port=0, config=config, channels={"*": Channel(history_size=1000)})


@asynccontextmanager
async def open_raw(server: Server, offers: str) -> AsyncIterator[tuple[Tcp, str]]:
    """A connection after its handshake, and the answer to these offers."""
    async with open_tcp(server) as tcp:
        request = f"{HANDSHAKE_HEADERS}Sec-WebSocket-Extensions: {offers}\r\n\r\n"
        await tcp.write(f"GET /connection/websocket HTTP/1.1\r\n{request}".encode())
        head = (await tcp.read_until(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 101 ")
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        yield tcp, lines.get("sec-websocket-extensions", "")


async def read_message(tcp: Tcp, window_bits: int = 15) -> tuple[Frame, bool]:
    """The next frame of the server, inflated without a window from before, and whether it was compressed."""
    first, second = await tcp.read(2)
    assert first & 0x30 == 0
    length = second if second < 126 else int.from_bytes(await tcp.read(2 if second == 126 else 8), "big")
    payload = await tcp.read(length)
    is_compressed = bool(first & 0x40)
    if is_compressed:
        payload = zlib.decompressobj(-window_bits).decompress(payload + b"\0\0\xff\xff")
    return Frame(bool(first & 0x80), first & 0x0F, payload), is_compressed


async def say(tcp: Tcp, command: dict[str, Any]) -> dict[str, Any]:
    """Sends a command and reads its reply."""
    await tcp.write(frame(TEXT, json.dumps(command)))
    answer, is_compressed = await read_message(tcp)
    assert not is_compressed, "replies are the client's own, and are not compressed"
    reply: dict[str, Any] = json.loads(answer.payload)
    return reply


async def test_websockets_negotiates_and_reads(deflating: Server) -> None:
    async with open_ws(deflating, compression="deflate") as ws, open_ws(deflating) as plain:
        assert ws.socket.response is not None
        answer = ws.socket.response.headers["Sec-WebSocket-Extensions"]
        assert answer == PLAIN_ANSWER
        for each in (ws, plain):
            await each.subscribe("c")
        for number in range(20):
            deflating.publish("c", record(number))
        deflating.publish("c", {"short": True})
        expected = [*(record(number) for number in range(20)), {"short": True}]
        for each in (ws, plain):
            assert [one["data"] for one in await each.publications(21)] == expected
        assert deflating.stats()["deflated"] == 20
        assert (await ws.command(rpc={"method": "x" * 3000}))["error"]["code"] > 0  # compressed by the client
        assert deflating.stats()["inflated"] > 0
        await assert_delivered(deflating, "c", 42)


async def test_a_publication_is_compressed_once_for_all_shards(
    carillon_server_factory: Callable[..., Server],
) -> None:
    config = {"client": {"insecure": True}, **COMPRESSING}
    server = carillon_server_factory(port=0, config=config, threads=4)
    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(_reads_all(server, 200))
        for _ in range(100):
            if server.stats()["subscriptions"] == 40:
                break
            await asyncio.sleep(0.1)
        for number in range(200):
            server.publish("c", record(number))
    assert server.stats()["deflated"] == 200


async def _reads_all(server: Server, count: int) -> None:
    async with open_ws(server, compression="deflate") as ws:
        await ws.subscribe("c")
        assert [one["data"]["number"] for one in await ws.publications(count)] == list(range(count))


@pytest.mark.parametrize("compress_bits", [12, 15])
async def test_aiohttp_negotiates_and_reads(deflating: Server, compress_bits: int) -> None:
    url = f"http://127.0.0.1:{deflating.port}/connection/websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=compress_bits) as ws:
        assert ws.compress, "it has agreed"
        await ws.send_json({"id": 1, "connect": {"name": "n" * 3000}})
        assert "connect" in await ws.receive_json(timeout=15)
        await ws.send_json({"id": 2, "subscribe": {"channel": "c"}})
        assert "subscribe" in await ws.receive_json(timeout=15)
        for number in range(3):
            deflating.publish("c", record(number))
            assert (await ws.receive_json(timeout=15))["push"]["pub"]["data"] == record(number)
    stats = deflating.stats()
    assert stats["deflated"] == 3
    assert stats["inflated"] >= 1


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("permessage-deflate", PLAIN_ANSWER),
        ("permessage-deflate; client_max_window_bits", PLAIN_ANSWER),
        ("foo, permessage-deflate; server_max_window_bits=9, permessage-deflate", PLAIN_ANSWER),
        (
            "permessage-deflate; server_max_window_bits=15; client_max_window_bits=9",
            f"{PLAIN_ANSWER}; server_max_window_bits=12",
        ),
        ("permessage-deflate; server_max_window_bits=11", ""),
        ("permessage-deflate; client_max_window_bits=99", ""),
        ("permessage-deflate; mystery", ""),
        ("x-webkit-deflate-frame", ""),
        ('"', ""),
    ],
)
async def test_offers(deflating: Server, offers: str, answer: str) -> None:
    async with open_raw(deflating, offers) as (tcp, got):
        assert got == answer
        assert "connect" in await say(tcp, {"id": 1, "connect": {}})  # whatever was agreed on, it works


async def test_frames_stand_alone_and_need_no_larger_window(deflating: Server) -> None:
    async with open_raw(deflating, "permessage-deflate") as (tcp, _):
        await say(tcp, {"id": 1, "connect": {}})
        await say(tcp, {"id": 2, "subscribe": {"channel": "c"}})
        text = "".join(random.Random(1).choices("abcdefgh ", k=6_000)) * 5  # repeats from 6,000 bytes away
        deflating.publish("c", text)
        deflating.publish("c", text)
        for _ in range(2):
            message, is_compressed = await read_message(tcp, window_bits=12)
            assert is_compressed
            assert json.loads(message.payload)["push"]["pub"]["data"] == text


async def test_a_compressed_message_in_fragments(deflating: Server) -> None:
    command = json.dumps({"id": 2, "subscribe": {"channel": "c" * 60}}).encode()
    compressed = compress(command)
    async with open_raw(deflating, "permessage-deflate") as (tcp, _):
        await say(tcp, {"id": 1, "connect": {}})
        await tcp.write(frame(TEXT, compressed[:7], is_final=False, reserved=COMPRESSED))
        await tcp.write(frame(PING, b"between") + frame(CONTINUATION, b"", is_final=False))
        assert (await read_message(tcp))[0] == (True, PONG, b"between")
        await tcp.write(frame(CONTINUATION, compressed[7:]))
        assert "subscribe" in json.loads((await read_message(tcp))[0].payload)


@pytest.mark.parametrize(
    "bytes_",
    [
        frame(PING, b"x", reserved=COMPRESSED),
        frame(TEXT, b"x", reserved=COMPRESSED | 2),
        frame(TEXT, b"{", is_final=False) + frame(CONTINUATION, b"}", reserved=COMPRESSED),
    ],
)
async def test_a_reserved_bit_in_the_wrong_place_is_1002(deflating: Server, bytes_: bytes) -> None:
    async with open_raw(deflating, "permessage-deflate") as (tcp, _):
        await tcp.write(bytes_)
        assert (await read_close(tcp))[0] == 1002


async def test_a_compressed_message_without_the_extension_is_1002(deflating: Server) -> None:
    async with open_raw(deflating, "none-of-ours") as (tcp, _):
        await tcp.write(frame(TEXT, compress(b'{"id":1,"connect":{}}'), reserved=COMPRESSED))
        assert (await read_close(tcp))[0] == 1002


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", compress(b'"\xc3\x28"' * 20)], ids=["DEFLATE", "UTF-8"])
async def test_what_cannot_be_read_is_1007(deflating: Server, payload: bytes) -> None:
    async with open_raw(deflating, "permessage-deflate") as (tcp, _):
        await tcp.write(frame(TEXT, payload, reserved=COMPRESSED))
        assert (await read_close(tcp))[0] == 1007


async def test_bombs_are_1009_and_others_notice_nothing(deflating: Server) -> None:
    bomb = compress(bytes(60_000_000))
    assert len(bomb) < 65_536, "on the wire it is no longer than a message may be"
    before = deflating.stats()["resident_bytes"]
    async with open_ws(deflating, compression="deflate") as other:
        await other.subscribe("c")
        for number in range(20):
            async with open_raw(deflating, "permessage-deflate") as (tcp, _):
                await tcp.write(frame(TEXT, bomb, reserved=COMPRESSED))
                assert await read_close(tcp) == (1009, "message too big")
            deflating.publish("c", record(number))
            assert (await other.publications(1))[0]["data"] == record(number)
    assert deflating.stats()["resident_bytes"] - before < 16 << 20
