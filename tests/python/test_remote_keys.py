"""When the keys of an identity provider are fetched again: what happens during a fetch is not forgotten."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING, Any

import pytest
from carillon import config as configuration
from carillon.remote_keys import RemoteKeys
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Core:
    """Takes the keys in place of a server."""

    unknown = 0

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def unknown_token_keys(self) -> int:
        return self.unknown

    def set_token_keys(self, table: str, body: bytes) -> None:
        self.given.append(body)

    def awaits_token_keys(self, table: str) -> bool:
        return not self.given


@contextlib.contextmanager
def provider(during_the_first: Callable[[], object]) -> Iterator[tuple[str, list[str]]]:
    """An identity provider, and the paths that it was asked for. It does something in its first answer."""
    asked: list[str] = []

    class Provider(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) == 1:
                during_the_first()
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def settings_of(url: str, interval: str = "1h") -> dict[str, Any]:
    token = {"jwks_public_endpoint": url, "jwks_retry_pause": "1s", "jwks_refresh_interval": interval}
    return configuration.normalise({"client": {"token": token}})


@pytest.mark.parametrize("event", ["a token of an unknown key", "other settings"])
def test_what_comes_during_a_fetch_leads_to_another_one(event: str) -> None:
    core = Core()
    keys: list[RemoteKeys] = []

    def act() -> None:
        if event == "other settings":
            keys[0].configure(settings_of(f"{url}/other"))
        else:
            core.unknown += 1

    with provider(act) as (url, asked):
        keys.append(RemoteKeys(core, settings_of(url + "/first")))  # type: ignore[arg-type]
        try:
            keys[0].start()
            wait_until(lambda: len(asked) == 2 and core.given, timeout=20)
        finally:
            keys[0].close()
    assert asked == ["/first", "/other" if event == "other settings" else "/first"]


def test_they_are_fetched_from_time_to_time() -> None:
    core = Core()
    with provider(lambda: None) as (url, asked):
        keys = RemoteKeys(core, settings_of(url + "/keys", interval="1s"))  # type: ignore[arg-type]
        try:
            keys.start()
            wait_until(lambda: len(core.given) >= 3, timeout=20)
        finally:
            keys.close()
    assert set(asked) == {"/keys"}
