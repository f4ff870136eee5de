"""A takeover while the endpoint of the keys is down: who has a token connects all the same."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from carillon.testing import wait_until
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serve_process import Process

pytestmark = pytest.mark.wire

KEY = ec.generate_private_key(ec.SECP256R1())
JWK: dict[str, Any] = jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key(), as_dict=True)
TOKEN = jwt.encode({"sub": "ann", "channels": ["a"]}, KEY, "ES256", headers={"kid": "1"})


class Provider(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"keys": [{**JWK, "kid": "1"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def provider(port: int = 0) -> Iterator[int]:
    """An identity provider that answers at this port until the end of the block."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configured(tmp_path: Path, url: str, table: str = "token") -> str:
    keys = {"jwks_public_endpoint": url, "jwks_retry_pause": "1s"}
    token = {"token": keys}
    if table == "subscription_token":
        del keys["jwks_retry_pause"]
        own = {"hmac_secret_key": "a secret of the connections, of 32 bytes"}
        token = {"token": own, "subscription_token": {"enabled": True, **keys}}
    file = tmp_path / "carillon.json"
    file.write_text(json.dumps({"client": token}))
    return str(file)


def connected(port: int) -> dict[str, Any]:
    """What a new client is answered; empty: it is closed with 3004."""
    with connect(f"ws://127.0.0.1:{port}/connection/websocket", proxy=None) as socket:
        socket.send(json.dumps({"id": 1, "connect": {"token": TOKEN}}))
        try:
            return dict(json.loads(socket.recv(5))["connect"])
        except ConnectionClosed:
            assert socket.close_code == 3004
            return {}


def health(port: int) -> Any:
    answer = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
    assert answer.status_code == 200
    return answer.json()


def test_the_keys_go_over_until_the_endpoint_answers_again(
    launch: Callable[..., Process], tmp_path: Path
) -> None:
    with provider() as where:
        file = configured(tmp_path, f"http://127.0.0.1:{where}/keys?password=hush")
        first = launch(0, file)
        wait_until(lambda: health(first.port) == {}, 20)  # a start waits for the keys for 3 s only
        assert set(connected(first.port)["subs"]) == {"a"}
        assert health(first.port) == {}
    process = first
    for _ in range(2):  # the second one hands over what it has got itself by a takeover
        before, process = process, launch(first.port, file, "--takeover")
        assert before.ended() == 0
        assert set(connected(first.port)["subs"]) == {"a"}
        assert health(first.port) == {}
        process.wait_for("the keys of jwks_public_endpoint have come from process")
        assert not any("hush" in line for line in process.log)
    with provider(where):
        for _ in range(5):  # a start waits for the keys for 3 s only, which a busy machine may need
            before, process = process, launch(first.port, file, "--takeover")
            assert before.ended() == 0
            assert set(connected(first.port)["subs"]) == {"a"}
            if not any("have come from" in line for line in process.log):
                break
        else:
            pytest.fail("it never has its own")


def test_the_keys_of_another_endpoint_do_not_count(launch: Callable[..., Process], tmp_path: Path) -> None:
    with provider() as where:
        first = launch(0, configured(tmp_path, f"http://127.0.0.1:{where}/keys"))
        wait_until(lambda: health(first.port) == {}, 20)
        assert connected(first.port)
    second = launch(first.port, configured(tmp_path, f"http://127.0.0.1:{where}/others"), "--takeover")
    assert first.ended() == 0
    assert connected(second.port) == {}
    assert health(second.port) == {"keys": "none yet"}


def test_the_keys_of_subscriptions_go_over_too(launch: Callable[..., Process], tmp_path: Path) -> None:
    def polled(port: int) -> int:
        link = jwt.encode({"sub": "ann", "channel": "$room"}, KEY, "ES256", headers={"kid": "1"})
        query = {"channel": "$room", "timeout": 0, "token": link}
        return httpx.get(f"http://127.0.0.1:{port}/poll", params=query, trust_env=False).status_code

    with provider() as where:
        file = configured(tmp_path, f"http://127.0.0.1:{where}/keys", "subscription_token")
        first = launch(0, file)
        wait_until(lambda: health(first.port) == {}, 20)
        assert polled(first.port) == 200
    launch(first.port, file, "--takeover")
    assert first.ended() == 0
    assert polled(first.port) == 200
