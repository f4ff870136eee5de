"""Finds the line of a configuration file on which a value stands.

`tomllib` and `json` keep no positions, so they are found afterwards, and only for what is wrong. The file is
known to be valid TOML or JSON.
"""

from __future__ import annotations

import bisect
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

# A string, a mark, or a number or word.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+')


def value_at(document: Any, keys: Sequence[str]) -> Any:
    """Returns the value at these keys of the document, from the outside in; a key of a list is an index.

    Raises:
        LookupError: There is none.
    """
    for key in keys:
        if isinstance(document, list):
            document = document[int(key)]
        elif isinstance(document, Mapping):
            document = document[key]
        else:
            raise LookupError(key)
    return document


def line_in_toml(text: str, keys: Sequence[str]) -> int | None:
    """Returns the line, from 1, where the statement begins that sets the value first; None: none does.

    The lines up to the end of a statement are valid TOML as well, so it is enough to parse beginnings of the
    file.
    """
    lines = [line + "\n" for line in text.split("\n")]

    def has_it(end: int) -> bool:
        """Whether the beginning has it that ends with the statement which these lines end in."""
        while True:
            try:
                value_at(tomllib.loads("".join(lines[:end])), keys)
            except tomllib.TOMLDecodeError:
                end += 1
            except LookupError:
                return False
            else:
                return True

    line = bisect.bisect_left(range(1, len(lines) + 1), True, key=has_it) + 1
    return line if line <= len(lines) else None


def line_in_json(text: str, keys: Sequence[str]) -> int | None:
    """Returns the line, from 1, where the value's key stands, or the element of a list; None: nowhere."""
    found = None
    marks: list[str] = []  # of the objects and lists that are open
    path: list[str | int] = []  # the key or index in each
    is_key = False
    for token in _TOKEN.finditer(text):
        is_mark = token[0] in "{}[]:,"
        is_here = False
        if marks and marks[-1] == "[" and (not is_mark or token[0] in "{["):
            is_here = True
        elif not is_mark and is_key:
            path[-1] = json.loads(token[0])
            is_here = True
        if is_here and [str(key) for key in path] == list(keys):
            found = text.count("\n", 0, token.start()) + 1  # of a key that is given twice the last one counts
        if token[0] in "{[":
            marks.append(token[0])
            path.append("" if token[0] == "{" else 0)
        elif token[0] in "}]":
            marks.pop()
            path.pop()
        elif token[0] == "," and isinstance(path[-1], int):
            path[-1] += 1
        is_key = token[0] in "{," and bool(marks) and marks[-1] == "{"
    return found
