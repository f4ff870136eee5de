"""One connection of a subscriber: the head of HTTP, then chunks, a whole body, or frames of a WebSocket."""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol


class Owner(Protocol):
    """What a connection speaks for."""

    transport: str

    def on_upgrade(self) -> None:
        """The WebSocket is open."""

    def on_text(self, text: bytes) -> None:
        """A line, or a message of several, has come."""

    def on_event(self, event: dict[str, str]) -> None:
        """A server-sent event has come."""

    def on_poll(self, body: bytes) -> None:
        """The answer to a poll has come."""

    def on_end(self, why: str) -> None:
        """The connection has ended."""


class Link(asyncio.Protocol):
    """One connection.

    Args:
        owner: What it speaks for.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.pipe: asyncio.Transport | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.why = "ended"
        self._bytes = bytearray()
        self._text = bytearray()  # of a stream, behind its last whole line
        self._event: dict[str, str] = {}
        self._form = ""  # of the body: frames, chunks, length, rest
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.pipe = transport

    def send(self, data: bytes) -> None:
        """Sends it, if the connection is still open."""
        if self.pipe is not None and not self.pipe.is_closing():
            self.pipe.write(data)

    def give_up(self) -> None:
        """Cuts the connection."""
        self.why = "given up"
        if self.pipe is not None:
            self.pipe.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        if exc is not None and self.why == "ended":
            self.why = f"lost: {type(exc).__name__}"
        self.owner.on_end(self.why)

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        while self._step():
            pass

    def _end(self, why: str) -> bool:
        self.why = why
        if self.pipe is not None:
            self.pipe.close()
        self._bytes.clear()
        return False

    def _step(self) -> bool:
        """Reads the next part. Returns whether there may be another one."""
        match self._form:
            case "":
                return self._head()
            case "frames":
                return self._frame()
            case "chunks":
                return self._chunk()
            case "length":
                return self._whole()
        self._stream(bytes(self._bytes))  # until the connection ends
        self._bytes.clear()
        return False

    def _head(self) -> bool:
        end = self._bytes.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = self._bytes[:end].decode("latin-1").split("\r\n")
        del self._bytes[: end + 4]
        status = int(lines[0].split(" ")[1])
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if status == 101:
            self._form = "frames"
            self.owner.on_upgrade()
            return True
        if status != 200:
            return self._end(f"{status}")
        if headers.get("transfer-encoding") == "chunked":
            self._form = "chunks"
        elif "content-length" in headers:
            self._form, self._left = "length", int(headers["content-length"])
        else:
            self._form = "rest"
        return True

    def _whole(self) -> bool:
        if len(self._bytes) < self._left:
            return False
        body = bytes(self._bytes[: self._left])
        del self._bytes[: self._left]
        self._form = ""
        self._body_ended(body)
        return True

    def _chunk(self) -> bool:
        end = self._bytes.find(b"\r\n")
        if end < 0:
            return False
        size = int(bytes(self._bytes[:end]).split(b";")[0], 16)
        if len(self._bytes) < end + size + 4:
            return False
        body = bytes(self._bytes[end + 2 : end + 2 + size])
        del self._bytes[: end + size + 4]
        if size:
            if self.owner.transport == "poll":
                self._text += body
            else:
                self._stream(body)
            return True
        self._form = ""
        whole = bytes(self._text)
        self._text.clear()
        self._body_ended(whole)
        return True

    def _body_ended(self, body: bytes) -> None:
        if self.owner.transport == "poll":
            self.owner.on_poll(body)
        else:
            self._end("asked to leave" if self.why == "ended" else self.why)

    def _stream(self, data: bytes) -> None:
        self._text += data
        *lines, rest = bytes(self._text).split(b"\n")
        self._text[:] = rest
        is_events = self.owner.transport in ("sse", "sdk_sse", "uni_sse")
        for raw in lines:
            line = raw.rstrip(b"\r")
            if not is_events:
                self.owner.on_text(line)
            elif line:
                name, _, value = line.decode().partition(":")
                value = value.removeprefix(" ")
                self._event[name] = f"{self._event[name]}\n{value}" if name in self._event else value
            elif self._event:
                self._event.pop("", None)  # a comment
                event, self._event = self._event, {}
                self.owner.on_event(event)

    def _frame(self) -> bool:
        data = self._bytes
        if len(data) < 2:
            return False
        size, at = data[1] & 127, 2
        if size == 126:
            if len(data) < 4:
                return False
            size, at = struct.unpack_from("!H", data, 2)[0], 4
        elif size == 127:
            if len(data) < 10:
                return False
            size, at = struct.unpack_from("!Q", data, 2)[0], 10
        if len(data) < at + size:
            return False
        code, payload = data[0] & 15, bytes(data[at : at + size])
        del data[: at + size]
        if code == 8:
            self.send(frame(8, payload))
            closed = struct.unpack_from("!H", payload)[0] if len(payload) >= 2 else 0
            return self._end("asked to leave" if closed == 3001 else f"closed with {closed}")
        if code == 9:
            self.send(frame(10, payload))
        elif code == 1:
            self.owner.on_text(payload)
        return True


def frame(code: int, payload: bytes) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    head = (
        bytes([0x80 | code, 0x80 | size])
        if size < 126
        else bytes([0x80 | code, 0xFE]) + struct.pack("!H", size)
    )
    return head + bytes(4) + payload
