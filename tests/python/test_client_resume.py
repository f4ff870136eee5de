"""The network client: the same over each transport, and exact after cuts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import carillon
import pytest
from carillon import Client, Gap, Message, Server, Subscription
from carillon.testing import FaultProxy, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

Transport = Literal["ws", "sse", "poll"]
TRANSPORTS: list[Transport] = ["ws", "sse", "poll"]
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


def fast(url: str, transport: Transport, **options: object) -> Client:
    return carillon.connect(
        url,
        transport=transport,
        min_reconnect_delay=0.01,
        max_reconnect_delay=0.1,
        **options,  # type: ignore[arg-type]
    )


async def take(subscription: Subscription, count: int) -> list[int]:
    """Offsets of the next items; a gap stands as a negative number."""
    items = [await subscription.next(10) for _ in range(count)]
    return [item.offset if isinstance(item, Message) else -item.lost_to for item in items]


@each_transport
async def test_messages_come_in_order_with_all_they_have(
    carillon_server: Server, transport: Transport
) -> None:
    async with fast(carillon_server.url, transport) as client, client.subscribe("c") as subscription:
        position = carillon_server.publish("c", {"text": "hé\u2028\n"}, tags={"lang": "fr"})
        carillon_server.publish("c", b"\x00\xff")
        carillon_server.publish("c", b'{"n":1.10}', json=True)
        first, second, third = [await subscription.next(5) for _ in range(3)]
        assert isinstance(first, Message)
        assert isinstance(second, Message)
        assert isinstance(third, Message)
        assert (first.json(), first.tags, first.position) == (
            {"text": "hé\u2028\n"},
            {"lang": "fr"},
            position,
        )
        assert (second.data, second.is_json) == (b"\x00\xff", False)
        assert third.data == b'{"n":1.10}'
        assert subscription.position == third.position


@each_transport
async def test_cuts_lose_nothing_and_repeat_nothing(carillon_server: Server, transport: Transport) -> None:
    total = 400
    with FaultProxy(carillon_server) as proxy:
        async with fast(proxy.url, transport) as client, client.subscribe("c") as subscription:

            async def publish() -> None:
                for n in range(total):
                    await carillon_server.publish_async("c", n)
                    await asyncio.sleep(0.002)
                    if n % 80 == 40:
                        await asyncio.to_thread(proxy.cut)

            publishing = asyncio.create_task(publish())
            assert await take(subscription, total) == list(range(1, total + 1))
            await publishing
            assert proxy.accepted > 3


@each_transport
async def test_a_server_that_refuses_for_a_while_is_asked_again(
    carillon_server: Server, transport: Transport
) -> None:
    with FaultProxy(carillon_server) as proxy:
        async with fast(proxy.url, transport) as client, client.subscribe("c") as subscription:
            proxy.is_refusing = True
            await asyncio.to_thread(proxy.cut)
            carillon_server.publish("c", 1)
            refused = proxy.accepted + 3
            await asyncio.to_thread(wait_until, lambda: proxy.accepted >= refused)
            proxy.is_refusing = False
            assert await take(subscription, 1) == [1]


async def test_the_transport_may_change_with_a_position(carillon_server: Server) -> None:
    position = None
    seen: list[int] = []
    for turn, transport in enumerate(TRANSPORTS * 2):
        client = fast(carillon_server.url, transport)
        async with client, client.subscribe("c", since=position) as subscription:
            carillon_server.publish("c", turn)
            seen += await take(subscription, 1 if turn == 0 else 2)
            position = subscription.position
        carillon_server.publish("c", "while nobody listens")
    assert seen == list(range(1, len(seen) + 1))


@each_transport
async def test_a_gap_is_told(carillon_server_factory: Callable[..., Server], transport: Transport) -> None:
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=5)})
    first = server.publish("c", 0)
    for n in range(20):
        server.publish("c", n)
    async with (
        fast(server.url, transport) as client,
        client.subscribe("c", since=first, on_gap="yield") as subscription,
    ):
        gap = await subscription.next(5)
        assert isinstance(gap, Gap)
        assert gap.lost_from == 2
        assert subscription.is_recovered is False
        last = server.publish("c", "last").offset
        assert (await take(subscription, last - gap.lost_to))[-1] == last


@each_transport
async def test_a_position_of_another_log_is_told(carillon_server: Server, transport: Transport) -> None:
    carillon_server.publish("c", 0)
    async with (
        fast(carillon_server.url, transport) as client,
        client.subscribe("c", since="otherlog:7", on_gap="yield") as subscription,
    ):
        gap = await subscription.next(5)
        assert isinstance(gap, Gap)
        assert gap.lost_from is None


@each_transport
async def test_a_slow_reader_is_brought_up_from_the_log(
    carillon_server_factory: Callable[..., Server], transport: Transport
) -> None:
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=5000)})
    async with (
        fast(server.url, transport, queue_size=16) as client,
        client.subscribe("c") as subscription,
    ):
        for n in range(1000):
            server.publish("c", n)
            if n % 50 == 0:
                await asyncio.sleep(0.005)
        assert await take(subscription, 1000) == list(range(1, 1001))


@each_transport
async def test_a_reader_that_keeps_up_is_never_paused(
    carillon_server_factory: Callable[..., Server], transport: Transport
) -> None:
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=10_000)})
    first = server.publish("c", 0)
    server.publish_many([("c", n) for n in range(5_000)])
    async with fast(server.url, transport) as client, client.subscribe("c", since=first) as subscription:
        assert await take(subscription, 5_000) == list(range(2, 5_002))
        commands, requests = server.stats()["commands"], server.stats()["requests"]
    assert (commands, requests < 20) == (2 if transport == "ws" else 0, True), "it was never asked twice"


@each_transport
async def test_channels_without_history_are_live(
    carillon_server_factory: Callable[..., Server], transport: Transport
) -> None:
    if transport == "poll":
        pytest.skip("between two polls nobody holds what a channel without history has sent")
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=0)})
    async with fast(server.url, transport) as client, client.subscribe("c") as subscription:
        server.publish("c", 1)
        item = await subscription.next(5)
        assert isinstance(item, Message)
        assert (item.json(), item.position) == (1, None)


@each_transport
async def test_publish_history_and_presence(
    carillon_server_factory: Callable[..., Server], transport: Transport
) -> None:
    server = carillon_server_factory(api_key="secret", insecure=True)
    async with fast(server.url, transport, api_key="secret") as client:
        position = await client.publish("c", {"n": 1}, tags={"a": "b"}, idempotency_key="k")
        assert position == await client.publish("c", {"n": 1}, idempotency_key="k")
        assert await client.publish("c", b"\x00") == carillon.Position(2, position.epoch)  # type: ignore[union-attr]
        history = await client.history("c", limit=10)
        assert [message.data for message in history.messages] == [b'{"n":1}', b"\x00"]
        assert history.position.offset == 2
        assert await client.presence("c") == {}
    async with fast(server.url, transport, api_key="wrong") as client:
        with pytest.raises(carillon.CarillonError, match="401"):
            await client.publish("c", 1)


async def test_a_websocket_client_publishes_over_its_connection(carillon_server: Server) -> None:
    async with fast(carillon_server.url, "ws") as client, client.subscribe("c") as subscription:
        assert await subscription.publish({"n": 1}) is None
        item = await subscription.next(5)
        assert isinstance(item, Message)
        assert item.json() == {"n": 1}
        assert [m.offset for m in (await client.history("c", limit=-1)).messages] == [1]
        assert len(await client.presence("c")) == 1


async def test_a_publish_that_is_too_long_ends_nothing_else(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(limits={"message_bytes": 1024})
    async with fast(server.url, "ws") as client, client.subscribe("c") as subscription:
        with pytest.raises(
            carillon.PayloadTooLarge, match=r"limits\.message_bytes.*limits\.publication_bytes"
        ):
            await client.publish("c", "x" * 2_000)
        await client.publish("c", "short")
        item = await subscription.next(10)
        assert isinstance(item, Message)
        assert (item.json(), item.offset) == ("short", 1)


@pytest.mark.parametrize(("message_bytes", "name_bytes"), [(300, 2), (64 * 1024, 250)])
async def test_subscriptions_that_are_too_many_for_one_message_come_back_in_several(
    carillon_server_factory: Callable[..., Server], message_bytes: int, name_bytes: int
) -> None:
    count = message_bytes * 2 // (name_bytes + 100)
    limits = {"message_bytes": message_bytes, "channels_per_connection": count}
    server = carillon_server_factory(limits=limits)
    names = [f"{n}".zfill(name_bytes) for n in range(count)]
    with FaultProxy(server) as proxy:
        async with fast(proxy.url, "ws") as client:
            subscriptions = [client.subscribe(name) for name in names]
            await asyncio.gather(*(subscription.open() for subscription in subscriptions))
            await asyncio.to_thread(proxy.cut)
            for name in names:
                server.publish(name, 1)
            assert [await take(subscription, 1) for subscription in subscriptions] == [[1]] * count


async def test_a_subscription_that_is_too_long_for_a_message_ends_no_other(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(limits={"message_bytes": 300})
    async with fast(server.url, "ws") as client, client.subscribe("c") as subscription:
        with pytest.raises(carillon.SubscribeDenied, match=r"limits\.message_bytes"):
            await client.subscribe("x" * 300).open()
        server.publish("c", 1)
        assert await take(subscription, 1) == [1]


async def test_two_subscriptions_of_one_client_to_one_channel_are_refused(carillon_server: Server) -> None:
    async with fast(carillon_server.url, "ws") as client, client.subscribe("c"):
        with pytest.raises(carillon.CarillonError, match="already subscribed"):
            await client.subscribe("c").open()


async def test_a_channel_may_be_left_and_entered_again(carillon_server: Server) -> None:
    async with fast(carillon_server.url, "ws") as client:
        for n in range(5):
            async with client.subscribe("c") as subscription:
                position = carillon_server.publish("c", n)
                item = await subscription.next(5)
                assert item.position == position


@each_transport
async def test_a_server_that_is_not_there_is_told_at_once(transport: Transport) -> None:
    with FaultProxy("http://127.0.0.1:1") as proxy:
        url = proxy.url
    client = fast(url, transport)
    with pytest.raises(carillon.ConnectError, match="cannot reach"):
        async with client, client.subscribe("c"):
            pass


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", ""])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        carillon.connect(url)


async def test_a_closed_client_says_so(carillon_client: Callable[..., Client]) -> None:
    client = await carillon_client()
    subscription = client.subscribe("c")
    await subscription.open()
    await client.aclose()
    with pytest.raises(carillon.CarillonError, match="closed"):
        await subscription.next(5)
    with pytest.raises(carillon.CarillonError, match="closed"):
        client.subscribe("d")


@each_transport
async def test_a_server_that_stops_is_waited_for(transport: Transport) -> None:
    server = Server().start()
    port = server.port
    async with fast(server.url, transport) as client, client.subscribe("c", on_gap="yield") as subscription:
        server.publish("c", 1)
        assert await take(subscription, 1) == [1]
        await asyncio.to_thread(server.stop)
        with Server(port=port) as successor:
            item = await subscription.next(10)
            assert isinstance(item, Gap)  # another process, another log: told, not hidden
            assert item.lost_from is None
            successor.publish("c", 2)
            following = await subscription.next(10)
            assert isinstance(following, Message)
            await client.aclose()
