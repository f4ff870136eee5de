"""Checks of arguments. Each error names the argument as the caller wrote it, and says what is expected."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping

_SECONDS_MAX = 1e9  # 31 years
_SHOWN = 80  # characters of a value in a message: a payload can be a megabyte


def shown(value: object) -> str:
    """Returns the value as a message shows it: its `repr`, shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def text(name: str, value: object, *, may_be_empty: bool = False) -> str:
    """Returns the value if it is text that can be sent.

    Raises:
        TypeError: It is not a str.
        ValueError: It is empty, or cannot be encoded as UTF-8.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}: {shown(value)} is {kind(value)}; give a str")
    if not value and not may_be_empty:
        raise ValueError(f"{name}: is empty; give at least one character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name}: {shown(value)} cannot be encoded as UTF-8; remove the lone surrogates"
        ) from None
    return value


def whole_number(name: str, value: object, least: int, most: int = 2**63 - 1) -> int:
    """Returns the value if it is a whole number in this range.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is too small or too large.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: {shown(value)} is {kind(value)}; give a whole number")
    number = int(value)
    if number < least:
        raise ValueError(f"{name}: {shown(number)} is too small; the minimum is {least}")
    if number > most:
        raise ValueError(f"{name}: {shown(number)} is too large; the maximum is {most}")
    return number


def seconds(name: str, value: object, *, may_be_zero: bool = True) -> float:
    """Returns the value if it is a time in seconds.

    Raises:
        TypeError: It is not a number.
        ValueError: It is negative, too large or not a number, or zero where that has no meaning.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: {shown(value)} is {kind(value)}; give a number of seconds")
    number = float(value)
    if not 0 <= number <= _SECONDS_MAX or (number == 0 and not may_be_zero):
        least = "from 0" if may_be_zero else "above 0"
        raise ValueError(f"{name}: {value} is out of range; give seconds, {least} to {_SECONDS_MAX:g}")
    return number


def milliseconds(name: str, value: object) -> float:
    """Returns the value if it is a time in milliseconds.

    Raises:
        TypeError: It is not a number.
        ValueError: It is negative, too large or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: {shown(value)} is {kind(value)}; give a number of milliseconds")
    number = float(value)
    most = _SECONDS_MAX * 1000
    if not 0 <= number <= most:
        raise ValueError(f"{name}: {value} is out of range; give milliseconds, from 0 to {most:g}")
    return number


def flag(name: str, value: object) -> bool:
    """Returns the value if it is a bool.

    Raises:
        TypeError: It is not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}: {shown(value)} is {kind(value)}; give True or False")
    return value


def one_of(name: str, value: object, choices: Iterable[str]) -> None:
    """Checks that the value is one of these words.

    Raises:
        ValueError: It is not.
    """
    words = list(choices)
    if value not in words:
        listed = ", ".join(f'"{word}"' for word in words[:-1])
        raise ValueError(f'{name}: {shown(value)} is not known; use {listed} or "{words[-1]}"')


def text_map(name: str, value: object) -> dict[str, str]:
    """Returns a copy of the value if it maps text to text.

    Raises:
        TypeError: It is not a mapping, or a key or a value in it is not a str.
        ValueError: A text in it cannot be encoded as UTF-8.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: {shown(value)} is {kind(value)}; give a dict of str to str")
    for key, each in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{name}: the key {shown(key)} is {kind(key)}; {name} must map str to str")
        if not isinstance(each, str):
            raise TypeError(f"{name}[{key!r}]: {shown(each)} is {kind(each)}; {name} must map str to str")
        text(f"{name}[{key!r}]", key + each, may_be_empty=True)
    return dict(value)


def kind(value: object) -> str:
    """Returns the type of the value with its article, as in "an int"."""
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
