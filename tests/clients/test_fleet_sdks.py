"""SDKs over HTTP whose commands reach another gateway than their stream, and lose the one with the stream."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import carillon
import pytest
from carillon import sync
from carillon.testing import wait_until
from redis_fleet import on_redis
from sdk import Sdk, every_kind
from tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carillon import Server
    from carillon.testing import RedisServer
    from serve_process import Process

pytest_plugins = ["sdk_kinds"]
pytestmark = pytest.mark.wire

ROOM = "room"
SECRET = "known to the application and to all gateways"
# centrifuge-python and centrifuge-go have WebSockets only.
over_http = pytest.mark.parametrize(
    ("encoding", "transport"), [("json", "http_stream"), ("protobuf", "http_stream"), ("json", "sse")]
)


@pytest.mark.node
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


@every_kind
def test_a_gateway_that_is_killed_loses_nothing(
    sdk: Sdk,
    request: pytest.FixtureRequest,
    carillon_redis: RedisServer,
    launch: Callable[..., Process],
    tmp_path: Path,
) -> None:
    """By kill -9. Clients resume elsewhere, with position and token. Commands over HTTP go to a third one."""
    config = tmp_path / "carillon.toml"
    config.write_text(
        f'[store]\nurl = "{carillon_redis.url}"\n[client.token]\nhmac_secret_key = "{SECRET}"\n'
        '[http_api]\ninsecure = true\n[channels."*"]\nhistory_size = 10000\npresence = true\n'
        "allow_subscribe_for_client = true\nallow_publish_for_client = true\n"
        "allow_presence_for_subscriber = true\n"
    )
    killed, other, third = (launch(0, "--config", str(config)) for _ in range(3))
    over_http = {"commandsUrl": f"http://127.0.0.1:{third.port}"}
    is_over_http = "websocket" not in request.node.name

    def publish(*numbers: int) -> None:
        with sync.connect(f"http://127.0.0.1:{third.port}", transport="poll") as backend:
            for number in numbers:
                backend.publish(ROOM, number)

    with TcpProxy(killed.port) as balancer:
        token = carillon.token(SECRET, "ann")
        options = over_http if is_over_http else {}
        sdk.connect(f"http://127.0.0.1:{balancer.port}", token=token, **options)
        sdk.subscribe(ROOM)
        publish(*range(10))
        sdk.wait_for("publication", ROOM, count=5)
        balancer.target = other.port
        killed.child.kill()
        publish(*range(10, 20))
        sdk.wait_for("subscribed", ROOM, count=2)
        sdk.call("publish", channel=ROOM, data=20)
        sdk.wait_for("publication", ROOM, count=21)
        assert [each["data"] for each in sdk.events("publication", ROOM)] == list(range(21))
        assert sdk.events("subscribed", ROOM)[1]["recovered"]
        assert set(sdk.call("presence", channel=ROOM).values()) == {"ann"}


@pytest.mark.node
@pytest.mark.parametrize("transport", ["http_stream", "sse"])
def test_an_sdk_whose_commands_reach_nobody_connects_again(
    carillon_server_factory: Callable[..., Server], transport: str
) -> None:
    """It does not look at the status: a subscribe without a reply makes it connect again, after its 5 s."""
    here, stranger = (carillon_server_factory() for _ in range(2))
    with closing(Sdk("javascript", "json", transport)) as sdk:
        sdk.connect(here.url, commandsUrl=stranger.url)
        sdk.call("subscribe", channel=ROOM)
        sdk.wait_for("connected", count=2, timeout=30)
        assert [each["reason"] for each in sdk.events("connecting")][1:] == ["subscribe timeout"]
        assert not sdk.events("subscribed", ROOM)
