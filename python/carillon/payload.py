"""What a value becomes when it is published: JSON text or binary, with the options of the call."""

from __future__ import annotations

import inspect
import json as _json
import numbers
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar

from . import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Buffer

F = TypeVar("F", bound="Callable[..., Any]")


class PublishOptions(TypedDict, total=False):
    """What every `publish` takes beside the channel and the data. `publication` says what they mean."""

    json: bool
    tags: Mapping[str, str] | None
    key: str
    idempotency_key: str
    skip_history: bool


class Publication(NamedTuple):
    """A publication on its way into a hub; its parts as `_core.Server.publish` takes them."""

    payload: Buffer
    is_json: bool
    tags: dict[str, str] | None
    key: str
    idempotency_key: str
    skip_history: bool

    @property
    def is_plain(self) -> bool:
        """Whether it is JSON and nothing else: all that a client's publish command can carry."""
        return self.is_json and not any(self[2:])


def publication(
    data: Any,
    *,
    json: bool = False,
    tags: Mapping[str, str] | None = None,
    key: str = "",
    idempotency_key: str = "",
    skip_history: bool = False,
) -> Publication:
    """A publication of a value.

    Args:
        data: See `encode`.
        json: See `encode`.
        tags: Short texts that travel with the publication.
        key: Conflation key: on a channel with `conflate`, only the newest of a key in one write is delivered.
        idempotency_key: A second publish with this key returns the position of the first.
        skip_history: Deliver to the subscribers of this moment, and keep nothing.
    """
    payload, is_json = encode(data, json=json)
    return Publication(payload, is_json, dict(tags) if tags else None, key, idempotency_key, skip_history)


def core_arguments(
    data: Any, options: PublishOptions
) -> tuple[Buffer, bool, dict[str, str] | None, str, str, bool]:
    """What `publication` makes, as a bare tuple, and four times as fast where there are no options."""
    if options:
        return publication(data, **options)
    payload, is_json = encode(data)
    return payload, is_json, None, "", "", False


_OPTIONS = [
    each
    for each in inspect.signature(publication, eval_str=False).parameters.values()
    if each.kind is inspect.Parameter.KEYWORD_ONLY
]


def takes_publish_options(function: F) -> F:
    """Shows the options of `publication` in the signature of a function that passes them on, for `help`."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=own + _OPTIONS)  # type: ignore[attr-defined]
    return function


def json_text(payload: Buffer) -> bytes:
    """The payload as one JSON value, byte for byte, to be written into a larger JSON text.

    Raises:
        ValueError: It is not JSON: in the larger text it could mean anything.
    """
    text = bytes(payload)
    _core.check_json(text)  # the hub's own check: Python's json module refuses some valid numbers
    return text


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
    except RecursionError:
        raise ValueError("data: is nested deeper than 64 arrays and objects; flatten it") from None
    except ValueError as error:
        if "Out of range float" in str(error):
            raise ValueError("JSON has no NaN and no Infinity: replace them (by None, for example)") from None
        raise ValueError(f"the payload has no JSON form: {error}") from None
    except TypeError as error:
        raise TypeError(f"the payload has no JSON form: {error}") from None
