"""A client with several addresses: where it begins, where it goes on, and what it says when all fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Literal

import carillon
import pytest
from carillon import ConnectError, Message, Server, sync
from carillon.acceptor import Acceptor
from carillon.errors import ConfigError
from carillon.testing import wait_until, wait_until_async
from carillon.transports.reconnect import Reconnect, Refused
from carillon.transports.settings import Settings
from fake_servers import Peer, event_stream, http_server, response
from redis_fleet import on_redis
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from carillon.testing import RedisServer
    from serve_process import Process

pytestmark = pytest.mark.wire

TRANSPORTS: list[Literal["ws", "sse", "poll"]] = ["ws", "sse", "poll"]
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)
ROOM = "room"
SECRET = "known to the application and to all gateways"


@pytest.fixture
def dead() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


# Which address is next, and when.


def several(*names: str, **options: float) -> Settings:
    first, *others = (Settings(f"http://{name}", **options) for name in names)  # type: ignore[arg-type]
    return Settings(first.base_url, **options, others=tuple(others))  # type: ignore[arg-type]


class Attempts:
    """Plays the attempts of a client: each ends as the test says. Notes the addresses, and the delays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings, *ends: BaseException) -> None:
        self.seen: list[str] = []
        self.reconnect = Reconnect(settings, random.Random(1))
        self._ends = iter(ends)

        async def sleep(delay_s: float) -> None:
            self.seen.append(f"{delay_s:g}")

        monkeypatch.setattr("carillon.transports.reconnect.asyncio.sleep", sleep)
        monkeypatch.setattr("random.Random.uniform", lambda _, low, high: high)

    async def run(self) -> None:
        async def attempt() -> None:
            self.seen.append(self.reconnect.url.removeprefix("http://"))
            raise next(self._ends)

        await self.reconnect.run(attempt)


async def test_each_is_tried_at_once_and_after_a_round_comes_the_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = [Refused("draining", 7.0), OSError("gone"), OSError("gone"), *[Refused("full")] * 5]
    attempts = Attempts(
        monkeypatch,
        several("a", "b", "c", min_delay=1.0, max_delay=2.0),
        *ends,
        carillon.SubscribeDenied(1, "no"),
    )
    with pytest.raises(carillon.SubscribeDenied):
        await attempts.run()
    one, two, three = attempts.seen[:3]
    assert {one, two, three} == {"a", "b", "c"}
    # The one that has asked for 7 s gets them, and the doubled delay of the next round is its limit.
    assert attempts.seen == [one, two, three, "8", one, two, three, "2", one, two, three]


