"""Tidy rows: one measurement a row, one figure a column, each named with its unit."""

from __future__ import annotations

import importlib
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row: TypeAlias = dict[str, Any]

Table: TypeAlias = Any
"""A `pandas.DataFrame` where pandas is installed, else `Rows`."""


class Rows(list[Row]):
    """A list of rows that a notebook shows as a table: what there is without pandas."""

    def _repr_html_(self) -> str:
        columns = list(dict.fromkeys(name for row in self for name in row))
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        lines = (
            "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in columns) + "</tr>" for row in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def table_of(rows: Iterable[Row]) -> Table:
    """The rows as a `pandas.DataFrame`, or as `Rows` where pandas is missing."""
    rows = Rows(rows)
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError:
        return rows
    return pandas.DataFrame(list(rows))


def rows_of(table: Table) -> Sequence[Row]:
    """The rows of what `table_of` has made; what has no value is None in both kinds."""
    if not hasattr(table, "to_dict"):
        return Rows(table)
    found = table.to_dict("records")
    return Rows({name: None if value != value else value for name, value in row.items()} for row in found)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return escape(f"{value:,.4g}" if isinstance(value, float) else str(value))
