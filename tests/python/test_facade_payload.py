"""What becomes JSON, what becomes binary, and what is refused."""

from __future__ import annotations

import array
import math
from typing import Any

import pytest
from carillon.errors import PositionError
from carillon.payload import encode
from carillon.position import Position


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}'),
        ([1], b"[1]"),
        ("hé\u2028", '"hé\u2028"'.encode()),
        (3, b"3"),
        (1.5, b"1.5"),
        (True, b"true"),
        (None, b"null"),
        (2**70, str(2**70).encode()),
    ],
)
def test_plain_values_are_json(value: Any, text: bytes) -> None:
    assert encode(value) == (text, True)


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), memoryview(b"x"), array.array("d", [1.0])])
def test_buffers_are_binary_unless_they_are_said_to_be_json(value: Any) -> None:
    assert encode(value) == (value, False)
    assert encode(value, json=True) == (value, True)


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_nan_and_infinity_are_refused_with_what_to_do(value: Any) -> None:
    with pytest.raises(ValueError, match="no NaN and no Infinity"):
        encode(value)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        encode("\ud800")


@pytest.mark.parametrize("value", [object(), {1, 2}, (1, 2), {"a": object()}])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_json_is_for_buffers_only() -> None:
    with pytest.raises(TypeError, match="json=True"):
        encode('{"a":1}', json=True)


def test_a_position_is_written_and_read() -> None:
    position = Position(12, "kQwZabcd")
    assert str(position) == "kQwZabcd:12"
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", "12", "a:", ":1", "a:-1", "a:1.0", "a:1,b:2", "a:²"])
def test_what_is_not_a_position_is_refused(text: str) -> None:
    with pytest.raises(PositionError):
        Position.parse(text)
