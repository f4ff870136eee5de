"""SDKs over HTTP as an attacker uses them, on a server that is not insecure. tests/clients has the SDKs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

pytestmark = pytest.mark.wire

CONNECT = '{"id":1,"connect":{}}'
OPENS = [("POST", "/connection/http_stream"), ("POST", "/connection/sse")]


@pytest.fixture
def keyed(serve: Callable[..., Server]) -> Server:
    anybody = Channel(allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True)
    return serve(insecure=False, channels={"open": anybody})


def messages(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line:
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize(("method", "path"), OPENS)
def test_what_a_client_claims_is_nobody(keyed: Server, method: str, path: str) -> None:
    commands = [
        CONNECT,
        '{"id":2,"rpc":{"method":"carillon.inbox"}}',
        '{"id":3,"subscribe":{"channel":"shut"}}',
        '{"id":4,"publish":{"channel":"open","data":1}}',
        '{"id":5,"subscribe":{"channel":"open"}}',
    ]
    with httpx.stream(method, f"{keyed.url}{path}?user=admin", content="\n".join(commands)) as response:
        replies = messages(response)
        assert "connect" in next(replies)
        assert [next(replies)["error"]["code"] for _ in range(3)] == [103, 103, 103]
        assert next(replies)["subscribe"]["recoverable"]


def test_only_the_secret_finds_the_client(keyed: Server) -> None:
    with httpx.stream("POST", f"{keyed.url}/connection/http_stream", content=CONNECT) as response:
        replies = messages(response)
        hello = next(replies)["connect"]
        for session, node, commands, status in (
            (hello["client"], hello["node"], "nonsense", 404),
            (hello["session"], hello["client"], "nonsense", 404),
            (hello["session"], "", "nonsense", 404),
            (hello["session"], hello["node"], '{"id":7,"ping":{}}', 204),
        ):
            body = {"session": session, "node": node, "data": commands}
            assert httpx.post(f"{keyed.url}/emulation", json=body).status_code == status
        assert next(replies) == {"id": 7, "ping": {}}, "the nonsense has reached nobody"


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_a_foreign_page_is_refused(keyed: Server, origin: str) -> None:
    headers = {"Origin": origin}
    for method, path in [*OPENS, ("POST", "/emulation")]:
        assert httpx.request(method, keyed.url + path, headers=headers, content="{}").status_code == 403
    address = f"{keyed.url}/connection/sse"
    assert httpx.get(address, params={"cf_connect": CONNECT}, headers=headers).status_code == 403


def test_a_path_that_is_switched_off_is_not_there(serve: Callable[..., Server]) -> None:
    server = serve(config={"http_stream": {"enabled": False}, "sse": {"enabled": False}})
    for method, path in OPENS:
        assert httpx.request(method, server.url + path, content=CONNECT).status_code in (404, 405)
