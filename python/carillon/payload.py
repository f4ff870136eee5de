"""Payloads of publications, JSON text or binary, and the options of a publish."""

from __future__ import annotations

import difflib
import inspect
import json as _json
import numbers
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar

from . import _core
from .arguments import flag, kind, text, text_map, whole_number
from .channel import channel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Buffer

F = TypeVar("F", bound="Callable[..., Any]")


class PublishOptions(TypedDict, total=False):
    """The options of every `publish`. `publication` describes them."""

    json: bool
    tags: Mapping[str, str] | None
    key: str
    idempotency_key: str
    skip_history: bool
    delta: bool
    expected_offset: int | None
    version: int
    version_epoch: str


class Publication(NamedTuple):
    """A publication to be sent; its parts are the arguments of `_core.Server.publish`."""

    payload: Buffer
    is_json: bool
    tags: dict[str, str] | None
    key: str
    idempotency_key: str
    skip_history: bool
    delta: bool
    expected_offset: int | None
    version: int
    version_epoch: str

    @property
    def is_plain(self) -> bool:
        """Whether it is JSON without options, which is all that a client's publish command can carry."""
        return self.is_json and self.expected_offset is None and not any(self[2:])


def publication(
    data: Any,
    *,
    json: bool = False,
    tags: Mapping[str, str] | None = None,
    key: str = "",
    idempotency_key: str = "",
    skip_history: bool = False,
    delta: bool = False,
    expected_offset: int | None = None,
    version: int = 0,
    version_epoch: str = "",
) -> Publication:
    """Returns the publication of a value.

    Args:
        data: Payload, see `encode`.
        json: Whether a buffer holds JSON text, see `encode`.
        tags: Short texts that are delivered with the publication; by default none.
        key: Conflation key. On a channel with `conflate`, only the newest publication of a key in one write
            is delivered.
        idempotency_key: Key under which a second publish returns the position of the first one.
        skip_history: Whether it is delivered to current subscribers only, and not stored.
        delta: Whether subscribers that asked for deltas may get the difference to the publication before.
        expected_offset: Offset that the channel's newest publication must have; 0: there must be none.
        version: Version of what the publication describes, which must be above the channel's last one; 0:
            none.
        version_epoch: Name of the run of versions: those of different epochs do not compare.
    """
    payload, is_json = encode(data, json=flag("json", json))
    if version_epoch and version == 0:
        raise ValueError("version_epoch: has no version that it belongs to; give version as well")
    return Publication(
        payload,
        is_json,
        text_map("tags", tags) if tags is not None else None,
        text("key", key, may_be_empty=True),
        text("idempotency_key", idempotency_key, may_be_empty=True),
        flag("skip_history", skip_history),
        flag("delta", delta),
        None if expected_offset is None else whole_number("expected_offset", expected_offset, 0),
        whole_number("version", version, 0),
        text("version_epoch", version_epoch, may_be_empty=True),
    )


def core_arguments(
    channel: str, data: Any, options: PublishOptions
) -> tuple[Buffer, bool, dict[str, str] | None, str, str, bool, bool, int | None, int, str]:
    """Returns what `publication_of` returns, as a bare tuple: four times as fast without options.

    Raises:
        TypeError: The channel is not a str (the core would accept bytes), or see `publication_of`.
        ValueError: See `publication_of`.
    """
    if type(channel) is not str:
        channel_name(channel)
    if options:
        return publication_of(data, options)
    payload, is_json = encode(data)
    return payload, is_json, None, "", "", False, False, None, 0, ""


_OPTIONS = {
    each.name: each
    for each in inspect.signature(publication, eval_str=False).parameters.values()
    if each.kind is inspect.Parameter.KEYWORD_ONLY
}


def publication_of(data: Any, options: PublishOptions) -> Publication:
    """Returns the publication of a value with the options of a `publish` call.

    Raises:
        TypeError: An option is unknown, or of the wrong type.
        ValueError: See `publication`.
    """
    for name in options:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(_OPTIONS)}"
            raise TypeError(f"publish: unknown option '{name}'; {hint}")
    return publication(data, **options)


def takes_publish_options(function: F) -> F:
    """Adds the options of `publication` to the signature of a function that passes them on, for `help`."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=[*own, *_OPTIONS.values()])  # type: ignore[attr-defined]
    return function


def json_text(payload: Buffer) -> bytes:
    """Returns the payload as one JSON value, byte for byte, to be written into a larger JSON text.

    Raises:
        ValueError: It is not JSON, and would change the larger text.
    """
    text = bytes(payload)
    _core.check_json(text)  # the hub's own check: Python's json module refuses some valid numbers
    return text


def encode(data: Any, *, json: bool = False) -> tuple[Buffer, bool]:
    """Returns the payload bytes of a value, and whether they are JSON.

    Args:
        data: dict, list, str, number, bool or None (encoded as JSON), or a contiguous buffer (binary).
        json: Whether the buffer holds JSON text, which the hub validates and sends byte for byte.

    Raises:
        TypeError: The value is of another type.
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
        with memoryview(data) as view:
            is_contiguous = view.c_contiguous
    except TypeError:
        raise TypeError(
            f"data: cannot publish {kind(data)}; give a dict, list, str, number, bool or None (sent as "
            "JSON), or a buffer such as bytes (sent as binary)"
        ) from None
    if not is_contiguous:
        raise ValueError("data: the buffer is not contiguous; give bytes(data)")
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
