"""Payloads out of JSON envelopes, byte for byte.

`json.loads` of a whole frame would lose how a number was written or a string escaped. A payload belongs to
its publisher: it is cut out of the text by its span and never parsed and printed again.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from ..items import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

_decode = json.JSONDecoder().raw_decode
_SPACE = " \t\n\r"


def members(text: str, start: int = 0) -> Iterator[tuple[str, Any, int, int]]:
    """(name, decoded value, start, end) for each member of the object that begins at `start`.

    Raises:
        ValueError: There is no valid JSON object.
    """
    at = _expect(text, _skip(text, start), "{")
    if text[at : at + 1] == "}":
        return
    while True:
        name, at = _decode(text, at)
        if not isinstance(name, str):
            raise ValueError("the name of a member is no string")
        at = _expect(text, _skip(text, at), ":")
        value, end = _decode(text, at)
        yield name, value, at, end
        at = _skip(text, end)
        if text[at : at + 1] != ",":
            _expect(text, at, "}")
            return
        at = _skip(text, at + 1)


def elements(text: str, start: int = 0) -> Iterator[tuple[Any, int, int]]:
    """(decoded value, start, end) for each element of the array that begins at `start`."""
    at = _expect(text, _skip(text, start), "[")
    if text[at : at + 1] == "]":
        return
    while True:
        value, end = _decode(text, at)
        yield value, at, end
        at = _skip(text, end)
        if text[at : at + 1] != ",":
            _expect(text, at, "]")
            return
        at = _skip(text, at + 1)


def message(text: str, start: int, channel: str, epoch: str) -> Message:
    """The publication whose object begins at `start`, as any of our JSON transports writes it."""
    fields: dict[str, Any] = {}
    data, is_json = b"null", True
    for name, value, begin, end in members(text, start):
        fields[name] = value
        if name == "data":
            binary = _binary(value)
            data, is_json = (text[begin:end].encode(), True) if binary is None else (binary, False)
        elif name == "b64":
            data, is_json = base64.b64decode(value, validate=True), False
    offset = fields.get("offset", 0)
    return Message(
        channel=fields.get("channel", channel),
        offset=offset,
        epoch=fields.get("epoch") or (epoch if offset else ""),
        data=data,
        is_json=is_json,
        tags=fields.get("tags") or {},
        key=fields.get("key") or "",
    )


def _binary(value: Any) -> bytes | None:
    """What a binary payload looks like to a JSON client: `{"b64":"..."}` in place of the data."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error:
            return None
    return None


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _expect(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(f"expected {mark!r} at {at}")
    return _skip(text, at + 1)
