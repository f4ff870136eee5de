"""WebSocket frames made and read by hand (RFC 6455 section 5.2), to send what no library would."""

from __future__ import annotations

import base64
import hashlib
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from wire_clients import open_tcp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from carillon import Server
    from wire_clients import Tcp

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="

HANDSHAKE_HEADERS = (
    "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
)


class Frame(NamedTuple):
    """One frame of the server."""

    is_final: bool
    opcode: int
    payload: bytes


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    is_final: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x11\x22\x33\x44",
    declared: int | None = None,
) -> bytes:
    """The bytes of a frame.

    Args:
        opcode: Bits 4 to 7.
        payload: Before masking.
        is_final: FIN.
        reserved: RSV1 is 4, RSV2 is 2, RSV3 is 1.
        mask: None sends an unmasked one.
        declared: The length in the header, where it is not that of the payload.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    length = len(data) if declared is None else declared
    masked = 0x80 if mask else 0
    head = bytes([(0x80 if is_final else 0) | reserved << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 1 << 16:
        head += bytes([masked | 126]) + struct.pack("!H", length)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", length)
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


async def read_frame(tcp: Tcp) -> Frame:
    """The next frame of the server, which must be unmasked."""
    first, second = await tcp.read(2)
    assert second < 0x80, "a server's frames are not masked"
    assert first & 0x70 == 0, "no extension was agreed on"
    length = second
    if length == 126:
        (length,) = struct.unpack("!H", await tcp.read(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await tcp.read(8))
    return Frame(bool(first & 0x80), first & 0x0F, await tcp.read(length))


async def read_close(tcp: Tcp) -> tuple[int, str]:
    """Code and reason of the close frame that comes next."""
    answer = await read_frame(tcp)
    assert answer.opcode == CLOSE, answer
    if not answer.payload:
        return 1005, ""
    return struct.unpack("!H", answer.payload[:2])[0], answer.payload[2:].decode()


def accept_key() -> str:
    """What the server must answer to KEY (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


@asynccontextmanager
async def open_raw_ws(
    server: Server,
    glued: bytes = b"",
    target: str = "/connection/websocket",
    receive_bytes: int | None = None,
) -> AsyncIterator[Tcp]:
    """A connection after its handshake. `glued` goes out in the same segment as the request."""
    async with open_tcp(server, receive_bytes) as tcp:
        await tcp.write(f"GET {target} HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n".encode() + glued)
        head = (await tcp.read_until(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 "), head
        assert f"sec-websocket-accept: {accept_key()}".lower() in head.lower()
        yield tcp
