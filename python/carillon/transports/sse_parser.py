"""A parser of server-sent events (WHATWG HTML, section 9.2). No I/O."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        kind: Type of the event; `message` if the server named none.
        data: Data lines of the event, joined by line feeds.
        last_id: Last event id of the stream so far.
    """

    kind: str
    data: str
    last_id: str


class EventParser:
    """Reads bytes in any pieces and returns events.

    Attributes:
        retry_ms: Reconnection time that the server asked for, milliseconds; None if it did not.
        last_id: Last event id so far.
    """

    def __init__(self, max_event_chars: int = 16 * 1024 * 1024) -> None:
        self.retry_ms: int | None = None
        self.last_id: str = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._is_at_start = True
        self._kind = ""
        self._data: list[str] = []
        self._id = ""
        self._size = 0
        self._max = max_event_chars

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Returns the events that are complete with this piece. An incomplete one at the end is dropped.

        Raises:
            ValueError: An event is larger than the limit.
        """
        text = self._pending + self._decoder.decode(chunk)
        if self._is_at_start and text:
            self._is_at_start = False
            text = text.removeprefix("\ufeff")
        start = 0
        while True:
            end = _LINE_END.search(text, start)
            if end is None or (end.group() == "\r" and end.end() == len(text)):
                break  # no whole line, or perhaps half of a CRLF
            line = text[start : end.start()]
            start = end.end()
            event = self._line(line)
            if event is not None:
                yield event
        self._pending = text[start:]
        if self._size + len(self._pending) > self._max:
            raise ValueError(f"an event is larger than {self._max} characters")

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        self._size += len(line)
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        kind, data = self._kind or "message", self._data
        self._kind, self._data, self._size = "", [], 0
        return Event(kind, "\n".join(data), self.last_id) if data else None
