"""Subscriptions that the server makes, as SDKs that others wrote see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from carillon import Channel, Grant, Server, User
from carillon.testing import FaultProxy, wait_until
from sdk import CommandFailed, Sdk, every_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import ConnectContext

pytest_plugins = ["sdk_kinds"]
pytestmark = pytest.mark.wire


def with_news(server: Server) -> None:
    """Every client is a user, and has the channel `news` from its connect on."""

    @server.on_connect
    def identify(ctx: ConnectContext) -> User:
        grant = Grant("news", info={"role": "reader"}, data={"hello": ctx.claimed_user})
        return User(ctx.claimed_user, subscriptions=[grant])


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve(before_start=with_news)


def call(server: Server, method: str, **body: object) -> dict[str, object]:
    answer: dict[str, object] = httpx.post(f"{server.url}/api/{method}", json=body).json()
    return answer


@every_kind
def test_they_come_with_the_connect(sdk: Sdk, server: Server) -> None:
    sdk.connect(server.url, user="ann")
    (told,) = sdk.wait_for("subscribed", "news")
    assert (told["data"], told["wasRecovering"]) == ({"hello": "ann"}, False)
    server.publish("news", "text")
    assert sdk.wait_for("publication", "news")[0]["data"] == "text"
    (client,) = sdk.call("presenceInfo", channel="news")
    assert sdk.call("presenceInfo", channel="news") == {client: {"role": "reader"}}
    assert server.presence("news")[client].chan_info == {"role": "reader"}


@every_kind
def test_they_recover_when_the_client_comes_back(sdk: Sdk, server: Server) -> None:
    with FaultProxy(server) as proxy:
        sdk.connect(proxy.url, user="ann")
        sdk.wait_for("subscribed", "news")
        server.publish("news", 1)
        sdk.wait_for("publication", "news")
        proxy.is_refusing = True
        proxy.cut()
        sdk.wait_for("connecting", count=2)
        server.publish_many([("news", number) for number in range(2, 31)])
        proxy.is_refusing = False
        back = sdk.wait_for("subscribed", "news", count=2)[-1]
        assert (back["wasRecovering"], back["recovered"]) == (True, True)
        server.publish("news", 31)
        sdk.wait_for("publication", "news", count=31)
        assert sdk.offsets("news") == list(range(1, 32))


def test_the_api_adds_and_ends_them(make_sdk: Callable[[], Sdk], server: Server) -> None:
    ann, bob = make_sdk().connect(server.url, user="ann"), make_sdk().connect(server.url, user="bob")
    server.publish("more", 1)
    assert call(server, "subscribe", user="ann", channel="more", data={"why": "paid"})["result"] == {
        "connections": 1
    }
    assert ann.wait_for("subscribed", "more")[0]["data"] == {"why": "paid"}
    assert call(server, "subscribe", user="ann", channel="more")["error"]["code"] == 100  # type: ignore[index]
    assert call(server, "subscribe", user="nobody", channel="more")["result"] == {"connections": 0}
    server.publish("more", 2)
    assert [one["data"] for one in ann.wait_for("publication", "more")] == [2]
    assert call(server, "unsubscribe", user="ann", channel="more")["result"] == {"connections": 1}
    ann.wait_for("unsubscribed", "more")
    server.publish("more", 3)
    server.publish("news", "for all")
    for client in (ann, bob):
        client.wait_for("publication", "news")
    assert len(ann.events("publication", "more")) == 1
    assert not bob.events("subscribed", "more")


def test_the_api_starts_one_behind_a_position(sdk: Sdk, server: Server) -> None:
    first = server.publish("more", 1)
    server.publish("more", 2)
    sdk.connect(server.url, user="ann")
    assert server.subscribe_user("ann", "more", since=first) == 1
    assert [one["data"] for one in sdk.wait_for("publication", "more")] == [2]


def test_the_api_ends_what_the_client_has_asked_for(sdk: Sdk, server: Server) -> None:
    sdk.connect(server.url, user="ann")
    sdk.subscribe("own")
    assert server.unsubscribe_user("ann", "own") == 1
    (told,) = sdk.wait_for("unsubscribed", "own")
    assert (told["code"], told["reason"]) == (2000, "server unsubscribe")
    assert server.unsubscribe_user("ann", "own") == 0


def test_the_api_chooses_by_client_session_and_whitelist(make_sdk: Callable[[], Sdk], server: Server) -> None:
    sdks = [make_sdk().connect(server.url, user="ann") for _ in range(3)]
    ids = [each.events("connected")[0]["client"] for each in sdks]
    assert call(server, "subscribe", user="ann", client=ids[0], channel="one")["result"] == {"connections": 1}
    sdks[0].wait_for("subscribed", "one")
    assert call(server, "disconnect", user="bob", client=ids[0])["result"] == {"connections": 0}
    assert call(server, "disconnect", user="ann", session="another")["result"] == {"connections": 0}
    assert call(server, "disconnect", user="ann", whitelist=[ids[1]])["result"] == {"connections": 2}
    for gone in (sdks[0], sdks[2]):
        assert gone.wait_for("disconnected")[0]["code"] == 3503
    wait_until(lambda: server.connections() == [ids[1]])
    assert server.disconnect_user("ann", 4500, "logged out") == 1
    assert sdks[1].wait_for("disconnected")[0]["code"] == 4500


def test_the_client_cannot_subscribe_to_what_it_has(sdk: Sdk, server: Server) -> None:
    sdk.connect(server.url, user="ann")
    sdk.wait_for("subscribed", "news")
    try:
        sdk.call("subscribe", channel="news")
    except CommandFailed:  # an SDK may know it by itself
        return
    assert sdk.wait_for("unsubscribed", "news")[0]["code"] == 105


def test_lost_publications_bring_the_client_back(sdk: Sdk, serve: Callable[..., Server]) -> None:
    server = serve(before_start=with_news, channels={"*": Channel(history_size=5)})
    with FaultProxy(server) as proxy:
        sdk.connect(proxy.url, user="ann")
        server.publish("news", 1)
        sdk.wait_for("publication", "news")
        proxy.is_refusing = True
        proxy.cut()
        server.publish_many([("news", number) for number in range(2, 31)])
        proxy.is_refusing = False
        back = sdk.wait_for("subscribed", "news", count=2)[-1]
        assert (back["wasRecovering"], back["recovered"]) == (True, False)


def test_a_user_with_a_single_connection(make_sdk: Callable[[], Sdk], serve: Callable[..., Server]) -> None:
    server = serve(
        before_start=with_news,
        config={
            "client": {"subscribe_to_user_personal_channel": {"enabled": True, "single_connection": True}}
        },
    )
    first = make_sdk().connect(server.url, user="ann")
    first.wait_for("subscribed", "#ann")
    second = make_sdk().connect(server.url, user="ann")
    second.wait_for("subscribed", "#ann")
    assert first.wait_for("disconnected")[0]["code"] == 3504
    assert second.events("connected")[0]["client"] in server.connections()
