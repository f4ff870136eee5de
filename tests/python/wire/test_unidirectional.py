"""Unidirectional clients: httpx, httpx-sse and websockets, which know nothing of the protocol."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any, Protocol

import carillon
import httpx
import httpx_sse
import pytest
from carillon import Channel, ConnectContext, Deny, Grant, User
from carillon.testing import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

pytestmark = pytest.mark.wire

Json = dict[str, Any]


class Opened(Protocol):
    """Opens a client: `open(url, request)`."""

    def __call__(
        self, url: str, request: Json | None = None, **headers: str
    ) -> contextlib.AbstractContextManager[Iterator[Json]]: ...


def address(url: str, name: str) -> str:
    return f"{url}/connection/{name}"


def frames(socket: ClientConnection) -> Iterator[Json]:
    with contextlib.suppress(ConnectionClosed):  # with a code that is not 1000
        while True:
            frame = socket.recv()
            assert isinstance(frame, str), "a text frame"
            yield json.loads(frame)


def whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a stream, without one that is cut by its end."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


@contextlib.contextmanager
def by_websocket(url: str, request: Json | None = None, **headers: str) -> Iterator[Iterator[Json]]:
    ws = address(url, "uni_websocket").replace("http", "ws")
    with connect(ws, additional_headers=headers, proxy=None) as socket:
        socket.send(json.dumps(request or {}))
        yield frames(socket)


@contextlib.contextmanager
def by_websocket_url(url: str, request: Json | None = None, **headers: str) -> Iterator[Iterator[Json]]:
    asked = httpx.QueryParams(cf_connect=json.dumps(request or {}))
    ws = address(url, "uni_websocket").replace("http", "ws")
    with connect(f"{ws}?{asked}", additional_headers=headers, proxy=None) as socket:
        yield frames(socket)


@contextlib.contextmanager
def by_sse(url: str, request: Json | None = None, **headers: str) -> Iterator[Iterator[Json]]:
    params = {} if request is None else {"cf_connect": json.dumps(request)}
    with (
        httpx.Client(timeout=20) as client,
        httpx_sse.connect_sse(
            client, "GET", address(url, "uni_sse"), params=params, headers=headers
        ) as source,
    ):
        source.response.raise_for_status()
        yield (event.json() for event in source.iter_sse())


@contextlib.contextmanager
def by_sse_post(url: str, request: Json | None = None, **headers: str) -> Iterator[Iterator[Json]]:
    with (
        httpx.Client(timeout=20) as client,
        httpx_sse.connect_sse(
            client, "POST", address(url, "uni_sse"), json=request or {}, headers=headers
        ) as source,
    ):
        source.response.raise_for_status()
        yield (event.json() for event in source.iter_sse())


@contextlib.contextmanager
def by_http_stream(url: str, request: Json | None = None, **headers: str) -> Iterator[Iterator[Json]]:
    where = address(url, "uni_http_stream")
    with httpx.stream("POST", where, json=request or {}, headers=headers, timeout=20) as response:
        response.raise_for_status()
        yield (json.loads(line) for line in whole_lines(response.iter_raw()))


OPENERS = [by_websocket, by_websocket_url, by_sse, by_sse_post, by_http_stream]
NAMES = {by_websocket: "uni_websocket", by_websocket_url: "uni_websocket", by_http_stream: "uni_http_stream"}
EVERY_TRANSPORT = pytest.mark.parametrize("opened", OPENERS, ids=lambda opener: opener.__name__)


class Listener(threading.Thread):
    """Notes every push until the server ends the stream."""

    def __init__(self, opened: Opened, url: str, request: Json | None = None) -> None:
        super().__init__(daemon=True)
        self._open = lambda: opened(url, request)
        self.pushes: list[Json] = []
        self.start()
        wait_until(lambda: self.pushes)

    def run(self) -> None:
        with contextlib.suppress(httpx.HTTPError), self._open() as pushes:
            self.pushes.extend(pushes)

    @property
    def data(self) -> list[Any]:
        return [push["pub"]["data"] for push in self.pushes if "pub" in push]

    def ended(self) -> Json:
        """The last push, once the stream is over."""
        self.join(15)
        assert not self.is_alive()
        return self.pushes[-1]


@EVERY_TRANSPORT
def test_pushes_come_without_an_envelope(serve: Callable[..., Server], opened: Opened) -> None:
    server = serve()
    server.publish("news", 1)
    with opened(server.url, {"subs": {"news": {}}}) as pushes:
        hello = next(pushes)["connect"]
        assert hello["subs"]["news"]["offset"] == 1
        assert hello["client"] in server.connections()
        assert hello["ping"] == 25
        assert "pong" not in hello
        server.publish("news", {"text": "Füße\n"})
        assert next(pushes) == {"channel": "news", "pub": {"data": {"text": "Füße\n"}, "offset": 2}}
        assert server.stats()["unidirectional"] == 1
    wait_until(lambda: server.stats()["unidirectional"] == 0)


@EVERY_TRANSPORT
def test_it_goes_on_behind_a_position(serve: Callable[..., Server], opened: Opened) -> None:
    server = serve()
    start = server.publish("news", 1)
    server.publish("news", 2)
    since = {"recover": True, "offset": start.offset, "epoch": start.epoch}
    with opened(server.url, {"subs": {"news": since}}) as pushes:
        there = next(pushes)["connect"]["subs"]["news"]
        assert there["recovered"]
        assert [each["data"] for each in there["publications"]] == [2]
        server.publish("news", 3)
        assert next(pushes)["pub"] == {"data": 3, "offset": 3}


@EVERY_TRANSPORT
def test_a_hook_gives_user_and_channels(serve: Callable[..., Server], opened: Opened) -> None:
    seen: list[tuple[str, str, str, Any]] = []

    def prepare(server: Server) -> None:
        @server.on_connect
        def identify(context: ConnectContext) -> User | Deny:
            seen.append((context.transport, context.token, context.headers.get("x-tab", ""), context.json()))
            if context.token != "good":
                return Deny(4501, "log in first")
            return User("ann", info={"name": "Ann"}, subscriptions=[Grant("room", data={"topic": "t"})])

    server = serve(before_start=prepare, insecure=False, channels={"*": Channel(presence=True)})
    with opened(server.url, {"token": "good", "data": {"tab": 3}}, **{"X-Tab": "7"}) as pushes:
        assert next(pushes)["connect"]["subs"]["room"]["data"] == {"topic": "t"}
        (member,) = server.presence("room").values()
        assert (member.user, member.conn_info) == ("ann", {"name": "Ann"})
        assert server.subscribe_user("ann", "more") == 1
        assert next(pushes)["channel"] == "more"
        assert server.unsubscribe_user("ann", "more") == 1
        assert next(pushes) == {
            "channel": "more",
            "unsubscribe": {"code": 2000, "reason": "server unsubscribe"},
        }
    name = NAMES.get(opened, "uni_sse")  # type: ignore[call-overload]
    assert seen == [(name, "good", "7", {"tab": 3})]
    with opened(server.url, {"token": "bad"}) as pushes:
        assert list(pushes) == [{"disconnect": {"code": 4501, "reason": "log in first"}}]


@EVERY_TRANSPORT
def test_the_api_finds_it_by_its_session(serve: Callable[..., Server], opened: Opened) -> None:
    server = serve()
    with opened(server.url) as pushes:
        session = next(pushes)["connect"]["session"]
        body = {"session": session, "disconnect": {"code": 4010, "reason": "enough"}}
        assert httpx.post(f"{server.url}/api/disconnect", json=body).json() == {"result": {"connections": 1}}
        assert list(pushes) == [{"disconnect": {"code": 4010, "reason": "enough"}}]


@EVERY_TRANSPORT
def test_a_token_ends_it_unless_the_server_renews_it(serve: Callable[..., Server], opened: Opened) -> None:
    config = {
        "client": {"token": {"hmac_secret_key": "secret"}, "expired_close_delay": "0s"},
        "http_api": {"key": "k"},
    }
    server = serve(insecure=False, config=config)
    token = carillon.token("secret", "ann", expires=60, channels=["news"])
    with contextlib.ExitStack() as opening:
        renewed = opening.enter_context(opened(server.url, {"token": token}))
        short = carillon.token("secret", "bob", expires=3)
        pushes = opening.enter_context(opened(server.url, {"token": short}))
        assert 1 <= next(pushes)["connect"]["ttl"] <= 3
        session = next(renewed)["connect"]["session"]
        body = {"session": session, "expire_at": 4_000_000_000}
        answer = httpx.post(f"{server.url}/api/refresh", json=body, headers={"X-API-Key": "k"})
        assert answer.json() == {"result": {"connections": 1}}
        assert next(renewed)["refresh"]["ttl"] > 60
        assert list(pushes) == [{"disconnect": {"code": 3005, "reason": "connection expired"}}]
        server.publish("news", 1)
        assert next(renewed)["pub"]["data"] == 1
    with opened(server.url) as pushes:
        assert next(pushes)["disconnect"]["code"] == 3501


@EVERY_TRANSPORT
def test_a_drain_says_shutdown(serve: Callable[..., Server], opened: Opened) -> None:
    server = serve()
    listener = Listener(opened, server.url, {"subs": {"c": {}}})
    server.publish("c", 1)
    wait_until(lambda: listener.data == [1])
    assert server.drain(10)
    assert listener.ended() == {"disconnect": {"code": 3001, "reason": "shutdown"}}


@EVERY_TRANSPORT
def test_who_does_not_read_is_disconnected(serve: Callable[..., Server], opened: Opened) -> None:
    # It has no place to come back to by itself: it connects again, from its position.
    server = serve(channels={"*": Channel(history_size=50)}, limits={"stall_timeout_ms": 1000})
    with opened(server.url, {"subs": {"c": {}}}) as pushes:
        next(pushes)
        for _ in range(300):
            server.publish("c", "x" * 50_000)
        wait_until(lambda: server.stats()["unidirectional"] == 0, 15)
        offsets = []
        with contextlib.suppress(httpx.HTTPError):
            for push in pushes:
                if "pub" in push:
                    offsets.append(push["pub"]["offset"])
    assert offsets == list(range(1, len(offsets) + 1)), "and what it has got has no gap"


def test_a_foreign_page_is_refused_and_an_allowed_one_is_told_so(serve: Callable[..., Server]) -> None:
    server = serve(allowed_origins=["https://app.example.com"])
    where = address(server.url, "uni_sse")
    assert httpx.get(where, headers={"Origin": "http://evil.example"}).status_code == 403
    streams = address(server.url, "uni_http_stream")
    assert httpx.post(streams, json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    for method, url in (("GET", where), ("POST", streams)):
        own = {"Origin": "https://app.example.com"}
        with httpx.stream(method, url, headers=own, content="{}" if method == "POST" else None) as response:
            assert response.headers["access-control-allow-origin"] == "https://app.example.com"
            assert response.headers["access-control-allow-credentials"] == "true"


def test_what_is_not_a_connect_request_is_refused(server: Server) -> None:
    for name, method in (("uni_sse", "POST"), ("uni_http_stream", "POST")):
        for content in ("", "nonsense", "[]", '{"token": 1}', '{"subs": []}'):
            answer = httpx.request(method, address(server.url, name), content=content)
            assert answer.status_code == 400, content
            assert "connect request" in answer.json()["error"]["message"]
    params = {"cf_connect": "nonsense"}
    assert httpx.get(address(server.url, "uni_sse"), params=params).status_code == 400
    with connect(address(server.url, "uni_websocket").replace("http", "ws"), proxy=None) as socket:
        socket.send("nonsense")
        assert list(frames(socket))[-1]["disconnect"]["code"] == 3501
        assert socket.protocol.close_code == 3501


@pytest.mark.parametrize("name", ["uni_websocket", "uni_sse", "uni_http_stream"])
def test_a_path_that_is_switched_off_is_not_there(serve: Callable[..., Server], name: str) -> None:
    server = serve(config={name: {"enabled": False}})
    url = address(server.url, name)
    assert httpx.get(url).status_code == 404
    others = {by_websocket: "uni_websocket", by_sse: "uni_sse", by_http_stream: "uni_http_stream"}
    for opened, other in others.items():
        if other != name:
            with opened(server.url) as pushes:
                assert "connect" in next(pushes)
