"""SDKs over HTTP whose commands reach another gateway than their stream, and lose the one with the stream."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from carillon.testing import wait_until
from redis_fleet import on_redis, serve_on_redis
from sdk import Sdk
from tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carillon import Server
    from carillon.testing import RedisServer
    from serve_process import Process

pytestmark = pytest.mark.wire

ROOM = "room"
# centrifuge-python and centrifuge-go have WebSockets only.
over_http = pytest.mark.parametrize(
    ("encoding", "transport"), [("json", "http_stream"), ("protobuf", "http_stream"), ("json", "sse")]
)


@over_http
def test_commands_to_another_gateway_are_carried_out_in_order(
    carillon_redis: RedisServer,
    carillon_server_factory: Callable[..., Server],
    encoding: str,
    transport: str,
) -> None:
    here, there = (carillon_server_factory(**on_redis(carillon_redis.url)) for _ in range(2))
    with closing(Sdk("javascript", encoding, transport)) as sdk:
        sdk.connect(here.url, commandsUrl=there.url)
        sdk.subscribe(ROOM)
        for number in range(40):
            sdk.call("publish", channel=ROOM, data={"n": number, "text": "\u00e9\n" * 50})
        sdk.wait_for("publication", ROOM, count=40)
        assert [each["data"]["n"] for each in sdk.events("publication", ROOM)] == list(range(40))
        assert sdk.call("presenceStats", channel=ROOM) == {"clients": 1, "users": 1}
        sdk.call("unsubscribe", channel=ROOM)
        sdk.wait_for("unsubscribed", ROOM)
        wait_until(lambda: here.stats()["subscriptions"] == 0)
        assert there.stats()["emulated"] == 0
        assert not sdk.events("disconnected")
    assert [message.json()["n"] for message in there.history(ROOM, last=100).messages] == list(range(40))


@over_http
def test_a_gateway_that_is_killed_loses_no_publication(
    carillon_redis: RedisServer,
    carillon_server_factory: Callable[..., Server],
    launch: Callable[..., Process],
    tmp_path: Path,
    encoding: str,
    transport: str,
) -> None:
    """Its clients come back at another gateway, their commands still go to a third one."""
    third, other = (carillon_server_factory(**on_redis(carillon_redis.url)) for _ in range(2))
    killed = serve_on_redis(launch, tmp_path, carillon_redis.url)
    with TcpProxy(killed.port) as balancer, closing(Sdk("javascript", encoding, transport)) as sdk:
        sdk.connect(f"http://127.0.0.1:{balancer.port}", commandsUrl=third.url)
        sdk.subscribe(ROOM)
        for number in range(10):
            third.publish(ROOM, {"n": number})
        sdk.wait_for("publication", ROOM, count=5)
        balancer.target = other.port
        killed.child.kill()
        for number in range(10, 20):
            third.publish(ROOM, {"n": number})
        sdk.wait_for("subscribed", ROOM, count=2)
        sdk.call("publish", channel=ROOM, data={"n": 20})
        sdk.wait_for("publication", ROOM, count=21)
        assert [each["data"]["n"] for each in sdk.events("publication", ROOM)] == list(range(21))
        assert sdk.events("subscribed", ROOM)[1]["recovered"]
        assert other.stats()["emulated"] == 1
