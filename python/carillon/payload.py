"""What a value becomes when it is published: JSON text or binary."""

from __future__ import annotations

import json as _json
import numbers
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer


def encode(data: Any, *, json: bool = False) -> tuple[Buffer, bool]:
    """Turns a value into payload bytes.

    Args:
        data: dict, list, str, number, bool or None (becomes JSON), or any contiguous buffer (binary).
        json: The buffer holds JSON text: it is validated by the hub and passed on byte for byte.

    Returns:
        The bytes, and whether they are JSON.

    Raises:
        TypeError: The value is none of these.
        ValueError: The value has no JSON form (NaN, Infinity, a circular reference, a lone surrogate).
    """
    if type(data) is bytes:
        return data, json
    if data is None or isinstance(data, (dict, list, str, bool, int, float)):
        if json:
            raise TypeError(
                "json=True is for JSON text in a buffer: give bytes (text.encode()), or drop json=True"
            )
        return _dump(data), True
    if isinstance(data, numbers.Integral):
        return _dump(int(data)), True
    if isinstance(data, numbers.Real):
        return _dump(float(data)), True
    try:
        memoryview(data).release()
    except TypeError:
        raise TypeError(
            f"cannot publish a {type(data).__name__}: give a dict, list, str, number, bool or None (sent as "
            "JSON), or a buffer such as bytes (sent as binary)"
        ) from None
    return data, json


def _dump(value: Any) -> bytes:
    try:
        return _json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise ValueError("the payload holds half a surrogate pair, which has no UTF-8 form") from None
    except ValueError as error:
        if "Out of range float" in str(error):
            raise ValueError("JSON has no NaN and no Infinity: replace them (by None, for example)") from None
        raise ValueError(f"the payload has no JSON form: {error}") from None
    except TypeError as error:
        raise TypeError(f"the payload has no JSON form: {error}") from None
