"""The servers that share a store know of one another, and each of them tells."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import carillon
import httpx
import pytest
from carillon import Node, Server, sync
from carillon.testing import wait_until
from redis_fleet import a_stranger, on_redis
from wire_clients import open_ws

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon.testing import RedisServer

pytestmark = pytest.mark.wire

PATIENT = {"fleet_answer_timeout_ms": 20_000}


def nodes_of(server: Server) -> list[Node]:
    with sync.connect(server.url, transport="poll") as client:
        return client.nodes()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carillon", "nodes", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


async def test_each_of_them_tells_of_all(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    servers = [carillon_server_factory(**on_redis(carillon_redis.url), limits=PATIENT) for _ in range(3)]
    async with open_ws(servers[0]) as one, open_ws(servers[0]) as two, open_ws(servers[1]) as three:
        for client in (one, two, three):
            await client.subscribe("room")
        views = [await asyncio.to_thread(nodes_of, server) for server in servers]
        addresses = sorted(f"127.0.0.1:{server.port}" for server in servers)
        for view in views:
            assert [node.address for node in view] == addresses
            by_address = {node.address: node for node in view}
            of = [by_address[f"127.0.0.1:{server.port}"] for server in servers]
            assert [node.subscriptions for node in of] == [2, 1, 0]
            assert [node.clients for node in of] == [2, 1, 0]
            assert [node.channels for node in of] == [1, 1, 0]
            assert not any(node.is_draining for node in of)
            assert len({node.uid for node in of}) == 3
            assert {node.version for node in of} == {carillon.__version__}
    draining = asyncio.create_task(asyncio.to_thread(servers[2].drain, 20))
    await draining
    views = [await asyncio.to_thread(nodes_of, servers[0])]
    (drained,) = [node for node in views[0] if node.address.endswith(f":{servers[2].port}")]
    assert drained.is_draining
    servers[2].stop()
    await asyncio.to_thread(wait_until, lambda: len(nodes_of(servers[0])) == 2, 20)


async def test_who_does_not_answer_in_time_is_missing(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url), limits={"fleet_answer_timeout_ms": 300})
    async with a_stranger(carillon_redis):
        (node,) = await asyncio.to_thread(nodes_of, server)
        assert node.address == f"127.0.0.1:{server.port}"
        shown = await asyncio.to_thread(run, "--url", server.url)
        assert shown.returncode == 1
        assert f"127.0.0.1:{server.port}" in shown.stdout
        assert f"1 server has not answered {server.url} within" in shown.stderr


async def test_a_list_without_redis_says_that_it_may_not_be_whole(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url), limits=PATIENT)
    assert (await asyncio.to_thread(run, "--url", server.url)).returncode == 0
    carillon_redis.kill()
    await asyncio.to_thread(wait_until, lambda: "store" in httpx.get(f"{server.url}/health").json(), 20)
    shown = await asyncio.to_thread(run, "--url", server.url)
    assert shown.returncode == 1
    assert f"127.0.0.1:{server.port}" in shown.stdout
    assert "because its store is not available: they may be missing here" in shown.stderr


def test_the_command_lists_them(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    servers = [carillon_server_factory(**on_redis(carillon_redis.url), limits=PATIENT) for _ in range(2)]
    done = run("--url", servers[0].url)
    assert done.returncode == 0, done.stderr
    head, *rows, sums = done.stdout.splitlines()
    assert head.split() == ["address", "version", "clients", "subscriptions", "channels", "up", "state"]
    assert [row.split()[0] for row in rows] == sorted(f"127.0.0.1:{server.port}" for server in servers)
    assert all(row.split()[-1] == "up" for row in rows)
    assert sums.split() == ["2", "servers", "0", "0"]
    done = run("--url", servers[0].url, "--json")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["address"] for each in objects] == [row.split()[0] for row in rows]


def test_the_command_says_what_is_missing(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(insecure=False, config={"http_api": {"key": "secret"}})
    without = run("--url", server.url)
    assert without.returncode == 1
    assert "requires an API key: give the http_api.key of the server by --api-key" in without.stderr
    wrong = run("--url", server.url, "--api-key", "guessed")
    assert "refuses this API key" in wrong.stderr
    right = run("--url", server.url, "--api-key", "secret")
    assert right.returncode == 0, right.stderr
    assert len(right.stdout.splitlines()) == 2, "a head and one server, without a sum"


def test_info_has_the_fields_of_the_family(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory()
    (node,) = httpx.post(f"{server.url}/api/info", json={}).json()["result"]["nodes"]
    assert node["address"] == f"127.0.0.1:{server.port}"
    assert "draining" not in node
    counts = {"num_clients", "num_users", "num_subs", "num_channels", "uptime"}
    assert {"uid", "name", "version"} | counts <= set(node)
