"""Redis is killed, demoted, split, stalled, filled and emptied while a crowd works at gateways that share it.

Always: doubled 0, reordered 0, mixed 0, silent gaps 0. What may be lost stands beside each fault and setting.
`--chaos-rounds` and `--chaos-clients` make each longer and larger (`make chaos`), `--chaos-table` writes the
figures to a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon.testing import RedisServer, wait_until
from crowd import HEADINGS, Crowd, Promise, check_journals, figures_of
from redis_fleet import config_of, on_redis, ports_of, serve_on_redis
from tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from carillon import Server
    from serve_process import Process

pytestmark = [pytest.mark.wire, pytest.mark.slow, pytest.mark.timeout(3_600)]

IN_MEMORY = ("--appendonly", "no", "--repl-diskless-sync-delay", "0")
ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")
EVERYSEC = ("--appendonly", "yes", "--appendfsync", "everysec")


class Chaos:
    """Lets a crowd meet a fault, judges, and writes the row."""

    def __init__(self, config: pytest.Config) -> None:
        self.rounds: int = config.getoption("--chaos-rounds")
        self.clients: int = config.getoption("--chaos-clients")
        self.table: str | None = config.getoption("--chaos-table")

    def meet(
        self,
        ports: list[int],
        event: Callable[[], Awaitable[None]],
        *,
        fault: str,
        setting: str,
        promise: Promise,
        stay_s: float = 0.0,
    ) -> None:
        crowd = Crowd(
            ports, publishers=6 * self.clients, subscribers=9 * self.clients, stay_s=stay_s, pause_s=0.003
        )
        asyncio.run(crowd.meet(event, times=self.rounds))
        row = f"| {fault} | {setting} | {promise.name.lower()} | {self.rounds} | {figures_of(crowd).row()} |"
        print(f"\n| fault | setting | promise | rounds | {HEADINGS} |\n{row}")
        if self.table:
            with open(self.table, "a", encoding="utf-8") as table:
                table.write(row + "\n")
        check_journals(crowd, promise)


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> Chaos:
    return Chaos(request.config)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers, each with a folder of its own."""
    if why := RedisServer.missing():
        pytest.skip(why)
    with contextlib.ExitStack() as servers:

        def start(*arguments: str) -> RedisServer:
            folder = tmp_path / f"redis{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return servers.enter_context(RedisServer(folder, *arguments))

        yield start


@pytest.fixture
def proxy() -> Iterator[Callable[[int], TcpProxy]]:
    """Starts proxies in front of a port."""
    with contextlib.ExitStack() as proxies:
        yield lambda port: proxies.enter_context(TcpProxy(port))


@pytest.fixture
def gateways(carillon_server_factory: Callable[..., Server]) -> Callable[..., list[Server]]:
    """Starts one server for each of these ports of Redis."""

    def start(*ports: int, **store: Any) -> list[Server]:
        return [carillon_server_factory(**on_redis(f"redis://127.0.0.1:{port}", **store)) for port in ports]

    return start


def is_in_step(primary: RedisServer, replica: RedisServer) -> bool:
    """Whether the replica has what the primary had a moment ago."""
    ours, theirs = primary.cli("info", "replication"), replica.cli("info", "replication")
    if "master_link_status:up" not in theirs:
        return False
    return offset_of(ours, "master_repl_offset") - offset_of(theirs, "slave_repl_offset") < 10_000


def offset_of(info: str, name: str) -> int:
    return int(info.partition(f"{name}:")[2].split()[0])


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition, 60)


# A server that dies.


@pytest.mark.parametrize(
    ("written", "loss", "promise"),
    [
        (ALWAYS, "never", Promise.LOSSLESS),
        (ALWAYS, "possible", Promise.KEPT),
        (EVERYSEC, "possible", Promise.TOLD),
        (IN_MEMORY, "possible", Promise.TOLD),
    ],
    ids=["always and never", "always", "everysec", "none"],
)
def test_redis_is_killed_and_starts_again(
    written: tuple[str, ...],
    loss: str,
    promise: Promise,
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    gateways: Callable[..., list[Server]],
) -> None:
    server = redis(*written)
    servers = gateways(server.port, server.port, loss=loss)

    async def kill() -> None:
        await asyncio.sleep(0.7)
        server.kill()
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.restart)

    setting = f"AOF {written[-1] if len(written) == 4 and written[1] == 'yes' else 'none'}, loss = {loss}"
    chaos.meet(ports_of(servers), kill, fault="kill -9 of Redis", setting=setting, promise=promise)


def test_a_gateway_is_killed(
    chaos: Chaos, redis: Callable[..., RedisServer], launch: Callable[..., Process], tmp_path: Path
) -> None:
    server = redis(*IN_MEMORY)
    processes = [serve_on_redis(launch, tmp_path, server.url) for _ in range(2)]
    config = str(config_of(tmp_path, server.url))
    ports = ports_of(processes)

    async def kill() -> None:
        for i in range(2):
            await asyncio.sleep(0.7)
            processes[i].child.kill()
            processes[i].child.wait()
            processes[i] = await asyncio.to_thread(launch, ports[i], "--config", config)

    chaos.meet(
        ports, kill, fault="kill -9 of each gateway", setting="AOF none", promise=Promise.LOSSLESS, stay_s=1
    )


