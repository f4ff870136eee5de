"""RFC 6455 over a plain socket: what a well-meaning library would never send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import websockets
from wire_clients import open_http, open_tcp, open_ws, until
from wire_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE_HEADERS,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    open_raw_ws,
    read_close,
    read_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server
    from wire_clients import Tcp

pytestmark = pytest.mark.wire

CONNECT = '{"id":1,"connect":{}}'
ASK = '{"id":2,"presence":{"channel":"c"}}'
ANSWER = b'{"id":2,"presence":{"presence":{}}}'


async def expect_connected(tcp: Tcp) -> None:
    reply = await read_frame(tcp)
    assert (reply.is_final, reply.opcode) == (True, TEXT)
    assert reply.payload.startswith(b'{"id":1,"connect":{"client":"')


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, ASK, mask=None), 1002),
        (frame(TEXT, ASK, reserved=4), 1002),
        (frame(TEXT, ASK, reserved=2), 1002),
        (frame(TEXT, ASK, reserved=1), 1002),
        (frame(3, "x"), 1002),
        (frame(7, "x"), 1002),
        (frame(11, "x"), 1002),
        (frame(15, "x"), 1002),
        (frame(PING, "x", is_final=False), 1002),
        (frame(PING, "x" * 126), 1002),
        (frame(CONTINUATION, "x"), 1002),
        (frame(TEXT, "x", is_final=False) + frame(TEXT, "y"), 1002),
        (b"\x81\xfe\x00\x05\x00\x00\x00\x00hello", 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (close(1005), 1002),
        (close(999), 1002),
        (close(2999), 1002),
        (frame(CLOSE, b"\x03\xe8\xff\xff"), 1007),
        (frame(TEXT, b"\xc3\x28"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
        (frame(TEXT, b"\xce", is_final=False) + frame(CONTINUATION, b"\x28"), 1007),
        (frame(TEXT, b"cut \xe2\x82"), 1007),
        (frame(TEXT, b"", declared=65_537), 1009),
        (frame(TEXT, b"", declared=1 << 40), 1009),
        (frame(TEXT, "x" * 40_000, is_final=False) + frame(CONTINUATION, b"", declared=30_000), 1009),
    ],
)
async def test_a_broken_frame_is_closed_with_its_code(server: Server, data: bytes, code: int) -> None:
    async with open_raw_ws(server) as tcp:
        await tcp.write(frame(TEXT, CONNECT))
        await expect_connected(tcp)
        await tcp.write(data)
        answered, reason = await read_close(tcp)
        assert answered == code
        assert reason or code == 1002
        assert await tcp.read_to_end() == b""
    await until(lambda: server.stats()["connections"] == 0)


async def test_fragmented_text_with_a_ping_inside(server: Server) -> None:
    async with open_raw_ws(server) as tcp:
        await tcp.write(frame(TEXT, CONNECT))
        await expect_connected(tcp)
        text = '{"id":2,"presence":{"channel":"é"}}'.encode()
        cut = text.index(b"\xc3") + 1  # inside a character
        await tcp.write(frame(TEXT, text[:cut], is_final=False))
        await tcp.write(frame(PING, "inside"))
        assert await read_frame(tcp) == (True, PONG, b"inside")
        await tcp.write(
            frame(CONTINUATION, text[cut:-1], is_final=False) + frame(CONTINUATION, is_final=False)
        )
        await tcp.write(frame(CONTINUATION, text[-1:]))
        assert await read_frame(tcp) == (True, TEXT, ANSWER)


async def test_octet_by_octet(server: Server) -> None:
    async with open_raw_ws(server) as tcp:

        async def write(stream: bytes) -> None:
            for i in range(len(stream)):
                await tcp.write(stream[i : i + 1])

        await write(frame(TEXT, CONNECT) + frame(PING, "p") + frame(TEXT, ASK))
        await expect_connected(tcp)
        # The network may join octets again, and a pong may stand behind a reply of the same read.
        answers = {await read_frame(tcp), await read_frame(tcp)}
        assert answers == {(True, PONG, b"p"), (True, TEXT, ANSWER)}
        await write(close(1000, "done"))
        assert await read_close(tcp) == (1000, "")
        assert await tcp.read_to_end() == b""


async def test_frames_in_the_segment_of_the_handshake(server: Server) -> None:
    glued = frame(TEXT, CONNECT + "\n" + ASK) + frame(PING, "glued")
    async with open_raw_ws(server, glued) as tcp:
        await expect_connected(tcp)
        # A turn whose time is over leaves the second command to the next one; a pong waits for no command.
        answers = [await read_frame(tcp) for _ in range(2)]
        assert sorted(answers) == [(True, TEXT, ANSWER), (True, PONG, b"glued")]


async def test_the_newest_of_many_pings_is_answered(server: Server) -> None:
    async with open_raw_ws(server) as tcp:
        await tcp.write(b"".join(frame(PING, str(n)) for n in range(50)))
        pongs: list[bytes] = []
        while not pongs or pongs[-1] != b"49":
            answer = await read_frame(tcp)
            assert answer.opcode == PONG
            pongs.append(answer.payload)
        assert len(pongs) <= 50


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(close(1000), 1000), (close(1001, "tab closed"), 1001), (close(4321), 4321), (frame(CLOSE), 1005)],
    ids=["1000", "1001", "4321", "no code"],
)
async def test_a_close_is_echoed(server: Server, sent: bytes, answered: int) -> None:
    async with open_raw_ws(server) as tcp:
        await tcp.write(frame(TEXT, CONNECT + "\n" + '{"id":2,"subscribe":{"channel":"c"}}'))
        await expect_connected(tcp)
        await read_frame(tcp)
        await tcp.write(sent + frame(TEXT, ASK))  # nothing behind a close counts
        assert (await read_close(tcp))[0] == answered
        assert await tcp.read_to_end() == b""
    await until(lambda: server.presence("c") == {} and server.stats()["websocket"] == 0)


async def test_the_largest_message_that_is_allowed(server: Server) -> None:
    head, tail = '{"id":2,"publish":{"channel":"c","data":"', '"}}'
    text = head + "x" * (65_536 - len(head) - len(tail)) + tail
    async with open_raw_ws(server) as tcp:
        await tcp.write(frame(TEXT, CONNECT))
        await expect_connected(tcp)
        await tcp.write(frame(TEXT, text))
        assert await read_frame(tcp) == (True, TEXT, b'{"id":2,"publish":{}}')
    assert len(server.history("c").messages[0].data) == 65_536 - len(head) - len(tail) + 2


async def test_binary_frames_are_read_as_commands_and_answered_as_text(server: Server) -> None:
    async with open_raw_ws(server) as tcp:
        await tcp.write(frame(BINARY, CONNECT))
        await expect_connected(tcp)


async def test_a_cut_in_every_phase_frees_the_connection(server: Server) -> None:
    cuts = [
        b"GET /connection/websocket HTTP/1.1\r\nHost: loc",
        f"GET /connection/websocket HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n".encode(),
    ]
    for data in cuts:
        async with open_tcp(server) as tcp:
            await tcp.write(data)
    for data in (
        frame(TEXT, CONNECT)[:9],
        frame(TEXT, CONNECT),
        frame(TEXT, CONNECT, is_final=False),
        close(1000),
    ):
        async with open_raw_ws(server) as tcp:
            await tcp.write(data)
    await until(lambda: server.stats()["connections"] == 0)
    assert server.stats()["last_error"] == ""


# Handshakes that fail.


async def handshake(server: Server, headers: str, method: str = "GET") -> tuple[int, dict[str, str]]:
    async with open_tcp(server) as tcp:
        await tcp.write(f"{method} /connection/websocket HTTP/1.1\r\n{headers}\r\n")
        head = (await tcp.read_until(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), {name.lower(): value for name, value in pairs}


async def test_handshakes_that_are_none(server: Server) -> None:
    assert (await handshake(server, HANDSHAKE_HEADERS, "POST"))[0] == 405
    assert (await handshake(server, "Host: localhost\r\n"))[0] in (400, 426)
    no_key = HANDSHAKE_HEADERS[: HANDSHAKE_HEADERS.index("Sec-WebSocket-Key")]
    assert (await handshake(server, no_key))[0] == 400
    old = HANDSHAKE_HEADERS.replace("Version: 13", "Version: 8")
    status, headers = await handshake(server, old)
    assert status in (400, 426)
    assert headers["sec-websocket-version"] == "13"
    async with open_http(server) as client:
        assert (await client.get("/connection/websocket")).status_code in (400, 426)


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        ("", None),
        ("centrifuge-json", "centrifuge-json"),
        ("chat, centrifuge-json", "centrifuge-json"),
        ("chat", None),
        ("centrifuge-jsonx", None),
    ],
)
async def test_subprotocols(server: Server, offer: str, chosen: str | None) -> None:
    status, headers = await handshake(server, f"{HANDSHAKE_HEADERS}Sec-WebSocket-Protocol: {offer}\r\n")
    assert status == 101
    assert headers.get("sec-websocket-protocol") == chosen


async def test_extensions_are_declined(server: Server) -> None:
    async with open_ws(server, compression="deflate") as ws:
        assert ws.socket.response is not None
        assert "Sec-WebSocket-Extensions" not in ws.socket.response.headers


async def test_a_foreign_origin_is_refused(serve: Callable[..., Server]) -> None:
    server = serve(allowed_origins=["https://*.example.com"])
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with open_ws(server, origin="https://evil.test"):
            pass
    assert refusal.value.response.status_code == 403
    async with open_ws(server, origin="https://app.example.com") as ws:
        await ws.subscribe("c")
