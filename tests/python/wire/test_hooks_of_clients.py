"""Hooks that renew what expires, carry out calls and are told of disconnects, as clients see them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import (
    Deny,
    DisconnectContext,
    Grant,
    HookError,
    RefreshContext,
    RpcContext,
    Server,
    SubRefreshContext,
    User,
)
from carillon.testing import wait_until
from wire_clients import Ws, open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

TRY_AGAIN = {"code": 100, "message": "internal server error", "temporary": True}


@pytest.fixture
def threads() -> int:
    """What a hook decides is the same with one shard."""
    return 4


def soon(seconds: float = 1.0) -> float:
    """The next whole second that is `seconds` away: ends are kept in whole seconds."""
    return float(int(time.time() + seconds) + 1)


class Renewals:
    """Connections that end soon, and what `on_refresh` answers; the last answer is repeated."""

    def __init__(self, *answers: Callable[[RefreshContext], Any]) -> None:
        self.asked: list[RefreshContext] = []
        self.answers = answers

    def __call__(self, server: Server) -> None:
        server.on_connect(lambda ctx: User("ann", info={"n": 0}, expires_at=soon()))
        server.on_refresh(self.decide)

    def decide(self, ctx: RefreshContext) -> Any:
        self.asked.append(ctx)
        return self.answers[min(len(self.asked), len(self.answers)) - 1](ctx)


async def is_alive(ws: Ws) -> bool:
    reply = await ws.command(subscribe={"channel": "alive"})
    await ws.command(unsubscribe={"channel": "alive"})
    return "error" not in reply


# ---- on_refresh


async def test_a_connection_goes_on_as_long_as_its_hook_says(serve: Callable[..., Server]) -> None:
    renewals = Renewals(
        lambda ctx: User(ctx.user, info={"n": 1}, expires_at=soon()), lambda ctx: User(ctx.user)
    )
    server = serve(before_start=renewals)
    async with open_ws(server, is_connected=False) as ws:
        hello = (await ws.command(connect={"data": {"tab": 1}}))["connect"]
        assert "expires" not in hello, "the server renews it itself: the client has nothing to do"
        await ws.subscribe("c")
        await until(lambda: len(renewals.asked) == 2)
        first = renewals.asked[0]
        assert (first.client, first.user, first.transport) == (hello["client"], "ann", "websocket")
        assert first.headers["host"].startswith("127.0.0.1")
        await until(lambda: server.presence("c")[hello["client"]].conn_info == {"n": 1})
        await ws.subscribe("later")
        assert server.presence("later")[hello["client"]].conn_info == {"n": 1}
        assert await is_alive(ws)


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (lambda ctx: False, 3005, "connection expired"),
        (lambda ctx: Deny(reason="locked"), 3005, "locked"),
        (lambda ctx: Deny(4500, "gone for good"), 4500, "gone for good"),
        (lambda ctx: User(ctx.user, expires_at=time.time() - 5), 3005, "connection expired"),
    ],
)
async def test_a_connection_ends_if_its_hook_says_so(
    serve: Callable[..., Server], answer: Callable[[RefreshContext], Any], code: int, reason: str
) -> None:
    server = serve(before_start=Renewals(answer))
    async with open_ws(server) as ws:
        assert await ws.closed() == (code, reason)


@pytest.mark.parametrize(
    "answer", [lambda ctx: 1 / 0, lambda ctx: None, lambda ctx: True, lambda ctx: User("bob")]
)
async def test_without_an_answer_it_goes_on_for_a_while(
    serve: Callable[..., Server], answer: Callable[[RefreshContext], Any], caplog: pytest.LogCaptureFixture
) -> None:
    renewals = Renewals(answer, lambda ctx: False)
    server = serve(before_start=renewals, limits={"refresh_retry_ms": 1_000})
    with caplog.at_level(logging.ERROR, "carillon.server"):
        async with open_ws(server) as ws:
            await until(lambda: len(renewals.asked) == 1)
            assert await is_alive(ws)
            assert (await ws.closed())[0] == 3005
    assert len(renewals.asked) == 2
    assert "on_refresh" in caplog.text
    assert "the client is asked to try again" not in caplog.text
    assert "goes on, and " in caplog.text or "another user" in caplog.text


async def test_the_end_of_a_token_is_the_hooks_as_well(serve: Callable[..., Server]) -> None:
    asked: list[RefreshContext] = []

    def register(server: Server) -> None:
        @server.on_refresh
        def renew(ctx: RefreshContext) -> User:
            asked.append(ctx)
            return User(ctx.user)

    config = {"client": {"token": {"hmac_secret_key": "s"}}}
    server = serve(before_start=register, config=config, insecure=False)
    async with open_ws(server, is_connected=False) as ws:
        reply = await ws.command(connect={"token": carillon.token("s", "ann", expires=1)})
        assert "expires" not in reply["connect"]
        await until(lambda: asked)
        assert asked[0].user == "ann"
        await ws.send(refresh={"token": carillon.token("s", "ann", expires=60)})
        assert await ws.closed() == (3501, "bad request"), "the server renews it, not the client"


# ---- on_subscribe with a Grant, on_sub_refresh


async def test_a_subscription_goes_on_as_long_as_its_hook_says(serve: Callable[..., Server]) -> None:
    asked: list[SubRefreshContext] = []

    def register(server: Server) -> None:
        @server.on_subscribe("chat:*")
        def join(ctx: Any) -> Grant:
            return Grant(ctx.channel, info={"role": "host"}, data={"hi": 1}, expires_at=soon())

        @server.on_sub_refresh("chat:*")
        def renew(ctx: SubRefreshContext) -> Grant | bool:
            asked.append(ctx)
            return len(asked) < 3 and Grant(ctx.channel, expires_at=soon())

    server = serve(before_start=register)
    async with open_ws(server) as ws:
        reply = await ws.subscribe("chat:1")
        assert reply["data"] == {"hi": 1}
        assert "expires" not in reply
        (info,) = server.presence("chat:1").values()
        assert info.chan_info == {"role": "host"}
        push = await ws.push()
        assert push == {"channel": "chat:1", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}
        assert [ctx.channel for ctx in asked] == ["chat:1"] * 3
        assert await is_alive(ws)


async def test_a_grant_of_another_channel_is_no_answer(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(before_start=lambda server: server.on_subscribe("*")(lambda ctx: Grant("other")))
    async with open_ws(server) as ws:
        with caplog.at_level(logging.ERROR, "carillon.server"):
            assert (await ws.command(subscribe={"channel": "c"}))["error"]["code"] == 100
    assert "the question is about 'c'" in caplog.text


# ---- on_rpc


def methods(server: Server) -> None:
    server.on_rpc("sum")(lambda ctx: sum(ctx.json()))
    server.on_rpc("nothing")(lambda ctx: None)
    server.on_rpc("no")(lambda ctx: False)
    server.on_rpc("bytes")(lambda ctx: b"\xff\x00")
    server.on_rpc("fails")(lambda ctx: 1 / 0)
    server.on_rpc("set")(lambda ctx: {1, 2})
    server.on_rpc("room.*")(lambda ctx: [ctx.method, ctx.user, ctx.json()])
    server.on_rpc("room.close")(lambda ctx: Deny(470, "not yours"))

    @server.on_rpc("leave")
    async def leave(ctx: RpcContext) -> Deny:
        return Deny(4501, "bye")


@pytest.mark.parametrize(
    ("rpc", "answer"),
    [
        ({"method": "sum", "data": [1, 2]}, {"rpc": {"data": 3}}),
        ({"method": "nothing"}, {"rpc": {"data": None}}),
        ({"method": "no"}, {"rpc": {"data": False}}),
        ({"method": "bytes"}, {"rpc": {"data": {"b64": "/wA="}, "binary": True}}),
        ({"method": "room.open"}, {"rpc": {"data": ["room.open", "ann", None]}}),
        ({"method": "room.close"}, {"error": {"code": 470, "message": "not yours"}}),
        (
            {"method": "fails"},
            {"error": {"code": 100, "message": "internal server error", "temporary": True}},
        ),
        ({"method": "set"}, {"error": {"code": 100, "message": "internal server error", "temporary": True}}),
        ({"method": "unknown"}, {"error": {"code": 104, "message": "method not found"}}),
    ],
)
async def test_a_hook_carries_out_a_call(
    serve: Callable[..., Server], rpc: dict[str, Any], answer: dict[str, Any]
) -> None:
    server = serve(before_start=methods)
    async with open_ws(server, "?user=ann") as ws:
        reply = await ws.command(rpc=rpc)
        del reply["id"]
        assert reply == answer
        assert (await ws.command(rpc={"method": "carillon.unread"}))["rpc"]["data"] == {"unread": {}}


async def test_a_hook_may_close_the_connection_that_calls(serve: Callable[..., Server]) -> None:
    async with open_ws(serve(before_start=methods)) as ws:
        await ws.send(rpc={"method": "leave"})
        assert await ws.closed() == (4501, "bye")


async def test_calls_that_take_long_hold_up_no_subscription(serve: Callable[..., Server]) -> None:
    may_answer = threading.Event()

    def register(server: Server) -> None:
        @server.on_rpc("slow")
        async def slow(ctx: RpcContext) -> str:
            await asyncio.to_thread(may_answer.wait)
            return "done"

    async with open_ws(serve(before_start=register)) as ws:
        number = await ws.send(rpc={"method": "slow"})
        await ws.subscribe("c")  # is answered meanwhile
        may_answer.set()
        assert (await ws.reply(number))["rpc"]["data"] == "done"


# ---- on_disconnect


class Departures:
    def __init__(self) -> None:
        self.told: list[DisconnectContext] = []

    def __call__(self, server: Server) -> None:
        server.on_disconnect(self.note)

    async def note(self, ctx: DisconnectContext) -> None:
        self.told.append(ctx)


async def test_the_application_is_told_who_has_gone(serve: Callable[..., Server]) -> None:
    departures = Departures()
    server = serve(before_start=departures)
    async with open_ws(server, "?user=ann", is_connected=False) as ws:
        client = (await ws.command(connect={}))["connect"]["client"]
        server.disconnect(client, 4501, "moved")
        await ws.closed()
    await until(lambda: departures.told)
    assert departures.told == [
        DisconnectContext(client=client, user="ann", transport="websocket", code=4501, reason="moved")
    ]
    async with open_ws(server, "?user=bob"):
        pass
    await until(lambda: len(departures.told) == 2)
    assert (departures.told[1].user, departures.told[1].code) == ("bob", 0)
    async with open_ws(server, is_connected=False) as ws:  # nobody who could have gone
        await ws.send(subscribe={"channel": "c"})
        await ws.closed()
    async with carillon.connect(server.url, transport="sse") as ours, ours.subscribe("c"):
        await until(lambda: server.stats()["sse"] == 1)
    await until(lambda: len(departures.told) == 3)
    assert departures.told[2].transport == "sse"


async def test_a_notice_that_fails_is_told_and_the_next_one_comes(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def register(server: Server) -> None:
        @server.on_disconnect
        def note(ctx: DisconnectContext) -> None:
            told.append(ctx.user)
            raise RuntimeError("the database is away")

    server = serve(before_start=register, limits={"hooks_at_once": 1})
    with caplog.at_level(logging.ERROR, "carillon.server"):
        for user in ("ann", "bob"):
            async with open_ws(server, f"?user={user}"):
                pass
        await until(lambda: len(told) == 2)
    assert "on_disconnect of client" in caplog.text
    assert server.stats()["hook_questions"] == 0


# ---- registering


def test_a_pattern_is_needed_and_a_second_hook_is_refused() -> None:
    server = Server(port=0)
    with pytest.raises(TypeError, match="for all methods"):
        server.on_rpc(lambda ctx: 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name of a method"):
        server.on_rpc("")(lambda ctx: 1)
    server.on_refresh(deadline=2)(lambda ctx: False)
    with pytest.raises(HookError, match="on_refresh: there is a hook already"):
        server.on_refresh(lambda ctx: False)
    server.on_disconnect(lambda ctx: None)
    with pytest.raises(HookError, match="on_disconnect: there is a hook already"):
        server.on_disconnect(lambda ctx: None)
    server.on_sub_refresh("a")(lambda ctx: False)
    with pytest.raises(HookError, match="on_sub_refresh: there is a hook for 'a' already"):
        server.on_sub_refresh("a")(lambda ctx: False)


def test_the_end_of_a_grant_is_a_time() -> None:
    with pytest.raises(ValueError, match="Grant: expires_at=0: is not a time"):
        Grant("c", expires_at=0)
    with pytest.raises(TypeError, match="Grant: expires_at='soon'"):
        Grant("c", expires_at="soon")  # type: ignore[arg-type]


def test_notices_come_while_a_drain_runs(carillon_server_factory: Callable[..., Server]) -> None:
    departures = Departures()
    server = carillon_server_factory(before_start=departures)
    with carillon.sync.connect(server.url):
        server.drain(0.5)
        wait_until(lambda: departures.told)
    assert departures.told[0].code == 3001
