"""Runs notebooks and writes them as Markdown with images, for readers without Jupyter: docs/notebooks/.

`make notebooks-rendered` calls it. A page has the story, the tables and the figures; the code of each cell is
folded. Every figure has an alternative text: that of its picture, or else the text of its cell. The program
refuses to run while other programs are busy, since their times would be in the pages; CARILLON_NB_BUSY=1
overrules that.

    python tools/render_notebooks.py [--only 03] [--out docs/notebooks] [--max-kib 3072]
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
from carillon.lab.notebook import busy_cores, busy_text
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
TIMEOUT_S = 600
SHORT_LINES = 12  # of code: it is shown, longer cells are folded
COLOURS = 128  # of an image: enough for lines and text, and half of the size
WIDTH_MAX = 1_000  # pixels
BUSY_CORES_MAX = 0.25
BUSY_SAMPLE_S = 5.0


@dataclass
class Page:
    """A rendered notebook."""

    name: str
    title: str
    seconds: float
    lines: list[str] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return len("\n".join(self.lines).encode()) + sum(map(len, self.images.values()))


class _TableToMarkdown(HTMLParser):
    """The rows of the first HTML table of a text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.head = 0
        self._cell: list[str] | None = None
        self._spans: dict[int, int] = {}  # column: rows that a cell above still covers
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        options = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            while self._spans.get(len(self.rows[-1]), 0):
                self._spans[len(self.rows[-1])] -= 1
                self.rows[-1].append("")
            self._cell = []
            if rows := int(options.get("rowspan") or 1) - 1:
                self._spans[len(self.rows[-1])] = rows
            self._columns = int(options.get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td") and self._cell is not None:
            text = " ".join("".join(self._cell).split()).replace("|", "\\|")
            self.rows[-1] += [text] + [""] * (self._columns - 1)
            self._cell = None
        elif tag == "thead":
            self.head = len(self.rows)

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def lines(self) -> list[str]:
        width = max(map(len, self.rows), default=0)
        rows = [row + [""] * (width - len(row)) for row in self.rows]
        # Several heading rows, as pandas has them, become one.
        heads = rows[: self.head] or [[""] * width]
        head = [" ".join(dict.fromkeys(filter(None, column))) for column in zip(*heads, strict=True)]
        body = rows[self.head :]
        return [_row(head), _row(["---"] * width), *map(_row, body)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def render(path: Path) -> Page:
    """Runs a notebook and returns its page."""
    notebook = nbformat.read(path, as_version=4)
    start = time.monotonic()
    NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    ).execute()
    title = re.search(r"^# (.+)$", notebook.cells[0].source, re.M)
    page = Page(path.stem, title[1] if title else path.stem, time.monotonic() - start)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            page.lines += [_links(cell.source), ""]
        elif cell.cell_type == "code":
            page.lines += _code(cell.source)
            for output in cell.outputs:
                page.lines += _output(page, output)
    return page


def _links(text: str) -> str:
    """Links between notebooks, as links between pages."""
    return re.sub(r"\(([\w-]+)\.ipynb\)", r"(\1.md)", text)


def _code(source: str) -> list[str]:
    block = ["```python", source, "```", ""]
    lines = source.count("\n") + 1
    if lines <= SHORT_LINES:
        return block
    return [f"<details><summary>{lines} lines of code</summary>", "", *block, "</details>", ""]


def _output(page: Page, output: Any) -> list[str]:
    if output.output_type == "stream":
        return ["```text", output.text.rstrip(), "```", ""] if output.name == "stdout" else []
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{page.name}-{len(page.images) + 1}.png"
        page.images[name] = _smaller(base64.b64decode(data["image/png"]))
        alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
        if not alt:
            raise SystemExit(f"{page.name}: {name} has no alternative text; show a Picture of carillon.lab")
        return [f"![{alt.replace('[', '(').replace(']', ')')}](images/{name})", ""]
    if "text/markdown" in data:
        return [_links(data["text/markdown"]), ""]
    if "<table" in data.get("text/html", "") and "dataframe" in data["text/html"]:
        return [*_TableToMarkdown(data["text/html"]).lines(), ""]
    if text := data.get("text/plain", ""):
        return ["```text", text.rstrip(), "```", ""]
    return []


def _smaller(png: bytes) -> bytes:
    """The image with few colours and no more pixels than a page shows."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDTH_MAX:
        size = (WIDTH_MAX, round(image.height * WIDTH_MAX / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    small = io.BytesIO()
    # This method keeps the colours of small marks, which the default merges.
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        small, "png", optimize=True
    )
    return small.getvalue()


def refusal(busy: float | None, is_overruled: bool) -> str:
    """Why nothing is rendered now; empty if other programs are quiet enough, or it does not matter."""
    if busy is None or busy <= BUSY_CORES_MAX or is_overruled:
        return ""
    return (
        f"Other programs keep {busy:.2f} cores busy (measured for {BUSY_SAMPLE_S:g} s); at most "
        f"{BUSY_CORES_MAX:g} are allowed, since the pages would show their times. Wait until the machine is "
        "quiet, or set CARILLON_NB_BUSY=1 to render all the same."
    )


def circumstances(scale: str, busy: float | None) -> str:
    """The sentence that says how the pages were made."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    full = "full scale" if float(scale) >= 1 else f"scale {scale}, not at full scale"
    made = f"Rendered from commit {commit or 'unknown'} at {full}, on {os.cpu_count()} cores."
    return f"{made} {busy_text(busy)}"


def index(pages: list[Page], how: str) -> list[str]:
    """The list of all pages."""
    lines = ["# Notebooks, with their results", "", how, ""]
    lines += [
        "`make notebooks-rendered` builds these pages; do not edit them. The notebooks are in `notebooks/`.",
        "",
    ]
    for page in pages:
        lines.append(f"- [{page.title}]({page.name}.md) ({page.seconds:.0f} s)")
    return [*lines, ""]


def main() -> int:
    """Renders all notebooks, or the ones that `--only` names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="beginning of the names of the notebooks to render")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "notebooks")
    parser.add_argument("--max-kib", type=int, default=3_072, help="largest size of all pages and images")
    options = parser.parse_args()
    busy = busy_cores(BUSY_SAMPLE_S)
    if text := refusal(busy, os.environ.get("CARILLON_NB_BUSY", "0") not in ("", "0")):
        print(text, file=sys.stderr)
        return 1
    how = circumstances(os.environ.get("CARILLON_NB_SCALE", "1"), busy)
    pages = []
    for path in sorted(NOTEBOOKS.glob(f"{options.only}*.ipynb")):
        page = render(path)
        print(
            f"{page.name}: {page.seconds:.0f} s, {len(page.images)} images, {page.bytes / 1024:.0f} KiB",
            flush=True,
        )
        pages.append(page)
    size = sum(page.bytes for page in pages) / 1024
    if size > options.max_kib:
        print(f"all pages together have {size:.0f} KiB; {options.max_kib} are allowed", file=sys.stderr)
        return 1
    images = options.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for page in pages:
        for old in images.glob(f"{page.name}-*.png"):
            old.unlink()
        for name, png in page.images.items():
            (images / name).write_bytes(png)
        head = [f"*{how} [The notebook](../../notebooks/{page.name}.ipynb), [all pages](README.md).*", ""]
        text = "\n".join([*head, *page.lines]).rstrip() + "\n"
        (options.out / f"{page.name}.md").write_text(re.sub(r"\n{3,}", "\n\n", text))
    if not options.only:
        (options.out / "README.md").write_text("\n".join(index(pages, how)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
