"""HTTP to the letter (RFC 9110, RFC 9112), as bytes on a socket: each request is answered, none waits."""

from __future__ import annotations

import json
import logging
import re
import socket
from typing import TYPE_CHECKING

import pytest
from carillon.testing import wait_until
from wire_clients import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"channel":"n","data":1}'
PUBLISH = b"POST /api/publish" + HOST + b"X-API-Key: k\r\nContent-Length: 24\r\n"
UPGRADE = (
    b"GET /connection/websocket"
    + HOST
    + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)


def read_to_end(connection: socket.socket) -> bytes:
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


def ask(server: Server, request: bytes) -> bytes:
    """All that the server answers. The request is the last one: the server must answer, then close."""
    with connect(server) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return read_to_end(connection)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


REQUESTS: dict[str, tuple[bytes, list[int]]] = {
    "absolute form": (b"GET http://localhost/health" + HOST + b"\r\n", [200]),
    "absolute form of another host": (b"GET http://evil.test/health" + HOST + b"\r\n", [421]),
    "authority form": (b"CONNECT localhost:80" + HOST + b"\r\n", [400]),
    "asterisk form": (b"OPTIONS *" + HOST + b"\r\n", [204]),
    "fragment": (b"GET /health#x" + HOST + b"\r\n", [400]),
    "no Host": (b"GET /health HTTP/1.1\r\n\r\n", [400]),
    "two Hosts": (b"GET /health" + HOST + b"Host: evil.test\r\n\r\n", [400]),
    "HTTP/1.0 without Host": (b"GET /health HTTP/1.0\r\n\r\n", [200]),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "lone LF": (b"GET /health HTTP/1.1\nHost: localhost\n\n", [400]),
    "lone CR": (b"GET /health HTTP/1.1\rHost: localhost\r\r", [400]),
    "NUL": (b"GET /health" + HOST + b"A: b\0c\r\n\r\n", [400]),
    "NUL in the target": (b"GET /hea\0lth" + HOST + b"\r\n", [400]),
    "folded line": (b"GET /health" + HOST + b"A: b\r\n c\r\n\r\n", [200]),
    "blank before the colon": (b"GET /health" + HOST + b"A : b\r\n\r\n", [400]),
    "empty header name": (b"GET /health" + HOST + b": b\r\n\r\n", [400]),
    "many headers": (b"GET /health" + HOST + b"a:\r\n" * 1_500 + b"\r\n", [200]),
    "too many headers": (b"GET /health" + HOST + b"a:\r\n" * 3_000 + b"\r\n", [431]),
    "two lengths": (PUBLISH + b"Content-Length: 25\r\n\r\n" + BODY, [400]),
    "length and chunks": (PUBLISH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    "negative length": (b"POST /api/info" + HOST + b"Content-Length: -1\r\n\r\n", [400]),
    "chunks in gzip": (
        b"POST /api/info" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        [501],
    ),
    "chunks in HTTP/1.0": (
        b"POST /api/info HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
    ),
    "chunk of no size": (
        b"POST /api/info" + HOST + b"X-API-Key: k\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        [400],
    ),
    "cut body": (PUBLISH + b"\r\n" + BODY[:-1], [400]),
    "empty lines between": (PUBLISH + b"\r\n" + BODY + b"\r\n\r\nGET /health" + HOST + b"\r\n", [200, 200]),
    "gzip body": (PUBLISH + b"Content-Encoding: gzip\r\n\r\n" + BODY, [415]),
    "pipelined behind a refused body": (
        b"POST /api/publish" + HOST + b"Content-Length: 24\r\n\r\n" + BODY + b"GET /health" + HOST + b"\r\n",
        [401],
    ),
    "body that nobody asked for": (b"GET /health" + HOST + b"Content-Length: 5\r\n\r\nhello", [200]),
    "HEAD": (b"HEAD /health" + HOST + b"\r\nGET /health" + HOST + b"\r\n", [200, 200]),
    "HEAD of nothing": (b"HEAD /nothing" + HOST + b"\r\n", [404]),
    "unknown method": (b"BREW /health" + HOST + b"\r\n", [405]),
    "upgrade in two lines": (
        UPGRADE + b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        [101],
    ),
    "upgrade among others": (
        UPGRADE + b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n",
        [101],
    ),
    "upgrade with a body": (
        UPGRADE + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}",
        [400],
    ),
    "upgrade with a short key": (
        UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"abc=")
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        [400],
    ),
    "upgrade of an old version": (
        UPGRADE.replace(b": 13", b": 8") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        [426],
    ),
    "no upgrade": (UPGRADE + b"\r\n", [400]),
    "Expect of something else": (PUBLISH + b"Expect: the unexpected\r\n\r\n" + BODY, [417]),
    "late close": (
        b"GET /health" + HOST + b"Connection: x\r\nConnection: close\r\n\r\nGET /health" + HOST + b"\r\n",
        [200],
    ),
}


