"""What README.md and docs/ show is what happens: their blocks of code are taken out of them and run.

A block that cannot run has `<!-- skip: reason -->` in the line before it. Behind a block, "prints `…`", or
"prints" and a block of text, say what it prints.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from carillon import config
from conftest import require_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HUB = "http://127.0.0.1:8000"

# The blocks of this page belong together, and run in a test of their own.
ELSEWHERE = {"testing.md": "test_recipes.py"}

_BLOCK = re.compile(
    r"(?:^<!-- skip: *(?P<reason>[^\n]*?) *-->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```\n"
    r"(?:(?:It )?prints `(?P<line>[^`\n]+)`|prints\n```text\n(?P<lines>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    reason: str | None
    prints: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start("code")) + 1
            prints = found["line"] + "\n" if found["line"] else found["lines"]
            yield Block(page, line, found["language"], found["code"], found["reason"], prints)


BLOCKS = list(_blocks())


def blocks(*languages: str) -> pytest.MarkDecorator:
    """Runs a test with each block of these languages that is not skipped."""
    chosen = [
        block
        for block in BLOCKS
        if block.language in languages and block.reason is None and block.page.name not in ELSEWHERE
    ]
    return pytest.mark.parametrize("block", chosen, ids=str)


def run(*command: str, cwd: Path, **environment: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment}
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_skipped_block_has_a_reason_and_every_other_one_a_test() -> None:
    assert all((Path(__file__).parent / test).exists() for test in ELSEWHERE.values())
    for block in BLOCKS:
        assert block.reason is None or len(block.reason) > 10, block
        assert block.language in {"python", "sh", "js", "toml", "json", "text"}, block
        if block.language == "json":
            json.loads(block.code)


@blocks("python")
def test_python(block: Block, tmp_path: Path) -> None:
    if "\ndef test_" in block.code or "\nasync def test_" in block.code:
        (tmp_path / "test_it.py").write_text(block.code)
        assert " passed" in run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
        return
    printed = run(sys.executable, "-W", "error", "-c", block.code, cwd=tmp_path)
    assert block.prints is None or printed == block.prints


@blocks("toml")
def test_toml(block: Block, tmp_path: Path) -> None:
    (tmp_path / "carillon.toml").write_text(block.code)
    config.normalise(config.load(tmp_path / "carillon.toml"))


@blocks("sh")
def test_sh(block: Block, tmp_path: Path, carillon_server: Server, require_tool: Callable[..., str]) -> None:
    require_tool("curl")
    for file in (each.code for each in BLOCKS if each.page == block.page and each.language == "toml"):
        (tmp_path / "carillon.toml").write_text(file)
        break
    carillon_server.publish("news", "hello")
    url = carillon_server.url
    for command in block.code.replace("\\\n", " ").replace(HUB, url).splitlines():
        if command.startswith(("curl -N", "carillon sub")):  # it stays: one line is what it prints at once
            command = f"set +o pipefail; timeout 10 {command} | grep -m 1 ."
        run("bash", "-euo", "pipefail", "-c", command, cwd=tmp_path, CARILLON_URL=url)


SHOW = """
const show = (id, data) => { if (data === "hello") { console.log("shown"); process.exit(0); } };
setTimeout(() => process.exit(1), 10000);
"""
SDK = """
import { Centrifuge as Client } from "centrifuge";
import WebSocket from "ws";
class Centrifuge extends Client { constructor(url) { super(url, { websocket: WebSocket }); } }
"""


@pytest.mark.node
@blocks("js")
def test_js(block: Block, tmp_path: Path, carillon_server: Server, require_tool: Callable[..., str]) -> None:
    node = require_tool("node")
    script = tmp_path / "block.mjs"
    code = block.code.replace(HUB.removeprefix("http:"), carillon_server.url.removeprefix("http:"))
    if "EventSource" in code:  # Node has none: tests/browser runs these
        script.write_text(code)
        run(node, "--check", str(script), cwd=tmp_path)
        return
    code = SHOW + code
    if "new Centrifuge(" in code:
        modules = require_path(ROOT / "tests/clients/node_modules", "npm ci --prefix tests/clients")
        (tmp_path / "node_modules").symlink_to(modules)
        code = SDK + code
    elif "async function follow" in code:
        code += f'follow("{carillon_server.url}", show);'
    script.write_text(code)
    with _publishing(carillon_server):
        assert run(node, str(script), cwd=tmp_path) == "shown\n"


@contextlib.contextmanager
def _publishing(server: Server) -> Iterator[None]:
    ended = threading.Event()

    def publish() -> None:
        while not ended.wait(0.05):
            server.publish("news", "hello")

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("tool", ["config_table.py", "family_table.py"])
def test_the_option_tables_are_up_to_date(tool: str) -> None:
    run(sys.executable, str(ROOT / "tools" / tool), "--check", cwd=ROOT)


def test_every_figure_of_stats_is_explained(carillon_server: Server) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    tables = page[page.index("| gauge |") : page.index("What to watch")]
    cells = [line.split("|")[1] for line in tables.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(carillon_server.stats())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{target}#{anchor}"


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readme_is_short_and_its_program_has_ten_lines() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") < 150
    first = next(block for block in BLOCKS if block.page.name == "README.md")
    lines = [line for line in first.code.splitlines() if line and not line.startswith("import")]
    assert len(lines) <= 10
    assert "pip install carillon" not in text


def test_the_chat_of_the_readme_is_the_example() -> None:
    _, _, code = (ROOT / "examples/chat.py").read_text().partition("\n\n")
    assert code.replace("\n\n\n", "\n\n") in [
        block.code for block in BLOCKS if block.page.name == "README.md"
    ]
