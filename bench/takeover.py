"""Takeovers under many connections: who is closed, what is lost or repeated, how long nobody is served.

    python bench/takeover.py --connections 10000

Starts `carillon serve`, opens a third of the connections each as WebSocket, SSE and long-poll, from
processes of their own, publishes at a steady rate, and lets new processes take over in a row; in the middle
one is killed that has received everything and not said so. Every delivery is checked. Exit code 1: something
was closed, lost or repeated, or the pause was longer than `--pause`. All traffic stays on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CHANNEL = "room"
HANDSHAKE = (
    "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
OFFSET = re.compile(rb'"offset":(\d+),"data"|"data":\{[^}]*\},"offset":(\d+)')
SINCE = re.compile(rb'"since":"([^"]+)"')
PING = b"\x81\x02{}"
LENGTH = re.compile(rb"Content-Length: (\d+)\r\n")
SUCCESSOR = Path(__file__).with_name("silent_successor.py")


@dataclass
class Subscriber:
    """One connection, and what has come over it."""

    link: socket.socket
    transport: str
    last: int = 0
    received: int = 0
    gaps: int = 0
    repeats: int = 0
    closed: bool = False
    last_time: float = 0.0
    pause: float = 0.0
    pending: bytes = b""

    def open(self, epoch: str) -> None:
        """Asks for everything from the first publication on."""
        since = f"{epoch}:0"
        if self.transport == "ws":
            self.link.sendall(HANDSHAKE.encode())
            recover = {"channel": CHANNEL, "recover": True, "epoch": epoch, "offset": 0}
            commands = [{"id": 1, "connect": {}}, {"id": 2, "subscribe": recover}]
            self.link.sendall(frame("\n".join(map(json.dumps, commands)).encode()))
        elif self.transport == "sse":
            target = f"/sse?channel={CHANNEL}&since={since}"
            self.link.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        else:
            self.poll(since)

    def poll(self, since: str) -> None:
        target = f"/poll?channel={CHANNEL}&since={since}&timeout=25"
        self.link.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def read(self, now: float) -> None:
        """Takes what has come."""
        try:
            piece = self.link.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.closed = True
            return
        text = self.pending + piece
        if self.transport == "poll":
            self._read_answers(text, now)
        else:
            self._read_pushes(text, piece, now)

    def _read_pushes(self, text: bytes, piece: bytes, now: float) -> None:
        if self.transport == "ws" and PING in self.pending[-3:] + piece:
            self.link.sendall(frame(b"{}"))
        end = 0
        for found in OFFSET.finditer(text):
            self._take(int(found[1] or found[2]), now)
            end = found.end()
        self.pending = text[max(end, len(text) - 200) :]

    def _read_answers(self, text: bytes, now: float) -> None:
        while (head := text.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(text, 0, head + 2)
            size = head + 4 + int(length[1]) if length else 0
            if not length or len(text) < size:
                break
            body, text = text[head + 4 : size], text[size:]
            since = SINCE.search(body)
            if not since:
                self.closed = True
                return
            for found in OFFSET.finditer(body):
                self._take(int(found[1] or found[2]), now)
            self.poll(since[1].decode())
        self.pending = text

    def _take(self, offset: int, now: float) -> None:
        if self.last_time:
            self.pause = max(self.pause, now - self.last_time)
        self.last_time = now
        self.received += 1
        self.gaps += max(0, offset - self.last - 1)
        self.repeats += offset <= self.last
        self.last = max(self.last, offset)


def frame(payload: bytes) -> bytes:
    """A client's text frame, masked with zeros."""
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0xFE]) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def subscribe(transport: str, count: int, port: int, epoch: str, pipe: Connection) -> None:
    """Runs a third of the subscribers until the pipe says the top offset; then sends back what came."""
    raise_descriptor_limit()
    poller = select.epoll()
    subscribers: dict[int, Subscriber] = {}
    for i in range(count):
        link = socket.socket()
        link.bind((f"127.0.{1 + i // 250}.{1 + i % 250}", 0))
        link.connect(("127.0.0.1", port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        subscriber = Subscriber(link, transport)
        subscriber.open(epoch)
        link.setblocking(False)
        subscribers[link.fileno()] = subscriber
        poller.register(link, select.EPOLLIN)
    poller.register(pipe, select.EPOLLIN)
    top = 0
    end = float("inf")
    while time.monotonic() < end:
        events = poller.poll(0.1)
        now = time.monotonic()
        for descriptor, _ in events:
            if descriptor == pipe.fileno():
                word = pipe.recv()
                if word == "count":
                    live = sum(each.received > 0 and not each.closed for each in subscribers.values())
                    pipe.send((live, max(each.pause for each in subscribers.values())))
                    for each in subscribers.values():  # a new measurement begins
                        each.pause = each.last_time = 0.0
                else:
                    top, end = word, now + 20
                continue
            subscriber = subscribers[descriptor]
            subscriber.read(now)
            if subscriber.closed:
                poller.unregister(descriptor)
        if top and all(each.last >= top or each.closed for each in subscribers.values()):
            break
    pauses = sorted(each.pause for each in subscribers.values())
    pipe.send(
        {
            "transport": transport,
            "connections": count,
            "received": sum(each.received for each in subscribers.values()),
            "closes": sum(each.closed for each in subscribers.values()),
            "gaps": sum(each.gaps + max(0, top - each.last) for each in subscribers.values()),
            "repeats": sum(each.repeats for each in subscribers.values()),
            "wait_p50_s": pauses[len(pauses) // 2],
            "wait_max_s": pauses[-1],
        }
    )


class Publisher(threading.Thread):
    """Publishes at a steady rate over one connection."""

    def __init__(self, port: int, interval_s: float) -> None:
        super().__init__(daemon=True)
        self._link = HTTPConnection("127.0.0.1", port, timeout=30)
        self._interval_s = interval_s
        self.top = 0
        self.slowest_s = 0.0
        self.is_over = threading.Event()
        self.epoch = self.publish()

    def publish(self) -> str:
        begin = time.monotonic()
        body = json.dumps({"channel": CHANNEL, "data": {"n": self.top}})
        self._link.request("POST", "/api/publish", body)
        result: dict[str, Any] = json.loads(self._link.getresponse().read())["result"]
        self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
        self.top = int(result["offset"])
        return str(result["epoch"])

    def run(self) -> None:
        due = time.monotonic()
        while not self.is_over.is_set():
            self.publish()
            due = max(due + self._interval_s, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


class Process:
    """A `carillon serve`."""

    def __init__(self, port: int, runtime: str, *arguments: str) -> None:
        command = [
            sys.executable,
            "-m",
            "carillon",
            "serve",
            "--no-access-log",
            "--port",
            str(port),
            *arguments,
        ]
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        self.log = Path(runtime) / f"{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.child = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.child.stdout
        found = re.search(r":(\d+) ", self.child.stdout.readline())
        if not found:
            raise SystemExit(f"the server did not start: {self.log.read_text()}")
        self.port = int(found[1])

    def pause_ms(self) -> int:
        """What it says of its own takeover."""
        found = re.search(r"nobody served for (\d+) ms", self.log.read_text())
        return int(found[1]) if found else -1


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ask_all(pipes: list[Connection], word: object) -> list[Any]:
    for pipe in pipes:
        pipe.send(word)
    return [pipe.recv() for pipe in pipes]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--takeovers", type=int, default=5, help="one more process is killed in the middle")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between publications")
    parser.add_argument("--rest", type=float, default=3.0, help="seconds between takeovers")
    parser.add_argument(
        "--history", type=int, default=0, help="MiB of history in other channels that move, too"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.5, help="longest that is accepted, s")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    raise_descriptor_limit()

    with tempfile.TemporaryDirectory() as runtime:
        server = Process(0, runtime, "--threads", str(options.threads))
        port = server.port
        fill_history(port, options.history)
        publisher = Publisher(port, options.interval)
        share = options.connections // 3
        counts = {"ws": options.connections - 2 * share, "sse": share, "poll": share}
        pipes = []
        workers = []
        for transport, count in counts.items():
            here, there = multiprocessing.Pipe()
            worker = multiprocessing.Process(
                target=subscribe, args=(transport, count, port, publisher.epoch, there), daemon=True
            )
            worker.start()
            workers.append(worker)
            pipes.append(here)
        publisher.start()
        while sum(live for live, _ in ask_all(pipes, "count")) < options.connections:
            time.sleep(0.5)
        print(f"{options.connections} connections are live", flush=True)
        time.sleep(2)
        quiet = baseline(pipes, options)
        publisher.slowest_s = 0.0
        pauses = []
        for i in range(options.takeovers):
            if i == options.takeovers // 2:
                print(f"killed with {kill_a_successor(runtime, port)} descriptors in its hands", flush=True)
                time.sleep(options.rest)
            old, server = server, Process(port, runtime, "--takeover", "--threads", str(1 + i % 3))
            old.child.wait(30)
            pauses.append(server.pause_ms())
            print(
                f"takeover {i + 1}: {pauses[-1]} ms, the old one ended with {old.child.returncode}",
                flush=True,
            )
            time.sleep(options.rest)
        publisher.is_over.set()
        publisher.join()
        rows = ask_all(pipes, publisher.top)
        for worker in workers:
            worker.join()
        server.child.terminate()
        server.child.wait(30)

    result = {
        "connections": options.connections,
        "publications": publisher.top,
        "server_pauses_ms": pauses,
        "longest_wait_over_interval_s": max(row["wait_max_s"] for row in rows) - options.interval,
        "the_same_without_takeovers_s": quiet,
        "slowest_publish_s": publisher.slowest_s,
        "transports": rows,
    }
    is_clean = not any(row["closes"] + row["gaps"] + row["repeats"] for row in rows)
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0 if is_clean and result["longest_wait_over_interval_s"] <= options.pause else 1


def baseline(pipes: list[Connection], options: argparse.Namespace) -> float:
    """The longest wait over the interval in a while without takeovers: what this machine adds by itself."""
    ask_all(pipes, "count")
    time.sleep(options.rest * 3)
    return max(wait for _, wait in ask_all(pipes, "count")) - options.interval


def fill_history(port: int, mebibytes: int) -> None:
    link = HTTPConnection("127.0.0.1", port, timeout=30)
    for i in range(mebibytes * 8):
        body = json.dumps({"channel": f"past{i // 20}", "data": "x" * 131_072})
        link.request("POST", "/api/publish", body)
        link.getresponse().read()
    link.close()


def kill_a_successor(runtime: str, port: int) -> int:
    path = f"{runtime}/carillon-{os.geteuid()}-{port}.sock"
    with subprocess.Popen([sys.executable, SUCCESSOR, path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        words = child.stdout.readline().split()
        child.send_signal(signal.SIGKILL)
    return int(words[1])


def table(result: dict[str, Any]) -> str:
    head = ("transport", "connections", "received", "closes", "gaps", "repeats", "longest wait")
    rows = [
        (*(str(row[name]) for name in head[:-1]), f"{row['wait_max_s']:.3f} s")
        for row in result["transports"]
    ]
    lines = ["".join(f"{cell:>14}" for cell in row) for row in (head, *rows)]
    wait, quiet, publish = (
        f"{result[name] * 1000:.0f} ms"
        for name in ("longest_wait_over_interval_s", "the_same_without_takeovers_s", "slowest_publish_s")
    )
    return "\n".join(
        (
            *lines,
            f"nobody served, as the servers say: {result['server_pauses_ms']} ms",
            f"longest wait over the interval: {wait}, without takeovers {quiet}; slowest publish: {publish}",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
