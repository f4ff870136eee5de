"""The bundles of npm `centrifuge` in Chromium: every transport of a page, in both encodings."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import chromium
import pytest
from carillon import Server
from carillon.testing import cut, wait_until
from conftest import require_path

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.browser

BUNDLES = Path(__file__).parents[1] / "clients/node_modules/centrifuge/dist"
# A page may have four of them at once, since a browser opens six connections to a host.
KINDS = [
    ("json", "websocket"),
    ("json", "http_stream"),
    ("json", "sse"),
    ("protobuf", "websocket"),
    ("protobuf", "http_stream"),
]
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>SDK</title><link rel="icon" href="data:,">
<script src="/{bundle}"></script>
<script>
const isProtobuf = {is_protobuf};
const encoded = value => isProtobuf ? new TextEncoder().encode(JSON.stringify(value)) : value;
const decoded = data => isProtobuf ? JSON.parse(new TextDecoder().decode(data)) : data;
window.seen = {{ data: [], connected: [], recovered: [], unsubscribed: 0 }};
window.start = (transport, hub) => {{
  const scheme = transport === "websocket" ? "ws" : "http";
  const endpoint = `${{scheme}}://${{hub}}/connection/${{transport}}`;
  window.client = new Centrifuge([{{ transport, endpoint }}],
    {{ emulationEndpoint: `http://${{hub}}/emulation`, minReconnectDelay: 10, maxReconnectDelay: 50 }});
  client.on("connected", context => seen.connected.push([context.client, context.transport]));
  const subscription = client.newSubscription("room");
  subscription.on("subscribed", context => seen.recovered.push(context.recovered));
  subscription.on("publication", context => seen.data.push(decoded(context.data)));
  subscription.on("unsubscribed", () => ++seen.unsubscribed);
  subscription.subscribe();
  client.connect();
  return subscription.ready();
}};
</script>"""


class Pages(http.server.BaseHTTPRequestHandler):
    """The bundles, and a page for each."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name.endswith(".js"):
            body = (BUNDLES / name).read_bytes()
        else:
            bundle = "centrifuge.js" if name == "json" else "centrifuge.protobuf.js"
            body = PAGE.format(bundle=bundle, is_protobuf=str(name == "protobuf").lower()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if name.endswith(".js") else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not in the output of the tests."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    require_path(BUNDLES / "centrifuge.js", "npm ci --prefix tests/clients")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as pages:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{pages.server_port}"
        pages.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    yield from chromium.started()


@pytest.mark.parametrize(("encoding", "transport"), KINDS)
def test_a_page_subscribes_publishes_and_recovers(
    browser: chromium.Browser, site: str, encoding: str, transport: str
) -> None:
    with Server(threads=1, port=0, insecure=True, allowed_origins=[site]) as server:
        browser.open(f"{site}/{encoding}")
        browser.run("await start(...args)", transport, urlsplit(server.url).netloc)
        said: list[Any] = [{"text": "über 🔔 \n"}, "text", 0]
        for each in said:
            browser.run("await client.publish('room', encoded(args[0]))", each)
        for number in range(20):
            server.publish("room", number)
        expected = [*said, *range(20)]
        browser.wait(lambda: browser.run("return seen.data") == expected, lambda: browser.run("return seen"))
        assert browser.run("return (await client.presenceStats('room')).numClients") == 1
        ((client, used),) = browser.run("return seen.connected")
        assert used == transport
        cut(server, client)
        server.publish("room", "after the cut")
        expected.append("after the cut")
        browser.wait(lambda: browser.run("return seen.data") == expected, lambda: browser.run("return seen"))
        assert browser.run("return [seen.recovered, seen.unsubscribed]") == [[False, True], 0]
        browser.run("client.disconnect()")
        wait_until(lambda: not server.connections())
        assert [text for text in browser.console_errors() if "ERR_" not in text] == []
