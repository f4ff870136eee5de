"""A server whose thread has died, here for want of memory: it is told, and the process can end."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

# No sanitizer lets an allocation fail, so these tests are not marked "wire".

_SPARE_BYTES = 64 << 20
_BODY_BYTES = 512 << 20
_BODIES_BYTES = 2 * _BODY_BYTES


@contextlib.contextmanager
def program(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process and the URL that its first line names."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def pages_of(process: subprocess.Popen[str]) -> int:
    """Pages of address space that the process has."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])


def settled_pages(process: subprocess.Popen[str]) -> int:
    """Waits until it grows no more: threads that have just begun take 64 MiB each for their allocations."""
    readings = [pages_of(process)]
    while len(readings) < 10:
        time.sleep(0.02)
        now = pages_of(process)
        readings = [*readings, now] if now == readings[-1] else [now]
    return readings[-1]


def exhaust(process: subprocess.Popen[str], url: str) -> None:
    """Sends a request that is longer than the memory which the process may still have."""
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/health").status_code == 200  # its thread has allocated something
    address_space = settled_pages(process) * resource.getpagesize() + _SPARE_BYTES
    resource.prlimit(process.pid, resource.RLIMIT_AS, (address_space, resource.RLIM_INFINITY))
    host, port = url.removeprefix("http://").split(":")
    piece = b" " * (1 << 20)
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            f"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {_BODY_BYTES}\r\n\r\n".encode()
        )
        with contextlib.suppress(ConnectionError):  # closed without a word
            for _ in range(_BODY_BYTES >> 20):
                client.sendall(piece)
            assert client.recv(1) == b""


def test_serve_ends_with_an_error_when_a_thread_has_died(tmp_path: Path) -> None:
    config = tmp_path / "carillon.toml"
    limits = f"body_bytes = {_BODY_BYTES}\nbody_bytes_total = {_BODIES_BYTES}\n"
    config.write_text(f"[client]\ninsecure = true\n[limits]\n{limits}")
    options = ["--port", "0", "--threads", "1", "--config", str(config), "--log-format", "json"]
    with program("-m", "carillon", "serve", *options) as (process, url):
        exhaust(process, url)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    records = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    (died,) = [record for record in records if record["level"] == "error"]
    assert died["logger"] == "carillon.server"
    assert "bad_alloc" in died["message"]
    assert "restart" in died["message"]
    (sentence,) = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert "a thread of the server died" in sentence
    assert "Traceback" not in errors


EMBEDDED = f"""
    import carillon
    limits = {{"body_bytes": {_BODY_BYTES}, "body_bytes_total": {_BODIES_BYTES}}}
    with carillon.Server(threads=1, limits=limits) as server:
        print(server.url, flush=True)
        try:
            server.wait()
        except carillon.ServerFailed as error:
            print(error)
        print(server.is_running, server.connections(), server.ledger()["missing_shards"])
    print(server.stats()["connections"])
"""


def test_a_wait_ends_when_a_thread_has_died() -> None:
    with program("-c", textwrap.dedent(EMBEDDED)) as (process, url):
        exhaust(process, url)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    told, state, connections = output.splitlines()
    assert "bad_alloc" in told
    assert state == "False [] 1"
    assert connections == "0"


def test_a_failure_is_no_end_by_a_signal() -> None:
    with program("-m", "carillon", "serve", "--port", "0") as (process, _):
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Error" not in errors
