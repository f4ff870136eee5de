"""The card that a notebook shows for a server: plain HTML that follows the notebook's own colours."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CARD = (
    "display:inline-block;min-width:20em;padding:.7em 1em;border:1px solid rgba(128,128,128,.35);"
    "border-radius:8px;"
    "font-family:system-ui,sans-serif;line-height:1.5;color:inherit;background:rgba(128,128,128,.06)"
)
_LABEL = "text-align:left;padding:0 1.2em 0 0;opacity:.65;font-weight:400;background:none"
_VALUE = "text-align:left;padding:0;font-variant-numeric:tabular-nums;background:none"


def render(title: str, link: str | None, rows: Mapping[str, object]) -> str:
    """Returns a card with a title, an address and a table: no script, readable on light and dark."""
    lines = "".join(
        f'<tr style="background:none"><th style="{_LABEL}">{escape(name)}</th>'
        f'<td style="{_VALUE}">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    address = f' <a href="{escape(link)}" style="color:inherit">{escape(link)}</a>' if link else ""
    return (
        f'<div style="{_CARD}"><strong>{escape(title)}</strong>{address}'
        f'<table style="border:0;margin:.3em 0 0;border-collapse:collapse">{lines}</table></div>'
    )
