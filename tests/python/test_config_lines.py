"""Lines of values in configuration files."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from carillon.config_lines import line_in_json, line_in_toml, value_at

if TYPE_CHECKING:
    from collections.abc import Iterator

TOML = '''\
# title = "not here"
title = "a"  # 2

[server.http]
port = 1

text = """
[not.a.table]
port = 2
"""
list = [
  1,
  "[x]",
]
a.b.c = 15
"quoted key" = 16
inline = { one = 1, "two.three" = { four = 4 } }

[[names]]
name = "first"
[[names]]
# a comment
name = "second"
[names.inner]
deep = true
[other]'''


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("title",), 2),
        (("server",), 4),
        (("server", "http"), 4),
        (("server", "http", "port"), 5),
        (("server", "http", "text"), 7),
        (("server", "http", "list"), 11),
        (("server", "http", "list", "1"), 11),
        (("server", "http", "a", "b", "c"), 15),
        (("server", "http", "quoted key"), 16),
        (("server", "http", "inline", "two.three", "four"), 17),
        (("names", "0", "name"), 20),
        (("names", "1"), 21),
        (("names", "1", "name"), 23),
        (("names", "1", "inner", "deep"), 25),
        (("other",), 26),
        (("names", "2"), None),
        (("nothing",), None),
        (("title", "inner"), None),
        (("not", "a", "table"), None),
    ],
)
def test_a_line_of_toml_is_where_the_statement_begins(keys: tuple[str, ...], line: int | None) -> None:
    assert line_in_toml(TOML, keys) == line
    assert line_in_toml(TOML.replace("\n", "\r\n"), keys) == line


def places(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if keys:
        yield keys
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*keys, str(key)))


def grown(chance: random.Random, depth: int) -> Any:
    kind = chance.choice(["text", "number", "list", "table"]) if depth else "text"
    if kind == "list":
        return [grown(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == "table":
        keys = chance.sample(["a", "b", 'q"', "{", "[,:", "\\", "é", ""], chance.randrange(6))
        return {key: grown(chance, depth - 1) for key in keys}
    return (
        chance.choice([1.5e-3, True, None])
        if kind == "number"
        else chance.choice(['{"a": [', '\\"', "]},:", ""])
    )


def test_a_line_of_json_is_where_the_key_stands_or_the_element_begins() -> None:
    chance = random.Random(7)
    for _ in range(200):
        document = {"top": grown(chance, 4), "end": 1}
        text = json.dumps(document, indent=2, ensure_ascii=chance.random() < 0.5)
        # With one key or element in a line the places come in the order of the lines.
        expected = iter(
            number
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip().rstrip(",") not in {"}", "]"} and number > 1
        )
        for keys in places(document):
            assert line_in_json(text, keys) == next(expected), (text, keys)
        assert line_in_json(json.dumps(document), ("end",)) == 1
        assert line_in_json(text, ("top", "nothing", "there")) is None


def test_of_a_key_that_is_given_twice_the_last_one_counts() -> None:
    assert line_in_json('{"a": 1,\n"b": 2,\n"a": 3}', ("a",)) == 3


def test_a_value_is_found_by_its_keys() -> None:
    document = {"a": [{"b": 1}]}
    assert value_at(document, ("a", "0", "b")) == 1
    for keys in (("a", "1"), ("a", "0", "c"), ("a", "0", "b", "c"), ("c",)):
        with pytest.raises(LookupError):
            value_at(document, keys)
