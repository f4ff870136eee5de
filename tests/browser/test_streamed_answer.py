"""examples/streamed_answer.py: a page is reloaded in the middle of an answer."""

from __future__ import annotations

import runpy
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

EXAMPLE = Path(__file__).parents[2] / "examples" / "streamed_answer.py"


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    yield from chromium.started()


@pytest.fixture
def example() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "0", "--pace", "0.12"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the suite runs in the background of a shell, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        yield process
        process.kill()


def test_a_reload_in_the_middle_misses_and_repeats_nothing(
    browser: chromium.Browser, example: subprocess.Popen[str]
) -> None:
    answer = runpy.run_path(str(EXAMPLE))["ANSWER"]
    assert example.stdout is not None

    def text() -> str:
        return str(browser.run("return document.getElementById('answer')?.textContent ?? ''"))

    def state() -> str:
        return str(browser.run("return document.getElementById('state')?.textContent ?? ''"))

    browser.open(example.stdout.readline().split()[1])
    address = browser.run("return location.href")
    for words in (10, 30):  # reloaded twice
        browser.wait(lambda words=words: len(text().split()) >= words, text)  # type: ignore[misc]
        assert answer.startswith(text().strip())
        assert state() == "the model is writing", "else the reload would not be in the middle"
        browser.open(address)
    browser.wait(lambda: state() == "complete", lambda: (state(), text()))
    assert text().strip() == answer
    browser.open(address)  # and once more when it is complete
    browser.wait(lambda: state() == "complete", lambda: (state(), text()))
    assert text().strip() == answer
    assert browser.console_errors() == []
    browser.open("about:blank")
    example.send_signal(signal.SIGINT)
    _, errors = example.communicate(timeout=10)
    assert "Traceback" not in errors
    assert example.returncode == 0
