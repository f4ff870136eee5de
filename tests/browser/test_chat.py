"""examples/chat.py, the chat of README.md, and the EventSource block of docs/browsers.md, in Chromium."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import pytest
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
TALK = "return [...document.querySelectorAll('li')].map(each => each.textContent)"
HERE = "return document.getElementById('here').value"


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    yield from chromium.started()


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[str]:
    """The address of the example, which runs on two free ports."""
    with socket.create_server(("127.0.0.1", 0)) as hub, socket.create_server(("127.0.0.1", 0)) as web:
        ports = {"8000": str(hub.getsockname()[1]), "8080": str(web.getsockname()[1])}
    code = (ROOT / "examples/chat.py").read_text()
    for fixed, free in ports.items():
        code = code.replace(fixed, free)
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: _listens(int(ports["8080"])))
        yield f"http://127.0.0.1:{ports['8080']}"
        process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def say(browser: chromium.Browser, text: str) -> None:
    browser.run(
        "const [form] = document.forms; form.text.value = args[0]; form.requestSubmit();",
        text,
    )


def expect(browser: chromium.Browser, talk: list[str]) -> None:
    browser.wait(lambda: browser.run(TALK) == talk, lambda: browser.run(TALK))


def test_a_page_gets_the_last_messages_then_the_live_ones_and_sees_who_is_there(
    browser: chromium.Browser, chat: str
) -> None:
    browser.open(f"{chat}/?name=ann")
    say(browser, "hello")
    expect(browser, ["ann: hello"])
    browser.wait(lambda: browser.run(HERE) == "ann", lambda: browser.run(HERE))
    browser.open(f"{chat}/?name=bob")
    expect(browser, ["ann: hello"])
    say(browser, "and you?")
    expect(browser, ["ann: hello", "bob: and you?"])
    assert browser.console_errors() == []


def test_the_event_source_of_the_page_about_browsers(
    browser: chromium.Browser, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory()
    for number in range(30):
        server.publish("news", number)
    found = re.search(r"^```js\n(.*?)^```", (ROOT / "docs/browsers.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    browser.open(f"{server.url}/health")
    browser.run(
        "window.shown = []; window.show = (id, data) => shown.push(data);"
        + found[1].replace("http://127.0.0.1:8000", server.url)
    )
    browser.wait(lambda: browser.run("return shown.length") == 20, lambda: browser.run("return shown"))
    server.publish("news", 30)  # not before it came: the stream would begin one later
    browser.wait(lambda: browser.run("return shown.length") == 21, lambda: browser.run("return shown"))
    assert browser.run("return shown") == list(range(10, 31))
