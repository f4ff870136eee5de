"""Chromium's own EventSource, WebSocket and fetch, without any code of ours in the page."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import chromium
import pytest
from carillon import Channel, Server
from carillon.testing import FaultProxy, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.wire, pytest.mark.browser]

FAST_RETRY = {"sse_retry_ms": 50}

LISTEN = """
window.rows = [];
window.statuses = [];
window.source = new EventSource(args[0]);
source.onmessage = event => rows.push({ ...JSON.parse(event.data), id: event.lastEventId });
source.addEventListener("status", event => statuses.push(JSON.parse(event.data)));
await new Promise(open => source.addEventListener("status", open, { once: true }));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    yield from chromium.started()


def listen(browser: chromium.Browser, url: str, query: str) -> None:
    """Opens a stream from a page of the same origin, which is not the demo page."""
    browser.open(f"{url}/health")
    browser.run(LISTEN, f"/sse?{query}")


def rows(browser: chromium.Browser) -> list[dict[str, Any]]:
    return browser.run("return rows")


def wait_for_rows(browser: chromium.Browser, count: int) -> list[dict[str, Any]]:
    browser.wait(
        lambda: len(rows(browser)) >= count, lambda: (rows(browser)[-5:], browser.run("return statuses"))
    )
    return rows(browser)


def test_it_resumes_by_last_event_id_after_cuts(
    browser: chromium.Browser, serve: Callable[..., Server]
) -> None:
    server = serve(heartbeat=FAST_RETRY)
    with FaultProxy(server) as proxy:
        listen(browser, proxy.url, "channel=c")

        def publish() -> None:
            for number in range(1, 501):
                server.publish("c", number)
                time.sleep(0.002)  # the rate of the load, nothing waits for it

        publisher = threading.Thread(target=publish)
        publisher.start()
        for count in (80, 200, 320):
            wait_for_rows(browser, count)
            proxy.cut()
        publisher.join()
        seen = wait_for_rows(browser, 500)
        assert [(row["offset"], row["data"]) for row in seen] == [(n, n) for n in range(1, 501)]
        epoch = server.history("c", limit=0).position.epoch
        assert [row["id"] for row in seen] == [f"{epoch}:{n}" for n in range(1, 501)]
        statuses = browser.run("return statuses")
        assert len(statuses) == 4
        assert all(status["recovered"] and status["epoch"] == epoch for status in statuses[1:])
        browser.open("about:blank")


def test_it_resumes_after_the_server_has_closed_the_stream(
    browser: chromium.Browser, serve: Callable[..., Server]
) -> None:
    server = serve(heartbeat=FAST_RETRY)
    listen(browser, server.url, "channel=c")
    server.publish("c", 1)
    wait_for_rows(browser, 1)
    (stream,) = server.connections()
    assert server.disconnect(stream, 3000, "for a moment")
    server.publish("c", 2)
    wait_for_rows(browser, 2)
    server.publish("c", 3)
    assert [row["offset"] for row in wait_for_rows(browser, 3)] == [1, 2, 3]
    assert [status["recovered"] for status in browser.run("return statuses")][1:] == [True]


def test_one_stream_carries_several_channels_and_resumes_each(
    browser: chromium.Browser, serve: Callable[..., Server]
) -> None:
    server = serve(heartbeat=FAST_RETRY)
    with FaultProxy(server) as proxy:
        listen(browser, proxy.url, "channel=a&channel=b")
        server.publish_many([("a", 1), ("b", 1), ("b", 2)])
        wait_for_rows(browser, 3)
        proxy.is_refusing = True
        proxy.cut()
        server.publish_many([("b", 3), ("a", 2), ("a", 3)])
        proxy.is_refusing = False
        seen = wait_for_rows(browser, 6)
        for channel in ("a", "b"):
            assert [row["data"] for row in seen if row["channel"] == channel] == [1, 2, 3]
        browser.open("about:blank")


def test_it_is_told_what_is_no_longer_kept(browser: chromium.Browser, serve: Callable[..., Server]) -> None:
    server = serve(heartbeat=FAST_RETRY, channels={"*": Channel(history_size=3)})
    with FaultProxy(server) as proxy:
        listen(browser, proxy.url, "channel=c")
        server.publish("c", 1)
        wait_for_rows(browser, 1)
        proxy.is_refusing = True
        proxy.cut()
        server.publish_many([("c", number) for number in range(2, 12)])
        proxy.is_refusing = False
        browser.wait(lambda: len(browser.run("return statuses")) == 2, lambda: browser.run("return statuses"))
        assert browser.run("return statuses[1].recovered") is False
        server.publish("c", 12)
        wait_until(lambda: rows(browser)[-1]["data"] == 12)
        later = [row["offset"] for row in rows(browser)[1:]]
        assert later == list(range(later[0], 13))
        browser.open("about:blank")


def test_a_page_changes_transport_in_mid_stream(browser: chromium.Browser, server: Server) -> None:
    listen(browser, server.url, "channel=c")
    server.publish_many([("c", 1), ("c", 2)])
    since = wait_for_rows(browser, 2)[-1]["id"]
    browser.run("source.close()")
    server.publish("c", 3)
    poll = "return (await fetch(`/poll?channel=c&since=${args[0]}&timeout=5`)).json()"
    answer = browser.run(poll, since)
    assert [one["data"] for one in answer["publications"]] == [3]
    server.publish("c", 4)
    browser.run(LISTEN, f"/sse?channel=c&since={answer['since']}")
    assert [row["data"] for row in wait_for_rows(browser, 1)] == [4]
    assert browser.console_errors() == []


