"""The PyPI package `cent`, as others wrote it, against the HTTP API: every method that this API has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from carillon import Grant, Server, User
from carillon.testing import wait_until
from cent import (
    AsyncClient,
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentTransportError,
    CentUnauthorizedError,
    ChannelOptionsOverride,
    ChannelsRequest,
    Client,
    Disconnect,
    DisconnectRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)
from cent.dto import BoolValue, ConnectionsRequest
from sdk import Sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import ConnectContext

pytestmark = pytest.mark.wire


def with_users(server: Server) -> None:
    @server.on_connect
    def identify(ctx: ConnectContext) -> User:
        grant = Grant("news", info={"role": "reader"})
        return User(ctx.claimed_user, info={"name": "Ann"}, subscriptions=[grant])


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve(before_start=with_users, api_key="secret")


@pytest.fixture
def client(server: Server) -> Client:
    return Client(f"{server.url}/api", "secret")


@pytest.fixture
def ann(server: Server) -> Iterator[Sdk]:
    sdk = Sdk("python")
    sdk.connect(server.url, user="ann")
    sdk.wait_for("subscribed", "news")
    yield sdk
    sdk.close()


def test_publish_broadcast_and_history(client: Client) -> None:
    first = client.publish(
        PublishRequest(channel="a", data={"n": 1}, tags={"lang": "en"}, idempotency_key="k")
    )
    again = client.publish(PublishRequest(channel="a", data={"n": 2}, idempotency_key="k"))
    assert (again.offset, again.epoch) == (first.offset, first.epoch) == (1, first.epoch)
    both = client.broadcast(BroadcastRequest(channels=["a", "\n"], data="two"))
    assert both.responses[0].result is not None
    assert both.responses[0].result.offset == 2
    assert both.responses[1].error is not None
    assert both.responses[1].error.code == 107
    assert client.publish(PublishRequest(channel="a", data=3, skip_history=True)).offset == 0
    found = client.history(
        HistoryRequest(channel="a", limit=10, since=StreamPosition(offset=1, epoch=first.epoch))
    )
    assert [one.data for one in found.publications] == ["two"]
    newest = client.history(HistoryRequest(channel="a", limit=1, reverse=True))
    assert [one.offset for one in newest.publications] == [2]
    client.history_remove(HistoryRemoveRequest(channel="a"))
    empty = client.history(HistoryRequest(channel="a", limit=10))
    assert (empty.publications, empty.offset, empty.epoch) == ([], 2, first.epoch)
    with pytest.raises(CentApiResponseError) as refused:
        client.history(HistoryRequest(channel="a", limit=1, since=StreamPosition(offset=1, epoch="other")))
    assert refused.value.code == 112


def test_presence_channels_and_info(client: Client, ann: Sdk) -> None:
    (id_of_ann,) = [one["client"] for one in ann.events("connected")]
    found = client.presence(PresenceRequest(channel="news")).presence[id_of_ann]
    assert (found.user, found.conn_info, found.chan_info) == ("ann", {"name": "Ann"}, {"role": "reader"})
    counts = client.presence_stats(PresenceStatsRequest(channel="news"))
    assert (counts.num_clients, counts.num_users) == (1, 1)
    assert client.channels(ChannelsRequest(pattern="n*")).channels["news"].num_clients == 1
    assert client.channels(ChannelsRequest(pattern="m*")).channels == {}
    (node,) = client.info(InfoRequest()).nodes
    assert (node.num_clients, node.num_users, node.num_subs, node.num_channels) == (1, 1, 1, 1)


def test_subscribe_unsubscribe_and_disconnect(client: Client, server: Server, ann: Sdk) -> None:
    first = client.publish(PublishRequest(channel="more", data=1))
    client.publish(PublishRequest(channel="more", data=2))
    (id_of_ann,) = server.connections()
    client.subscribe(
        SubscribeRequest(
            user="ann",
            channel="more",
            client=id_of_ann,
            info={"role": "host"},
            data={"why": "paid"},
            recover_since=StreamPosition(offset=first.offset, epoch=first.epoch),
            override=ChannelOptionsOverride(presence=BoolValue(value=True)),
        )
    )
    assert ann.wait_for("subscribed", "more")[0]["data"] == {"why": "paid"}
    assert [one["data"] for one in ann.wait_for("publication", "more")] == [2]
    assert server.presence("more")[id_of_ann].chan_info == {"role": "host"}
    with pytest.raises(CentApiResponseError) as refused:
        client.subscribe(SubscribeRequest(user="ann", channel="more"))
    assert refused.value.code == 100
    client.subscribe(
        SubscribeRequest(
            user="ann", channel="hidden", override=ChannelOptionsOverride(presence=BoolValue(value=False))
        )
    )
    ann.wait_for("subscribed", "hidden")
    assert server.presence("hidden") == {}
    client.subscribe(SubscribeRequest(user="nobody", channel="more"))  # who is offline is no error
    later = int(time.time()) + 3600
    client.refresh(RefreshRequest(user="ann", expire_at=later))
    client.unsubscribe(UnsubscribeRequest(user="ann", channel="more"))
    ann.wait_for("unsubscribed", "more")
    client.disconnect(DisconnectRequest(user="ann", whitelist=[id_of_ann]))
    assert server.connections() == [id_of_ann]
    client.disconnect(DisconnectRequest(user="ann", disconnect=Disconnect(code=4500, reason="logged out")))
    told = ann.wait_for("disconnected")[0]
    assert (told["code"], told["reason"]) == (4500, "logged out")
    wait_until(lambda: not server.connections())


@pytest.mark.parametrize("parallel", [False, True])
def test_a_batch(client: Client, ann: Sdk, parallel: bool) -> None:
    replies = client.batch(
        BatchRequest(
            requests=[
                PublishRequest(channel="news", data=1),
                BroadcastRequest(channels=["news", "b"], data=2),
                PresenceStatsRequest(channel="news"),
                HistoryRequest(channel="b", limit=0),
                InfoRequest(),
            ],
            parallel=parallel,
        )
    ).replies
    published, both, counts, history, info = replies
    assert published.offset == 1
    assert [one.result.offset for one in both.responses] == [2, 1]
    assert counts.num_clients == 1
    assert history.publications == []
    assert info.nodes[0].name == "carillon"
    assert [one["data"] for one in ann.wait_for("publication", "news", count=2)] == [1, 2]


def test_a_wrong_key(server: Server) -> None:
    with pytest.raises(CentUnauthorizedError):
        Client(f"{server.url}/api", "wrong").info(InfoRequest())


async def test_the_asynchronous_client(server: Server) -> None:
    client = AsyncClient(f"{server.url}/api", "secret")
    try:
        assert (await client.publish(PublishRequest(channel="a", data=b"1".decode()))).offset == 1
        with pytest.raises(CentApiResponseError) as refused:
            await client.presence(PresenceRequest(channel="\n"))
        assert refused.value.code == 107
    finally:
        await client.close()


def test_what_others_sell_is_refused_by_name(client: Client) -> None:
    with pytest.raises(CentTransportError) as refused:
        client.connections(ConnectionsRequest(user="ann", expression=""))
    assert refused.value.status_code == 404
