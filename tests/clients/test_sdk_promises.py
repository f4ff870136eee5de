"""What the SDKs promise their users where things go wrong, once per package."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import carillon
import jwt
import pytest
from carillon import Channel, Server
from carillon.testing import FaultProxy, wait_until
from closing_proxy import BEFORE_THE_REQUEST, ClosingProxy
from sdk import PACKAGES, Sdk, no_go

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["sdk_kinds"]
pytestmark = pytest.mark.wire

SECRET = "a secret that is known to the application and to the server"
WITH_TOKENS = {"client": {"token": {"hmac_secret_key": SECRET}}}
per_package = pytest.mark.kinds(*PACKAGES)


@no_go
def test_a_storm_of_subscribes_and_unsubscribes_ends_with_one_subscription(
    sdk: Sdk, serve: Callable[..., Server]
) -> None:
    server = serve()
    sdk.connect(server.url)
    names = [f"c{number}" for number in range(5)]
    for name in names:
        sdk.call("storm", channel=name, rounds=20)
    for name in names:
        wait_until(lambda name=name: server.channels().get(name) == 1)
        sdk.wait_for("subscribed", name)
    # Whoever has two cursors, or none, shows it now.
    for number in range(3):
        for name in names:
            server.publish(name, number)
    for name in names:
        sdk.wait_for("publication", name, count=3)
        assert [one["data"] for one in sdk.events("publication", name)] == [0, 1, 2]
        assert len(server.presence(name)) == 1
    assert len(sdk.events("connected")) == 1, "no command was out of order"
    sdk.call("disconnect")
    wait_until(lambda: not server.channels())


@per_package
def test_every_channel_has_a_token_of_its_own(sdk: Sdk, serve: Callable[..., Server]) -> None:
    server = serve(insecure=False, config=WITH_TOKENS)
    sdk.connect(server.url, token=carillon.token(SECRET, "ann"))
    for channel in ("$a", "$b"):
        sdk.subscribe(channel, tokens=[carillon.token(SECRET, "ann", channel=channel)])
        assert len(sdk.events("token", channel)) == 1
    expired = jwt.encode({"sub": "ann", "channel": "$c", "exp": int(time.time()) - 60}, SECRET)
    sdk.subscribe("$c", tokens=[expired, carillon.token(SECRET, "ann", channel="$c")])
    assert len(sdk.events("token", "$c")) == 2, "error 109 asks for another"
    sdk.call("subscribe", channel="$d", token="not.a.token")
    assert sdk.wait_for("unsubscribed", "$d")[0]["code"] == 103
    for channel in ("$a", "$b", "$c", "$d"):
        server.publish(channel, channel)
    for channel in ("$a", "$b", "$c"):
        assert [one["data"] for one in sdk.wait_for("publication", channel)] == [channel]
    assert len(sdk.events("connected")) == 1
    assert not sdk.events("publication", "$d")


@per_package
def test_a_refresh_that_fails_once_is_repeated_and_nobody_notices(
    sdk: Sdk, serve: Callable[..., Server]
) -> None:
    server = serve(insecure=False, config=WITH_TOKENS)

    def token(expires: float, channel: str | None = None) -> str:
        return carillon.token(SECRET, "ann", channel=channel, expires=expires)

    sdk.connect(server.url, token=token(5), tokens=[None, token(90)])
    sdk.subscribe("$c", tokens=[token(5, "$c"), None, token(90, "$c")])
    # SDKs wait for up to ten seconds; the server gives them client.expired_close_delay.
    sdk.wait_for("token", count=2, timeout=40)
    sdk.wait_for("token", "$c", count=3, timeout=40)
    server.publish("$c", "still here")
    sdk.wait_for("publication", "$c")
    assert len(sdk.events("connected")) == 1
    assert len(sdk.events("subscribed", "$c")) == 1
    assert not sdk.events("unsubscribed", "$c")


@pytest.mark.node
@pytest.mark.parametrize("threads", [4])
def test_presence_is_counted_to_the_unit(serve: Callable[..., Server]) -> None:
    server = serve()
    clients = [Sdk(*kind.split("-")) for kind in PACKAGES]
    try:
        for client, user in zip(clients, ("ann", "bob", "ann"), strict=True):
            client.connect(server.url, user)
            client.subscribe("room")
        first, second, third = clients
        assert first.call("presenceStats", channel="room") == {"clients": 3, "users": 2}
        ids = [client.events("connected")[0]["client"] for client in clients]
        for client in clients:
            people = client.call("presence", channel="room")
            assert people == dict(zip(ids, ("ann", "bob", "ann"), strict=True))
        third.call("unsubscribe", channel="room")
        wait_until(lambda: len(server.presence("room")) == 2)
        assert second.call("presenceStats", channel="room") == {"clients": 2, "users": 2}
        third.subscribe("room")
        second.call("disconnect")
        wait_until(lambda: len(server.presence("room")) == 2)
        assert third.call("presenceStats", channel="room") == {"clients": 2, "users": 1}
    finally:
        for client in clients:
            client.close()


@per_package
def test_the_state_of_the_application_is_read_when_recovery_fails_and_only_then(
    sdk: Sdk, serve: Callable[..., Server]
) -> None:
    server = serve(channels={"short": Channel(history_size=5)})
    with FaultProxy(server) as proxy:
        sdk.connect(proxy.url)
        positions = [server.publish("short", number) for number in range(1, 4)]
        epoch = positions[0].epoch
        states = [{"offset": offset, "epoch": epoch} for offset in (1, 22)]
        told = sdk.subscribe("short", states=states)
        assert (told["wasRecovering"], told["recovered"]) == (True, True)
        sdk.wait_for("publication", "short", count=2)

        def come_back(count: int) -> None:
            before = len(sdk.events("subscribed", "short"))
            proxy.is_refusing = True
            proxy.cut()
            wait_until(lambda: not server.presence("short"))
            next_number = server.publish("short", "away").offset + 1
            server.publish_many([("short", number) for number in range(next_number, next_number + count - 1)])
            proxy.is_refusing = False
            assert sdk.wait_for("subscribed", "short", count=before + 1)[-1]["recovered"] is True

        come_back(1)
        assert len(sdk.events("state", "short")) == 1, "it has recovered by itself"
        come_back(20)  # error 112: more than the history holds
        assert len(sdk.events("state", "short")) == 2
        wait_until(lambda: sdk.offsets("short")[-1:] == [24])
        assert list(sdk.offsets("short")) == [2, 3, 4, 23, 24]
        assert not sdk.events("unsubscribed", "short")


@per_package
def test_closes_in_the_middle_of_the_handshake_are_lived_through(
    sdk: Sdk, serve: Callable[..., Server]
) -> None:
    server = serve()
    places = [BEFORE_THE_REQUEST, -60, -2, 0, 9]  # at the last one the Go module waits for 5 s
    with ClosingProxy(server.port, places) as proxy:
        sdk.connect(proxy.url)
        assert proxy.accepted == len(places) + 1
        sdk.subscribe("c")
        server.publish("c", 1)
        sdk.wait_for("publication", "c")
        assert len(sdk.events("connected")) == 1
        wait_until(lambda: len(server.connections()) == 1, message="the server has forgotten the others")
        assert len(server.presence("c")) == 1
