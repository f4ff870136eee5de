"""What a child process gets of a server's sockets: nothing, whether it was forked or executed."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import carillon
import pytest
from carillon import Server
from carillon.load import Load, Progress, run_load
from carillon.testing import cut, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carillon.client import TransportName


def kept_by_exec() -> list[str]:
    """Descriptors of this process that a program which it executes would have."""
    kept = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                kept.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            continue  # that of the listing itself
    return kept


def kept_by_exec_of(pid: int) -> list[str]:
    """The same, of another process: Linux shows close-on-exec among the flags."""
    kept = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            flags = next(line for line in path.read_text().splitlines() if line.startswith("flags:"))
            if int(path.name) > 2 and not int(flags.split()[1], 8) & os.O_CLOEXEC:
                kept.append(f"{path.name} {os.readlink(f'/proc/{pid}/fd/{path.name}')}")
        except FileNotFoundError:
            continue  # closed since it was listed
    return kept


async def test_no_descriptor_of_a_server_or_a_client_is_kept_by_exec(tmp_path: Path) -> None:
    before = kept_by_exec()
    config = {"takeover": {"socket": str(tmp_path / "s")}}
    server = Server(threads=2, insecure=True, config=config)

    @server.on_subscribe("hooked")
    async def decide(_: carillon.SubscribeContext) -> bool:
        return True

    with server.start():
        server.listen()
        server.offer_takeover()
        server.publish("c", 1)
        server.publish_nowait("c", 2)
        async with server.subscribe("c") as cursor:
            transports: tuple[TransportName, ...] = ("ws", "sse", "poll")
            for transport in transports:
                with carillon.sync.connect(server.url, transport=transport) as blocking:
                    blocking.subscribe("hooked").open()
                    async with (
                        carillon.connect(server.url, transport=transport) as client,
                        client.subscribe("c"),
                    ):
                        assert kept_by_exec() == before
            server.publish("c", 3)
            await cursor.next(5)
        with (
            carillon.sync.connect(server.url) as moved,
            moved.subscribe("c"),
            Server(port=server.port, insecure=True, config=config).take_over() as successor,
        ):
            successor.offer_takeover()
            assert successor.stats()["connections"] >= 1
            assert kept_by_exec() == before


def test_no_descriptor_of_the_load_generator_is_kept_by_exec(carillon_server: Server) -> None:
    kept: set[str] = set()
    looked_at: set[int] = set()

    def look(progress: Progress) -> None:
        if progress.published:
            for pid in children():
                kept.update(kept_by_exec_of(pid))
                looked_at.add(pid)

    run_load(Load(port=carillon_server.port, connections=5, seconds=0.3, warmup=10), on_progress=look)
    assert looked_at
    assert not kept


def children() -> Iterator[int]:
    """Workers of the load generator that this process has started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"carillon.load.worker" in (path.parent / "cmdline").read_bytes():
                yield int(path.parent.name)
        except OSError:
            continue  # ended meanwhile


@pytest.fixture
def forked() -> Iterator[list[int]]:
    """Children to be ended."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def fork(forked: list[int]) -> None:
    """A child that lives on and does nothing, as a worker of `multiprocessing` that waits for work."""
    pid = os.fork()
    if pid == 0:
        while True:
            time.sleep(60)
    forked.append(pid)


def open_stream(port: int) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), 10)
    stream.sendall(b"GET /sse?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert stream.recv(9999).startswith(b"HTTP/1.1 200")
    return stream


def test_a_server_ends_whole_although_a_child_was_forked(forked: list[int]) -> None:
    server = Server().start()
    with open_stream(server.port) as stream:
        fork(forked)
        server.stop()
        while stream.recv(9999):
            pass  # to its end
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), 10)
    with Server(port=server.port):
        pass


def test_connections_that_are_closed_after_a_fork_are_gone(
    carillon_server: Server, forked: list[int]
) -> None:
    clients = [carillon.sync.connect(carillon_server.url).open() for _ in range(3)]
    streams = [open_stream(carillon_server.port) for _ in range(20)]
    fork(forked)
    for name in carillon_server.connections():
        cut(carillon_server, name)
    for stream in streams:
        stream.shutdown(socket.SHUT_WR)
    for stream in streams:
        while stream.recv(9999):
            pass
        stream.close()
    for client in clients:
        client.close()
    wait_until(lambda: carillon_server.stats()["connections"] == 0)
    with open_stream(carillon_server.port):
        assert carillon_server.stats()["sse"] == 1


KILLED = """
    import json, os, sys, time
    import carillon
    server = carillon.Server(insecure=True, config={"takeover": {"socket": sys.argv[1]}}).start()
    server.offer_takeover()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        while True:
            time.sleep(60)
    print(server.port, pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_child_of_a_server_that_was_killed_holds_neither_its_port_nor_its_place(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), path]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=30, check=False)
    port, pid = map(int, done.stdout.split())
    try:
        with Server(port=port, insecure=True, config={"takeover": {"socket": path}}) as server:
            server.offer_takeover()
    finally:
        os.kill(pid, 9)
