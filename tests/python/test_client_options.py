"""The options of `carillon.connect`, and what a call asks for: each reaches the wire."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
import time
from typing import TYPE_CHECKING

import carillon
import pytest
from carillon import Message, Server, sync
from carillon.acceptor import Acceptor
from carillon.config import schema
from carillon.testing import FaultProxy, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.wire


@contextlib.asynccontextmanager
async def mute_server(heads: list[str]) -> AsyncIterator[str]:
    """Writes down what it is asked for, and never answers. Yields its address."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        await reader.read()

    async with Acceptor(hear) as acceptor:
        yield f"http://127.0.0.1:{acceptor.port}"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ws://host:1", "http://host:1"),
        ("wss://host/", "https://host"),
        ("https://host/behind/a/proxy/", "https://host/behind/a/proxy"),
    ],
)
def test_an_address_may_name_the_web_socket_and_a_path(url: str, base: str) -> None:
    assert carillon.connect(url).url == base


@pytest.mark.parametrize(("scheme", "loads"), [("http", False), ("https", True)])
def test_certificates_are_read_only_for_tls(
    scheme: str, *, loads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_, **__: loaded.append(1))
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: loaded.append(1))
    carillon.connect(f"{scheme}://host:1").subscribe("c")
    assert bool(loaded) == loads


async def test_a_handshake_says_who_comes_and_is_not_waited_for_longer_than_told() -> None:
    heads: list[str] = []
    async with mute_server(heads) as url:
        client = carillon.connect(
            url, user="ann", name="probe", headers={"X-Trace": "seven"}, open_timeout=0.2
        )
        began = time.monotonic()
        with pytest.raises(carillon.ConnectError):
            await client
        assert time.monotonic() - began < 5
    assert "?user=ann" in heads[0]
    assert "user-agent: probe\r\n" in heads[0]
    assert "x-trace: seven\r\n" in heads[0]


