"""Readers that stall beside readers that do not: what they cost the server, and what the others notice.

    python -m bench.slow_consumers --stalled 1000

Puts full load on one channel with readers that read, and again while further ones (a third each over
WebSocket, SSE and long-polling, which asks for everything) have stopped reading. Prints the server's memory,
the kernel's share and the readers' latency of both; then the stalled ones read on, and the ledger must
balance. Exit code 1: memory grew by more than positions and the ends of cut frames, or an account does not
balance, or a reader missed something. All traffic stays on 127.0.0.1, and latencies decide nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import resource
import select
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
from carillon.load import Load, run_load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

CHANNEL = "bench"
HANDSHAKE = (
    "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
RECEIVE_BYTES = 4096  # what the kernel of a stalled reader takes for it
STALLED_BYTES = 16 * 1024  # of the process, at most: a connection, a cursor, the end of a cut frame
GROWTH_BYTES = 24 << 20  # whatever the number of readers: a full history in every form, and what malloc keeps


def serve(pipe: Connection, policy: str, threads: int) -> None:
    """A server in a process of its own, which answers what the pipe asks: stats, ledger, oldest
    (a position from which a poll gets nearly all of the history) or end."""
    server = carillon.Server(
        port=0,
        threads=threads,
        limits={"stall_timeout_ms": 600_000},
        channels={"*": {"slow_consumer": policy}},
    )
    with server:
        pipe.send(server.port)
        while (word := pipe.recv()) != "end":
            if word == "oldest":
                top = server.publish(CHANNEL, "asked")
                pipe.send(f"{top.epoch}:{max(0, top.offset - 900)}")
            else:
                pipe.send(getattr(server, word)())


class Samples(threading.Thread):
    """The server's gauges while a load runs; keeps the highest of each."""

    def __init__(self, ask: Connection) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self._over = threading.Event()
        self.highest: dict[str, int] = {}

    def run(self) -> None:
        while not self._over.wait(0.1):
            self._ask.send("stats")
            stats = self._ask.recv()
            for name in ("resident_bytes", "kernel_bytes", "clogged", "lagging"):
                self.highest[name] = max(self.highest.get(name, 0), stats[name])

    def __enter__(self) -> Samples:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def frame(payload: str) -> bytes:
    """A client's text frame, masked with zeros."""
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload.encode()


