"""What whoever operates gateways on a Redis is told, by their log and by their answers."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon.testing import RedisServer, wait_until
from crowd import ROOM
from redis_fleet import config_of, on_redis, serve_on_redis
from wire_clients import open_http, open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carillon import Server
    from serve_process import Process

pytestmark = pytest.mark.wire

AWAY = {"code": 100, "message": "the store is not available; nothing was stored"}
UNKNOWN = {
    "code": 100,
    "message": "the outcome is unknown: it may be stored; repeat it with the same idempotency_key",
}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts a Redis with these arguments."""
    servers: list[RedisServer] = []

    def start(*arguments: str) -> RedisServer:
        if why := RedisServer.missing():
            pytest.skip(why)
        folder = tmp_path / f"redis-{len(servers)}"
        folder.mkdir()
        servers.append(RedisServer(folder, *arguments).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def publish(port: int, channel: str = ROOM, **fields: Any) -> dict[str, Any]:
    answer = httpx.post(
        f"http://127.0.0.1:{port}/api/publish", json={"channel": channel, "data": 1, **fields}, timeout=30
    )
    return dict(answer.json())


def lines_of(server: Process, text: str) -> list[str]:
    return [line for line in server.log if text in line]


# New epochs.


@pytest.mark.parametrize("way", ["flushall", "restart"])
async def test_new_epochs_are_one_line_of_the_log(
    way: str,
    carillon_redis: RedisServer,
    carillon_server_factory: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url))
    rooms = ["a", "b", "c"]

    def told() -> list[logging.LogRecord]:
        return [record for record in caplog.records if "new epochs" in record.getMessage()]

    async with open_ws(server) as client:
        for room in rooms:
            await client.subscribe(room)
            await asyncio.to_thread(publish, server.port, room)
        await asyncio.sleep(0.6)
        assert not told()
        if way == "flushall":
            carillon_redis.cli("flushall")
            for room in rooms:  # quiet ones are noticed within 40 s
                await asyncio.to_thread(publish, server.port, room)
        else:
            await asyncio.to_thread(carillon_redis.restart)
        await until(told, 20)
    (record,) = told()
    line = record.getMessage()
    assert record.levelno == logging.WARNING
    assert "new epochs: 3;" in line, line
    assert ("removed or evicted" if way == "flushall" else "another server than before") in line, line


# Settings that lose what they promise to keep.


@pytest.mark.parametrize(
    ("arguments", "loss", "told"),
    [
        (("--appendonly", "no"), "never", "has not appendonly yes with appendfsync always"),
        (("--maxmemory-policy", "allkeys-lru"), "possible", "allkeys-lru may evict channels"),
        (("--appendonly", "yes", "--appendfsync", "always"), "never", ""),
        (("--appendonly", "no"), "possible", ""),
    ],
)
def test_settings_that_lose_publications_are_told_at_the_start(
    arguments: tuple[str, ...],
    loss: str,
    told: str,
    redis: Callable[..., RedisServer],
    launch: Callable[..., Process],
    tmp_path: Path,
) -> None:
    server = serve_on_redis(launch, tmp_path, redis(*arguments).url, loss=loss)
    if told:
        server.wait_for(told)
    publish(server.port)
    time.sleep(0.6)
    warnings = lines_of(server, "WARNING")
    assert len([line for line in warnings if "INSECURE" not in line]) == (1 if told else 0), server.log


def test_who_may_not_ask_for_the_settings_is_not_troubled(
    redis: Callable[..., RedisServer], launch: Callable[..., Process], tmp_path: Path
) -> None:
    there = redis("--appendonly", "yes")
    there.cli("acl", "setuser", "carillon", "on", ">right", "~*", "&*", "+@all", "-config")
    server = serve_on_redis(launch, tmp_path, there.url, loss="never", user="carillon", password="right")
    time.sleep(0.6)
    assert publish(server.port)["result"]["offset"] == 1
    assert not lines_of(server, "store.loss"), server.log
    assert not lines_of(server, "takes no publications"), server.log


# A password that changes.


