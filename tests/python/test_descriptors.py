"""A server whose descriptors have run out: nobody hangs, and the log says what to do."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESCRIPTORS = 64
CLIENTS = 400


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `carillon serve` that may have few descriptors, and its URL."""
    config = tmp_path / "carillon.toml"
    config.write_text("[client]\ninsecure = true\n[limits]\nconnections = 100000\n")
    options = ["--port", "0", "--config", str(config), "--log-format", "json"]
    serving = subprocess.Popen(
        [sys.executable, "-m", "carillon", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    try:
        url = next(word for word in serving.stdout.readline().split() if word.startswith("http://"))
        _, most = resource.prlimit(serving.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(serving.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, most))
        yield serving, url
    finally:
        if serving.poll() is None:
            serving.kill()
            serving.communicate()


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed it, within what is left of the second that it has."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_those_without_a_descriptor_are_closed_at_once_and_the_operator_hears_of_it(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    serving, url = process
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
            for _ in range(CLIENTS)
        ]
        until = time.monotonic() + 2
        closed = 0
        for client in reversed(clients):  # the last ones came when nothing was left
            client.settimeout(max(0.01, until - time.monotonic()))
            closed += is_closed(client)
        assert CLIENTS - DESCRIPTORS <= closed < CLIENTS
    until = time.monotonic() + 5
    stats: dict[str, Any] = {}
    while stats.get("event") != "accepting" and time.monotonic() < until:
        assert httpx.get(f"{url}/health").status_code == 200
        assert serving.stderr is not None
        stats = json.loads(serving.stderr.readline())
        if stats["event"] == "turned_away":
            assert stats["level"] == "warning"
            assert stats["logger"] == "carillon.server"
            assert stats["limit"] == DESCRIPTORS
            assert 0 < stats["turned_away"] <= closed
            assert 0 < stats["connections"] < DESCRIPTORS
            assert "ulimit -n" in stats["message"]
    assert stats["event"] == "accepting"
    serving.send_signal(signal.SIGTERM)
    _, errors = serving.communicate(timeout=20)
    assert serving.returncode == 0
    assert "out of descriptors" not in errors  # once is enough
