"""What `carillon.testing` and the fixtures give to other suites."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import carillon
import pytest
from carillon import Server
from carillon.testing import FaultProxy, RedisServer, assert_ledger_balances, wait_until, wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

    from carillon.testing import ClientFactory, SyncClientFactory

ticks = {"seen": 1}


def test_a_wait_in_vain_shows_the_condition() -> None:
    with pytest.raises(TimeoutError, match=r'^ticks\["seen"\] == 2 did not become true within 0\.02 s$'):
        wait_until(lambda: ticks["seen"] == 2, timeout=0.02)
    limit = 3
    with pytest.raises(TimeoutError, match=r'^late: \( ?ticks\["seen"\] \* 2 .* >= limit did not'):
        wait_until(
            lambda: (
                (
                    ticks["seen"] * 2  # a condition of several lines
                )
                >= limit
            ),
            timeout=0.02,
            message="late",
        )
    with pytest.raises(TimeoutError, match=r"^now_or_never did not become true"):
        wait_until(now_or_never, timeout=0.02)
    with pytest.raises(TimeoutError, match=r"^__len__ did not become true"):
        wait_until({}.__len__, timeout=0.02)


def now_or_never() -> bool:
    return False


async def test_a_wait_on_a_loop_lets_the_others_run() -> None:
    seen: list[int] = []
    asyncio.get_running_loop().call_later(0.02, seen.append, 1)
    await wait_until_async(lambda: seen)

    async def has_seen() -> bool:
        await asyncio.sleep(0)
        return bool(seen)

    await wait_until_async(has_seen)
    with pytest.raises(TimeoutError, match=r"^len\(seen\) == 2 did not become true within 0\.02 s$"):
        await wait_until_async(lambda: len(seen) == 2, timeout=0.02)


async def test_a_wait_that_blocks_a_loop_says_so() -> None:
    with pytest.raises(TimeoutError, match="wait_until blocks the event loop: use await wait_until_async"):
        wait_until(lambda: False, timeout=0.02)


def test_a_ledger_that_does_not_balance_is_a_line_per_channel() -> None:
    row = {
        "subscriptions": 1,
        "published": 10,
        "delivered": 7,
        "conflated": 0,
        "dropped": {"trimmed": 1, "ephemeral": 0},
        "returned": 0,
        "pending": 0,
        "unbalanced": 1,
    }
    good = row | {"channel": "good", "is_balanced": True}
    bad = row | {"channel": "bad", "is_balanced": False}

    class Unbalanced:
        is_running = False

        def ledger(self) -> dict[str, Any]:
            return row | {"is_balanced": False, "missing_shards": 0, "channels": [good, bad]}

    with pytest.raises(AssertionError) as raised:
        assert_ledger_balances(Unbalanced())  # type: ignore[arg-type]
    assert str(raised.value).splitlines() == [
        "the ledger does not balance: 1 of 2 channels are off",
        "  'bad': published 10, delivered 7, conflated 0, dropped 1, returned 0, pending 0: "
        "2 unaccounted for, 1 subscriptions off",
    ]


def test_a_ledger_without_the_counts_of_a_dead_thread_says_so() -> None:
    class Failed:
        is_running = False

        def ledger(self) -> dict[str, Any]:
            return {"is_balanced": False, "missing_shards": 1, "channels": []}

    with pytest.raises(AssertionError) as raised:
        assert_ledger_balances(Failed())  # type: ignore[arg-type]
    assert str(raised.value).splitlines() == [
        "the ledger does not balance: 0 of 0 channels are off",
        "  1 threads of the server have died, and the counts of their subscriptions with them",
    ]


def test_the_options_of_the_fixtures_are_those_of_the_calls() -> None:
    from carillon.client import ConnectOptions
    from carillon.server import ServerOptions

    for options, call, own in (
        (ConnectOptions, carillon.connect, {"url"}),
        (ServerOptions, Server.__init__, {"self"}),
    ):
        parameters = inspect.signature(call).parameters
        expected = {name: one.annotation for name, one in parameters.items() if name not in own}
        given = {name: hint.__forward_arg__ for name, hint in options.__annotations__.items()}
        assert given == expected


def test_a_client_that_blocks_is_made_and_closed(
    carillon_server: Server, carillon_sync_client: SyncClientFactory, carillon_proxy: FaultProxy
) -> None:
    with (
        carillon_sync_client().subscribe("c") as here,
        carillon_sync_client(carillon_proxy.url).subscribe("c") as behind,
    ):
        carillon_proxy.cut()
        carillon_server.publish("c", 1)
        assert [here.next(5).json(), behind.next(5).json()] == [1, 1]
        assert carillon_proxy.accepted >= 1


async def test_a_client_may_have_another_address(
    carillon_server: Server, carillon_client: ClientFactory, carillon_proxy: FaultProxy
) -> None:
    async with carillon_client(carillon_proxy.url) as client, client.subscribe("c") as subscription:
        carillon_server.publish("c", 1)
        assert (await subscription.next(5)).json() == 1


def test_a_proxy_holds_back_one_side(carillon_server: Server, carillon_sync_client: Any) -> None:
    with FaultProxy(carillon_server) as proxy:
        client = carillon_sync_client(proxy.url)
        with client.subscribe("c") as subscription:
            proxy.pause_reads("client")
            carillon_server.publish("c", 1)
            assert subscription.next(5).json() == 1, "the other side goes on"
            proxy.resume("client")
            proxy.pause_reads("server")
            assert client.publish
            carillon_server.publish("c", 2)
            with pytest.raises(TimeoutError):
                subscription.next(0.2)
            proxy.resume()
            assert subscription.next(5).json() == 2
        with pytest.raises(ValueError, match='side: \'left\' is not known; use "client" or "server"'):
            proxy.pause_reads("left")  # type: ignore[arg-type]


def test_a_proxy_refuses_a_wrong_name_or_value(carillon_proxy: FaultProxy) -> None:
    with pytest.raises(AttributeError, match="is_refsing"):
        carillon_proxy.is_refsing = True  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="is_refusing: 1 is an int; give True or False"):
        carillon_proxy.is_refusing = 1  # type: ignore[assignment]
    with pytest.raises(TypeError, match="delay_ms: 'x' is a str; give a number of milliseconds"):
        carillon_proxy.delay_ms = "x"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="delay_ms: -1 is out of range; give milliseconds, from 0"):
        carillon_proxy.delay_ms = -1
    assert (carillon_proxy.delay_ms, carillon_proxy.is_refusing) == (0, False)


@pytest.mark.parametrize("name", carillon.__all__)
def test_every_public_name_is_there_and_is_documented(name: str) -> None:
    value = getattr(carillon, name)
    if name != "__version__":
        assert (inspect.getdoc(value) or "").strip(), name
        assert name in dir(carillon)


def test_help_begins_with_what_the_package_is_and_lists_its_names() -> None:
    text = carillon.__doc__ or ""
    assert text.startswith("Carillon: a real-time messaging server.")
    errors = {name for name in carillon.__all__ if name in vars(carillon.errors)}
    for name in set(carillon.__all__) - errors - {"__version__", "errors"}:
        assert f"`{name}`" in text or f"`carillon.{name}`" in text, name
    assert {name for name in dir(carillon) if not name.startswith("__")} == {
        name for name in carillon.__all__ if not name.startswith("__")
    }


def test_the_example_of_the_package_runs(tmp_path: Path) -> None:
    (_, program, *_) = (carillon.__doc__ or "").split("\n\n    import")
    program = inspect.cleandoc("    import" + program.partition("\n\n- `Server`")[0])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("1 {'text': 'hello'}\n", "")


def test_the_description_of_stats_names_every_key(carillon_server: Server) -> None:
    assert set(carillon_server.stats()) <= set(re.findall(r"`(\w+)`", Server.stats.__doc__ or ""))


# ---- Redis


def test_a_redis_is_killed_stopped_and_restarted(carillon_redis: RedisServer) -> None:
    port = carillon_redis.port
    assert carillon_redis.url == f"redis://127.0.0.1:{port}"
    assert repr(carillon_redis) == f"<carillon.testing.RedisServer {carillon_redis.url}, running>"
    assert carillon_redis.cli("set", "a", "two words") == "OK"
    assert carillon_redis.cli("get", "a") == "two words"
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.settimeout(0.2)
        carillon_redis.stop()
        link.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            link.recv(10)
        carillon_redis.cont()
        link.settimeout(5)
        assert link.recv(10) == b"+PONG\r\n"
        carillon_redis.kill()
        assert link.recv(10) == b""
    assert "Connection refused" in carillon_redis.cli("ping")
    assert "not running" in repr(carillon_redis)
    with pytest.raises(RuntimeError, match="does not run"):
        carillon_redis.stop()
    carillon_redis.restart()
    assert carillon_redis.port == port
    assert carillon_redis.cli("get", "a") == ""
    carillon_redis.stop()  # it ends all the same


def test_a_redis_keeps_its_data_when_it_is_told_to(tmp_path: Path, carillon_redis: RedisServer) -> None:
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as redis:
        assert redis.port != carillon_redis.port
        redis.cli("set", "a", "1")
        redis.restart()
        assert redis.cli("get", "a") == "1"
    with pytest.raises(RuntimeError, match=r"(?s)does not start: .*nonsense"):
        RedisServer(tmp_path, "--nonsense", "1").start()


def test_without_a_redis_the_test_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(carillon_redis): ...\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "/nowhere"},
        check=False,
    )
    assert "1 skipped" in done.stdout, done.stdout
    assert "there is no redis-server (Debian: apt-get install redis-server)" in done.stdout


def test_a_proxy_that_stops_leaves_no_connection_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda mistake: left.append(mistake.exc_value))
    for _ in range(50):
        proxy = FaultProxy("http://127.0.0.1:9").start()
        port = urlsplit(proxy.url).port
        clients = [socket.socket() for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))  # is accepted while the proxy stops
        proxy.stop()
        for client in clients:
            client.close()
    gc.collect()
    assert left == []
