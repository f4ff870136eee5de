"""The blocking twin of the client, and the fault proxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading

import carillon
import pytest
from carillon import Message, Server, sync
from carillon.testing import FaultProxy, wait_until

pytestmark = pytest.mark.wire


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_a_script_without_a_loop_follows_a_channel(carillon_server: Server, transport: str) -> None:
    first = carillon_server.publish("c", 1)
    carillon_server.publish("c", 2)
    with sync.connect(carillon_server.url, transport=transport) as client:
        with client.subscribe("c", since=first) as subscription:
            item = subscription.next(timeout=5)
            assert isinstance(item, Message)
            assert item.json() == 2
            with pytest.raises(TimeoutError, match=rf"nothing on 'c' within 0.05 s, behind {item.position}"):
                subscription.next(timeout=0.05)
            client.publish("c", 3)
            assert [item.offset for _, item in zip(range(1), subscription, strict=False)] == [3]  # type: ignore[union-attr]
        assert len(client.history("c").messages) == 3
        assert isinstance(client.presence("c"), dict)
    client.close()
    with pytest.raises(carillon.CarillonError, match="closed"):
        client.subscribe("c")


def test_a_signal_that_does_not_end_the_wait_is_handled_all_the_same(carillon_server: Server) -> None:
    # As one that comes between Python's look at its signals and the wait: here another thread takes it.
    script = """
import os, signal, sys, threading, time, carillon
with carillon.sync.connect(sys.argv[1]) as client:
    waiting = client.subscribe("c").open()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    begun = time.monotonic()
    try:
        waiting.next(20)
    except KeyboardInterrupt:
        print("interrupted", "soon" if time.monotonic() - begun < 10 else "late")
"""
    command = [sys.executable, "-c", script, carillon_server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("interrupted soon\n", "")


def test_no_thread_is_left_behind(carillon_server: Server) -> None:
    before = threading.active_count()
    with sync.connect(carillon_server.url) as client:
        client.subscribe("c").open()
    assert threading.active_count() == before


def test_a_client_that_is_not_closed_ends_with_the_interpreter(carillon_server: Server) -> None:
    script = """
import atexit, sys, threading
atexit.register(lambda: print([one.name for one in threading.enumerate()]))  # the first one runs last
from carillon import sync
client = sync.connect(sys.argv[1]).open()
client.subscribe("c").open()
print([one.name for one in threading.enumerate()])
"""
    command = [sys.executable, "-c", script, carillon_server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.stdout.splitlines() == ["['MainThread', 'carillon-client']", "['MainThread']"], done.stderr
    assert done.stderr == ""


def test_a_client_that_cannot_connect_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(carillon.ConnectError):
        sync.connect("http://127.0.0.1:1").open()
    assert threading.active_count() == before


def test_the_proxy_holds_back_and_lets_go(carillon_server: Server) -> None:
    with (
        FaultProxy(carillon_server) as proxy,
        sync.connect(proxy.url) as client,
        client.subscribe("c") as subscription,
    ):
        proxy.pause_reads()
        carillon_server.publish("c", 1)
        with pytest.raises(TimeoutError):
            subscription.next(timeout=0.2)
        proxy.resume()
        assert isinstance(subscription.next(timeout=5), Message)
        assert proxy.connections == 1
        assert proxy.cut() == 1
        wait_until(lambda: proxy.accepted == 2)


def test_a_proxy_stops_quietly_while_it_delays(
    carillon_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultProxy(carillon_server) as proxy:
        proxy.delay_ms = 60_000
        with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2]))) as client:
            client.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            wait_until(lambda: proxy.connections == 1)
            proxy.stop()
    assert not caplog.records


def test_waiting_in_vain_names_the_condition() -> None:
    def never() -> bool:
        return False

    with pytest.raises(TimeoutError, match="never did not become true"):
        wait_until(never, timeout=0.05)


def test_a_proxy_that_stops_while_it_connects_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    is_connecting = threading.Event()

    async def connect(*_: object, **__: object) -> None:
        is_connecting.set()
        await asyncio.sleep(60)

    with FaultProxy("http://127.0.0.1:1") as proxy:
        monkeypatch.setattr("asyncio.open_connection", connect)
        with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=5) as client:
            assert is_connecting.wait(5)
            proxy.stop()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
