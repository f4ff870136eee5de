"""Payloads of JSON messages, byte for byte.

`json.loads` of a whole frame would lose how a number was written or a string escaped. Therefore a payload is
cut out of the text by its span, and never parsed and printed again.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from ..items import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = " \t\n\r"


def decode(text: str, at: int = 0) -> tuple[Any, int]:
    """Returns the value that begins at `at`, and its end.

    Python refuses integers of more than 4,300 digits, which JSON allows. Here they become floats, so that one
    payload cannot stop the delivery of the following messages.

    Raises:
        ValueError: There is no valid JSON.
    """
    try:
        return _exact(text, at)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _tolerant(text, at)


def _integer(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


_exact = json.JSONDecoder().raw_decode
_tolerant = json.JSONDecoder(parse_int=_integer).raw_decode


def members(text: str, start: int = 0) -> Iterator[tuple[str, Any, int, int]]:
    """Yields (name, decoded value, start, end) for each member of the object that begins at `start`.

    Raises:
        ValueError: There is no valid JSON object.
    """
    at = _expect(text, _skip(text, start), "{")
    if text[at : at + 1] == "}":
        return
    while True:
        name, at = decode(text, at)
        if not isinstance(name, str):
            raise ValueError("the name of a member is not a string")
        at = _expect(text, _skip(text, at), ":")
        value, end = decode(text, at)
        yield name, value, at, end
        at = _skip(text, end)
        if text[at : at + 1] != ",":
            _expect(text, at, "}")
            return
        at = _skip(text, at + 1)


def elements(text: str, start: int = 0) -> Iterator[tuple[Any, int, int]]:
    """Yields (decoded value, start, end) for each element of the array that begins at `start`."""
    at = _expect(text, _skip(text, start), "[")
    if text[at : at + 1] == "]":
        return
    while True:
        value, end = decode(text, at)
        yield value, at, end
        at = _skip(text, end)
        if text[at : at + 1] != ",":
            _expect(text, at, "]")
            return
        at = _skip(text, at + 1)


def message(text: str, start: int, channel: str, epoch: str) -> Message:
    """Returns the publication whose object begins at `start`, in the form of any JSON transport."""
    fields: dict[str, Any] = {}
    data = b"null"
    for name, value, begin, end in members(text, start):
        fields[name] = value
        if name == "data":
            data = text[begin:end].encode()
    # Binary comes as text beside the other fields, or in an object in place of the data, with a mark beside
    # it: an object of the application's own may look the same.
    encoded = fields["data"]["b64"] if fields.get("binary") else fields.get("b64")
    if encoded is not None:
        data = base64.b64decode(encoded, validate=True)
    offset = fields.get("offset", 0)
    return Message(
        channel=fields.get("channel", channel),
        offset=offset,
        epoch=fields.get("epoch") or (epoch if offset else ""),
        data=data,
        is_json=encoded is None,
        tags=fields.get("tags") or {},
        key=fields.get("key") or "",
    )


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _expect(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(f"expected {mark!r} at {at}")
    return _skip(text, at + 1)
