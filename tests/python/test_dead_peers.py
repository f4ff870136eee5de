"""Peers that vanish, and peers that only stand still: who is freed when, and as what."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from carillon.testing import wait_until
from conftest import require, require_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

PING = {"ping_interval_ms": 1000, "pong_timeout_ms": 500}
COMMENT_S = 1.0
POLL_S = 1.0
STALL_S = 2.5
SLACK_S = 1.5  # the kernel counts from the first retransmission, 0.5 s later; the rest is for slow machines

# A server that answers each line of its input with its stats.
SERVER = """
    import json, sys
    import carillon
    settings = json.loads(sys.argv[1])
    with carillon.Server(port=0, **settings) as server:
        print(server.port, flush=True)
        for line in sys.stdin:
            print(json.dumps(server.stats()), flush=True)
"""

# One client of each transport; from then on they only read.
CLIENTS = """
    import select, socket, sys
    host, port, poll_s, *transports = sys.argv[1:]
    REQUESTS = {
        "ws": "GET /connection/websocket HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: Upgrade\\r\\n"
              "Upgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n",
        "sse": "GET /sse?channel=c HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n",
        "poll": f"GET /poll?channel=c&timeout={poll_s} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n",
    }
    CONNECT = b'{"id":1,"connect":{}}'
    PONG = bytes([0x81, 0x82, 0, 0, 0, 0]) + b"{}"
    kinds = {}
    for transport in transports:
        link = socket.create_connection((host, int(port)))
        kinds[link] = transport
        link.sendall(REQUESTS[transport].encode())
        if transport == "ws":
            link.sendall(bytes([0x81, 0x80 | len(CONNECT)]) + bytes(4) + CONNECT)
        if transport != "poll":
            assert b" 101 " in link.recv(65536) or transport == "sse"
    print("ready", flush=True)
    while True:
        for link in select.select(list(kinds), [], [])[0]:
            if not (piece := link.recv(65536)):
                del kinds[link]
            elif kinds[link] == "ws" and piece.endswith(b"{}"):
                link.sendall(PONG)
            elif kinds[link] == "poll":
                link.sendall(REQUESTS["poll"].encode())