def test_a_drain_does_not_end_it_for_good(browser: chromium.Browser, serve: Callable[..., Server]) -> None:
    server = serve(heartbeat=FAST_RETRY)
    listen(browser, server.url, "channel=c")
    assert server.drain(5)
    browser.wait(
        lambda: browser.run("return source.readyState") == 0, lambda: browser.run("return source.readyState")
    )
    browser.run("await new Promise(failed => source.addEventListener('error', failed, { once: true }))")
    assert browser.run("return source.readyState") == 0  # EventSource.CONNECTING: it goes on trying
    browser.open("about:blank")


REACH = """
const [url] = args;
const opens = target => new Promise(done => { target.onopen = () => { done(true); target.close(); };
                                              target.onerror = () => done(false); });
return {
  sse: await opens(new EventSource(url + "/sse?channel=c")),
  websocket: await opens(new WebSocket(url.replace("http", "ws") + "/connection/websocket")),
  poll: await fetch(url + "/poll?channel=c&timeout=0").then(reply => reply.ok, () => false),
  publish: await fetch(url + "/api/publish", { method: "POST", body: '{"channel": "c", "data": 1}' })
    .then(reply => reply.ok, () => false),
};
"""


def test_a_page_of_another_origin_is_refused(browser: chromium.Browser, serve: Callable[..., Server]) -> None:
    home, guarded = serve(), serve()
    browser.open(f"{home.url}/health")
    assert browser.run(REACH, guarded.url) == dict.fromkeys(("sse", "websocket", "poll", "publish"), False)
    assert guarded.history("c", limit=0).position.offset == 0
    assert browser.run(REACH, home.url) == dict.fromkeys(("sse", "websocket", "poll", "publish"), True)


def test_a_page_of_an_allowed_origin_is_not(browser: chromium.Browser, serve: Callable[..., Server]) -> None:
    home = serve()
    friendly = serve(allowed_origins=[home.url])
    browser.open(f"{home.url}/health")
    assert browser.run(REACH, friendly.url) == dict.fromkeys(("sse", "websocket", "poll", "publish"), True)
    assert browser.console_errors() == []


UNIDIRECTIONAL = """
window.pushes = [];
window.opened = 0;
const [path, asked] = args;
const query = "?cf_connect=" + encodeURIComponent(JSON.stringify(asked));
if (path.endsWith("uni_websocket")) {
  window.source = new WebSocket(location.origin.replace("http", "ws") + path + query);
} else {
  window.source = new EventSource(path + query);
}
source.onopen = () => opened++;
source.onmessage = event => pushes.push(JSON.parse(event.data));
await new Promise(open => source.addEventListener("message", open, { once: true }));
"""


@pytest.mark.parametrize("path", ["/connection/uni_sse", "/connection/uni_websocket"])
def test_a_page_listens_without_an_sdk(
    browser: chromium.Browser, serve: Callable[..., Server], path: str
) -> None:
    server = serve()
    browser.open(f"{server.url}/health")
    browser.run(UNIDIRECTIONAL, path, {"subs": {"news": {}}})
    server.publish("news", {"text": "hello"})
    browser.wait(lambda: browser.run("return pushes.length") == 2, lambda: browser.run("return pushes"))
    hello, push = browser.run("return pushes")
    assert list(hello["connect"]["subs"]) == ["news"]
    assert push["channel"] == "news"
    assert (push["pub"]["data"], push["pub"]["offset"]) == ({"text": "hello"}, 1)
    assert browser.run("return opened") == 1
    assert browser.console_errors() == []
    browser.open("about:blank")


def test_an_event_source_of_pushes_comes_back_by_itself(
    browser: chromium.Browser, serve: Callable[..., Server]
) -> None:
    server = serve()
    with FaultProxy(server) as proxy:
        browser.open(f"{proxy.url}/health")
        browser.run(UNIDIRECTIONAL, "/connection/uni_sse", {"subs": {"news": {}}})
        proxy.cut()
        hellos = "return pushes.filter(push => push.connect).length"
        browser.wait(lambda: browser.run(hellos) == 2, lambda: browser.run("return pushes"))
        server.publish("news", 1)
        browser.wait(lambda: browser.run("return pushes.some(push => push.pub)"), lambda: "no publication")
        browser.open("about:blank")


def test_an_event_source_of_pushes_outlives_a_drain(
    browser: chromium.Browser, serve: Callable[..., Server]
) -> None:
    server = serve()
    browser.open(f"{server.url}/health")
    browser.run(UNIDIRECTIONAL, "/connection/uni_sse", {"subs": {"news": {}}})
    assert server.drain(5)
    told = "return pushes.filter(push => push.disconnect).map(push => push.disconnect.code)"
    browser.wait(lambda: browser.run(told) == [3001], lambda: browser.run("return pushes"))
    browser.run("await new Promise(failed => source.addEventListener('error', failed, { once: true }))")
    assert browser.run("return source.readyState") == 0  # EventSource.CONNECTING: it goes on trying
    browser.open("about:blank")