def open_reader(port: int, transport: str, since: str) -> socket.socket:
    """Subscribes, and reads nothing but that it is subscribed."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    link.settimeout(30)
    link.connect(("127.0.0.1", port))
    if transport == "poll":  # everything that the log has, and nobody takes it
        target = f"/poll?channel={CHANNEL}&since={since}"
        link.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return link
    if transport == "sse":
        link.sendall(f"GET /sse?channel={CHANNEL} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for(link, b"event: status")
        return link
    subscribe = {"channel": CHANNEL}
    commands = "\n".join(map(json.dumps, ({"id": 1, "connect": {}}, {"id": 2, "subscribe": subscribe})))
    link.sendall(HANDSHAKE.encode() + frame(commands))
    wait_for(link, b'"subscribe":')
    return link


def wait_for(link: socket.socket, mark: bytes) -> None:
    read = b""
    while mark not in read:
        piece = link.recv(4096)
        if not piece:
            raise SystemExit(f"the server closed instead of sending {mark!r}: {read!r}")
        read += piece


@contextlib.contextmanager
def stalled(port: int, count: int, since: str) -> Iterator[list[socket.socket]]:
    links: list[socket.socket] = []
    try:
        links.extend(open_reader(port, ("ws", "sse", "poll")[i % 3], since) for i in range(count))
        yield links
    finally:
        for link in links:
            link.close()


def read_on(pipe: Connection, links: list[socket.socket], seconds: float) -> int:
    """Takes what comes until the server has nothing more for these readers. Returns how many it closed.

    Args:
        pipe: The server's.
        links: The readers.
        seconds: Time for it at most.
    """
    poller = select.epoll()
    by_number = {link.fileno(): link for link in links}
    for link in links:
        link.setblocking(False)
        poller.register(link, select.EPOLLIN)
    closed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        events = poller.poll(0.3)
        if not events:
            stats = ask(pipe, "stats")
            if not stats["clogged"] and not stats["lagging"]:
                break
        for number, _ in events:
            with contextlib.suppress(BlockingIOError):
                if not by_number[number].recv(1 << 16):
                    poller.unregister(number)
                    closed += 1
    return closed


def measure(pipe: Connection, port: int, options: argparse.Namespace) -> dict[str, Any]:
    load = Load(
        port=port,
        channel=CHANNEL,
        connections=options.readers,
        in_flight=options.in_flight,
        seconds=options.seconds,
        payload_bytes=options.payload,
    )
    with Samples(pipe) as samples:
        result = run_load(load)
    return {
        **samples.highest,
        "is_clean": result.is_clean,
        "faults": str(result.faults),
        "deliveries_per_s": round(result.deliveries_per_s),
        "p50_ms": round(result.latency.percentile_ns(0.5) / 1e6, 3),
        "p99_ms": round(result.latency.percentile_ns(0.99) / 1e6, 3),
        "p999_ms": round(result.latency.percentile_ns(0.999) / 1e6, 3),
    }


def ask(pipe: Connection, word: str) -> Any:
    pipe.send(word)
    return pipe.recv()


def balanced(pipe: Connection) -> dict[str, Any]:
    """The ledger, once every connection has gone."""
    end = time.monotonic() + 30
    while ask(pipe, "stats")["connections"] and time.monotonic() < end:
        time.sleep(0.1)
    ledger: dict[str, Any] = ask(pipe, "ledger")
    return ledger


def run(options: argparse.Namespace) -> dict[str, Any]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, options.policy, options.threads), daemon=True
    )
    process.start()
    port = here.recv()
    measure(here, port, options)  # what the first load brings is not the stalled readers' doing
    alone = measure(here, port, options)
    with stalled(port, options.stalled, ask(here, "oldest")) as links:
        beside = measure(here, port, options)
        closed = read_on(here, links, 30)
        after = ask(here, "stats")
    ledger = balanced(here)
    here.send("end")
    process.join(30)
    row = next(row for row in ledger["channels"] if row["channel"] == CHANNEL)
    growth = beside["resident_bytes"] - alone["resident_bytes"]
    bound = GROWTH_BYTES + options.stalled * STALLED_BYTES
    return {
        "policy": options.policy,
        "stalled": options.stalled,
        "readers": options.readers,
        "alone": alone,
        "beside": beside,
        "growth_bytes": growth,
        "growth_bound_bytes": bound,
        "gaps_told": after["gaps_told"],
        "slow": after["slow"],
        "closed": closed,
        "account": row,
        "is_balanced": ledger["is_balanced"],
        "is_good": alone["is_clean"] and beside["is_clean"] and ledger["is_balanced"] and growth <= bound,
    }


def table(result: dict[str, Any]) -> str:
    names = ("p50_ms", "p99_ms", "p999_ms", "deliveries_per_s", "resident_bytes", "kernel_bytes", "clogged")
    lines = [f"{'':18}{'alone':>14}{'beside them':>14}"]
    lines += [f"{name:18}{result['alone'][name]:>14}{result['beside'][name]:>14}" for name in names]
    account = {name: value for name, value in result["account"].items() if name != "channel"}
    verdict = "balances" if result["is_balanced"] else "DOES NOT BALANCE"
    return "\n".join(
        (
            f"{result['stalled']} stalled beside {result['readers']} readers, policy {result['policy']}",
            *lines,
            f"memory grew by {result['growth_bytes']:,} bytes (at most {result['growth_bound_bytes']:,})",
            f"then they read on: {result['gaps_told']} gaps told, {result['slow']} sent away as slow",
            f"the ledger {verdict}: {account}",
            f"the other readers: {result['beside']['faults']}",
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stalled", type=int, default=1000)
    parser.add_argument("--readers", type=int, default=200, help="who read what comes")
    parser.add_argument("--policy", choices=("wait", "skip", "disconnect"), default="wait")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--payload", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    result = run(options)
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0 if result["is_good"] else 1


if __name__ == "__main__":
    sys.exit(main())
