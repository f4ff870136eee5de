"""Wrong arguments: an error of the right class, which names the argument as the caller wrote it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import Channel, ConfigError, Server, ServerStopped
from carillon.testing import FaultProxy, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon.testing import SyncClientFactory

Use = Any  # a function of a server or of a client that blocks

OF_BOTH: list[tuple[Use, type[Exception], str]] = [
    (lambda it: it.subscribe(""), ValueError, "channel: '' is not a channel name"),
    (lambda it: it.subscribe(5), TypeError, "channel: 5 is an int; give a str"),
    (lambda it: it.subscribe("a", since=5), TypeError, "since: 5 is"),
    (lambda it: it.subscribe("a", since="x"), carillon.PositionError, "'x' is not a position"),
    (lambda it: it.subscribe("a", on_gap="no"), ValueError, "on_gap: 'no' is not known"),
    (lambda it: it.history(""), ValueError, "channel: '' is not a channel name"),
    (lambda it: it.history("a", since=5), TypeError, "since: 5 is"),
    (lambda it: it.presence(5), TypeError, "channel: 5 is an int"),
    (lambda it: it.presence(""), ValueError, "channel: '' is not a channel name"),
    (lambda it: it.publish(5, 1), TypeError, "channel: 5 is an int; give a str"),
    (lambda it: it.publish("", 1), ValueError, "channel: '' is not a channel name"),
    (lambda it: it.publish("\ud800", 1), ValueError, r"channel: '\\ud800' is not a channel name"),
    (lambda it: it.publish("a", object()), TypeError, "data: cannot publish an object"),
    (lambda it: it.publish("a", 1, tags={"a": 1}), TypeError, r"tags\['a'\]: 1 is an int; tags must map"),
    (lambda it: it.publish("a", 1, tags={1: "a"}), TypeError, "tags: the key 1 is an int; tags must map"),
    (lambda it: it.publish("a", 1, tags=["a"]), TypeError, r"tags: \['a'\] is a list; give a dict"),
    (lambda it: it.publish("a", 1, tags={"a": "\ud800"}), ValueError, r"tags\['a'\]: .* UTF-8"),
    (lambda it: it.publish("a", 1, key=5), TypeError, "key: 5 is an int; give a str"),
    (lambda it: it.publish("a", 1, idempotency_key=b"k"), TypeError, "idempotency_key: b'k' is a bytes"),
    (lambda it: it.publish("a", 1, idempotencykey="k"), TypeError, "'idempotencykey'; did you mean 'idempo"),
    (lambda it: it.publish("a", 1, json=True), TypeError, "json=True"),
    (lambda it: it.publish("a", b"1", json="no"), TypeError, "json: 'no' is a str; give True or False"),
    (lambda it: it.publish("a", 1, skip_history="no"), TypeError, "skip_history: 'no' is a str; give True"),
    (lambda it: it.publish(b"a", 1), TypeError, "channel: b'a' is a bytes; give a str"),
    (lambda it: it.publish("a", memoryview(b"abc")[::2]), ValueError, "data: the buffer is not contiguous"),
]

OF_A_SERVER: list[tuple[Use, type[Exception], str]] = [
    (lambda it: it.publish_many({"a": 1}), TypeError, "items: is a mapping; give .channel, data. pairs"),
    (lambda it: it.publish_many(5), TypeError, "items: 5 is an int; give .channel, data. pairs"),
    (lambda it: it.publish_many([("a",)]), TypeError, r"items\[0\]: \('a',\) is not a .channel, data. pair"),
    (lambda it: it.publish_many([("a", 1), 5]), TypeError, r"items\[1\]: 5 is not a .channel, data. pair"),
    (lambda it: it.publish_many([("a", b"1"), (5, b"1")]), TypeError, r"items\[1\]: channel: 5 is an int"),
    (lambda it: it.publish_many([("a", 1), ("", 1)]), ValueError, r"items\[1\]: channel: '' is not"),
    (lambda it: it.publish_many([("a", float("nan"))]), ValueError, r"items\[0\]: JSON has no NaN"),
    (lambda it: it.publish_many(["ab"]), TypeError, r"items\[0\]: 'ab' is not a .channel, data. pair"),
    (lambda it: it.publish_many([(b"a", 1)]), TypeError, r"items\[0\]: channel: b'a' is a bytes"),
    (lambda it: it.publish_nowait(b"a", 1), TypeError, "channel: b'a' is a bytes; give a str"),
    (lambda it: it.publish_nowait(5, 1), TypeError, "channel: 5 is an int; give a str"),
    (lambda it: it.history_remove(5), TypeError, "channel: 5 is an int; give a str"),
    (lambda it: it.channels(5), TypeError, "pattern: 5 is an int; give a str"),
    (lambda it: it.disconnect("x", code=1), ValueError, "code: 1 is too small; the minimum is 3000"),
    (lambda it: it.disconnect("x", code="3000"), TypeError, "code: '3000' is a str; give a whole number"),
    (lambda it: it.disconnect("x", reason=5), TypeError, "reason: 5 is an int; give a str"),
    (lambda it: it.disconnect(5), TypeError, "client: 5 is an int; give a str"),
    (lambda it: it.cut(None), TypeError, "client: None is a NoneType; give a str"),
    (lambda it: it.listen(port=70_000), ValueError, "port: 70000 is too large; the maximum is 65535"),
    (lambda it: it.listen(5), TypeError, "host: 5 is an int; give a str"),
    (lambda it: it.drain("5"), TypeError, "deadline: '5' is a str; give a number of seconds"),
    (lambda it: it.drain(-1), ValueError, "deadline: -1 is out of range"),
    (lambda it: it.drain(1, pace=float("nan")), ValueError, "pace: nan is out of range"),
    (lambda it: it.drain(1e18), ValueError, "deadline: .* is out of range; give seconds, from 0 to 1e.09"),
    (lambda it: it.members("a", limit=2**70), ValueError, "limit: 1180591620717411303424 is too large"),
    (lambda it: it.listeners[0].drain("5"), TypeError, "deadline: '5' is a str"),
    (lambda it: it.add_members("a", 5), TypeError, "users: 5 is an int; give a list of user ids"),
    (lambda it: it.add_members(5, ["u"]), TypeError, "channel: 5 is an int"),
    (lambda it: it.add_members("a", ["\ud800"]), ValueError, r"users\[0\]: .* UTF-8"),
    (lambda it: it.members("a", limit="5"), TypeError, "limit: '5' is a str; give a whole number"),
    (lambda it: it.members("a", after=5), TypeError, "after: 5 is an int; give a str"),
    (lambda it: it.inbox(5), TypeError, "user: 5 is an int; give a str"),
    (lambda it: it.inbox("u", limit=-1), ValueError, "limit: -1 is too small"),
    (lambda it: it.unread(5), TypeError, "user: 5 is an int; give a str"),
    (lambda it: it.mark_read(5, "a", 1), TypeError, "user: 5 is an int; give a str"),
    (lambda it: it.mark_read("u", "a", 2**64), ValueError, "offset: 18446744073709551616 is too large"),
    (lambda it: it.set_fanout("a", 5), TypeError, "strategy: 5 is an int; give a str"),
    (lambda it: it.set_fanout("a", "write", threshold="5"), TypeError, "threshold: '5' is a str"),
    (lambda it: it.fanout(5), TypeError, "channel: 5 is an int; give a str"),
]

MADE: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: Server(channels=["news"]), ConfigError, r"channels: \['news'\] is a list; give a dict"),  # type: ignore[arg-type]
    (lambda: Server(channels={"news": 5}), ConfigError, r"channels\['news'\]: 5 is an int; give a Channel"),  # type: ignore[dict-item]
    (lambda: Server(limits=[1]), ConfigError, r"limits: \[1\] is a list; give a dict"),  # type: ignore[arg-type]
    (lambda: Server(heartbeat=5), ConfigError, "heartbeat: 5 is an int; give a dict"),  # type: ignore[arg-type]
    (lambda: Server(allowed_origins=5), ConfigError, "allowed_origins"),  # type: ignore[arg-type]
    (lambda: Server(port="x"), ConfigError, "port"),  # type: ignore[arg-type]
    (lambda: carillon.connect("http://h", transport="sess"), ValueError, "transport: 'sess' is not known"),  # type: ignore[arg-type]
    (lambda: carillon.connect(5), TypeError, "url: 5 is an int; give a str"),  # type: ignore[arg-type]
    (lambda: carillon.connect("h:80"), ConfigError, "write it as http://host:port"),
    (lambda: carillon.connect("http://h", user=5), TypeError, "user: 5 is an int"),  # type: ignore[arg-type]
    (lambda: carillon.connect("http://h", name=None), TypeError, "name: None is a NoneType"),  # type: ignore[arg-type]
    (lambda: carillon.connect("http://h", headers={"a": 1}), TypeError, r"headers\['a'\]: 1 is an int"),  # type: ignore[dict-item]
    (lambda: carillon.connect("http://h", token=5), TypeError, "token: 5 is an int; give a str"),  # type: ignore[arg-type]
    (lambda: carillon.connect("http://h", token=""), ValueError, "token: is empty"),
    (
        lambda: carillon.connect("http://h", get_token="x"),
        TypeError,
        "get_token: 'x' is a str; give a function",
    ),  # type: ignore[arg-type]
    (lambda: carillon.connect("http://h", open_timeout=0), ValueError, "open_timeout: 0 is out of range"),
    (lambda: carillon.connect("http://h", idle_timeout="5"), TypeError, "idle_timeout: '5' is a str"),  # type: ignore[arg-type]
    (lambda: carillon.connect("http://h", queue_size=0), ValueError, "queue_size: 0 is too small"),
    (lambda: carillon.connect("http://h", min_reconnect_delay=-1), ValueError, "min_reconnect_delay: -1"),
    (lambda: FaultProxy("127.0.0.1:80"), ConfigError, "write it as http://host:port"),
    (lambda: FaultProxy(Server()), ServerStopped, "not started"),
    (lambda: FaultProxy("http://127.0.0.1:1").url, RuntimeError, "not started"),
    (lambda: Server().url, ServerStopped, "not started"),
    (lambda: wait_until(lambda: True, timeout="5"), TypeError, "timeout: '5' is a str"),  # type: ignore[arg-type]
    (lambda: carillon.Position.parse("x"), carillon.PositionError, "'x' is not a position"),
]


@pytest.mark.parametrize(("use", "kind", "words"), OF_BOTH)
def test_a_server_and_a_client_refuse_the_same_in_the_same_words(
    carillon_server: Server,
    carillon_sync_client: SyncClientFactory,
    use: Use,
    kind: type[Exception],
    words: str,
) -> None:
    client = carillon_sync_client()
    for it in (carillon_server, client):
        with pytest.raises(kind, match=words) as raised:
            use(it)
        assert not isinstance(raised.value, carillon.ConnectionClosed | ServerStopped)
        assert "Buffer" not in str(raised.value)
    assert carillon_server.is_running
    client.publish("still", "there")


@pytest.mark.parametrize(("use", "kind", "words"), OF_A_SERVER)
def test_a_server_names_the_argument(
    carillon_server: Server, use: Use, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        use(carillon_server)


@pytest.mark.parametrize(("make", "kind", "words"), MADE)
def test_what_cannot_be_made_is_refused(
    make: Callable[[], object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make()


async def test_what_blocks_refuses_async(carillon_server: Server) -> None:
    client = carillon.sync.connect(carillon_server.url)
    subscription: Any = object.__new__(carillon.sync.Subscription)
    with pytest.raises(TypeError, match=r"use for; or carillon\.connect"):
        async for _ in subscription:
            pass
    with pytest.raises(TypeError, match=r"use with; or carillon\.connect"):
        async with subscription:
            pass
    with pytest.raises(TypeError, match=r"use with; or carillon\.connect"):
        async with client:  # type: ignore[attr-defined]
            pass
    with pytest.raises(TypeError, match=r"use with or open\(\); or carillon\.connect"):
        await client  # type: ignore[misc]


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
@pytest.mark.parametrize("endpoint", ["/sse", "/poll", "/connection/websocket"])
def test_the_address_of_an_endpoint_is_told(
    carillon_server: Server, carillon_sync_client: SyncClientFactory, transport: Any, endpoint: str
) -> None:
    with pytest.raises(carillon.ConnectError, match=f"404: give the address without {endpoint}"):
        carillon_sync_client(carillon_server.url + endpoint, transport=transport).subscribe("a").open()


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_a_wait_in_vain_says_that_the_client_is_disconnected(
    carillon_server_factory: Callable[..., Server], carillon_sync_client: SyncClientFactory, transport: Any
) -> None:
    server = carillon_server_factory()
    subscription = carillon_sync_client(server.url, transport=transport).subscribe("a").open()

    def in_vain() -> str:
        with pytest.raises(TimeoutError) as raised:
            subscription.next(timeout=0.02)
        return str(raised.value)

    assert "disconnected" not in in_vain()
    server.stop()
    wait_until(lambda: re.search(r"within 0\.02 s.*; the client is disconnected: .", in_vain()))


def test_a_channel_takes_durations_as_text_and_in_milliseconds() -> None:
    text = Channel(history_ttl="5s", sweep_interval="50ms", batch_interval="20ms")
    number = Channel(history_ttl_ms=5000, sweep_interval_ms=50, batch_interval_ms=20)
    settings = [Server(channels={"a": each}).settings["channels"]["a"] for each in (text, number)]
    assert settings[0] == settings[1]
    assert settings[0] != Server(channels={"a": Channel()}).settings["channels"]["a"]


@pytest.mark.parametrize(
    ("options", "is_logged"),
    [
        ({}, True),
        ({"channels": {"a": Channel(history_size=5)}}, True),
        ({"channels": {"a": Channel(allow_publish_for_client=True)}}, True),
        (
            {"channels": {"a": Channel(allow_publish_for_client=True, allow_publish_for_anonymous=True)}},
            False,
        ),
        ({"channels": {"a": Channel(allow_recovery=True, allow_publish_for_anonymous=True)}}, True),
        ({"before_start": lambda server: server.on_subscribe("*")(lambda context: True)}, False),
        ({"host": "127.0.0.1", "api_key": "k"}, False),
    ],
)
def test_a_server_for_other_machines_that_allows_nothing_says_so(
    carillon_server_factory: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    is_logged: bool,
) -> None:
    carillon_server_factory(**({"host": "0.0.0.0"} | options))
    assert ("host 0.0.0.0: other machines can reach it" in caplog.text) == is_logged


async def test_what_needs_async_says_so(carillon_server: Server) -> None:
    client = carillon.connect(carillon_server.url)
    for subscription in (carillon_server.subscribe("a"), client.subscribe("a")):
        with pytest.raises(TypeError, match=r"use async for; or carillon\.sync"):
            for _ in subscription:  # type: ignore[attr-defined]
                pass
        with pytest.raises(TypeError, match=r"use async with; or carillon\.sync"), subscription:  # type: ignore[attr-defined]
            pass
    with pytest.raises(TypeError, match=r"use async with; or carillon\.sync"), client:  # type: ignore[attr-defined]
        pass


def test_numbers_and_texts_of_other_libraries_are_taken(carillon_server: Server) -> None:
    numpy = pytest.importorskip("numpy")
    carillon_server.add_members("a", ["u"])
    carillon_server.publish("a", numpy.int64(1), tags=dict.fromkeys(["k"], numpy.str_("v")))
    assert carillon_server.members("a", limit=numpy.int64(1)) == ["u"]
    carillon_server.mark_read("u", "a", numpy.int64(1))
    assert Channel(history_size=3).to_dict() == {"history_size": 3}
