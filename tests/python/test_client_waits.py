"""Every wait of a client ends with a result or an error of ours, and ends nothing but itself."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any, Literal

import carillon
import pytest
from carillon import Client, Message, Server, sync
from carillon.feed import Feed
from carillon.testing import FaultProxy, wait_until
from fake_servers import Peer, centrifuge_server, dripping_server, http_server, response
from websockets.asyncio.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

Transport = Literal["ws", "sse", "poll"]
each_transport = pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
each_http = pytest.mark.parametrize("transport", ["sse", "poll"])


async def open_both(url: str, transport: Transport, **options: Any) -> None:
    async with carillon.connect(url, transport=transport, **options) as client:
        await client.subscribe("c").open()


# Opening.


@each_transport
async def test_a_redirect_is_an_error_that_names_the_place(transport: Transport) -> None:
    answer = response("302 Found", "", "Location: https://login.example/")
    async with http_server(answer) as url, asyncio.timeout(10):
        with pytest.raises(carillon.ConnectError, match=r"redirects to https://login\.example/"):
            await open_both(url, transport)


@each_transport
async def test_a_web_page_is_an_error(transport: Transport) -> None:
    async with http_server(response("200 OK", "hi", "Content-Type: text/html")) as url, asyncio.timeout(10):
        with pytest.raises(carillon.ConnectError, match=r"HTTP status 200|is text/html"):
            await open_both(url, transport)


@each_http
async def test_an_answer_that_cannot_be_read_is_an_error(transport: Transport) -> None:
    kind = {"sse": "text/event-stream", "poll": "application/json"}[transport]
    body = {"sse": "event: status\ndata: [\n\n", "poll": "[]"}[transport]
    async with http_server(response("200 OK", body, f"Content-Type: {kind}")) as url, asyncio.timeout(10):
        with pytest.raises(carillon.ConnectError, match="cannot be read"):
            await open_both(url, transport)


@pytest.mark.parametrize("frame", ["[]", "nonsense", '{"id":1}', '{"id":1,"connect":[]}', b"\xff"])
async def test_a_server_that_talks_nonsense_is_an_error(frame: str | bytes) -> None:
    async def talk(socket: Any) -> None:
        await socket.recv()
        await socket.send(frame)
        await socket.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as server, asyncio.timeout(10):
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(carillon.ConnectError, match="cannot be read"):
            await open_both(f"http://127.0.0.1:{port}", "ws")


@each_transport
async def test_a_server_that_refuses_for_now_is_not_waited_for_longer_than_told(transport: Transport) -> None:
    async with http_server(response("503 Service Unavailable")) as url, asyncio.timeout(10):
        with pytest.raises(carillon.ConnectError, match=r"within 1 s: HTTP status 503"):
            await open_both(url, transport, open_timeout=1.0, min_reconnect_delay=0.01)


@each_transport
async def test_a_server_that_never_answers_is_not_waited_for_longer_than_told(transport: Transport) -> None:
    async with http_server(None) as url, asyncio.timeout(10):
        with pytest.raises(carillon.ConnectError):
            await open_both(url, transport, open_timeout=0.2)


async def test_a_subscription_that_begins_too_late_for_its_caller_goes_on() -> None:
    may_answer = asyncio.Event()

    async def late(peer: Peer) -> None:
        command = await peer.command("subscribe")
        await may_answer.wait()
        await peer.reply(command, subscribe={})

    async with (
        centrifuge_server(late) as url,
        asyncio.timeout(10),
        carillon.connect(url, open_timeout=0.2) as client,
    ):
        subscription = client.subscribe("c")
        with pytest.raises(
            carillon.ConnectError, match=r"did not begin the subscription to 'c' within 0\.2 s"
        ):
            await subscription.open()
        may_answer.set()
        assert await subscription.open() is subscription


# Commands.


async def test_a_command_without_an_answer_says_that_its_outcome_is_unknown() -> None:
    async def mute(peer: Peer) -> None:
        await peer.command("subscribe")

    async with centrifuge_server(mute) as url, carillon.connect(url, open_timeout=0.2) as client:
        for command in (client.publish("c", 1), client.history("c"), client.presence("c")):
            with pytest.raises(carillon.CommandTimeout, match="may be done, or not"):
                await command


async def test_a_request_without_an_answer_says_that_its_outcome_is_unknown() -> None:
    async with http_server(None) as url, carillon.connect(url, transport="poll", open_timeout=0.2) as client:
        with pytest.raises(carillon.CommandTimeout, match="may be done, or not"):
            await client.publish("c", 1)


HEAD = b"HTTP/1.1 200 OK\r\nX-Name: "
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: "
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize("begin", [HEAD, JSON], ids=["head", "body"])
async def test_a_request_whose_answer_comes_byte_by_byte_is_waited_for_no_longer(begin: bytes) -> None:
    async with (
        dripping_server(0.05, begin) as url,
        carillon.connect(url, transport="poll", open_timeout=0.3) as client,
    ):
        with pytest.raises(carillon.CommandTimeout, match="may be done, or not"):
            await asyncio.wait_for(client.publish("c", 1), 10)


@pytest.mark.parametrize(
    ("transport", "begin"), [("ws", HEAD), ("sse", HEAD), ("sse", STREAM), ("poll", HEAD), ("poll", JSON)]
)
async def test_a_subscription_whose_answer_comes_byte_by_byte_is_waited_for_no_longer(
    transport: Transport, begin: bytes
) -> None:
    async with (
        dripping_server(0.05, begin) as url,
        asyncio.timeout(10),
    ):
        client = carillon.connect(url, transport=transport, open_timeout=0.3)
        with pytest.raises(carillon.ConnectError, match=r"within 0\.3 s|timed out"):
            await client.subscribe("c").next()  # which by itself waits for ever
        await client.aclose()


async def test_a_request_that_could_not_be_sent_in_time_says_that_it_was_not() -> None:
    async with http_server(None) as url, asyncio.timeout(10):  # it never answers the greeting of TLS
        url = url.replace("http:", "https:")
        async with carillon.connect(url, transport="poll", open_timeout=0.3) as client:
            with pytest.raises(carillon.ConnectError, match="cannot reach"):
                await client.publish("c", 1)


@pytest.mark.parametrize(
    "body", ["<html>", "[]", "{}", '{"result":[]}', '{"error":[]}', '{"result":{"presence":7}}']
)
async def test_an_answer_to_a_request_that_cannot_be_read_is_an_error(body: str) -> None:
    async with http_server(response("200 OK", body)) as url, carillon.connect(url, transport="sse") as client:
        with pytest.raises(carillon.CommandError, match=r"cannot be read|neither"):
            await client.presence("c")


@pytest.mark.parametrize("transport", ["ws", "poll"])
async def test_a_cut_before_the_answer_says_that_the_outcome_is_unknown(transport: Transport) -> None:
    async def cut(peer: Peer) -> None:
        await peer.command("publish")
        await peer.close(3001)

    server = centrifuge_server(cut) if transport == "ws" else http_server(b"")
    async with server as url, carillon.connect(url, transport=transport) as client, asyncio.timeout(10):
        with pytest.raises(carillon.ConnectionClosed, match="may be done, or not"):
            await client.publish("c", 1)


async def test_a_command_while_nobody_is_there_was_not_sent(carillon_server: Server) -> None:
    with FaultProxy(carillon_server) as proxy:
        async with carillon.connect(proxy.url, open_timeout=0.2, min_reconnect_delay=0.01) as client:
            proxy.is_refusing = True
            await asyncio.to_thread(proxy.cut)
            await asyncio.to_thread(wait_until, lambda: client.client_id is None)
            with pytest.raises(carillon.ConnectError, match=r"no connection to .* within 0\.2 s"):
                await client.publish("c", 1)


# The end of a client.


@each_transport
async def test_closing_ends_whoever_reads(carillon_server: Server, transport: Transport) -> None:
    client = carillon.connect(carillon_server.url, transport=transport)
    reading, waiting = client.subscribe("a"), client.subscribe("b")
    await reading.open()
    await waiting.open()

    async def read() -> None:
        async for _ in reading:
            pass

    reader, waiter = asyncio.create_task(read()), asyncio.create_task(waiting.next())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await client.aclose()
        await reader
        with pytest.raises(carillon.ConnectionClosed, match="closed"):
            await waiter
        with pytest.raises(carillon.ConnectionClosed, match="closed"):
            await client.subscribe("c").open()


@pytest.mark.parametrize("transport", ["ws", "poll"])
async def test_closing_ends_whoever_waits_for_an_answer(transport: Transport) -> None:
    asked = asyncio.Event()

    async def mute(peer: Peer) -> None:
        await peer.command("publish")
        asked.set()

    heads: list[bytes] = []
    server = centrifuge_server(mute) if transport == "ws" else http_server(None, heads)
    async with server as url, asyncio.timeout(10):
        client = carillon.connect(url, transport=transport)
        publishing = asyncio.create_task(client.publish("c", 1))
        await asyncio.to_thread(wait_until, lambda: asked.is_set() or heads)
        await client.aclose()
        with pytest.raises(carillon.ConnectionClosed, match="closed"):
            await publishing


@each_transport
async def test_closing_ends_whoever_opens(transport: Transport) -> None:
    heads: list[bytes] = []
    async with http_server(None, heads) as url, asyncio.timeout(10):
        client = carillon.connect(url, transport=transport)
        subscription = client.subscribe("c")
        opening = [asyncio.create_task(subscription.open()), asyncio.create_task(subscription.next())]
        await asyncio.to_thread(wait_until, lambda: heads)
        await client.aclose()
        for each in opening:
            with pytest.raises(carillon.ConnectionClosed, match="closed"):
                await each


@each_transport
async def test_what_a_background_task_dies_of_reaches_whoever_reads(
    carillon_server: Server,
    transport: Transport,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(self: Feed, message: Message) -> None:
        raise RuntimeError("a bug")

    async with (
        carillon.connect(carillon_server.url, transport=transport) as client,
        client.subscribe("c") as subscription,
        asyncio.timeout(10),
    ):
        monkeypatch.setattr(Feed, "push", broken)
        carillon_server.publish("c", 1)
        with pytest.raises(carillon.CarillonError, match="a bug") as told:
            await subscription.next()
        assert isinstance(told.value.__cause__, RuntimeError)
        assert "failed" in caplog.text


async def test_what_a_reader_in_the_process_dies_of_reaches_whoever_reads(
    carillon_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Feed, messages: list[Message]) -> None:
        raise RuntimeError("a bug")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with carillon_server.subscribe("c") as subscription, asyncio.timeout(10):
        monkeypatch.setattr(Feed, "push_run", broken)
        carillon_server.publish("c", 1)
        with pytest.raises(carillon.CarillonError, match="a bug"):
            await subscription.next()


# Readers that give up, and subscriptions that are wrong.


@each_transport
async def test_a_time_out_of_a_read_ends_no_subscription(
    carillon_server: Server, transport: Transport
) -> None:
    with FaultProxy(carillon_server) as proxy:
        proxy.pause_reads()
        client = carillon.connect(proxy.url, transport=transport)
        subscription = client.subscribe("c")
        async with asyncio.timeout(20):
            for _ in range(3):
                with pytest.raises(TimeoutError, match="nothing on 'c'"):
                    await subscription.next(timeout=0.01)
            await asyncio.to_thread(proxy.resume)
            await subscription.open()
            carillon_server.publish("c", 1)
            item = await subscription.next(10)
            assert isinstance(item, Message)
            await client.aclose()


BAD: list[tuple[Any, Any, type[Exception]]] = [
    ("", None, ValueError),
    ("a\ud800", None, ValueError),
    ("a\n", None, ValueError),
    (7, None, TypeError),
    ("a", "abc:99999999999999999999", carillon.PositionError),
    ("a", carillon.Position(-1, "abc"), carillon.PositionError),
    ("a", carillon.Position(1, ""), carillon.PositionError),
    ("a", carillon.Position(1, "\ud800"), carillon.PositionError),
    ("a", 7, TypeError),
]


@each_transport
async def test_a_subscription_that_cannot_be_is_refused_before_anything_is_sent(
    carillon_server: Server, transport: Transport
) -> None:
    async with (
        carillon.connect(carillon_server.url, transport=transport) as client,
        client.subscribe("good") as good,
    ):
        for channel, since, kind in BAD:
            for subscribe in (client.subscribe, carillon_server.subscribe):
                with pytest.raises(kind, match=r"channel|position|since"):
                    subscribe(channel, since)
            with pytest.raises(kind, match=r"channel|position|since"):
                await client.history(channel, since=since)
        carillon_server.publish("good", 1)
        assert isinstance(await good.next(10), Message)


@pytest.mark.parametrize("transport", ["ws", "poll"])
async def test_a_command_that_cannot_be_is_refused_before_anything_is_sent(
    carillon_server: Server, transport: Transport
) -> None:
    async with (
        carillon.connect(carillon_server.url, transport=transport) as client,
        client.subscribe("good") as good,
    ):
        for data in (b'1},{"x":1', b'1,"channel":"other"', b"{", b"NaN", b"\xff", b"", b"[" * 100_000):
            with pytest.raises(ValueError, match="not valid JSON"):
                await client.publish("good", data, json=True)
        for limit in (-2, 2**31):
            with pytest.raises(ValueError, match="limit"):
                await client.history("good", limit=limit)
        for call in (client.presence(""), client.publish("", 1)):
            with pytest.raises(ValueError, match="channel"):
                await call
        await client.publish("good", b'{"n":\n1.10}', json=True)
        item = await good.next(10)
        assert isinstance(item, Message)
        assert item.json() == {"n": 1.1}
        assert carillon_server.channels("other") == {}


# Other loops, other threads.


@each_transport
def test_a_client_on_a_second_loop_says_so_at_once(carillon_server: Server, transport: Transport) -> None:
    client = carillon.connect(carillon_server.url, transport=transport)
    subscription = client.subscribe("a")

    async def use() -> None:
        await subscription.open()

    asyncio.run(use())
    uses: list[Callable[[], Any]] = [
        use,
        subscription.next,
        lambda: client.publish("a", 1),
        lambda: client.history("a"),
        lambda: client.subscribe("b").open(),
        client.open,
    ]
    for each in uses:

        async def main(each: Callable[[], Any] = each) -> None:
            await each()

        with pytest.raises((carillon.LoopError, carillon.ConnectionClosed)):
            asyncio.run(main())
    asyncio.run(subscription.aclose())
    asyncio.run(client.aclose())


async def test_a_client_is_not_closed_from_another_loop_behind_the_back_of_its_own(
    carillon_server: Server,
) -> None:
    async with carillon.connect(carillon_server.url) as client, client.subscribe("c") as subscription:
        for close in (client.aclose, subscription.aclose):
            with pytest.raises(carillon.LoopError):
                await asyncio.to_thread(asyncio.run, close())
        carillon_server.publish("c", 1)
        assert isinstance(await subscription.next(10), Message)


def test_closing_from_another_thread_ends_whoever_reads(carillon_server: Server) -> None:
    client = sync.connect(carillon_server.url).open()
    subscription = client.subscribe("c").open()
    closing = threading.Timer(0.05, client.close)
    closing.start()
    assert list(subscription) == []
    closing.join()
    assert list(subscription) == []
    with pytest.raises(carillon.ConnectionClosed, match="closed"):
        subscription.next()


def test_a_blocking_client_has_the_signatures_of_its_twin() -> None:
    for blocking, twin in ((sync.Client, Client), (sync.Subscription, carillon.Subscription)):
        for name in ("publish", "history", "presence", "next", "subscribe", "open"):
            if hasattr(twin, name):
                ours, theirs = getattr(blocking, name), getattr(twin, name)
                assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
                assert not inspect.iscoroutinefunction(ours)
    assert inspect.signature(sync.connect).parameters == inspect.signature(carillon.connect).parameters
    assert "idempotency_key" in inspect.signature(sync.Client.publish).parameters
