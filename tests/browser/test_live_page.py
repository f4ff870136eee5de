"""examples/live_page.py, as somebody who copies it would run it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.browser

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_page.py"


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    yield from chromium.started()


@pytest.fixture
def example() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the suite runs in the background of a shell, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        yield process
        process.kill()


def test_the_page_shows_what_the_script_publishes(
    browser: chromium.Browser, example: subprocess.Popen[str]
) -> None:
    assert example.stdout is not None
    browser.open(example.stdout.readline().split()[1])
    stock = "return document.getElementById('stock').value"
    browser.wait(lambda: browser.run(stock).isdigit(), lambda: browser.run(stock))
    assert browser.run("return document.getElementById('state').textContent") == "live"
    assert browser.console_errors() == []
    browser.open("about:blank")
    example.send_signal(signal.SIGINT)
    _, errors = example.communicate(timeout=10)
    assert "Traceback" not in errors
    assert example.returncode == 0
