"""`carillon rollout` over `carillon serve` processes that share a Redis: what it does, and each way to stop.

The replacement of a gateway is started as by an operator: a shell starts a process and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
from crowd import Crowd, Promise, check_journals
from websockets.sync.client import connect as connect_ws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carillon.testing import RedisServer
    from serve_process import Process
    from websockets.sync.client import ClientConnection

pytestmark = [pytest.mark.wire, pytest.mark.timeout(180)]
FAR = 60.0
QUICK = ("--interval", "100ms", "--pause", "0s", "--pace", "200ms")


@dataclass
class Fleet:
    """Gateways on one Redis, and the commands that start their replacements."""

    folder: Path
    launch: Callable[..., Process]
    gateways: list[Process] = field(default_factory=list)
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "carillon.toml"

    def add(self, count: int) -> None:
        added = [self.launch(0, "--config", str(self.config), waits=False) for _ in range(count)]
        for each in added:
            each.port = each.started()
            assert each.port, each.log
        self.gateways += added

    @property
    def names(self) -> list[str]:
        return [f"127.0.0.1:{each.port}" for each in self.gateways]

    @property
    def restart(self) -> str:
        """Starts a gateway again, on its port, and ends once that was tried."""
        serve = f"{shlex.quote(sys.executable)} -m carillon serve --config {self.config} --port {{port}}"
        # The name of the node in the environment is a sign for the test that placeholders are filled in.
        return (
            f"NODE={{node}} nohup {serve} > {self.folder}/{{port}}.log 2>&1 & echo $! >> {self.folder}/pids"
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "carillon", "rollout", *arguments]

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        self.running.append(
            subprocess.Popen(
                self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return self.running[-1]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*QUICK, *arguments), capture_output=True, text=True, timeout=FAR, check=False
        )

    def stopped(self, *arguments: str) -> str:
        """What a rollout says that stops."""
        done = self.run(*arguments)
        assert done.returncode == 1, done
        assert done.stderr.startswith("Error: ")
        return done.stderr.removeprefix("Error: ").strip()

    def uids(self) -> dict[str, str]:
        """The name of each process in the registry, by address."""
        for name in self.names:
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.post(f"http://{name}/api/info", json={}, trust_env=False, timeout=FAR).json()
                return {node["address"]: node["uid"] for node in answer["result"]["nodes"]}
        raise AssertionError("no gateway answers")

    def end(self) -> None:
        for each in self.running:
            if each.poll() is None:
                each.kill()
            each.communicate()
        with contextlib.suppress(FileNotFoundError):
            for pid in (self.folder / "pids").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def make_fleet(
    tmp_path: Path, carillon_redis: RedisServer, launch: Callable[..., Process]
) -> Iterator[Callable[..., Fleet]]:
    """Makes a fleet of that many gateways, with further lines in their configuration."""
    fleets: list[Fleet] = []

    def make(count: int, more: str = "") -> Fleet:
        fleet = Fleet(tmp_path, launch)
        fleets.append(fleet)
        fleet.config.write_text(
            f"threads = 1\n[store]\nurl = '{carillon_redis.url}'\nretry_pause_ms = 50\n"
            "[http_api]\ninsecure = true\n[heartbeat]\nsse_retry_ms = 100\n"
            "[channels.'*']\nhistory_size = 1_000_000\n[client]\ninsecure = true\n" + more
        )
        fleet.add(count)
        return fleet

    yield make
    for each in fleets:
        each.end()


@contextlib.contextmanager
def clients_at(port: int, count: int) -> Iterator[list[ClientConnection]]:
    """Clients that come back to nobody."""
    with contextlib.ExitStack() as open_ones:
        clients = []
        for _ in range(count):
            client = open_ones.enter_context(
                connect_ws(f"ws://127.0.0.1:{port}/connection/websocket", proxy=None, close_timeout=0.1)
            )
            client.send('{"id":1,"connect":{}}')
            assert "connect" in json.loads(str(client.recv(FAR)))
            clients.append(client)
        yield clients


async def test_all_are_replaced_and_nothing_is_lost_or_doubled(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(3)
    before = await asyncio.to_thread(fleet.uids)
    crowd = Crowd([each.port for each in fleet.gateways], publishers=3, subscribers=12, pause_s=0.005)
    done: list[subprocess.CompletedProcess[str]] = []

    async def roll() -> None:
        done.append(
            await asyncio.to_thread(
                fleet.run, *fleet.names, "--restart", fleet.restart, "--json", "--expect", "0.6"
            )
        )

    await crowd.meet(roll)
    check_journals(crowd, Promise.LOSSLESS, at_least=50)
    assert done[0].returncode == 0, done[0]
    said = [json.loads(line) for line in done[0].stdout.splitlines()]
    steps = ["drain", "left", "back", "restart", "healthy", "replaced"]
    assert [each["event"] for each in said] == ["fleet", *steps * 3, "done"]
    assert [each["node"] for each in said[1:-1]] == [name for name in fleet.names for _ in steps]
    assert said[-1]["replaced"] == 3
    for at, each in enumerate(said):
        if each["event"] == "back":
            assert each["clients_back"] >= int(0.6 * each["clients"])
            assert each["clients"] == said[at - 2]["clients"]
    after = await asyncio.to_thread(fleet.uids)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values()), "each is another process"


def test_a_supervisor_may_start_the_replacements(
    make_fleet: Callable[..., Fleet], launch: Callable[..., Process]
) -> None:
    """One gateway is replaced, and the other only watched; addresses are written in three ways."""
    fleet = make_fleet(2)
    one, two = fleet.gateways
    rolling = fleet.begin(
        *QUICK,
        f"http://localhost:{one.port}",
        "--watch",
        f"127.0.0.1:{two.port}=http://127.0.0.1:{two.port}/",
    )
    assert one.ended() == 0
    again = launch(one.port, "--config", str(fleet.config))
    out, err = rolling.communicate(timeout=FAR)
    assert rolling.returncode == 0, (out, err)
    assert f"127.0.0.1:{one.port}: healthy" in out
    assert "1 gateways are replaced" in out
    assert two.child.poll() is None
    again.stop()


def test_a_dry_run_changes_nothing(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(2)
    before = fleet.uids()
    with clients_at(fleet.gateways[0].port, 3):
        done = fleet.run(
            *fleet.names, "--dry-run", "--restart", "ssh {host} restart '{node}' {url}", "--expect", "0.5"
        )
    assert done.returncode == 0, done
    first, second = (line for line in done.stdout.splitlines() if "would drain" in line)
    name = fleet.names[0]
    assert f"{name}: version " in first
    assert "3 clients: would drain it, wait for 1 of them" in first
    assert first.endswith(f"run: ssh 127.0.0.1 restart '{name}' http://{name}")
    assert "0 clients: would drain it, wait for 0 of them" in second
    assert fleet.uids() == before


# It does not begin.


def test_it_does_not_begin_while_a_gateway_is_away(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(3)
    before = fleet.uids()
    fleet.gateways[2].child.kill()
    fleet.gateways[2].ended()
    said = fleet.stopped(*fleet.names)
    assert said == (
        f"nothing was begun: {fleet.names[2]} is not healthy: refused: nothing listens at this port"
    )
    assert set(fleet.uids().items()) <= set(before.items()), "nobody else has ended"


def test_it_does_not_begin_while_a_gateway_drains(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(2)
    with clients_at(fleet.gateways[1].port, 1):
        far = {"pace_ms": 60_000, "deadline_ms": 60_000}
        httpx.post(f"http://{fleet.names[1]}/api/drain", json=far, trust_env=False)
        assert fleet.stopped(*fleet.names) == (
            f"nothing was begun: {fleet.names[1]} is not healthy: it drains"
        )


def test_it_does_not_begin_with_a_part_of_the_fleet(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(3)
    said = fleet.stopped(*fleet.names[:2])
    assert said.startswith(f"nothing was begun: {fleet.names[2]} belongs to the fleet and is not given")
    assert "--watch" in said
    assert "is given twice" in fleet.stopped(fleet.names[0], *fleet.names)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with_another_name = f"nowhere:{port}=http://{fleet.names[0]}"
        said = fleet.stopped(with_another_name, *fleet.names[1:])
    assert "is none of the addresses in the registry" in said
    assert fleet.names[0] in said


def test_one_gateway_alone_is_not_a_fleet(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(1)
    assert "carillon serve --takeover" in fleet.stopped(*fleet.names)
    assert fleet.gateways[0].child.poll() is None


def test_it_needs_the_key(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(2)
    for each in fleet.gateways:
        each.stop()
    text = fleet.config.read_text().replace("[http_api]\ninsecure = true", "[http_api]\nkey = 'secret'")
    fleet.config.write_text(text)
    fleet.gateways.clear()
    fleet.add(2)
    assert "its HTTP API requires a key: give the http_api.key" in fleet.stopped(*fleet.names)
    assert "the key is wrong" in fleet.stopped(*fleet.names, "--api-key", "guessed")
    done = fleet.run(*fleet.names, "--api-key", "secret", "--restart", fleet.restart)
    assert done.returncode == 0, done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ftp://a:1"], "'ftp://a:1' is not the address of a gateway: write it as"),
        (
            ["a:1", "--restart", "restart {name}"],
            "{name} has no value; write {node}, {url}, {host} or {port}",
        ),
        (["a:1", "--restart", " "], "the command is empty"),
        (["a:1", "--pause", "soon"], "'soon' is not a duration"),
        (["a:1", "--deadline", "2m"], "--drain-timeout must be above --deadline"),
        (["a:1", "--expect", "95"], "0<=x<=1"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "carillon", "rollout", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FAR, check=False)
    assert done.returncode == 2, done
    assert said in " ".join(done.stderr.split())


# It stops.


def test_it_stops_if_the_drain_does_not_end(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(3, "[shutdown]\ntimeout = '60s'\n")
    with clients_at(fleet.gateways[0].port, 2):
        command = [*fleet.names, "--pace", "50s", "--drain-timeout", "1s"]
        said = fleet.stopped(*command)
        rest = " ".join(fleet.names)
        assert said.startswith(f"{fleet.names[0]}: the drain did not end within 1 s (--drain-timeout); ")
        assert f"{fleet.names[0]} is unfinished: it was asked to drain, and ends by itself" in said
        assert f"carillon rollout {rest}" in said
    assert all(each.child.poll() is None for each in fleet.gateways[1:])


def test_it_stops_if_clients_do_not_come_back(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(2)
    with clients_at(fleet.gateways[0].port, 4), clients_at(fleet.gateways[1].port, 1):
        said = fleet.stopped(*fleet.names, "--return-timeout", "500ms", "--expect", "0.9")
        assert said.startswith(
            f"{fleet.names[0]}: its clients did not come back: 0 more are at the others, and 3 of its 4 were "
            "expected (--expect 0.9) within 0.5 s (--return-timeout)"
        )
        assert "it was drained and has ended; its replacement is not started yet" in said
    assert fleet.gateways[1].child.poll() is None


def test_it_stops_if_the_replacement_is_not_healthy(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(2)
    said = fleet.stopped(*fleet.names, "--restart", "true", "--start-timeout", "500ms")
    assert said.startswith(
        f"{fleet.names[0]}: its replacement was not healthy 3 times in a row within 0.5 s (--start-timeout): "
        "refused: nothing listens at this port"
    )
    assert fleet.gateways[1].child.poll() is None


def test_it_stops_if_the_replacement_belongs_to_another_fleet(
    make_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    fleet = make_fleet(2)
    other = tmp_path / "other.toml"
    other.write_text(fleet.config.read_text().replace("retry_pause_ms = 50", "prefix = 'another'"))
    restart = fleet.restart.replace(str(fleet.config), str(other))
    said = fleet.stopped(*fleet.names, "--restart", restart, "--start-timeout", "3s")
    assert "the registry of the fleet has no new process at this address" in said


@pytest.mark.parametrize(
    ("restart", "why"),
    [
        (
            "echo no such unit; exit 5",
            "the command failed with exit code 5: echo no such unit; exit 5 (no such unit)",
        ),
        (
            "echo working; sleep 60",
            "the command did not end within 0.5 s (--restart-timeout), and was killed: ",
        ),
    ],
)
def test_it_stops_if_the_command_fails(make_fleet: Callable[..., Fleet], restart: str, why: str) -> None:
    fleet = make_fleet(2)
    said = fleet.stopped(*fleet.names, "--restart", restart, "--restart-timeout", "500ms")
    assert said.startswith(f"{fleet.names[0]}: {why}")
    assert "the command that starts its replacement was begun" in said


def test_it_stops_if_another_gateway_falls_ill(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(3)
    kill = f"kill -9 {fleet.gateways[2].child.pid}; {fleet.restart}"
    said = fleet.stopped(*fleet.names, "--restart", kill)
    assert said.startswith(
        f"another gateway fell ill: {fleet.names[2]}: refused: nothing listens at this port. "
    )
    assert "it was not seen healthy yet" in said
    assert fleet.gateways[1].child.poll() is None


def test_it_stops_if_a_gateway_refuses_connections(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(2, "connection_limit = 2\n")
    with clients_at(fleet.gateways[1].port, 2):
        refused = f"curl -s 'http://{fleet.names[1]}/poll?channel=a&timeout=0'; {fleet.restart}"
        said = fleet.stopped(*fleet.names, "--restart", refused)
    assert said.startswith(
        f"{fleet.names[1]} has refused 1 connections or publications since the rollout began"
    )


def test_it_stops_if_publications_fail(make_fleet: Callable[..., Fleet], carillon_redis: RedisServer) -> None:
    fleet = make_fleet(2)
    stop = f"redis-cli -p {carillon_redis.port} shutdown nosave"
    said = fleet.stopped(*fleet.names, "--restart", stop, "--start-timeout", "1m")
    assert "publications fail: its store is unavailable" in said


def test_ctrl_c_says_where_it_stands(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(3, "[shutdown]\ntimeout = '60s'\n")
    with clients_at(fleet.gateways[0].port, 1):
        rolling = fleet.begin(*QUICK, *fleet.names, "--pace", "50s")
        assert rolling.stdout
        while "asked" not in rolling.stdout.readline():
            pass
        rolling.send_signal(signal.SIGINT)
        _, err = rolling.communicate(timeout=FAR)
    assert rolling.returncode == 130, err
    assert err.startswith("Error: interrupted. ")
    assert f"{fleet.names[0]} is unfinished: it was asked to drain, and ends by itself" in err
    assert f"with: carillon rollout {' '.join(fleet.names)}" in err
    assert f"(without {fleet.names[0]} if its replacement runs by then)" in err
    assert "Traceback" not in err


def test_what_stops_is_an_object_too(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(1)
    done = fleet.run(*fleet.names, "--json")
    assert done.returncode == 1
    (said,) = map(json.loads, done.stdout.splitlines())
    assert said["event"] == "stopped"
    assert said["reason"] in done.stderr


def test_it_says_what_it_cannot_count(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(2, "[prometheus]\nenabled = false\n")
    done = fleet.run(*fleet.names, "--dry-run")
    assert done.returncode == 0, done
    notes = [line for line in done.stdout.splitlines() if "refused publications are not counted here" in line]
    assert len(notes) == 2
    assert "prometheus.enabled is false" in notes[0]
