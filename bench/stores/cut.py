"""A gateway that follows many channels loses Redis for a while, in which each is published to elsewhere."""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import time
from typing import TYPE_CHECKING

from .latency import carillon_at
from .running import calls, cpu_of, gateways, redis_cpu_s

if TYPE_CHECKING:
    from carillon.testing import RedisServer

PER_CLIENT = 100
IDLE_S = 60
AWAY_S = 2
LONGEST_S = 60
FRAME = bytes([0x81])
PING = FRAME + b"\x02{}"
NUMBER = re.compile(rb'"n":(\d+)\}')


class Subscribers:
    """Raw WebSockets, each subscribed to some channels; they note which numbers have come."""

    def __init__(self, port: int, channels: int) -> None:
        self.got: set[int] = set()
        self.lost = 0
        self.resets = 0  # channels of which a client was told that it has to begin anew
        self._selector = selectors.DefaultSelector()
        self._rest: dict[socket.socket, bytes] = {}
        for first in range(0, channels, PER_CLIENT):
            commands = [{"id": 1, "connect": {}}]
            for i in range(first, min(first + PER_CLIENT, channels)):
                commands.append({"id": i - first + 2, "subscribe": {"channel": f"c{i}"}})
            self._open(port, "\n".join(map(json.dumps, commands)))

    def _open(self, port: int, commands: str) -> None:
        link = socket.create_connection(("127.0.0.1", port))
        link.sendall(
            b"GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += link.recv(4096)
        link.sendall(frame(commands.encode()))
        answers = 0
        while answers < commands.count('"subscribe"'):
            answers += link.recv(1 << 16).count(b'"subscribe"')
        link.setblocking(False)
        self._selector.register(link, selectors.EVENT_READ)
        self._rest[link] = b""

    def read(self, timeout_s: float) -> None:
        """Reads what is there, and answers pings."""
        for key, _ in self._selector.select(timeout_s):
            link = key.fileobj
            assert isinstance(link, socket.socket)
            data = link.recv(1 << 20)
            if not data:
                self.lost += 1
                self._selector.unregister(link)
                continue
            if PING in data:
                link.sendall(frame(b"{}"))
            text = self._rest[link] + data
            self.resets += text.count(b'"unsubscribe"') + text.count(b'"disconnect"')
            end = 0
            for found in NUMBER.finditer(text):
                self.got.add(int(found[1]))
                end = found.end()
            self._rest[link] = text[max(end, len(text) - 64) :]

    def wait(self, seconds: float) -> None:
        """Reads for so long."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)

    def close(self) -> None:
        """Ends all of them."""
        for link in self._rest:
            link.close()


def frame(payload: bytes) -> bytes:
    """Returns a text frame as a client sends it; a mask of zeros changes nothing."""
    size = len(payload)
    head = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    if size > 0xFFFF:
        head = b"\xff" + size.to_bytes(8, "big")
    return FRAME + head + bytes(4) + payload


def cut(redis: RedisServer, channels: int, rounds: int) -> None:
    """Prints what following costs when nothing happens, and how long it takes to be whole again.

    The follower has a user of its own, whom Redis cuts off and refuses: so nothing stands in its way
    afterwards. The clock starts when that user is let in again.
    """
    redis.cli("flushall")
    redis.cli("acl", "setuser", "follower", "on", ">word", "~*", "&*", "+@all")
    store = f"redis://follower:word@127.0.0.1:{redis.port}"
    with gateways(redis.url, 1) as (publisher,), carillon_at(store) as (port, pid):
        began = time.perf_counter()
        subscribers = Subscribers(port, channels)
        print(
            f"\n## {channels:,} followed channels, all subscribed within {time.perf_counter() - began:.1f} s"
        )
        subscribers.wait(45)  # presence is told in batches, and each top is compared once
        redis.cli("config", "resetstat")
        redis_s, own_s = redis_cpu_s(redis), cpu_of(pid)
        subscribers.wait(IDLE_S)
        commands = {
            name: calls(redis, name) / IDLE_S for name in ("evalsha", "info", "pexpire", "ping", "publish")
        }
        redis_s, own_s = (redis_cpu_s(redis) - redis_s) / IDLE_S, (cpu_of(pid) - own_s) / IDLE_S
        all_commands = sum(commands.values())
        print(
            f"idle: {all_commands:,.0f} commands/s, {all_commands / channels:.4f} a channel and second "
            f"({', '.join(f'{name} {number:.1f}' for name, number in commands.items() if number)}); "
            f"CPU of Redis {redis_s:.1%} of a core, of the gateway {own_s:.1%}"
        )
        print(
            "| round | load average | whole after, s | missing | told to begin anew | commands of Redis "
            "| CPU of Redis, s | of the gateway, s |"
        )
        print("| --- " * 8 + "|")
        for number in range(1, rounds + 1):
            subscribers.got.clear()
            subscribers.resets = 0
            redis.cli("acl", "setuser", "follower", "off")
            redis.cli("client", "kill", "user", "follower")
            for first in range(0, channels, 1_000):
                last = min(first + 1_000, channels)
                publisher.publish_many([(f"c{i}", {"n": i}) for i in range(first, last)])
                subscribers.read(0)  # pings want their answers
            subscribers.wait(AWAY_S)
            early = len(subscribers.got)
            redis.cli("config", "resetstat")
            load = os.getloadavg()[0]
            redis_s, own_s = redis_cpu_s(redis), cpu_of(pid)
            redis.cli("acl", "setuser", "follower", "on")
            began = time.perf_counter()
            while len(subscribers.got) < channels and time.perf_counter() - began < LONGEST_S:
                subscribers.read(0.05)
            whole = time.perf_counter() - began
            redis_s, own_s = redis_cpu_s(redis) - redis_s, cpu_of(pid) - own_s
            told = calls(redis, "evalsha", "subscribe", "info", "ping", "hello", "script|load")
            print(
                f"| {number} | {load:.1f} | {whole:.2f} | {channels - len(subscribers.got)}"
                f"{f' ({early} came early)' if early else ''} | {subscribers.resets + subscribers.lost} | "
                f"{told:,} | {redis_s:.2f} | {own_s:.2f} |",
                flush=True,
            )
        subscribers.close()
