"""The demo page in headless Chromium, used as a visitor would."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import chromium
import pytest
from carillon import Channel, Server
from carillon.demo.machine import MachineFeed
from carillon.testing import FaultProxy, wait_until
from selenium.webdriver.common.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.wire, pytest.mark.browser]

TRANSPORTS = ("ws", "sse", "poll")

# [offset, text, was filled in] of each row of a column; a row that tells of a gap has offset 0.
ROWS = """
return [...document.querySelectorAll(`#rows-${args[0]} li`)].map(row => row.dataset.offset
  ? [Number(row.dataset.offset), row.querySelector(".text").textContent, row.dataset.filled === "true"]
  : [0, row.textContent, false]);
"""


class DemoPage:
    """The page, read and used by what a visitor sees."""

    def __init__(self, browser: chromium.Browser) -> None:
        self.browser = browser

    def open(self, url: str) -> None:
        self.browser.open(url)
        self.wait(lambda: all(self.text(f"state-{name}") == "live" for name in TRANSPORTS))
        self.wait(lambda: self.element("send").is_enabled())

    def element(self, name: str) -> Any:
        return self.browser.driver.find_element("id", name)

    def text(self, name: str) -> str:
        return str(self.element(name).text)

    def rows(self, transport: str) -> list[list[Any]]:
        rows: list[list[Any]] = self.browser.run(ROWS, transport)
        return rows

    def filled(self, transport: str) -> list[int]:
        return [offset for offset, _, was_filled in self.rows(transport) if was_filled]

    def wait(self, condition: Callable[[], object]) -> None:
        self.browser.wait(condition, lambda: {name: self.rows(name)[-5:] for name in TRANSPORTS})

    def wait_for_offset(self, offset: int) -> None:
        """Until the last row of every column has this offset."""
        self.wait(
            lambda: all(self.rows(name)[-1:] and self.rows(name)[-1][0] == offset for name in TRANSPORTS)
        )

    def post(self, text: str) -> None:
        self.element("text").send_keys(text, Keys.ENTER)

    def assert_columns_equal(self, server: Server) -> None:
        """All columns show the log of the server, in its order, nothing twice."""
        expected = [[one.offset, one.json()["text"]] for one in server.history("demo", limit=-1).messages]
        for name in TRANSPORTS:
            assert [row[:2] for row in self.rows(name)] == expected, name
            assert self.browser.run(
                "return {...document.getElementById(args[0]).dataset}", f"column-{name}"
            ).keys() == {
                "transport",
                "position",
            }  # neither an error nor a duplicate


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    yield from chromium.started()


@pytest.fixture
def page(browser: chromium.Browser) -> Iterator[DemoPage]:
    yield DemoPage(browser)
    browser.open("about:blank")


@pytest.fixture
def demo(serve: Callable[..., Server]) -> Server:
    return serve(demo=True, heartbeat={"sse_retry_ms": 50})


def say(server: Server, *texts: str) -> None:
    server.publish_many([("demo", {"text": text}) for text in texts])


def test_three_columns_show_one_order(page: DemoPage, demo: Server) -> None:
    say(demo, "before the page was there")
    page.open(demo.url)

    def publish(who: str) -> None:
        for number in range(40):
            demo.publish("demo", {"text": f"{who} {number}"})

    publishers = [threading.Thread(target=publish, args=(who,)) for who in ("Ann", "Bob", "Eve")]
    for publisher in publishers:
        publisher.start()
    page.post("from the box")
    for publisher in publishers:
        publisher.join()
    page.wait_for_offset(122)
    page.assert_columns_equal(demo)
    assert page.browser.console_errors() == []


def test_a_cut_column_has_no_gap_and_says_what_was_filled_in(page: DemoPage, demo: Server) -> None:
    page.open(demo.url)
    say(demo, "1")
    page.wait_for_offset(1)
    offset = 1
    for name in TRANSPORTS:  # one after the other, so that each misses another number of messages
        page.element(f"cut-{name}").click()
        page.wait(lambda name=name: page.text(f"state-{name}") == "cut")
        say(demo, str(offset + 1), str(offset + 2))
        offset += 2
    assert page.rows("ws") == [[1, "1", False]]
    page.wait_for_offset(7)
    say(demo, "8")
    page.wait_for_offset(8)
    page.assert_columns_equal(demo)
    assert {name: page.filled(name) for name in TRANSPORTS} == {
        "ws": [2, 3, 4, 5, 6, 7],
        "sse": [4, 5, 6, 7],
        "poll": [6, 7],
    }
    for name, count in zip(TRANSPORTS, ("6", "4", "2"), strict=True):
        assert page.text(f"filled-{name}") == count
        assert page.text(f"recovered-{name}") == "server says: recovered"
    assert page.browser.console_errors() == []


def test_a_cut_network_leaves_no_gap(page: DemoPage, demo: Server) -> None:
    with FaultProxy(demo) as proxy:
        page.open(proxy.url)
        say(demo, "1")
        page.wait_for_offset(1)
        proxy.is_refusing = True
        proxy.cut()
        say(demo, "2", "3")
        proxy.is_refusing = False
        page.wait_for_offset(3)
        page.wait(lambda: page.element("send").is_enabled())
        page.post("4")
        page.wait_for_offset(4)
        page.assert_columns_equal(demo)
        assert {name: page.filled(name) for name in TRANSPORTS} == {
            "ws": [2, 3],
            "sse": [2, 3],
            "poll": page.filled("poll"),
        }
        assert page.filled("poll") in ([2, 3], [])  # Chromium may have repeated the request on its own
        page.browser.open("about:blank")


def test_what_is_no_longer_kept_is_told(page: DemoPage, serve: Callable[..., Server]) -> None:
    server = serve(demo=True, channels={"demo": Channel(history_size=3)})
    page.open(server.url)
    say(server, "1")
    page.wait_for_offset(1)
    for name in TRANSPORTS:
        page.element(f"cut-{name}").click()
    page.wait(lambda: all(page.text(f"state-{name}") == "cut" for name in TRANSPORTS))
    say(server, *(str(number) for number in range(2, 12)))
    page.wait(lambda: all(page.text(f"recovered-{name}") for name in TRANSPORTS))
    say(server, "12")
    page.wait_for_offset(12)
    for name in TRANSPORTS:
        assert page.text(f"recovered-{name}") == "server says: not recovered"
        assert page.rows(name)[1] == [0, "what was missed is no longer kept", False]
        assert (
            page.browser.run("return document.getElementById(args[0]).dataset.error", f"column-{name}")
            is None
        )


def test_what_is_posted_is_text_and_nothing_else(page: DemoPage, demo: Server) -> None:
    page.open(demo.url)
    assert "write something above" in page.browser.run(
        "return getComputedStyle(document.getElementById('rows-ws'), '::before').content"
    )
    text = """<img src=x onerror="document.title='taken'"> & ümläut"""
    page.post("   ")
    page.post(text)
    page.wait_for_offset(1)
    assert [one.json() for one in demo.history("demo").messages] == [{"text": text}]
    for name in TRANSPORTS:
        assert page.rows(name) == [[1, text, False]]
    assert page.browser.driver.title == "Carillon"
    assert page.element("text").get_attribute("value") == ""
    assert page.browser.console_errors() == []


def test_every_kind_of_payload_is_shown_alike(page: DemoPage, demo: Server) -> None:
    page.open(demo.url)
    demo.publish_many(
        [("demo", payload) for payload in (b"\x00\xff", "text", 3.5, None, [1, {"a": 2}], {"text": 7})]
    )
    page.wait_for_offset(6)
    for name in TRANSPORTS:
        texts = [text for _, text, _ in page.rows(name)]
        assert texts == ["binary, 2 bytes", "text", "3.5", "null", '[1,{"a":2}]', '{"text":7}']


def test_the_load_of_the_machine_moves(page: DemoPage, demo: Server) -> None:
    canvas = "return document.getElementById('load').toDataURL()"
    with MachineFeed(demo):
        page.open(demo.url)
        page.wait(lambda: int(page.element("machine").get_attribute("data-samples")) >= 3)
        before = page.browser.run(canvas)
        page.wait(lambda: int(page.element("machine").get_attribute("data-samples")) >= 8)
        assert page.browser.run(canvas) != before
        assert page.text("machine-cpu").endswith("%")
    assert page.browser.console_errors() == []


def test_it_needs_nothing_but_the_server(page: DemoPage, demo: Server) -> None:
    page.open(demo.url)
    asked = page.browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked
    assert [url for url in asked if not url.startswith((demo.url, "data:"))] == []
    assert "://" not in page.browser.driver.page_source


@pytest.mark.parametrize("width", [360, 1000])
def test_it_fits_a_narrow_window(page: DemoPage, demo: Server, width: int) -> None:
    size = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    page.browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        say(demo, "a" * 400)
        page.open(demo.url)
        page.wait_for_offset(1)
        assert page.browser.run("return window.innerWidth") == width
        assert page.browser.run("return document.body.scrollWidth - document.body.clientWidth") == 0
    finally:
        page.browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_visitor_who_comes_late_sees_the_last_messages(page: DemoPage, demo: Server) -> None:
    say(demo, *(str(number) for number in range(1, 51)))
    page.open(demo.url)
    page.wait_for_offset(50)
    for name in TRANSPORTS:
        assert page.rows(name) == [[number, str(number), False] for number in range(31, 51)]
        assert page.text(f"recovered-{name}") == ""
    wait_until(lambda: demo.channels().get("demo") == 3)
