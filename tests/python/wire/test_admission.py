"""Admission: who is over the limits waits in the kernel's backlog, and is let in later."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from carillon import AddressInUse, ConfigError, Server
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

STREAM = b"GET /sse?channel=c HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_silent_connections_hold_their_places_for_a_while_and_keep_nobody_out(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "carillon.server")
    server = serve(limits={"handshakes": 10, "handshake_place_ms": 1500})
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))

        silent = [connect() for _ in range(10)]
        wait_until(lambda: server.stats()["handshakes"] == 10)
        began = time.monotonic()
        waiting = [connect() for _ in range(5)]
        for one in waiting:
            one.sendall(STREAM)
        wait_until(lambda: server.stats()["backlog"] == 5 and server.stats()["accept_pauses"] > 0)
        assert server.stats()["accepted"] == 10
        # One leaves, and the next ones come in one after the other, as each handshake ends in no time.
        silent[0].close()
        wait_until(lambda: server.stats()["sse"] == 5)
        assert time.monotonic() - began < 1.5
        assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in waiting)
        # Those that still say nothing count no longer.
        wait_until(lambda: server.stats()["handshakes"] == 0)
        assert httpx.get(f"{server.url}/health").status_code == 200

    def told(event: str) -> list[str]:
        return [one.getMessage() for one in caplog.records if one.__dict__.get("event") == event]

    wait_until(lambda: told("admission_over") != [])
    (line,) = told("admission")
    assert "limits.handshakes is 10" in line


def test_the_rate_is_kept_and_all_are_let_in(serve: Callable[..., Server]) -> None:
    server = serve(
        insecure=True, limits={"accept_burst": 10}, config={"client": {"connection_rate_limit": 50}}
    )
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(STREAM)
        wait_until(lambda: server.stats()["sse"] == 60)
        assert time.monotonic() - began >= 50 / 50 - 0.1
        assert server.stats()["refused"] == server.stats()["turned_away"] == 0


def test_what_a_second_address_may_be(serve: Callable[..., Server]) -> None:
    server = serve()
    second = server.listen("127.0.0.1")
    assert httpx.get(f"{second.url}/health").status_code == 200
    with pytest.raises(AddressInUse, match=f"{second.port} is taken"):
        server.listen(port=second.port)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        server.listen("0.0.0.0")
    assert second.drain(1)
    with pytest.raises(ValueError, match="closed already"):
        second.drain()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{second.url}/health")
    assert httpx.get(f"{server.url}/health").status_code == 200