def test_each_request_is_answered(serve: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    server = serve(api_key="k", insecure=True)
    with caplog.at_level(logging.INFO, "carillon.access"):
        for name, (request, expected) in REQUESTS.items():
            caplog.clear()
            answer = ask(server, request)
            assert statuses(answer) == expected, (name, answer)
            if expected[0] >= 400:
                records = caplog.records
                wait_until(lambda records=records: len(records) > 0, TIMEOUT_S)  # type: ignore[misc]
                assert records[0].__dict__["event"] == "refuse", name
                assert records[0].__dict__["code"] == expected[0], name


def test_refusals_say_what_would_do(serve: Callable[..., Server]) -> None:
    server = serve(api_key="k")
    body = b"Content-Length: 24\r\n"
    assert b"\r\nAllow: POST, OPTIONS\r\n" in ask(server, b"GET /api/publish" + HOST + b"\r\n")
    assert b"\r\nAllow: GET, OPTIONS\r\n" in ask(server, b"PUT /sse?channel=n" + HOST + b"\r\n")
    assert b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in ask(server, b"PUT /health" + HOST + b"\r\n")
    assert b"\r\nWWW-Authenticate: ApiKey\r\n" in ask(
        server, b"POST /api/publish" + HOST + body + b"\r\n" + BODY
    )
    assert b"\r\nAccept-Encoding: identity\r\n" in ask(
        server, PUBLISH + b"Content-Encoding: br\r\n\r\n" + BODY
    )
    old = UPGRADE.replace(b": 13", b": 8") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in ask(server, old)
    for scheme in (b"apikey", b"ApiKey", b"APIKEY "):
        key = b"Authorization: " + scheme + b" k\r\n"
        assert statuses(ask(server, b"POST /api/publish" + HOST + body + key + b"\r\n" + BODY)) == [200]


def test_http_1_0_keeps_the_connection_if_both_say_so(server: Server) -> None:
    keep = b"GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    answer = ask(server, keep + keep + b"GET /health HTTP/1.0\r\n\r\n")
    assert statuses(answer) == [200, 200, 200]
    assert answer.count(b"Connection: keep-alive\r\n") == 2
    assert answer.count(b"Connection: close\r\n") == 1


def test_a_client_that_sends_no_more_is_answered(serve: Callable[..., Server]) -> None:
    server = serve()
    server.add_members("team", [f"u{i}" for i in range(20_000)])
    body = b'{"channel":"team","data":1}'
    publish = b"POST /api/publish" + HOST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    info = b"POST /api/info" + HOST + b"Content-Length: 2\r\n\r\n{}"
    for _ in range(5):
        assert statuses(ask(server, publish + info)) == [200, 200]
    poll = ask(server, b"GET /poll?channel=n&timeout=60" + HOST + b"\r\n")
    assert statuses(poll) == [200]
    assert json.loads(poll.split(b"\r\n\r\n", 1)[1])["publications"] == []


def test_a_body_is_sent_after_100_continue(serve: Callable[..., Server]) -> None:
    server = serve(api_key="k")
    with connect(server) as connection:
        connection.sendall(PUBLISH + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    with connect(server) as connection:
        connection.sendall(PUBLISH.replace(b": k", b": wrong") + b"Expect: 100-continue\r\n\r\n")
        assert statuses(read_to_end(connection)) == [401]


def test_a_body_without_a_key_is_refused_unread(serve: Callable[..., Server]) -> None:
    server = serve(api_key="k")
    for path, status in (("/api/publish", 401), ("/api/nothing", 404), ("/nothing", 404), ("/health", 405)):
        with connect(server) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 100)
            assert statuses(connection.recv(1000)) == [status]
            connection.sendall(
                b"x" * 1_000_000
            )  # a client that looks for an answer afterwards still finds the end
            assert read_to_end(connection) == b""
    assert server.stats()["body_bytes"] == 0