# Another primary.


def test_a_replica_that_lags_is_promoted_and_back(
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    proxy: Callable[[int], TcpProxy],
    gateways: Callable[..., list[Server]],
) -> None:
    here, there = redis(*IN_MEMORY), redis(*IN_MEMORY)
    front = proxy(here.port)
    servers = gateways(front.port, front.port)

    async def promote() -> None:
        for old, new in ((here, there), (there, here)):
            with TcpProxy(old.port) as replication:
                new.cli("replicaof", "127.0.0.1", str(replication.port))
                await until(lambda old=old, new=new: is_in_step(old, new))
                await asyncio.sleep(1.2)  # the first replica gives a primary a new identity
                await asyncio.to_thread(replication.stall)
                await asyncio.sleep(0.4)
                new.cli("replicaof", "no", "one")
            await asyncio.to_thread(front.move, new.port)
            await asyncio.sleep(0.5)

    chaos.meet(
        ports_of(servers),
        promote,
        fault="promotion of a replica that lags, and back",
        setting="one replica",
        promise=Promise.TOLD,
    )


def test_sentinel_promotes_a_replica(
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    carillon_server_factory: Callable[..., Server],
    tmp_path: Path,
) -> None:
    one, two = redis(*IN_MEMORY), redis(*IN_MEMORY)
    two.cli("replicaof", "127.0.0.1", str(one.port))
    wait_until(lambda: is_in_step(one, two))
    port = 20_000 + one.port % 10_000
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {one.port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 1000\n"
    )
    log = (tmp_path / "sentinel.log").open("wb")
    with log, subprocess.Popen(["redis-sentinel", str(config)], stdout=log, stderr=log) as sentinel:

        def asked(*words: str) -> str:
            command = ["redis-cli", "-p", str(port), "sentinel", *words]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout

        wait_until(lambda: asked("replicas", "main").strip())
        url = f"redis+sentinel://127.0.0.1:{port}/main"
        servers = [carillon_server_factory(**on_redis(url)) for _ in range(2)]
        current, other = one, two

        async def fail_over() -> None:
            nonlocal current, other
            await asyncio.sleep(1.5)
            current.kill()
            await until(lambda: str(other.port) in asked("get-master-addr-by-name", "main"))
            current.restart()
            current.cli("replicaof", "127.0.0.1", str(other.port))  # Sentinel would, sooner or later
            await until(lambda: is_in_step(other, current))
            current, other = other, current

        try:
            chaos.meet(
                ports_of(servers),
                fail_over,
                fault="failover by Sentinel",
                setting="one replica",
                promise=Promise.TOLD,
            )
        finally:
            sentinel.kill()


def test_a_split_brain_heals(
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    proxy: Callable[[int], TcpProxy],
    gateways: Callable[..., list[Server]],
) -> None:
    old, new = redis(*IN_MEMORY), redis(*IN_MEMORY)
    fronts = [proxy(old.port), proxy(old.port)]
    servers = gateways(*(front.port for front in fronts))

    async def split() -> None:
        nonlocal old, new
        new.cli("replicaof", "127.0.0.1", str(old.port))
        await until(lambda: is_in_step(old, new))
        await asyncio.sleep(1.2)
        new.cli("replicaof", "no", "one")
        await asyncio.to_thread(fronts[0].move, new.port)  # the other goes on at the old primary
        await asyncio.sleep(1.5)
        old.cli("replicaof", "127.0.0.1", str(new.port))
        fronts[1].target = new.port  # its link is not cut: it has to notice that this is no primary any more
        await until(lambda: is_in_step(new, old))
        await asyncio.sleep(1.5)
        old.cli("replicaof", "no", "one")
        old, new = new, old

    chaos.meet(
        ports_of(servers),
        split,
        fault="split brain, healed",
        setting="two gateways, one each side",
        promise=Promise.TOLD,
        stay_s=0.7,
    )


# The link.


async def stall(link: TcpProxy) -> None:
    await asyncio.to_thread(link.stall)
    await asyncio.sleep(2.5)
    await asyncio.to_thread(link.go_on)


async def halve(link: TcpProxy) -> None:
    for way in ("up", "down"):
        await asyncio.to_thread(link.stall, way)
        await asyncio.sleep(2)
        await asyncio.to_thread(link.go_on)
        await asyncio.sleep(0.3)


async def cut(link: TcpProxy) -> None:
    for _ in range(8):
        await asyncio.to_thread(link.cut)
        await asyncio.sleep(0.25)


async def cut_in_the_middle(link: TcpProxy) -> None:
    for _ in range(8):
        link.cut_in_the_middle()
        await asyncio.sleep(0.25)


async def deliver_late(link: TcpProxy) -> None:
    """What was sent over a link arrives after it was sent again over the next one, and more behind it."""
    for _ in range(2):
        await asyncio.to_thread(link.hold_what_is_sent)
        await asyncio.sleep(2.2)
        await asyncio.to_thread(link.go_on)
        await asyncio.sleep(0.3)


