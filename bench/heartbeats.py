"""What heartbeats cost: CPU time per ping and pong, per comment, and how they are spread.

    python -m bench.heartbeats --connections 5000

Opens idle connections, WebSockets and then event streams, once with heartbeats switched off and once with
short intervals; the difference of the server's CPU time, divided by the heartbeats that the clients saw, is
what one costs. Says what that makes for 100,000 connections at the default intervals, and how many came in
the busiest 100 ms. All traffic stays on 127.0.0.0/8.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import select
import socket
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import carillon

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

HANDSHAKE = (
    "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
STREAM = "GET /sse?channel=c HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONNECT = b'{"id":1,"connect":{}}'
PING = b"\x81\x02{}"
PONG = bytes([0x81, 0x82, 0, 0, 0, 0]) + b"{}"
DEFAULT_INTERVAL_S = {"ws": 25.0, "sse": 15.0}
MANY = 100_000


def serve(pipe: Connection, heartbeat: dict[str, int]) -> None:
    """A server in a process of its own, which says its CPU time whenever it is asked."""
    with carillon.Server(port=0, threads=1, heartbeat=heartbeat) as server:
        pipe.send(server.port)
        while pipe.recv() != "end":
            pipe.send(time.process_time())


def connect(port: int, transport: str, count: int) -> dict[int, socket.socket]:
    links = {}
    for i in range(count):
        link = socket.socket()
        link.bind((f"127.0.{1 + i // 250}.{1 + i % 250}", 0))
        link.connect(("127.0.0.1", port))
        if transport == "ws":
            link.sendall(HANDSHAKE.encode() + bytes([0x81, 0x80 | len(CONNECT)]) + bytes(4) + CONNECT)
        else:
            link.sendall(STREAM.encode())
        link.setblocking(False)
        links[link.fileno()] = link
    return links


def listen(links: dict[int, socket.socket], transport: str, seconds: float) -> list[float]:
    """Answers pings for so long. Returns when each heartbeat came."""
    poller = select.epoll()
    for number in links:
        poller.register(number, select.EPOLLIN)
    times = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        events = poller.poll(min(left, 0.1))
        now = time.monotonic()
        for number, _ in events:
            piece = links[number].recv(65536)
            if not piece:
                raise SystemExit("the server closed a connection")
            if transport == "ws" and piece.endswith(PING):
                times.append(now)
                links[number].sendall(PONG)
            elif transport == "sse" and piece.startswith(b":"):
                times.append(now)
    return times


def measure(transport: str, options: argparse.Namespace, *, is_beating: bool) -> tuple[float, list[float]]:
    """The server's CPU seconds, and when heartbeats came."""
    interval_ms = int(options.interval * 1000) if is_beating else 0
    heartbeat = {
        "ping_interval_ms": interval_ms,
        "pong_timeout_ms": interval_ms // 2,
        "comment_interval_ms": interval_ms,
    }
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, heartbeat), daemon=True)
    process.start()
    links = connect(here.recv(), transport, options.connections)
    listen(links, transport, options.interval + 1)  # until all are there, and in their step
    here.send("cpu")
    before = here.recv()
    times = listen(links, transport, options.seconds)
    here.send("cpu")
    cpu_s = here.recv() - before
    here.send("end")
    for link in links.values():
        link.close()
    process.join(30)
    return cpu_s, times


def row(transport: str, options: argparse.Namespace) -> dict[str, Any]:
    quiet_s, _ = measure(transport, options, is_beating=False)
    cpu_s, times = measure(transport, options, is_beating=True)
    each_us = max(0.0, cpu_s - quiet_s) / len(times) * 1e6
    busiest = max(Counter(int(t * 10) for t in times).values())
    round_s = each_us * MANY / 1e6
    return {
        "transport": transport,
        "connections": options.connections,
        "interval_s": options.interval,
        "heartbeats": len(times),
        "quiet_cpu_s": round(quiet_s, 3),
        "cpu_s": round(cpu_s, 3),
        "us_per_heartbeat": round(each_us, 2),
        "busiest_100ms_share": round(busiest / (len(times) / options.seconds / 10), 2),
        "round_of_100000_cpu_s": round(round_s, 3),
        "core_share_of_100000_percent": round(100 * round_s / DEFAULT_INTERVAL_S[transport], 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between heartbeats")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = [row(transport, options) for transport in ("ws", "sse")]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    for each in rows:
        print(
            f"{each['transport']:4} {each['heartbeats']} heartbeats, {each['us_per_heartbeat']} us each; "
            f"busiest 100 ms: {each['busiest_100ms_share']} times its share; {MANY:,} connections: "
            f"{each['round_of_100000_cpu_s']} s of CPU per round, "
            f"{each['core_share_of_100000_percent']} % of a core at the default interval"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