async def test_headers_go_with_requests_too(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(api_key="secret", insecure=False)
    async with carillon.connect(server.url, transport="poll", headers={"X-API-Key": "secret"}) as client:
        assert await client.publish("c", 1) is not None


async def test_a_silent_stream_counts_as_dead_after_the_idle_timeout(carillon_server: Server) -> None:
    with FaultProxy(carillon_server) as proxy:
        client = carillon.connect(proxy.url, transport="sse", idle_timeout=0.3, min_reconnect_delay=0.01)
        async with client, client.subscribe("c"):
            proxy.pause_reads()
            await asyncio.to_thread(wait_until, lambda: proxy.accepted > 1)


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
async def test_a_subscription_outlives_the_time_that_it_has_to_begin(
    carillon_server: Server, transport: carillon.client.TransportName
) -> None:
    async with (
        carillon.connect(carillon_server.url, transport=transport, open_timeout=1.0) as client,
        client.subscribe("c") as subscription,
    ):
        with pytest.raises(TimeoutError):
            await subscription.next(timeout=1.5)
        carillon_server.publish("c", 1)
        assert isinstance(await subscription.next(10), Message)
        assert carillon_server.stats()["accepted"] == 1


async def test_a_poll_waits_no_longer_than_told(carillon_server: Server) -> None:
    async with (
        carillon.connect(carillon_server.url, transport="poll", poll_timeout=0.1) as client,
        client.subscribe("c"),
    ):
        await asyncio.to_thread(wait_until, lambda: carillon_server.stats()["requests"] >= 4)


async def test_who_does_not_read_queues_no_more_than_told(carillon_server: Server) -> None:
    async with (
        carillon.connect(carillon_server.url, queue_size=2) as client,
        client.subscribe("c") as subscription,
    ):
        for n in range(3):
            carillon_server.publish("c", n)
        await asyncio.to_thread(wait_until, lambda: not carillon_server.channels())  # it left for a while
        items = [await subscription.next(5) for _ in range(3)]
        assert [item.json() for item in items if isinstance(item, Message)] == [0, 1, 2]


@pytest.mark.parametrize("transport", ["ws", "poll"])
async def test_what_a_publish_asks_for_is_done_on_every_transport(
    carillon_server: Server, transport: carillon.client.TransportName
) -> None:
    async with carillon.connect(carillon_server.url, transport=transport) as client:
        await client.publish("c", "fleeting", skip_history=True)
        await client.publish("c", 1, key="k", tags={"lang": "fr"})
        await client.publish("c", 1, idempotency_key="once")
        await client.publish("c", 1, idempotency_key="once")
        await client.publish("c", b"\x00")
    messages = carillon_server.history("c").messages
    assert [message.data for message in messages] == [b"1", b"1", b"\x00"]
    assert (messages[0].key, dict(messages[0].tags)) == ("k", {"lang": "fr"})


@pytest.mark.parametrize("transport", ["ws", "poll"])
def test_what_a_history_asks_for_is_done_on_every_transport(
    carillon_server: Server, transport: carillon.client.TransportName
) -> None:
    first = carillon_server.publish("c", 1)
    for n in (2, 3):
        carillon_server.publish("c", n)
    with sync.connect(carillon_server.url, transport=transport) as client:
        for options, offsets, goes_on in (
            ({}, [1, 2, 3], 3),
            ({"last": 2}, [2, 3], 3),
            ({"last": 0}, [], 3),
            ({"limit": 2}, [1, 2], 2),
            ({"limit": 3}, [1, 2, 3], 3),
            ({"since": "oldest"}, [1, 2, 3], 3),
            ({"since": first}, [2, 3], 3),
            ({"since": first, "limit": 1}, [2], 2),
            ({"since": str(first), "limit": 1}, [2], 2),
            ({"limit": 2, "reverse": True}, [3, 2], 3),
            ({"limit": 0}, [], 3),
            ({"limit": -1}, [1, 2, 3], 3),
        ):
            for history in (
                client.history("c", **options),  # type: ignore[arg-type]
                carillon_server.history("c", **options),  # type: ignore[arg-type]
            ):
                assert [message.offset for message in history.messages] == offsets, options
                assert history.position.offset == goes_on, options


def test_arguments_of_a_history_that_contradict_each_other_are_named(carillon_server: Server) -> None:
    with sync.connect(carillon_server.url) as client:
        for history in (client.history, carillon_server.history):
            for options, error, text in (
                ({"last": 2, "since": "oldest"}, ValueError, "since and last"),
                ({"last": 2, "limit": 2}, ValueError, "last: is given beside limit"),
                ({"last": 2, "reverse": True}, ValueError, "last: is given beside limit or reverse"),
                ({"since": "oldest", "reverse": True}, ValueError, "since: 'oldest'"),
                ({"since": "newest"}, carillon.PositionError, "since: 'newest' is not a position"),
                ({"last": "2"}, TypeError, "last: '2' is a str"),
                ({"last": -1}, ValueError, "last: -1 is too small"),
                ({"limit": 2**31}, ValueError, "limit: 2147483648 is too large"),
            ):
                with pytest.raises(error, match=text):
                    history("c", **options)  # type: ignore[arg-type]


def test_every_call_on_a_closed_client_says_so(carillon_server: Server) -> None:
    with sync.connect(carillon_server.url) as client:
        pass
    for call in (client.history, client.presence, client.subscribe, lambda name: client.publish(name, 1)):
        with pytest.raises(carillon.CarillonError, match="closed"):
            call("c")
    with pytest.raises(carillon.CarillonError, match="closed"):
        client.open()


def test_a_client_waits_longer_than_a_server_waits_for_its_store() -> None:
    waits_s = next(option["default"] for option in schema() if option["name"] == "store.wait_ms") / 1000
    assert inspect.signature(carillon.connect).parameters["open_timeout"].default >= waits_s + 2