FAULTS_OF_A_LINK = {
    stall: "link stalled for 2.5 s",
    halve: "each half of the link stalled for 2 s",
    cut: "link cut 8 times",
    cut_in_the_middle: "link cut 8 times in mid-command",
    deliver_late: "what was sent arrives after the next link's",
}


@pytest.mark.parametrize("fault", FAULTS_OF_A_LINK)
def test_the_link_of_one_gateway_fails(
    fault: Callable[[TcpProxy], Awaitable[None]],
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    proxy: Callable[[int], TcpProxy],
    gateways: Callable[..., list[Server]],
) -> None:
    server = redis(*IN_MEMORY)
    link = proxy(server.port)
    servers = gateways(link.port, server.port)

    async def fail() -> None:
        await asyncio.sleep(0.5)
        await fault(link)
        await asyncio.sleep(0.3)

    name = FAULTS_OF_A_LINK[fault]
    chaos.meet(ports_of(servers), fail, fault=name, setting="two gateways", promise=Promise.LOSSLESS)


@pytest.mark.parametrize("unavailable", ["wait", "fail"])
def test_redis_is_stopped_for_longer_than_every_timeout(
    unavailable: str,
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    gateways: Callable[..., list[Server]],
) -> None:
    server = redis(*IN_MEMORY)
    servers = gateways(server.port, server.port, wait_ms=1_500, unavailable=unavailable)

    async def stop() -> None:
        await asyncio.sleep(0.5)
        server.stop()
        await asyncio.sleep(3.5)
        server.cont()
        await asyncio.sleep(0.5)

    chaos.meet(
        ports_of(servers),
        stop,
        fault="SIGSTOP of Redis for 3.5 s",
        setting=f"wait_ms = 1500, unavailable = {unavailable}",
        promise=Promise.LOSSLESS,
    )


# A server that refuses, or forgets.


@pytest.mark.parametrize("unavailable", ["wait", "fail"])
def test_redis_is_full(
    unavailable: str,
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    gateways: Callable[..., list[Server]],
) -> None:
    server = redis(*IN_MEMORY)
    servers = gateways(server.port, server.port, unavailable=unavailable)

    async def fill() -> None:
        await asyncio.sleep(0.5)
        server.cli("config", "set", "maxmemory", "1")
        await asyncio.sleep(1)
        server.cli("config", "set", "maxmemory", "0")
        await asyncio.sleep(0.3)

    chaos.meet(
        ports_of(servers),
        fill,
        fault="OOM for 1 s",
        setting=f"unavailable = {unavailable}",
        promise=Promise.LOSSLESS,
    )


def test_the_primary_is_a_replica_for_a_while(
    chaos: Chaos, redis: Callable[..., RedisServer], gateways: Callable[..., list[Server]]
) -> None:
    server = redis(*IN_MEMORY)
    servers = gateways(server.port, server.port)

    async def demote() -> None:
        await asyncio.sleep(0.5)
        server.cli("replicaof", "127.0.0.1", "1")
        await asyncio.sleep(1.5)
        server.cli("replicaof", "no", "one")
        await asyncio.sleep(0.3)

    chaos.meet(
        ports_of(servers), demote, fault="READONLY for 1.5 s", setting="one server", promise=Promise.KEPT
    )


@pytest.mark.parametrize("command", [("flushall",), ("del",)], ids=["flushall", "eviction"])
def test_redis_forgets(
    command: tuple[str, ...],
    chaos: Chaos,
    redis: Callable[..., RedisServer],
    gateways: Callable[..., list[Server]],
) -> None:
    server = redis(*IN_MEMORY)
    servers = gateways(server.port, server.port)

    async def forget() -> None:
        await asyncio.sleep(0.7)
        if command == ("del",):
            (key,) = server.cli("--raw", "keys", "*ch:room").split("\n")
            assert server.cli("del", key) == "1"
        else:
            server.cli(*command)
        await asyncio.sleep(0.5)

    chaos.meet(
        ports_of(servers),
        forget,
        fault="FLUSHALL" if command == ("flushall",) else "eviction of the channel's hash",
        setting="two gateways",
        promise=Promise.TOLD,
    )


# Quiet channels.


@pytest.mark.parametrize("written", [ALWAYS, IN_MEMORY], ids=["always", "none"])
async def test_who_only_listens_is_told_as_well(
    written: tuple[str, ...], redis: Callable[..., RedisServer], gateways: Callable[..., list[Server]]
) -> None:
    server = redis(*written)
    (gateway,) = gateways(server.port)
    gateway.publish("quiet", {"n": 1})
    async with (
        httpx.AsyncClient(timeout=20, trust_env=False) as client,
        client.stream("GET", f"{gateway.url}/sse?channel=quiet") as stream,
    ):
        lines = stream.aiter_lines()
        while '"offset":1' not in await anext(lines):
            pass
        server.kill()
        await asyncio.to_thread(server.restart)
        begin = time.monotonic()
        async with asyncio.timeout(10):
            while '"recovered":false' not in await anext(lines):
                pass
        assert time.monotonic() - begin < 5