async def test_a_connection_that_was_stable_begins_a_new_round(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = several("a", "b", min_delay=1.0, max_delay=0.0)  # each connection is stable
    attempts = Attempts(monkeypatch, settings, *[Refused("shutdown")] * 4, carillon.SubscribeDenied(1, "no"))
    reconnect, run = attempts.reconnect, attempts.reconnect.run

    async def run_served(attempt: Callable[[], object]) -> None:
        async def served() -> None:
            reconnect.served()
            await attempt()  # type: ignore[misc]

        await run(served)

    monkeypatch.setattr(reconnect, "run", run_served)
    with pytest.raises(carillon.SubscribeDenied):
        await attempts.run()
    one, two = attempts.seen[:2]
    assert attempts.seen == [one, two, one, two, one], "at once each time"


async def test_one_that_is_wrong_does_not_end_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(
        monkeypatch,
        several("a", "b", min_delay=1.0),
        ConnectError("http://a refuses WebSocket: HTTP status 404"),
        Refused("full"),
        carillon.SubscribeDenied(1, "no"),
    )
    with pytest.raises(carillon.SubscribeDenied):
        await attempts.run()
    assert attempts.seen[2] == "1"


def test_the_order_is_random_so_that_clients_spread() -> None:
    begins = Counter(Reconnect(several("a", "b", "c")).url for _ in range(300))
    assert len(begins) == 3
    assert min(begins.values()) > 50


# What a user reads.


@each_transport
async def test_when_all_fail_each_address_is_named(
    dead: str, transport: Literal["ws", "sse", "poll"]
) -> None:
    async with http_server(response("404 Not Found", "", "Content-Type: text/plain")) as wrong:
        if transport != "ws":
            wrong = dead.replace("127.0.0.1", "localhost")
        with pytest.raises(ConnectError) as failed:
            async with (
                carillon.connect([dead, wrong], transport=transport) as client,
                client.subscribe(ROOM),
            ):
                pass
    assert dead in str(failed.value)
    assert wrong in str(failed.value)
    assert "cannot reach any of" in str(failed.value)


def test_addresses_are_checked() -> None:
    with pytest.raises(ConfigError, match="the list is empty; give at least one address"):
        carillon.connect([])
    with pytest.raises(ConfigError, match="'nonsense' is not the address of a server"):
        carillon.connect(["http://127.0.0.1:8000", "nonsense"])
    with pytest.raises(TypeError, match=r"url\[1\]: 5 is an int; give a str"):
        carillon.connect(["http://127.0.0.1:8000", 5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"url: None is a NoneType; give a str, or a list of them"):
        carillon.connect(None)  # type: ignore[arg-type]
    client = carillon.connect(("http://127.0.0.1:1", "ws://127.0.0.1:2/", "http://127.0.0.1:1"))
    assert repr(client) == "<carillon.Client of http://127.0.0.1:1, http://127.0.0.1:2 over ws>"
    with pytest.raises(ConfigError, match="header Authorization, which is in use"):
        carillon.connect(["http://a:1", "http://ann:secret@b:1"], transport="sse", token="t")


# Real servers.


@each_transport
async def test_a_dead_address_is_passed_over(
    carillon_server: Server, dead: str, transport: Literal["ws", "sse", "poll"]
) -> None:
    for _ in range(4):  # whichever is the first
        async with carillon.connect([dead, carillon_server.url], transport=transport) as client:
            async with client.subscribe(ROOM) as subscription:
                position = await client.publish(ROOM, 1, key="k")  # over the HTTP API
                assert (await subscription.next(10)).position == position
            assert len(await client.nodes()) == 1
            assert client.url == carillon_server.url


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients try the addresses in the order in which they are given."""
    monkeypatch.setattr("random.Random.shuffle", lambda *_: None)


@contextlib.contextmanager
def hanging_server(*, accepts: bool) -> Iterator[str]:
    """The kernel accepts, and nobody answers; or the accept queue is full, so that it does not accept."""
    with contextlib.ExitStack() as opened:
        silent = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100 if accepts else 0))
        for _ in range(0 if accepts else 4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


# What accepts and sends no event and no answer may wait for its store. A WebSocket is open before that.
@pytest.mark.parametrize(
    ("transport", "accepts"), [("ws", True), ("ws", False), ("sse", False), ("poll", False)]
)
@pytest.mark.usefixtures("in_order")
async def test_a_server_that_hangs_leaves_time_for_the_next(
    carillon_server: Server, transport: Literal["ws", "sse", "poll"], accepts: bool
) -> None:
    with hanging_server(accepts=accepts) as hanging:
        async with (
            carillon.connect([hanging, carillon_server.url], transport=transport, open_timeout=4) as client,
            client.subscribe(ROOM) as subscription,
        ):
            carillon_server.publish(ROOM, 1)
            assert isinstance(await subscription.next(10), Message)


@contextlib.asynccontextmanager
async def late_server(transport: str, delay_s: float) -> AsyncIterator[str]:
    """A gateway that waits for its store before it answers a client."""
    status = f'{{"channel":"{ROOM}","epoch":"e","offset":7}}'
    polled = f'{{"publications":[],"since":"e:7","status":[{status}]}}'
    answers = {
        "sse": event_stream(f"event: status\nid: e:7\ndata: {status}"),
        "poll": response("200 OK", polled, "Content-Type: application/json"),
    }

    async def talk(socket: ServerConnection) -> None:
        peer = Peer(socket)
        with contextlib.suppress(ConnectionClosed):
            connect = await peer.command("connect")
            await asyncio.sleep(delay_s)  # the store
            await peer.reply(connect, connect={"client": "x", "version": "0"})
            subscribe = await peer.command("subscribe")
            await peer.reply(subscribe, subscribe={"epoch": "e", "offset": 7})
            await socket.wait_closed()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay_s)
            writer.write(answers[transport])
            await writer.drain()
            await reader.read()

    if transport == "ws":
        async with serve(talk, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
    else:
        async with Acceptor(hear) as acceptor:
            yield f"http://127.0.0.1:{acceptor.port}"


@each_transport
@pytest.mark.usefixtures("in_order")
async def test_a_server_that_waits_for_its_store_is_not_given_up_after_its_share(
    dead: str, transport: Literal["ws", "sse", "poll"]
) -> None:
    others = [dead.replace("127.0.0.1", f"127.0.0.{number}") for number in range(2, 42)]
    async with late_server(transport, 2.0) as late:
        urls = [late, *others]
        async with (
            carillon.connect(urls, transport=transport, open_timeout=41) as client,  # 1 s for each
            client.subscribe(ROOM) as subscription,
        ):
            assert subscription.position == carillon.Position(7, "e")


@pytest.fixture
def fleet(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> Callable[[int], list[Server]]:
    def start(count: int) -> list[Server]:
        return [carillon_server_factory(**on_redis(carillon_redis.url)) for _ in range(count)]

    return start


def serving(servers: list[Server]) -> Server:
    """The one that has the only subscription, which a client that polls has only while it waits."""
    found: list[Server] = []

    def is_found() -> bool:
        found[:] = (server for server in servers if server.stats()["subscriptions"])
        return len(found) == 1

    wait_until(is_found)
    return found[0]


@each_transport
@pytest.mark.parametrize("end", ["drain", "stop"])
async def test_a_server_that_goes_hands_its_clients_to_the_next(
    fleet: Callable[[int], list[Server]],
    transport: Literal["ws", "sse", "poll"],
    end: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher, *servers = fleet(3)
    urls = [server.url for server in servers]
    caplog.set_level(logging.INFO, "carillon.client")
    async with (
        carillon.connect(urls, transport=transport, min_reconnect_delay=60, max_reconnect_delay=60) as client,
        client.subscribe(ROOM) as subscription,
    ):
        for number in range(20):
            await publisher.publish_async(ROOM, number)
        assert [(await subscription.next(10)).json() for _ in range(10)] == list(range(10))
        left = await asyncio.to_thread(serving, servers)
        await asyncio.to_thread(left.drain, 10) if end == "drain" else await asyncio.to_thread(left.stop)
        for number in range(20, 40):
            await publisher.publish_async(ROOM, number)
        rest = [(await subscription.next(30)).json() for _ in range(30)]
        assert rest == list(range(10, 40)), "lost or doubled"
        (other,) = (server for server in servers if server is not left)
        await wait_until_async(lambda: other.stats()["subscriptions"] == 1)
        assert any(f"trying {other.url}" in message for message in caplog.messages), "and it has not waited"


@each_transport
async def test_a_client_resumes_elsewhere_with_position_and_token_after_kill_9(
    carillon_redis: RedisServer,
    launch: Callable[..., Process],
    tmp_path: Path,
    transport: Literal["ws", "sse", "poll"],
) -> None:
    """Without sticky sessions: each gateway has the same keys and the same log."""
    config = tmp_path / "carillon.toml"
    config.write_text(
        f'[store]\nurl = "{carillon_redis.url}"\n[client.token]\nhmac_secret_key = "{SECRET}"\n'
        '[http_api]\ninsecure = true\n[channels."*"]\nhistory_size = 10000\npresence = true\n'
        "allow_subscribe_for_client = true\n"
    )
    processes = [await asyncio.to_thread(launch, 0, "--config", str(config)) for _ in range(3)]
    publisher = processes.pop()
    urls = [f"http://127.0.0.1:{process.port}" for process in processes]
    token = carillon.token(SECRET, "ann")
    async with (
        carillon.connect(f"http://127.0.0.1:{publisher.port}", transport="poll") as backend,
        carillon.connect(urls, transport=transport, token=token, max_reconnect_delay=0.5) as client,
        client.subscribe(ROOM) as subscription,
    ):
        got: list[int] = []
        count = 0

        async def publish() -> None:
            nonlocal count
            for _ in range(30):
                await backend.publish(ROOM, count)
                count += 1

        async def read_until(end: int) -> None:
            while len(got) < end:
                got.append((await subscription.next(30)).json())

        for _ in range(2):  # away from each of them
            await publish()
            await read_until(count - 15)
            here = await holder_of_the_subscription(backend, processes)
            here.child.kill()
            here.child.wait()
            await publish()
            await read_until(count)
            assert await holder_of_the_subscription(backend, processes) is not here
            processes[processes.index(here)] = await asyncio.to_thread(
                launch, here.port, "--config", str(config)
            )
        assert got == list(range(count)), "lost or doubled"
        if transport != "poll":  # which has no presence
            await wait_until_async(lambda: users_of(backend, {"ann"}), 20)
    with pytest.raises(carillon.ConnectDenied):
        async with carillon.connect(urls, transport=transport, token="forged") as stranger:
            await stranger.subscribe(ROOM).open()


async def holder_of_the_subscription(backend: carillon.Client, processes: list[Process]) -> Process:
    found: list[Process] = []

    async def is_found() -> bool:
        ports = {node.address.rpartition(":")[2] for node in await backend.nodes() if node.subscriptions}
        found[:] = (process for process in processes if str(process.port) in ports)
        return len(found) == 1

    await wait_until_async(is_found, 20)
    return found[0]


async def users_of(backend: carillon.Client, users: set[str]) -> bool:
    return {info.user for info in (await backend.presence(ROOM)).values()} == users


def test_the_twin_that_blocks_takes_them_too(carillon_server: Server, dead: str) -> None:
    with sync.connect([dead, carillon_server.url]) as client, client.subscribe(ROOM) as subscription:
        client.publish(ROOM, 1)
        assert subscription.next(10).json() == 1


async def test_a_cut_in_an_answer_is_not_repeated_elsewhere(fleet: Callable[[int], list[Server]]) -> None:
    """It may be done already."""
    (server,) = fleet(1)
    async with http_server(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{") as cutting:
        outcomes = []
        for _ in range(20):
            async with carillon.connect([cutting, server.url], transport="poll") as client:
                try:
                    await client.publish(ROOM, 1)
                    outcomes.append("published")
                except carillon.ConnectionClosed as closed:
                    outcomes.append(str(closed))
    published = outcomes.count("published")
    assert 0 < published < 20
    assert sum(cutting in outcome for outcome in outcomes) == 20 - published
    assert len(server.history(ROOM, last=100).messages) == published


# The command line.


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "carillon", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_commands_take_several_addresses(carillon_server_factory: Callable[..., Server], dead: str) -> None:
    server = carillon_server_factory(channels={"*": carillon.Channel(history_size=10)})
    repeated = ("--url", dead, "--url", server.url)
    for arguments in (
        ("pub", ROOM, "1", *repeated),
        ("pub", ROOM, "2", "--url", f"{dead},{server.url}"),
        ("sub", ROOM, "--last", "2", "--count", "2", *repeated),
        ("nodes", *repeated),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
    done = run("sub", ROOM, "--last", "2", "--count", "2", CARILLON_URL=f"{dead},{server.url}")
    assert done.stdout.split() == ["1", "2"]
    refused = run("nodes", "--url", f"{dead},nonsense://x")
    assert "'nonsense://x' is not the address of a server" in refused.stderr
    failed = run("nodes", "--url", f"{dead},{dead.replace('127.0.0.1', 'localhost')}")
    assert failed.returncode == 1
    assert dead in failed.stderr
    assert "localhost" in failed.stderr