def test_a_password_is_read_again_for_each_new_connection(
    redis: Callable[..., RedisServer], launch: Callable[..., Process], tmp_path: Path
) -> None:
    there = redis()
    there.cli("acl", "setuser", "carillon", "on", ">first", "~*", "&*", "+@all")
    secret = tmp_path / "password"
    secret.write_text("first\n")
    server = serve_on_redis(launch, tmp_path, there.url, user="carillon", password_file=str(secret))
    assert publish(server.port)["result"]["offset"] == 1
    there.cli("acl", "setuser", "carillon", "resetpass", ">second")
    there.cli("client", "kill", "user", "carillon")
    # At first the connection has ended; that the password is wrong is another reason, and told as well.
    wait_until(lambda: lines_of(server, "refused the user or password"), 15)
    secret.write_text("second\n")
    wait_until(lambda: lines_of(server, "takes publications again"), 15)
    assert publish(server.port)["result"]["offset"] == 2
    assert not lines_of(server, "second"), "no secret is told"


# What became of a publication.


async def test_an_error_says_whether_it_may_be_stored(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url, wait_ms=800, command_timeout_ms=3_000))
    assert (await asyncio.to_thread(publish, server.port))["result"]["offset"] == 1
    async with open_ws(server) as client, open_http(server) as http:
        await client.subscribe(ROOM)

        async def errors_of_a_silent_redis() -> tuple[Any, str]:
            carillon_redis.stop()
            sent = asyncio.create_task(client.command(publish={"channel": "other", "data": 1}))
            answer = await http.post("/api/publish", json={"channel": ROOM, "data": 1}, timeout=30)
            return answer.json()["error"], str(await sent)

        for _ in range(10):
            posted, sent = await errors_of_a_silent_redis()
            if posted == UNKNOWN and "outcome is unknown" in sent:
                break
            # Who has not heard for a second which Redis this is sends nothing: on a busy machine.
            assert posted in (UNKNOWN, AWAY)
            carillon_redis.cont()
            await until(lambda: not server.stats()["store_trouble"] and "result" in publish(server.port))
        else:
            pytest.fail("nothing was ever sent")
        history = await http.post("/api/history", json={"channel": ROOM}, timeout=15)
        assert history.json()["error"]["message"] == "the store is not available; try again"
        carillon_redis.kill()
        await until(lambda: server.stats()["store_trouble"])
        await asyncio.sleep(0.3)
        assert (await asyncio.to_thread(publish, server.port))["error"] == AWAY


def test_a_drain_waits_for_the_answers_under_way(
    carillon_redis: RedisServer, launch: Callable[..., Process], tmp_path: Path
) -> None:
    server = serve_on_redis(launch, tmp_path, carillon_redis.url, command_timeout_ms=5_000)
    carillon_redis.stop()
    asking = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    asking.request("POST", "/api/publish", json.dumps({"channel": ROOM, "data": 1}))
    time.sleep(0.5)
    server.child.terminate()
    time.sleep(2)
    assert server.child.poll() is None, "somebody still waits for an answer"
    carillon_redis.cont()
    assert json.load(asking.getresponse())["result"]["offset"] == 1
    asking.close()
    begin = time.monotonic()
    assert server.ended() == 0
    assert time.monotonic() - begin < 5


# Which store it is.


def test_the_log_says_which_store_it_is_without_a_secret(
    redis: Callable[..., RedisServer], launch: Callable[..., Process], tmp_path: Path
) -> None:
    there = redis("--requirepass", "s3cret")
    at = f"127.0.0.1:{there.port}"
    server = serve_on_redis(launch, tmp_path, f"redis://:s3cret@{at}")
    server.wait_for(f"channels are kept in redis://:***@{at}, store.prefix carillon")
    assert not lines_of(server, "s3cret")


def test_a_takeover_with_another_redis_is_refused_with_a_remedy(
    carillon_redis: RedisServer, launch: Callable[..., Process], tmp_path: Path
) -> None:
    first = serve_on_redis(launch, tmp_path, carillon_redis.url)
    config = config_of(tmp_path, f"{carillon_redis.url}/1")
    second = launch(first.port, "--config", str(config), "--takeover", waits=False)
    assert second.ended() == 1
    wait_until(lambda: lines_of(second, "store.url: the running server has its logs in"))
    assert lines_of(second, "give the same store, or let the clients leave (SIGTERM)")
    assert publish(first.port)["result"]["offset"] == 1