"""


class Program:
    """A Python program, inside of a network namespace if one is named."""

    def __init__(self, code: str, *arguments: str, namespace: str = "") -> None:
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-c", textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first_line = self.read()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.read())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Cable:
    """Two network namespaces and a cable between them."""

    def __init__(self) -> None:
        self.here, self.there = f"carillon-{os.getpid()}-here", f"carillon-{os.getpid()}-there"
        self.address = "10.213.7.1"

    def lay(self) -> None:
        for name in (self.here, self.there):
            ip("netns", "add", name)
        ip("link", "add", "c0", "netns", self.here, "type", "veth", "peer", "name", "c1", "netns", self.there)
        macs = {"c0": "02:00:00:00:00:01", "c1": "02:00:00:00:00:02"}
        for name, end, address, other, peer in (
            (self.here, "c0", self.address, "10.213.7.2", "c1"),
            (self.there, "c1", "10.213.7.2", self.address, "c0"),
        ):
            ip("-n", name, "link", "set", end, "address", macs[end])
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            # Nobody asks who is there: a router between the two would not notice that one is gone either.
            ip("-n", name, "neigh", "add", other, "lladdr", macs[peer], "dev", end, "nud", "permanent")

    def cut(self) -> None:
        """From now on every packet is lost, and nobody is told."""
        ip("-n", self.there, "link", "set", "c1", "down")

    def remove(self) -> None:
        for name in (self.here, self.there):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)


@pytest.fixture
def cable() -> Iterator[Cable]:
    require_tool("ip")
    require(os.geteuid() == 0, "root, for network namespaces,")
    cable = Cable()
    try:
        try:
            cable.lay()
        except subprocess.CalledProcessError as error:
            require(False, f"a kernel that lets root make network namespaces ({error.stderr.strip()})")
        yield cable
    finally:
        cable.remove()


@pytest.mark.slow
@pytest.mark.parametrize("flush", ["send", "auto"])
@pytest.mark.parametrize(
    ("transport", "freed_within_s"),
    [("ws", 1.0 + 0.5), ("sse", COMMENT_S + STALL_S), ("poll", POLL_S + STALL_S)],
)
def test_a_peer_whose_packets_are_lost_is_freed_within_interval_and_timeout(
    cable: Cable, transport: str, freed_within_s: float, flush: str
) -> None:
    settings = {
        "host": cable.address,
        "threads": 1,
        "flush": flush,
        "insecure": False,
        "channels": {"*": {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}},
        "heartbeat": {**PING, "comment_interval_ms": int(COMMENT_S * 1000)},
        "limits": {"stall_timeout_ms": int(STALL_S * 1000), "close_timeout_ms": 100},
    }
    with Program(SERVER, json.dumps(settings), namespace=cable.here) as server:
        arguments = (cable.address, server.first_line, str(POLL_S), transport)
        with Program(CLIENTS, *arguments, namespace=cable.there) as clients:
            assert clients.first_line == "ready"
            gauge = {"ws": "websocket", "sse": "sse", "poll": "polls"}[transport]
            wait_until(lambda: server.ask()[gauge] == 1)
            time.sleep(2.5)  # it lives, over some heartbeats
            assert server.ask()["connections"] == 1
            cable.cut()
            began = time.monotonic()
            wait_until(lambda: server.ask()["connections"] == 0, timeout=20)
            took = time.monotonic() - began
            assert took < freed_within_s + SLACK_S
            stats = server.ask()
            counts = {name: stats[name] for name in ("no_pong", "no_ack", "slow")}
            expected = {"no_pong": int(transport == "ws"), "no_ack": int(transport != "ws"), "slow": 0}
            assert counts == expected


@contextlib.contextmanager
def standing_still(server: Server, *transports: str) -> Iterator[Callable[[], None]]:
    """Clients in a process that is stopped once they are there, and goes on when the yielded call is made."""
    arguments = ("127.0.0.1", str(server.port), str(POLL_S), *transports)
    with Program(CLIENTS, *arguments) as clients:
        assert clients.first_line == "ready"
        wait_until(lambda: server.stats()["connections"] == len(transports))
        clients.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{clients.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(") ")[2][0] == "T")
        yield lambda: clients.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_stopped_client_is_no_dead_peer_but_on_websocket(serve: Callable[..., Server]) -> None:
    server = serve(
        heartbeat={**PING, "comment_interval_ms": 200},
        limits={"stall_timeout_ms": 500, "close_timeout_ms": 100},
    )
    with standing_still(server, "ws", "sse", "poll") as go_on:
        wait_until(lambda: server.stats()["no_pong"] == 1, timeout=5)
        time.sleep(2)  # four times what a dead peer is given, and longer than the poll
        stats = server.stats()
        assert (stats["websocket"], stats["sse"], stats["connections"]) == (0, 1, 2)
        assert (stats["no_ack"], stats["slow"]) == (0, 0)
        go_on()
        wait_until(lambda: server.stats()["polls"] == 1)  # it has its answer, and asks again
        assert server.stats()["sse"] == 1


@pytest.mark.slow
def test_a_stopped_client_that_is_sent_much_goes_as_slow(serve: Callable[..., Server]) -> None:
    server = serve(limits={"stall_timeout_ms": 3000, "kernel_backlog_bytes": 4096})
    with standing_still(server, "sse"):
        for _ in range(300):
            server.publish("c", "x" * 20_000)
        wait_until(lambda: server.stats()["clogged"] == 1)
        began = time.monotonic()
        wait_until(lambda: server.stats()["connections"] == 0, timeout=10)
        assert time.monotonic() - began > 2
        assert (server.stats()["slow"], server.stats()["no_ack"]) == (1, 0)
