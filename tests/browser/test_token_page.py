"""examples/tokens.py: npm `centrifuge` and EventSource with tokens that expire, in Chromium."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import carillon
import chromium
import httpx
import pytest
from carillon.testing import wait_until
from conftest import require, require_path

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.browser

EXAMPLE = Path(__file__).parents[2] / "examples" / "tokens.py"
SHOWN = "return ['ws', 'sse', 'room'].map(id => Number(document.getElementById(id).value))"


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    yield from chromium.started()


@pytest.fixture
def example(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The example with tokens of three seconds, on two free ports; the key is the port in its text."""
    for package in ("fastapi", "uvicorn"):
        require(importlib.util.find_spec(package), package)
    sdk = require_path(
        EXAMPLE.parents[1] / "tests/clients/node_modules/centrifuge/dist/centrifuge.js",
        "npm ci --prefix tests/clients",
    )
    with socket.create_server(("127.0.0.1", 0)) as hub, socket.create_server(("127.0.0.1", 0)) as web:
        ports = {"8000": str(hub.getsockname()[1]), "8080": str(web.getsockname()[1])}
    code = EXAMPLE.read_text().replace("LIFE_S = 300", "LIFE_S = 3")
    code = code.replace(
        next(line for line in code.splitlines() if line.startswith("SDK =")), f"SDK = {str(sdk)!r}"
    )
    for fixed, free in ports.items():
        code = code.replace(fixed, free)
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        url = f"http://127.0.0.1:{ports['8080']}/"
        wait_until(lambda: process.poll() is not None or _answers(url), 30)
        yield ports
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert "Traceback" not in errors.replace("KeyboardInterrupt", ""), errors


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_page_outlives_its_tokens(browser: chromium.Browser, example: dict[str, str]) -> None:
    browser.open(f"http://127.0.0.1:{example['8080']}/?name=ann")
    browser.wait(lambda: min(browser.run(SHOWN)) > 0, lambda: browser.run(SHOWN))
    browser.run(
        "window.seen = { ws: [], sse: [], room: [] };"
        "for (const id in seen) setInterval(() => {"
        "  const now = Number(document.getElementById(id).value);"
        "  if (seen[id].at(-1) !== now) seen[id].push(now); }, 5);"
    )
    first = browser.run("return performance.now()")
    browser.wait(
        lambda: browser.run("return performance.now()") > first + 10_000,
        lambda: browser.run(SHOWN),
        timeout=40,
    )
    began, now = min(browser.run("return [seen.ws[0], seen.sse[0], seen.room[0]]")), browser.run(SHOWN)
    assert min(now) > began + 60, "three lives of a token later all go on"
    assert browser.console_errors() == []
    hub = f"http://127.0.0.1:{example['8000']}"
    for query in ("channel=time", "channel=$room"):
        assert httpx.get(f"{hub}/poll?{query}", trust_env=False).status_code == 401
    with pytest.raises(carillon.ConnectDenied):
        carillon.sync.connect(hub).open()
