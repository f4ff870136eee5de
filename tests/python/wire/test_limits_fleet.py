"""The rows of the table of limits for gateways that share a store."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import TYPE_CHECKING

import carillon
import pytest
from redis_fleet import a_stranger, on_redis
from wire_clients import open_http, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server
    from carillon.testing import RedisServer

pytestmark = pytest.mark.wire


async def test_fleet_answer_timeout_ms(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    server = carillon_server_factory(
        **on_redis(carillon_redis.url), limits={"fleet_answer_timeout_ms": 2_500}
    )
    async with a_stranger(carillon_redis), open_http(server) as client:
        begin = time.monotonic()
        answer = await client.post("/api/channels", json={}, timeout=60)
        assert answer.json() == {"result": {"channels": {}}}, "of this gateway alone"
        assert time.monotonic() - begin >= 2.4  # the default would have been 1 s


async def test_fleet_questions(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    server = carillon_server_factory(
        **on_redis(carillon_redis.url), limits={"fleet_answer_timeout_ms": 60_000, "fleet_questions": 1}
    )
    async with a_stranger(carillon_redis), open_http(server) as client:
        first = asyncio.create_task(client.post("/api/channels", json={}, timeout=90))
        await asyncio.sleep(0.2)
        answer = await client.post("/api/channels", json={}, timeout=30)
        assert answer.json() == {"result": {"channels": {}}}, "nobody else was asked"
        assert not first.done()
        first.cancel()


async def test_forwarded_commands(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    """A gateway that hangs is played by Redis' own client, which listens and answers nothing."""
    server = carillon_server_factory(
        **on_redis(carillon_redis.url), limits={"fleet_answer_timeout_ms": 60_000, "forwarded_commands": 1}
    )
    node = "0b9f0d5c-4f0f-4a53-8c11-0e8b3f5ad0aa"
    body = {"node": node, "session": node, "data": "{}"}
    async with a_stranger(carillon_redis, node), open_http(server) as client:
        first = asyncio.create_task(client.post("/emulation", json=body, timeout=90))
        await until(lambda: server.stats()["body_bytes"] > 0)
        answer = await client.post("/emulation", json=body, timeout=30)
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert not first.done()
        first.cancel()


async def test_forwarded_bytes(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url), limits={"forwarded_bytes": 100})
    body = {"node": str(uuid.uuid4()), "session": str(uuid.uuid4())}
    async with open_http(server) as client:
        answer = await client.post("/emulation", json={**body, "data": "x" * 100}, timeout=30)
        assert answer.status_code == 404, "it was asked for"
        answer = await client.post("/emulation", json={**body, "data": "x" * 101}, timeout=30)
        assert answer.status_code == 503


async def test_fleet_waiting_bytes(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    options = {**on_redis(carillon_redis.url), "limits": {"fleet_waiting_bytes": 200}}
    here, there = (carillon_server_factory(**options) for _ in range(2))
    async with (
        open_http(there) as client,
        open_http(here) as owner,
        owner.stream("POST", "/connection/http_stream", json={"id": 1, "connect": {}}) as stream,
    ):
        lines = stream.aiter_lines()  # the connection is closed with it
        hello = json.loads(await anext(lines))["connect"]
        body = {name: hello[name] for name in ("session", "node")}
        ping = json.dumps({"id": 2, "ping": {}})
        answer = await client.post("/emulation", json={**body, "data": ping}, timeout=30)
        assert answer.status_code == 204
        answer = await client.post("/emulation", json={**body, "data": ping + " " * 200}, timeout=30)
        assert answer.status_code == 503


def test_inbox_wait_ms(carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer) -> None:
    """Another gateway that walks over the members, and does not come on, is played by its entry in Redis."""
    server = carillon_server_factory(**on_redis(carillon_redis.url), limits={"inbox_wait_ms": 600})
    server.add_members("a", ["ann"])
    server.publish("a", 1)
    channel = carillon_redis.cli("keys", "*ch:a").strip()
    epoch = carillon_redis.cli("hget", channel, "e").strip()
    held = ["e", epoch, "f", "2", "l", "2", "g", "somebody", "t", "1000000000000000"]
    carillon_redis.cli("hset", channel.replace("}ch:", "}cw:"), *held)
    began = time.monotonic()
    with pytest.raises(carillon.StoreOutcomeUnknown):
        server.publish("a", 2, idempotency_key="2")
    assert 0.5 < time.monotonic() - began < 8  # the default would have been 12 s
    assert server.unread("ann") == {"a": 2}, "it is stored"
    page = server.metrics()
    assert "\ncarillon_inbox_timeouts_total 1\n" in page
    assert '\ncarillon_objective_events_total{objective="availability",result="bad"} 1\n' in page
