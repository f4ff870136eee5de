"""Our client proves who it is with tokens: it gets a new one in time, and goes on where it was."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import Channel, CommandError, ConnectDenied, Message, Server, SubscribeDenied, sync
from carillon.testing import wait_until, wait_until_async
from fake_servers import Peer, centrifuge_server, event_stream, http_server, response
from websockets.asyncio.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon.client import TransportName

pytestmark = pytest.mark.wire

SECRET = "a secret for tests"
each_transport = pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
each_http = pytest.mark.parametrize("transport", ["sse", "poll"])

EXPIRED = response(
    "401 Unauthorized",
    '{"error":{"code":109,"message":"token expired"}}',
    "Content-Type: application/json",
)


class Tokens:
    """The application: it gives out tokens, and writes down when."""

    def __init__(self, **claims: Any) -> None:
        self.claims = {"user": "ann", "expires": 3, **claims}
        self.times: list[float] = []
        self.errors: list[Exception] = []  # to be raised in place of the next tokens

    async def get(self) -> str:
        return self.get_blocking()

    def get_blocking(self) -> str:
        self.times.append(time.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        return carillon.token(SECRET, **self.claims)


@pytest.fixture
def start(carillon_server_factory: Callable[..., Server]) -> Callable[..., Server]:
    """Starts a server that demands tokens, and ends what has expired at once."""

    def make(**client: Any) -> Server:
        config = {
            "client": {
                "token": {"hmac_secret_key": SECRET},
                "expired_close_delay": "0s",
                "expired_sub_close_delay": "0s",
                **client,
            }
        }
        channels = {
            "open": Channel(
                history_size=1000, history_ttl="60s", presence=True, allow_subscribe_for_client=True
            ),
            "*": Channel(history_size=1000, history_ttl="60s"),
        }
        return carillon_server_factory(port=0, config=config, channels=channels)

    return make


async def read(
    subscription: carillon.Subscription[Any], server: Server, channel: str, seconds: float
) -> None:
    """Publishes and reads for a while: nothing may be lost or come twice."""
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        server.publish(channel, number)
        assert (await subscription.next(5)).json() == number
        await asyncio.sleep(0.02)


# The connection.


@each_transport
async def test_a_client_is_who_its_token_says(start: Callable[..., Server], transport: TransportName) -> None:
    server = start()
    token = carillon.token(SECRET, "ann")
    async with (
        carillon.connect(server.url, transport=transport, token=token) as client,
        client.subscribe("open"),
    ):
        if transport != "poll":  # who polls is never present
            assert [each.user for each in server.presence("open").values()] == ["ann"]


@each_transport
async def test_a_client_goes_on_over_the_end_of_its_tokens(
    start: Callable[..., Server], transport: TransportName
) -> None:
    server, tokens = start(), Tokens()
    async with (
        carillon.connect(server.url, transport=transport, get_token=tokens.get) as client,
        client.subscribe("open") as subscription,
    ):
        connection = client.client_id
        await read(subscription, server, "open", 5)
        assert client.client_id == connection, "its token is renewed before the server ends the connection"
    assert 2 <= len(tokens.times) <= 4


def test_a_client_that_blocks_does_so_too(start: Callable[..., Server]) -> None:
    server, tokens = start(), Tokens()
    with (
        sync.connect(server.url, get_token=tokens.get_blocking) as client,
        client.subscribe("open") as subscription,
    ):
        connection = client.client_id
        wait_until(lambda: len(tokens.times) == 3, 8)
        server.publish("open", 1)
        assert subscription.next(5).json() == 1
        assert client.client_id == connection


@each_transport
async def test_a_token_that_has_expired_before_is_replaced(
    start: Callable[..., Server], transport: TransportName
) -> None:
    server, tokens = start(), Tokens(expires=60)
    old = carillon.token(SECRET, "ann", claims={"nbf": int(time.time()) + 60})
    async with (
        carillon.connect(server.url, transport=transport, token=old, get_token=tokens.get) as client,
        client.subscribe("open") as subscription,
    ):
        server.publish("open", 1)
        assert (await subscription.next(5)).json() == 1
    assert len(tokens.times) == 1


@each_transport
async def test_without_get_token_the_error_names_it(
    start: Callable[..., Server], transport: TransportName
) -> None:
    server = start()
    async with (
        carillon.connect(
            server.url, transport=transport, token=carillon.token(SECRET, "ann", expires=1)
        ) as client,
        client.subscribe("open") as subscription,
    ):
        with pytest.raises(ConnectDenied, match=r"token expired .*give get_token") as raised:
            await subscription.next(20)
    assert (raised.value.code, raised.value.reason) == (109, "token expired")


async def test_a_connection_that_has_expired_comes_back_with_a_new_token() -> None:
    """The server closes with 3005, as after a sleep of the machine."""
    tokens: list[str] = []

    async def talk(socket: Any) -> None:
        peer = Peer(socket)
        command = await peer.command("connect")
        tokens.append(command["connect"]["token"])
        await peer.reply(command, connect={"client": "x", "version": "0"})
        if len(tokens) == 1:
            await peer.close(3005)
        await socket.wait_closed()

    given = iter(["1", "2"])
    async with serve(talk, "127.0.0.1", 0) as server, asyncio.timeout(10):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with carillon.connect(url, get_token=lambda: next(given), min_reconnect_delay=0.01):
            await wait_until_async(lambda: tokens == ["1", "2"])


@each_transport
async def test_tokens_that_are_always_refused_do_not_hammer_the_application(transport: TransportName) -> None:
    asked = 0

    async def get_token() -> str:
        nonlocal asked
        asked += 1
        return "old"

    async def refuse(socket: Any) -> None:
        peer = Peer(socket)
        await peer.reply(await peer.command("connect"), error={"code": 109, "message": "token expired"})
        await socket.wait_closed()

    async with http_server(EXPIRED) as http_url, serve(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" if transport == "ws" else http_url
        client = carillon.connect(
            url, transport=transport, get_token=get_token, open_timeout=2.0, min_reconnect_delay=0.1
        )
        with pytest.raises(carillon.ConnectError, match="token expired"):
            async with client, client.subscribe("c"):
                pass
    assert 2 <= asked <= 25


async def test_many_streams_share_one_new_token() -> None:
    asked = 0

    def answer(head: bytes) -> bytes:
        if b"Bearer new" not in head:
            return EXPIRED
        return event_stream('event: status\ndata: {"epoch":"e","offset":0}')

    async def get_token() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)
        return "new"

    async with (
        http_server(answer) as url,
        carillon.connect(url, transport="sse", token="old", get_token=get_token) as client,
    ):
        await asyncio.gather(*(client.subscribe(f"c{number}").open() for number in range(20)))
    assert asked == 1


async def test_many_streams_do_not_hammer_the_application_together() -> None:
    asked = 0

    async def get_token() -> str:
        nonlocal asked
        asked += 1
        return f"old {asked}"

    async with (
        http_server(EXPIRED) as url,
        carillon.connect(
            url, transport="sse", get_token=get_token, open_timeout=2.0, min_reconnect_delay=0.2
        ) as client,
    ):
        opened = [client.subscribe(f"c{number}").open() for number in range(20)]
        await asyncio.gather(*opened, return_exceptions=True)
    assert asked <= 30


async def test_a_stream_that_has_expired_does_not_present_its_token_again() -> None:
    heads: list[bytes] = []
    begin = 'event: status\ndata: {"epoch":"e","offset":0}'
    end = 'event: status\ndata: {"code":3005,"reason":"connection expired"}'
    given = iter(["1", "2"] + ["3"] * 100)
    async with (
        http_server(event_stream(begin, end), heads) as url,
        carillon.connect(
            url, transport="sse", get_token=lambda: next(given), min_reconnect_delay=0.01
        ) as client,
        client.subscribe("c"),
    ):
        await wait_until_async(lambda: len(heads) >= 2)
    assert [f"Bearer {number}".encode() in heads[number - 1] for number in (1, 2)] == [True, True]


# What get_token may do.


@each_transport
async def test_what_it_raises_before_the_first_connect_is_the_cause(
    start: Callable[..., Server], transport: TransportName
) -> None:
    tokens = Tokens()
    tokens.errors.append(OSError("no database"))
    with pytest.raises(carillon.ConnectError, match="get_token failed: OSError: no database") as raised:
        async with (
            carillon.connect(start().url, transport=transport, get_token=tokens.get) as client,
            client.subscribe("open"),
        ):
            pass
    assert isinstance(raised.value.__cause__, OSError)


@each_transport
async def test_what_it_raises_later_is_logged_and_it_is_asked_again(
    start: Callable[..., Server], transport: TransportName, caplog: pytest.LogCaptureFixture
) -> None:
    server, tokens = start(), Tokens(expires=2)
    async with (
        carillon.connect(server.url, transport=transport, get_token=tokens.get) as client,
        client.subscribe("open") as subscription,
    ):
        tokens.errors += [OSError("no database")] * 2
        tokens.claims["expires"] = 60
        await read(subscription, server, "open", 4)
    assert len(tokens.times) == 4
    assert "get_token failed: OSError: no database" in caplog.text


@each_transport
async def test_a_refusal_of_the_application_is_the_end(
    start: Callable[..., Server], transport: TransportName
) -> None:
    server, tokens = start(), Tokens(expires=2)
    async with (
        carillon.connect(server.url, transport=transport, get_token=tokens.get) as client,
        client.subscribe("open") as subscription,
    ):
        tokens.errors.append(ConnectDenied(401, "logged out"))
        with pytest.raises(ConnectDenied, match="logged out"):
            await subscription.next(10)
    assert len(tokens.times) == 2


@each_transport
async def test_a_result_that_is_no_token_is_an_error(transport: TransportName) -> None:
    async with http_server(None) as url:
        for result, kind in ((None, "None"), (b"x", "b'x'"), ("", "''")):
            client = carillon.connect(url, transport=transport, get_token=lambda result=result: result)  # type: ignore[misc]
            with pytest.raises(
                carillon.ConfigError, match=f"get_token: returned {kind}, which is not a token"
            ):
                async with client, client.subscribe("c"):
                    pass


async def test_it_may_block_and_never_runs_twice(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server, tokens = start(), Tokens(expires=1)
    release = threading.Event()

    def get_token() -> str:
        assert threading.current_thread() is not threading.main_thread()
        token = tokens.get_blocking()
        assert len(tokens.times) == 1 or release.wait(20)
        return token

    with (
        sync.connect(server.url, get_token=get_token, open_timeout=1.0, min_reconnect_delay=0.01) as client,
        client.subscribe("open") as subscription,
    ):
        tokens.claims["expires"] = 60
        wait_until(lambda: "an earlier call of it has not returned yet" in caplog.text, 10)
        assert "it gave no token within 1 s" in caplog.text
        assert len(tokens.times) == 2
        release.set()
        wait_until(lambda: len(tokens.times) == 3, 10)
        server.publish("open", 1)
        assert subscription.next(10).json() == 1


@each_transport
async def test_one_that_hangs_is_named(transport: TransportName) -> None:
    async def get_token() -> str:
        await asyncio.sleep(60)
        return ""

    client = carillon.connect(
        "http://127.0.0.1:9", transport=transport, get_token=get_token, open_timeout=0.2
    )
    with pytest.raises(
        carillon.ConnectError, match=r"get_token has not answered yet|get_token failed: it gave no"
    ):
        async with client, client.subscribe("c"):
            pass


async def test_a_function_may_return_an_awaitable(start: Callable[..., Server]) -> None:
    tokens = Tokens()
    async with carillon.connect(start().url, get_token=lambda: tokens.get()) as client:
        assert client.client_id is not None


async def test_no_record_has_a_word_of_a_token(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "carillon.client")
    server = start()
    token = carillon.token(SECRET + "x", "ann")
    for transport in ("ws", "sse", "poll"):
        client = carillon.connect(server.url, transport=transport, token=token, open_timeout=2)  # type: ignore[arg-type]
        with pytest.raises(carillon.CarillonError) as raised:
            async with client, client.subscribe("open"):
                pass
        assert token not in str(raised.value)
        assert token not in repr(client) + repr(client._settings)
    assert token not in caplog.text


# Subscriptions.


@each_transport
async def test_a_subscription_goes_on_over_the_end_of_its_tokens(
    start: Callable[..., Server], transport: TransportName
) -> None:
    server, tokens = start(), Tokens(channel="$room")
    token = carillon.token(SECRET, "ann")
    async with (
        carillon.connect(server.url, transport=transport, token=token) as client,
        client.subscribe("$room", get_token=tokens.get) as subscription,
    ):
        await read(subscription, server, "$room", 5)
    assert 2 <= len(tokens.times) <= 4


async def test_the_token_of_a_subscription_is_renewed_in_time(start: Callable[..., Server]) -> None:
    server, tokens = start(), Tokens(channel="$room")
    server_ended: list[str] = []
    async with (
        carillon.connect(server.url, token=carillon.token(SECRET, "ann")) as client,
        client.subscribe("$room", get_token=tokens.get),
    ):
        on_push = client._transport._on_push  # type: ignore[union-attr]
        client._transport._on_push = lambda text, *rest: (server_ended.append(text), on_push(text, *rest))  # type: ignore
        await asyncio.sleep(5)
    assert len(tokens.times) >= 2
    assert server_ended == []


async def test_a_subscription_that_the_server_ends_comes_back_with_a_new_token() -> None:
    asked: list[dict[str, Any]] = []

    async def script(peer: Peer) -> None:
        while True:
            command = await peer.command("subscribe")
            asked.append(command["subscribe"])
            if len(asked) == 1:
                await peer.reply(command, error={"code": 109, "message": "token expired"})
                continue
            await peer.reply(
                command, subscribe={"epoch": "e", "offset": 7, "recoverable": True, "positioned": True}
            )
            if len(asked) == 2:
                gone = {"channel": "c", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}
                await peer.send(json.dumps({"push": gone}))

    given = iter(["2", "3"])
    async with (
        asyncio.timeout(10),
        centrifuge_server(script) as url,
        carillon.connect(url, min_reconnect_delay=0.01) as client,
        client.subscribe("c", token="1", get_token=lambda: next(given)),
    ):
        await wait_until_async(lambda: len(asked) == 3)
    assert [each["token"] for each in asked] == ["1", "2", "3"]
    assert asked[2]["since"] == "e:7"


async def test_a_subscription_without_get_token_ends_with_an_error_that_names_it(
    start: Callable[..., Server],
) -> None:
    server = start()
    token = carillon.token(SECRET, "ann", channel="$room", expires=1)
    async with (
        carillon.connect(server.url, token=carillon.token(SECRET, "ann")) as client,
        client.subscribe("$room", token=token) as subscription,
    ):
        with pytest.raises(SubscribeDenied, match=r"token expired .*give get_token") as raised:
            await subscription.next(20)
        assert raised.value.code == 109
        await client.subscribe("open").open()  # the connection goes on


@each_transport
async def test_the_application_may_refuse_a_subscription(
    start: Callable[..., Server], transport: TransportName
) -> None:
    tokens = Tokens(channel="$room")
    tokens.errors += [SubscribeDenied(403, "not a member"), OSError("no database")]
    async with carillon.connect(
        start().url, transport=transport, token=carillon.token(SECRET, "ann")
    ) as client:
        with pytest.raises(SubscribeDenied, match="not a member"):
            await client.subscribe("$room", get_token=tokens.get).open()
        with pytest.raises(carillon.ConnectError, match="get_token failed: OSError: no database"):
            await client.subscribe("$room", get_token=tokens.get).open()
        async with client.subscribe("$room", get_token=tokens.get):
            pass


async def test_a_token_of_a_subscription_is_kept_over_a_cut(start: Callable[..., Server]) -> None:
    server, tokens = start(), Tokens(channel="$room", expires=60)
    async with (
        carillon.connect(server.url, token=carillon.token(SECRET, "ann"), min_reconnect_delay=0.01) as client,
        client.subscribe("$room", get_token=tokens.get) as subscription,
    ):
        for number in range(3):
            carillon.testing.cut(server, client)
            server.publish("$room", number)
            message = await subscription.next(5)
            assert isinstance(message, Message)
            assert message.json() == number
    assert len(tokens.times) == 1


def test_a_subscription_that_blocks_takes_a_token(start: Callable[..., Server]) -> None:
    server, tokens = start(), Tokens(channel="$room", expires=60)
    with (
        sync.connect(server.url, token=carillon.token(SECRET, "ann")) as client,
        client.subscribe("$room", get_token=tokens.get_blocking) as subscription,
    ):
        server.publish("$room", 1)
        assert subscription.next(5).json() == 1


# The refresh itself.


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        ({"code": 100, "message": "internal server error", "temporary": True}, False),
        ({"code": 109, "message": "token expired"}, False),
        ({"code": 110, "message": "expired"}, False),
        ({"code": 103, "message": "permission denied"}, True),
    ],
)
async def test_a_refresh_that_fails_is_tried_again(error: dict[str, Any], is_final: bool) -> None:
    sent: list[str] = []

    async def talk(socket: Any) -> None:
        peer = Peer(socket)
        await peer.reply(await peer.command("connect"), connect={"client": "x", "expires": True, "ttl": 1})
        while True:
            command = await peer.command("refresh")
            sent.append(command["refresh"]["token"])
            if len(sent) == 1:
                await peer.reply(command, error=error)
            else:
                await peer.reply(command, refresh={"expires": True, "ttl": 1000})

    given = iter("123")
    async with serve(talk, "127.0.0.1", 0) as server, asyncio.timeout(10):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with carillon.connect(url, get_token=lambda: next(given)) as client:
            if is_final:
                with pytest.raises(ConnectDenied, match="permission denied"):
                    await client.subscribe("c").next()
            else:
                await wait_until_async(lambda: sent == ["2", "3"])


# Beside tokens.


@each_http
async def test_the_header_cannot_hold_two_things(transport: TransportName) -> None:
    for url, options in (
        ("http://me:secret@127.0.0.1:1", {}),
        ("http://127.0.0.1:1", {"headers": {"authorization": "Basic x"}}),
    ):
        with pytest.raises(carillon.ConfigError, match="Authorization, which is in use"):
            carillon.connect(url, transport=transport, token="x", **options)  # type: ignore[arg-type]
        client = carillon.connect(url, transport=transport, **options)  # type: ignore[arg-type]
        with pytest.raises(carillon.ConfigError, match="Authorization, which is in use"):
            client.subscribe("c", token="x")


async def test_rpc_calls_a_method_of_the_application() -> None:
    async def script(peer: Peer) -> None:
        command = await peer.command("rpc")
        await peer.reply(command, rpc={"data": {"got": command["rpc"]}})
        await peer.reply(await peer.command("rpc"), rpc={})
        await peer.reply(await peer.command("rpc"), error={"code": 404, "message": "no such method"})

    async with centrifuge_server(script) as url, carillon.connect(url) as client, asyncio.timeout(10):
        expected = {"method": "add", "data": [1, "ä\n"]}
        assert await client.rpc("add", [1, "ä\n"]) == {"got": expected}
        assert await client.rpc("nothing") is None
        with pytest.raises(CommandError, match="no such method") as raised:
            await client.rpc("?")
        assert raised.value.code == 404
        with pytest.raises(TypeError, match="rpc sends JSON"):
            await client.rpc("add", b"1")


async def test_rpc_reaches_the_procedures_of_the_server(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(channels={"*": Channel(history_size=9)})
    server.add_members("room", ["ann"])
    server.publish("room", 1)
    async with carillon.connect(server.url, user="ann") as client:
        assert await client.rpc("carillon.unread") == {"unread": {"room": 1}}
        with pytest.raises(CommandError):
            await client.rpc("no such method")


@each_http
async def test_rpc_needs_a_websocket(carillon_server: Server, transport: TransportName) -> None:
    async with carillon.connect(carillon_server.url, transport=transport) as client:
        with pytest.raises(carillon.CarillonError, match=f'rpc: is not available over {transport}; .*"ws"'):
            await client.rpc("add")


@each_transport
async def test_presence_is_counted(
    carillon_server_factory: Callable[..., Server], transport: TransportName
) -> None:
    server = carillon_server_factory(channels={"*": Channel(presence=True)})
    async with (
        carillon.connect(server.url, user="ann") as one,
        carillon.connect(server.url, user="ann") as two,
        carillon.connect(server.url, transport=transport) as other,
        one.subscribe("c"),
        two.subscribe("c"),
    ):
        assert await other.presence_stats("c") == carillon.PresenceStats(clients=2, users=1)
