"""A server whose descriptors have run out: nobody hangs, and the log says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import carillon
import carillon.sync
import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.alone

DESCRIPTORS = 72
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
        while client.recv(4096):  # 408, if it had one of the last descriptors
            pass
        return True
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


def answer(host: str, port: int, request: str) -> str:
    """What the server says to a newcomer, until it ends the connection."""
    with socket.create_connection((host, port), timeout=5) as newcomer:
        newcomer.sendall(f"{request}\r\nHost: localhost\r\n\r\n".encode())
        text = b""
        while piece := newcomer.recv(4096):
            text += piece
    return text.decode()


UPGRADE = (
    "GET /connection/websocket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)


# Not marked "wire": UndefinedBehaviorSanitizer opens a pipe to check a pointer, and has none here.
def test_newcomers_are_refused_in_their_own_way_and_those_connected_notice_nothing(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    serving, url = process
    host, number = url.removeprefix("http://").split(":")
    port = int(number)
    with contextlib.ExitStack() as stack, httpx.Client() as publisher:
        publisher.get(f"{url}/health")
        subscriptions = []
        for transport in ("ws", "sse", "poll"):
            client = stack.enter_context(carillon.sync.connect(url, transport=transport))
            subscriptions.append(stack.enter_context(client.subscribe("c")))

        def all_hear(data: int) -> None:
            publisher.post(f"{url}/api/publish", json={"channel": "c", "data": data})
            for subscription in subscriptions:
                message = subscription.next(5)
                assert isinstance(message, carillon.Message)
                assert message.json() == data

        all_hear(1)
        # Streams take what is left.
        others: list[socket.socket] = []
        while publisher.post(f"{url}/api/stats", json={}).json()["result"]["without_descriptor"] == 0:
            others.append(stack.enter_context(socket.create_connection((host, port), timeout=5)))
            others[-1].sendall(b"GET /sse?channel=other HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert len(others) < DESCRIPTORS
        for one in others:  # the last of them are refused when they have asked
            assert one.recv(4) == b"HTTP"
        all_hear(2)

        def counts() -> tuple[int, int]:
            result = publisher.post(f"{url}/api/stats", json={}).json()["result"]
            return result["refused"], result["turned_away"]

        refused, turned_away = counts()
        for _ in range(20):
            stream = answer(host, port, "GET /sse?channel=c HTTP/1.1")
            assert stream.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
            retry = int(stream.partition("\r\n\r\n")[2].removeprefix("retry:"))
            assert 2000 <= retry <= 4000
            for request in (UPGRADE, "GET /poll?channel=c HTTP/1.1"):
                refusal = answer(host, port, request)
                assert refusal.startswith("HTTP/1.1 503 ")
                assert "\r\nRetry-After: " in refusal
        assert answer(host, port, "GET /health HTTP/1.1").startswith("HTTP/1.1 200 ")
        assert counts() == (refused + 60, turned_away), "each is counted once, and the probe not at all"
        # It neither spins nor dies while more wait than it can take.
        silent = [stack.enter_context(socket.create_connection((host, port), timeout=5)) for _ in range(40)]
        before = cpu_s(serving.pid)
        time.sleep(1)
        assert cpu_s(serving.pid) - before < 0.5
        all_hear(3)
        for one in (*others, *silent):
            one.close()
        with httpx.stream("GET", f"{url}/sse?channel=c", timeout=5) as again:
            assert b"event: status" in next(chunk for chunk in again.iter_bytes() if b"status" in chunk)
        assert publisher.post(f"{url}/api/stats", json={}).json()["result"]["without_descriptor"] >= 60
        all_hear(4)


def cpu_s(pid: int) -> float:
    """CPU time of the process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_the_command_raises_its_soft_limit_and_says_what_that_allows(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = [sys.executable, "-m", "carillon", "serve", "--port", "0", "--log-format", "json"]
    serving = subprocess.Popen(
        ["sh", "-c", f"ulimit -Sn 256; exec {shlex.join(command)}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    serving.stdout.readline()
    assert resource.prlimit(serving.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    serving.terminate()
    _, errors = serving.communicate(timeout=20)
    start = next(line for line in map(json.loads, errors.splitlines()) if line.get("event") == "start")
    room = int(start["message"].split("room for ")[1].split()[0])
    assert hard - 200 < room < hard


def test_an_embedded_server_leaves_the_soft_limit_alone() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with carillon.Server(port=0):
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
