"""Admission: who is over the limits waits in the kernel's backlog, and is let in later."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

STREAM = b"GET /sse?channel=c HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_handshakes(serve: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "carillon.server")
    server = serve(limits={"handshakes": 10, "handshake_place_ms": 5_000})
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
        assert time.monotonic() - began < 5
        assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in waiting)
        # Those that still say nothing count no longer.
        wait_until(lambda: server.stats()["handshakes"] == 0, 20)
        assert httpx.get(f"{server.url}/health").status_code == 200

    def told(event: str) -> list[str]:
        return [one.getMessage() for one in caplog.records if one.__dict__.get("event") == event]

    wait_until(lambda: told("admission_over") != [])
    (line,) = told("admission")
    assert "limits.handshakes is 10" in line


def test_handshake_place_ms(serve: Callable[..., Server]) -> None:
    server = serve(limits={"handshakes": 2, "handshake_place_ms": 200, "handshake_timeout_ms": 60_000})
    with contextlib.ExitStack() as stack:
        for _ in range(2):  # they say nothing
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        began = time.monotonic()
        assert httpx.get(f"{server.url}/health", timeout=10).status_code == 200
        assert time.monotonic() - began < 5
        assert server.stats()["connections"] >= 2


def test_accept_burst(serve: Callable[..., Server]) -> None:
    server = serve(limits={"accepts_per_s": 1, "accept_burst": 20})
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        wait_until(lambda: server.stats()["accepted"] >= 20)
        wait_until(lambda: server.stats()["backlog"] > 0)
        assert server.stats()["accepted"] < 30


def test_read_ms_per_turn(serve: Callable[..., Server]) -> None:
    server = serve(limits={"read_ms_per_turn": 1})
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            for _ in range(400)
        ]
        for client in clients:
            client.sendall(STREAM)
        wait_until(lambda: server.stats()["sse"] == 400)  # however many turns it takes


def test_accepts_per_s(serve: Callable[..., Server]) -> None:
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
