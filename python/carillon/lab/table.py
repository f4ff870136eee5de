"""Tables: one measurement a row, one value a column, each column named with its unit."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from .capacity import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

Row: TypeAlias = dict[str, Any]

Table: TypeAlias = Any
"""A `pandas.DataFrame` where pandas is installed, else `Rows`."""


class Rows(list[Row]):
    """A list of rows that a notebook shows as a table; it stands in for pandas where that is missing."""

    def _repr_html_(self) -> str:
        columns = list(dict.fromkeys(name for row in self for name in row))
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        lines = (
            "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in columns) + "</tr>" for row in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def __str__(self) -> str:
        """All columns as text, a row a line."""
        names = list(dict.fromkeys(name for row in self for name in row))
        lines = [names, *([_text(row.get(name)) for name in names] for row in self)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines
        )


def table_of(rows: Iterable[Row]) -> Table:
    """The rows as a `pandas.DataFrame`, or as `Rows` where pandas is missing."""
    rows = Rows(rows)
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError:
        return rows
    return pandas.DataFrame(list(rows))


def rows_of(table: Table) -> Sequence[Row]:
    """Returns the rows of what `table_of` has made. A value that is missing is None in both kinds.

    Raises:
        LabError: It is not a table.
    """
    if hasattr(table, "to_dict"):
        found = table.to_dict("records")
    elif isinstance(table, Iterable) and not isinstance(table, (str, Mapping)):
        found = list(table)
    else:
        raise LabError(f"table: {table!r}; give what compare, watch_switch or Simulation.to_row has returned")
    return Rows({name: None if value != value else value for name, value in row.items()} for row in found)


_SUMMARY = ("strategy", "transport", "members", "online", "publications", "publish_p50_ms", "publish_max_ms",
            "delivery_p50_ms", "delivery_max_ms", "publish_us", "store_writes")  # fmt: skip


def summary(table: Table) -> Table:
    """Returns the eleven columns of `compare` that answer most questions, with three significant digits.

    It prints all of them, whatever the width of the terminal.

    Args:
        table: Rows of `compare` or `Simulation.to_row`.
    """
    found = table_of(
        {
            name: float(f"{row[name]:.3g}") if isinstance(row.get(name), float) else row.get(name)
            for name in _SUMMARY
        }
        for row in rows_of(table)
    )
    return found if isinstance(found, Rows) else _printed_whole(type(found))(found)


def _printed_whole(frame: Any) -> Any:
    """A data frame whose text leaves no column out; options of pandas would apply to all tables."""

    def text(self: Any) -> str:
        return str(self.to_string(index=False, na_rep=""))

    return type("Summary", (frame,), {"__str__": text, "__repr__": text})


def _cell(value: object) -> str:
    return escape(_text(value))


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
