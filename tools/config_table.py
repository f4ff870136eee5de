"""Writes the option tables of docs/configuration.md from the schema; `--check` only compares them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from carillon import config

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- options: make options -->\n", "<!-- end of options -->\n"
CHANNEL = "channel.without_namespace."


def table(options: list[dict[str, Any]], prefix: str = "") -> str:
    """A table of Markdown with a row per option, without `prefix` in its name."""
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for option in options:
        name = f"`{option['name'].removeprefix(prefix)}`"
        if option["alias"]:
            name += f"<br>or `{option['alias'].removeprefix(prefix)}`"
        default = f"`{json.dumps(option['default'])}`"
        rows.append(f"| {name} | {option['type']} | {default} | {_escaped(option['doc'])} |")
    return "\n".join(rows) + "\n"


def section() -> str:
    """All tables, each under its heading."""
    schema = config.schema()
    channels = [option for option in schema if option["name"].startswith(CHANNEL)]
    limits = [option for option in schema if f"{option['name']} {option['alias']}".find("limits.") >= 0]
    server = [option for option in schema if option not in channels and option not in limits]
    return (
        f"### Server\n{table(server)}\n### Channels\n{table(channels, CHANNEL)}\n### Limits\n{table(limits)}"
    )


def page_with(section: str, page: str) -> str:
    """The page with this section between the two comments."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{section}{END}{after}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def main() -> int:
    """Rewrites the page; with `--check` it only says whether that would change it."""
    page = PAGE.read_text()
    wanted = page_with(section(), page)
    if "--check" in sys.argv[1:]:
        if wanted != page:
            print("docs/configuration.md: the option tables are out of date; run 'make options'")
        return int(wanted != page)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
