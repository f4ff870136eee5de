"""Hooks: who may connect, subscribe and publish, as seen by clients that know nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import carillon
import httpx
import pytest
from carillon import ConnectContext, Deny, Grant, HookError, PublishContext, Server, SubscribeContext, User
from carillon.hook_answers import Verdict
from carillon.hooks import HookTable
from carillon.repeated_log import RepeatedLog
from carillon.testing import wait_until, wait_until_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon.hook_contexts import Operation

pytestmark = pytest.mark.wire

Json = dict[str, Any]

PERMISSION_DENIED = 103
ASK_AGAIN = 100  # temporary


class Wire:
    """A WebSocket that speaks the Centrifuge JSON protocol, one command after the other."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.last_id = 0

    def command(self, **fields: Any) -> Json:
        """The reply to a command; pings and pushes in between are passed over."""
        self.send(**fields)
        while True:
            for line in str(self.socket.recv(timeout=10)).splitlines():
                reply: Json = json.loads(line)
                if reply.get("id") == self.last_id:
                    return reply

    def send(self, **fields: Any) -> None:
        self.last_id += 1
        self.socket.send(json.dumps({"id": self.last_id, **fields}))

    def closed_with(self) -> tuple[int, str]:
        """Reads to the end of the connection."""
        try:
            while True:
                self.socket.recv(timeout=10)
        except ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    with contextlib.ExitStack() as open_sockets:

        def open_wire(server: Server, user: str = "") -> Wire:
            url = f"{server.url.replace('http', 'ws', 1)}/connection/websocket?user={user}"
            return Wire(open_sockets.enter_context(connect(url)))

        yield open_wire


@pytest.fixture
def server() -> Iterator[Server]:
    """Not started: hooks come first."""
    server = Server(threads=2)
    yield server
    server.stop()
    assert server.ledger()["is_balanced"]


def error_of(reply: Json) -> tuple[int, str]:
    return reply["error"]["code"], reply["error"]["message"]


# Who is it.


@pytest.mark.parametrize("is_async", [False, True])
def test_a_connect_hook_names_the_user(server: Server, wire: Callable[..., Wire], is_async: bool) -> None:
    seen: list[ConnectContext] = []

    def decide(ctx: ConnectContext) -> str:
        seen.append(ctx)
        return f"user-of-{ctx.token}"

    async def decide_later(ctx: ConnectContext) -> str:
        await asyncio.sleep(0.01)
        return decide(ctx)

    server.on_connect(decide_later if is_async else decide)
    server.start()
    client = wire(server, user="claimed")
    hello = client.command(connect={"token": "t1", "data": {"room": 7}})
    client.command(subscribe={"channel": "c"})
    (info,) = server.presence("c").values()
    assert (info.client, info.user, info.conn_info) == (hello["connect"]["client"], "user-of-t1", None)
    (ctx,) = seen
    assert (ctx.token, ctx.user, ctx.transport, ctx.json()) == ("t1", "claimed", "websocket", {"room": 7})
    assert ctx.claimed_user == "claimed"
    assert "t1" not in repr(ctx), "tokens do not belong into logs"
    with pytest.raises(dataclasses.FrozenInstanceError):
        ctx.user = "x"  # type: ignore[misc]


def test_a_connect_hook_tells_others_about_the_user(server: Server, wire: Callable[..., Wire]) -> None:
    @server.on_connect(deadline=2)
    def decide(ctx: ConnectContext) -> User:
        return User("ann", {"name": "Ann Ö"})

    server.start()
    client = wire(server)
    client.command(connect={})
    client.command(subscribe={"channel": "c"})
    (info,) = server.presence("c").values()
    assert (info.user, info.conn_info) == ("ann", {"name": "Ann Ö"})


def test_true_lets_a_client_in_as_whom_the_server_takes_it_for(
    server: Server, wire: Callable[..., Wire]
) -> None:
    server.on_connect(lambda ctx: True)
    server.start()
    client = wire(server, user="bob")
    client.command(connect={})
    client.command(subscribe={"channel": "c"})
    assert [info.user for info in server.presence("c").values()] == ["bob"]


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (Deny(4501, "no such token"), 4501, "no such token"),
        (Deny(reason="log in first"), 3507, "log in first"),
        (False, None, None),
    ],
)
def test_a_connect_that_is_denied_ends_the_connection(
    server: Server, wire: Callable[..., Wire], answer: Any, code: int | None, reason: str | None
) -> None:
    server.on_connect(lambda ctx: answer)
    server.start()
    client = wire(server)
    client.send(connect={})
    end = client.closed_with()
    if code is None:
        assert 3500 <= end[0] < 4000, "clients must not come back by themselves"
    else:
        assert end == (code, reason)
    assert server.connections() == []


def test_a_connect_may_be_denied_by_an_error(server: Server, wire: Callable[..., Wire]) -> None:
    server.on_connect(lambda ctx: Deny(109, "token expired"))
    server.start()
    assert error_of(wire(server).command(connect={})) == (109, "token expired")


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
def test_a_hook_gets_the_request_that_the_client_came_with(server: Server, transport: str) -> None:
    connects: list[ConnectContext] = []
    later: list[SubscribeContext | PublishContext] = []

    @server.on_connect
    def identify(ctx: ConnectContext) -> str:
        connects.append(ctx)
        return "ann"

    @server.on_subscribe("*")
    @server.on_publish("*")
    def decide(ctx: Any) -> bool:
        later.append(ctx)
        return True

    server.start()
    headers = {"Authorization": "Bearer t1", "Cookie": 'session=abc; theme="dark"; broken', "X-Room": "7"}
    query = "user=eve&data=%7B%22n%22%3A1%7D&token=not-this-one&_=1"
    if transport == "websocket":
        url = f"{server.url.replace('http', 'ws', 1)}/connection/websocket?{query}"
        with connect(url, additional_headers=headers) as socket:
            client = Wire(socket)
            client.command(connect={})
            client.command(subscribe={"channel": "c", "token": "t2", "data": [2]})
            client.command(publish={"channel": "c", "data": 3})
        assert [(ctx.token, ctx.json(), bool(ctx.client)) for ctx in later] == [
            ("t2", [2], True),
            ("", 3, True),
        ]
    else:
        url = f"{server.url}/{transport}?channel=c&{query}" + ("&timeout=0" if transport == "poll" else "")
        with httpx.stream("GET", url, headers=headers) as response:
            assert response.status_code == 200
        assert [(ctx.token, ctx.json(), ctx.client) for ctx in later] == [("t1", {"n": 1}, "")]
    (ctx,) = connects
    assert (ctx.transport, ctx.token, ctx.json()) == (transport, "t1", {"n": 1})
    assert ctx.client == (later[0].client if transport == "websocket" else ""), "the id that it gets"
    assert {ctx.user for ctx in later} == {"ann"}
    for each in (ctx, *later):
        assert each.cookies == {"session": "abc", "theme": "dark"}
        assert (each.headers["x-room"], each.headers["authorization"]) == ("7", "Bearer t1")
        assert (each.query["_"], each.query["user"], each.claimed_user) == ("1", "eve", "eve")
        assert each.address == "127.0.0.1"
        assert "t1" not in repr(each), "tokens do not belong into logs"
        assert "abc" not in repr(each)


def test_a_context_can_be_made_in_a_unit_test() -> None:
    ctx = SubscribeContext(channel="c", user="ann", headers={"cookie": "a=1"}, query={"user": "eve"})
    assert (ctx.cookies, ctx.claimed_user, ctx.json(), ctx.token) == ({"a": "1"}, "eve", None, "")


@pytest.mark.parametrize("path", ["/sse", "/poll"])
def test_data_in_a_query_must_be_json(server: Server, path: str) -> None:
    server.start()
    response = httpx.get(f"{server.url}{path}", params={"channel": "c", "data": "room 7"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, 400)
    assert response.json()["error"]["message"].startswith("data: not JSON")


def test_the_reason_of_a_denial_reaches_every_client(server: Server, wire: Callable[..., Wire]) -> None:
    server.on_connect(lambda ctx: Deny(reason="log in first") if ctx.claimed_user == "eve" else True)
    server.on_subscribe("*")(lambda ctx: Deny(reason="members only"))
    server.on_publish("*")(lambda ctx: Deny(reason="too rude"))
    server.start()
    client = wire(server)
    client.command(connect={})
    assert error_of(client.command(subscribe={"channel": "c"})) == (PERMISSION_DENIED, "members only")
    assert error_of(client.command(publish={"channel": "c", "data": 1})) == (PERMISSION_DENIED, "too rude")
    for path in ("/sse", "/poll"):
        for user, status, reason in (("eve", 401, "log in first"), ("ann", 403, "members only")):
            response = httpx.get(f"{server.url}{path}", params={"channel": "c", "user": user})
            assert (response.status_code, response.json()) == (
                status,
                {"error": {"code": status, "message": reason}},
            )
    for transport in ("ws", "sse", "poll"):
        with (
            carillon.sync.connect(server.url, transport=transport) as reader,
            pytest.raises(carillon.SubscribeDenied, match="members only"),
        ):
            reader.subscribe("c").open()


@pytest.mark.parametrize("path", ["/sse", "/poll"])
def test_the_plain_transports_ask_the_connect_hook(server: Server, path: str) -> None:
    seen: list[ConnectContext] = []

    @server.on_connect
    def decide(ctx: ConnectContext) -> bool:
        seen.append(ctx)
        return ctx.user == "ann"

    server.start()
    query = {"channel": "c", "timeout": "0"}
    assert httpx.get(f"{server.url}{path}", params=query | {"user": "bob"}).status_code == 401
    with httpx.stream("GET", f"{server.url}{path}", params=query | {"user": "ann"}) as response:
        assert response.status_code == 200
    assert [(ctx.user, ctx.transport) for ctx in seen] == [("bob", path[1:]), ("ann", path[1:])]


def test_what_a_client_claims_is_nobody_on_a_server_with_a_key(wire: Callable[..., Wire]) -> None:
    claims: list[tuple[str, str, str]] = []
    server = Server(
        api_key="k",
        channels={"*": {"allow_subscribe_for_client": True, "allow_publish_for_client": True}},
    )

    @server.on_connect
    def let_in(ctx: ConnectContext) -> bool:
        claims.append((ctx.user, ctx.claimed_user, ctx.transport))
        return True

    users: set[str] = set()

    @server.on_publish("hooked")
    def publish(ctx: PublishContext) -> bool:
        users.add(ctx.user)
        return True

    @server.on_subscribe("hooked")
    def subscribe(ctx: SubscribeContext) -> bool:
        users.add(ctx.user)
        return True

    with server:
        server.add_members("secret", ["admin"])
        server.publish("secret", "for the admin only")
        client = wire(server, user="admin")
        client.command(connect={"data": {"user": "admin"}, "name": "admin", "headers": {"X-User": "admin"}})
        for method in ("carillon.inbox", "carillon.unread", "carillon.mark_read"):
            reply = client.command(rpc={"method": method, "data": {"channel": "secret", "offset": 1}})
            assert error_of(reply)[0] == PERMISSION_DENIED
        assert "subscribe" in client.command(subscribe={"channel": "hooked"})
        assert "publish" in client.command(publish={"channel": "hooked", "data": 1})
        (info,) = server.presence("hooked").values()
        assert info.user == ""
        for path in ("/sse", "/poll"):
            query = {"channel": "hooked", "user": "admin", "timeout": "0"}
            forged = {"X-Forwarded-User": "admin", "Remote-User": "admin", "Cookie": "user=admin"}
            with httpx.stream("GET", f"{server.url}{path}", params=query, headers=forged) as response:
                assert response.status_code == 200
        assert server.inbox("admin").unread == {"secret": 1}
    assert users == {""}
    assert claims == [("", "admin", transport) for transport in ("websocket", "sse", "poll")]


# May they.


def test_the_longest_pattern_decides_on_a_subscribe(server: Server, wire: Callable[..., Wire]) -> None:
    seen: list[SubscribeContext] = []

    @server.on_subscribe("chat:*")
    def chat(ctx: SubscribeContext) -> bool:
        seen.append(ctx)
        return True

    @server.on_subscribe("chat:secret:*")
    async def secret(ctx: SubscribeContext) -> Deny:
        return Deny(403, "members only")

    @server.on_subscribe("*.[a]")
    def literal(ctx: SubscribeContext) -> bool:
        return False

    server.start()
    client = wire(server, user="ann")
    hello = client.command(connect={})
    assert "subscribe" in client.command(subscribe={"channel": "chat:lobby"})
    assert error_of(client.command(subscribe={"channel": "chat:secret:1"})) == (403, "members only")
    assert error_of(client.command(subscribe={"channel": "x.[a]"}))[0] == PERMISSION_DENIED
    assert "subscribe" in client.command(subscribe={"channel": "x.a"}), "where no pattern matches: the rules"
    (ctx,) = seen
    assert (ctx.client, ctx.user, ctx.channel, ctx.transport) == (
        hello["connect"]["client"],
        "ann",
        "chat:lobby",
        "websocket",
    )
    assert set(server.channels()) == {"chat:lobby", "x.a"}


def test_a_pattern_knows_no_sign_but_the_star(server: Server, wire: Callable[..., Wire]) -> None:
    server.on_subscribe("a.[b]+*")(lambda ctx: True)
    server.start()
    client = wire(server)
    client.command(connect={})
    assert "subscribe" in client.command(subscribe={"channel": "a.[b]+c"})


def test_a_subscribe_may_close_the_connection(server: Server, wire: Callable[..., Wire]) -> None:
    server.on_subscribe("c")(lambda ctx: Deny(4600, "stay away"))
    server.start()
    client = wire(server)
    client.command(connect={})
    client.send(subscribe={"channel": "c"})
    assert client.closed_with() == (4600, "stay away")


@pytest.mark.parametrize("path", ["/sse", "/poll"])
def test_the_plain_transports_ask_the_subscribe_hook_for_each_channel(server: Server, path: str) -> None:
    @server.on_subscribe("*")
    async def decide(ctx: SubscribeContext) -> bool:
        await asyncio.sleep(0)
        return ctx.channel != "secret" and ctx.transport == path[1:]

    server.start()

    def status(*channels: str) -> int:
        query: list[tuple[str, str | int]] = [("channel", channel) for channel in channels]
        with httpx.stream("GET", f"{server.url}{path}", params=[*query, ("timeout", 0)]) as response:
            return response.status_code

    assert (status("a"), status("a", "b"), status("secret"), status("a", "secret")) == (200, 200, 403, 403)


def test_a_publish_hook_passes_changes_or_refuses(server: Server, wire: Callable[..., Wire]) -> None:
    answers: list[Any] = [
        True,
        {"clean": "ü"},
        b'{"n": 1.10}',
        b"[1,\n2]",
        "text",
        7,
        False,
        Deny(400, "too rude"),
        b"{",
        b"[NaN]",
        float("nan"),
        object(),
        None,
    ]
    seen: list[PublishContext] = []

    @server.on_publish("c")
    def decide(ctx: PublishContext) -> Any:
        seen.append(ctx)
        return answers[len(seen) - 1]

    server.start()
    client = wire(server, user="ann")
    client.command(connect={})
    replies = [client.command(publish={"channel": "c", "data": {"n": n}}) for n in range(len(answers))]
    assert [error_of(reply)[0] if "error" in reply else 0 for reply in replies] == [
        *[0] * 6,
        PERMISSION_DENIED,
        400,
        *[ASK_AGAIN] * 5,
    ]
    assert [message.json() for message in server.history("c").messages] == [
        {"n": 0},
        {"clean": "ü"},
        {"n": 1.1},
        [1, 2],
        "text",
        7,
    ]
    assert server.history("c").messages[2].data == b'{"n": 1.10}'
    assert (seen[0].user, seen[0].channel, seen[0].json()) == ("ann", "c", {"n": 0})


def test_replaced_payloads_reach_the_subscribers(server: Server, wire: Callable[..., Wire]) -> None:
    server.on_publish("*")(lambda ctx: {"by": ctx.user})
    server.start()
    with carillon.sync.connect(server.url) as reader, reader.subscribe("c") as subscription:
        client = wire(server, user="ann")
        client.command(connect={})
        client.command(publish={"channel": "c", "data": 1})
        item = subscription.next(timeout=5)
        assert isinstance(item, carillon.Message)
        assert item.json() == {"by": "ann"}


def test_the_application_itself_is_not_asked(server: Server) -> None:
    server.on_publish("*")(lambda ctx: False)
    server.on_subscribe("*")(lambda ctx: False)
    server.start()
    assert server.publish("c", 1).offset == 1
    reply = httpx.post(f"{server.url}/api/publish", json={"channel": "c", "data": 2})
    assert reply.json()["result"]["offset"] == 2


# What goes wrong.


def test_a_hook_that_fails_denies_nothing_is_logged_and_stops_nothing(
    server: Server, wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    @server.on_subscribe("*")
    def decide(ctx: SubscribeContext) -> bool:
        if ctx.channel == "exit":
            raise SystemExit(1)
        if ctx.channel == "late":
            raise TimeoutError  # its own, not the deadline's
        if ctx.channel == "interrupt":
            raise KeyboardInterrupt
        return {"a": True}[ctx.channel]

    server.start()
    client = wire(server)
    client.command(connect={})
    for channel in ("b", "exit", "late", "interrupt"):
        reply = client.command(subscribe={"channel": channel})
        assert (error_of(reply)[0], reply["error"]["temporary"]) == (ASK_AGAIN, True)
    assert "subscribe" in client.command(subscribe={"channel": "a"})
    server.stop()  # what was repeated in the log is written
    failed = [record for record in caplog.records if record.name == "carillon.server"]
    assert [(record.levelname, record.exc_info[0]) for record in failed if record.exc_info] == [
        ("ERROR", KeyError),
        ("ERROR", KeyboardInterrupt),
    ]
    assert "on_subscribe('*')" in failed[0].getMessage()
    assert "3 times" in failed[1].getMessage(), "one record per kind and second"


def test_none_decides_nothing_and_the_log_says_why(
    server: Server, wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    def decide(ctx: SubscribeContext) -> None:
        pass

    server.on_subscribe("*")(decide)
    server.start()
    client = wire(server)
    client.command(connect={})
    assert error_of(client.command(subscribe={"channel": "a"}))[0] == ASK_AGAIN
    (record,) = [record for record in caplog.records if record.name == "carillon.server"]
    line = decide.__code__.co_firstlineno
    assert record.getMessage() == (
        f"on_subscribe('*'): decide (test_hooks.py:{line}) returned None; return True, False, "
        "Grant(...) of the context's channel or Deny(...) "
        "(channel 'a'); the client is asked to try again"
    )
    assert record.exc_info is None, "no frame of a traceback would be the hook's"


@pytest.mark.parametrize(
    ("operation", "answer", "words"),
    [
        ("connect", None, "returned None; return the user's id, User"),
        ("publish", None, "returned None; return True, False, Deny"),
        ("publish", {1, 2}, "returned {1, 2}; it has no JSON form: cannot publish a set"),
    ],
)
async def test_a_wrong_answer_is_one_line_for_every_hook(
    operation: Operation, answer: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks, core = HookTable(), FakeCore()
    decide = functools.partial(lambda ctx, answer: answer, answer=answer)
    hooks.add(operation, "*", decide, 5)
    facts = {} if operation == "connect" else {"channel": "c"}
    hooks.ask(core, None, ("question", 1, operation, facts))  # type: ignore[arg-type]
    await wait_until_async(lambda: core.resolved)
    (record,) = caplog.records
    assert re.search(rf"^on_{operation}.*: <lambda> \(test_hooks.py:\d+\) {words}", record.getMessage())
    assert record.exc_info is None
    hooks.close()


async def test_a_record_that_is_repeated_once_counts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = RepeatedLog(logging.getLogger("test"))
    for _ in range(2):
        log.write("kind", logging.ERROR, "text")
    log.flush()
    assert [record.getMessage() for record in caplog.records] == ["text", "text"]


@pytest.mark.parametrize("answer", [None, "", 7, RuntimeError(), KeyboardInterrupt(), SystemExit()])
def test_a_connect_that_no_hook_decides_may_be_tried_again(
    server: Server, wire: Callable[..., Wire], answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="carillon.access")

    @server.on_connect
    def decide(ctx: ConnectContext) -> Any:
        if ctx.claimed_user != "bad":
            return True
        if isinstance(answer, BaseException):
            raise answer
        return answer

    server.start()
    client = wire(server, user="bad")
    client.send(connect={})
    assert client.closed_with()[0] < 3500, "SDKs stay away for good from 3500 on"
    query = {"channel": "c", "timeout": "0", "user": "bad"}
    poll = httpx.get(f"{server.url}/poll", params=query)
    assert (poll.status_code, poll.headers["Retry-After"].isdigit()) == (503, True)
    stream = httpx.get(f"{server.url}/sse", params=query)
    assert (stream.status_code, stream.headers["Content-Type"]) == (200, "text/event-stream")
    assert stream.text.startswith("retry: "), "EventSource ends for good on any other status"
    assert "connect" in wire(server, user="good").command(connect={})
    server.stop()  # all that is logged has been handed over
    refused = [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "refuse"]
    assert [text.split(": ", 1)[1] for text in refused] == [
        "3004 the hook failed",
        "503 the hook failed",
        "200 the hook failed",
    ]


def test_a_task_of_a_hook_cannot_end_hooks_and_logs(
    server: Server, wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    tasks = []

    async def fail() -> None:
        raise KeyboardInterrupt

    @server.on_subscribe("*")
    async def decide(ctx: SubscribeContext) -> bool:
        loop = asyncio.get_running_loop()
        if ctx.channel == "stop":
            loop.stop()
        else:
            tasks.append(loop.create_task(fail()))
        return True

    server.start()
    client = wire(server)
    client.command(connect={})
    for channel in ("task", "stop", "more"):
        assert "subscribe" in client.command(subscribe={"channel": channel})
    wait_until(lambda: "the other tasks continue" in caplog.text)


def test_a_flood_of_late_answers_is_one_warning_per_second(
    server: Server, wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    @server.on_publish("*", deadline=0.05)
    async def decide(ctx: PublishContext) -> bool:
        await asyncio.sleep(60)
        return True

    server.start()
    client = wire(server)
    client.command(connect={})
    client.socket.send(
        "\n".join(f'{{"id":{n},"publish":{{"channel":"c{n}","data":1}}}}' for n in range(2, 32))
    )
    wait_until(lambda: server.stats()["hook_questions"] == 0 and server.stats()["hooks_undecided"] == 30)
    server.stop()
    late = [
        record.getMessage() for record in caplog.records if "did not answer within" in record.getMessage()
    ]
    assert 1 <= len(late) <= 4
    assert re.match(r"on_publish\('\*'\) did not answer within 0.05 s \(channel 'c[0-9]+'\); ", late[0])
    assert re.search(r"[0-9]+ times since", late[-1])


def test_other_questions_keep_no_newcomer_out(server: Server, wire: Callable[..., Wire]) -> None:
    may_answer = threading.Event()

    @server.on_publish("*")
    async def hang(ctx: PublishContext) -> bool:
        await asyncio.to_thread(may_answer.wait)
        return True

    server.on_connect(lambda ctx: True)
    server.start()
    flooder = wire(server)
    flooder.command(connect={})
    flooder.socket.send(
        "\n".join(f'{{"id":{n},"publish":{{"channel":"c{n}","data":1}}}}' for n in range(2, 42))
    )
    wait_until(lambda: server.stats()["hook_questions"] > 0)
    assert "connect" in wire(server).command(connect={})
    may_answer.set()
    wait_until(lambda: server.stats()["hook_questions"] == 0)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_past_its_deadline_denies_nothing(
    server: Server, wire: Callable[..., Wire], is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def block(ctx: SubscribeContext) -> bool:
        time.sleep(2.0)
        return True

    async def hang(ctx: SubscribeContext) -> bool:
        await asyncio.sleep(60)
        return True

    server.on_subscribe("slow", deadline=0.2)(hang if is_async else block)
    server.on_subscribe("quick")(lambda ctx: True)
    server.start()
    client = wire(server)
    client.command(connect={})
    began = time.monotonic()
    assert error_of(client.command(subscribe={"channel": "slow"}))[0] == ASK_AGAIN
    assert 0.15 < time.monotonic() - began < 7
    assert "subscribe" in client.command(subscribe={"channel": "quick"})
    wait_until(lambda: "on_subscribe('slow')" in caplog.text)
    assert server.channels() == {"quick": 1}


def test_a_client_that_leaves_before_its_answer_harms_nobody(
    server: Server, wire: Callable[..., Wire]
) -> None:
    may_answer = threading.Event()
    asked = threading.Event()

    @server.on_subscribe("*")
    async def decide(ctx: SubscribeContext) -> bool:
        asked.set()
        await asyncio.to_thread(may_answer.wait)
        return True

    server.start()
    client = wire(server)
    client.command(connect={})
    client.send(subscribe={"channel": "c"})
    assert asked.wait(5)
    client.socket.close()
    wait_until(lambda: not server.connections())
    may_answer.set()
    other = wire(server)
    other.command(connect={})
    assert "subscribe" in other.command(subscribe={"channel": "c"})
    assert server.channels() == {"c": 1}


# Where they run, and what they may do.


def test_hooks_run_side_by_side(server: Server) -> None:
    running = most = 0

    @server.on_subscribe("*")
    async def decide(ctx: SubscribeContext) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return True

    server.start()

    async def client(number: int) -> None:
        async with carillon.connect(server.url) as client, client.subscribe(f"c{number}"):
            pass

    async def main() -> None:
        await asyncio.gather(*(client(number) for number in range(30)))

    asyncio.run(main())
    assert most > 5


def test_a_hook_may_use_the_server(server: Server, wire: Callable[..., Wire]) -> None:
    threads: set[str] = set()

    @server.on_subscribe("*")
    async def decide(ctx: SubscribeContext) -> bool:
        threads.add(threading.current_thread().name)
        server.publish("audit", {"who": ctx.client})
        await server.publish_async("audit", 2)
        server.publish_nowait("audit", 3)
        assert server.connections() == [ctx.client]
        assert server.ledger()["is_balanced"]
        async with server.subscribe("audit", since=f"{server.history('audit').position.epoch}:0") as cursor:
            return [(await cursor.next(5)).offset for _ in range(3)] == [1, 2, 3]

    @server.on_publish("*")
    def kick(ctx: PublishContext) -> bool:
        return server.disconnect(ctx.client, 4500, "enough")

    server.start()
    client = wire(server)
    client.command(connect={})
    assert "subscribe" in client.command(subscribe={"channel": "c"})
    (name,) = threads
    assert name.startswith("carillon-events")
    client.send(publish={"channel": "c", "data": 1})
    assert client.closed_with() == (4500, "enough")


def test_a_hook_may_stop_the_server(server: Server, wire: Callable[..., Wire]) -> None:
    @server.on_subscribe("*")
    def decide(ctx: SubscribeContext) -> bool:
        server.stop()
        return True

    server.start()
    client = wire(server)
    client.command(connect={})
    client.send(subscribe={"channel": "c"})
    client.closed_with()
    wait_until(lambda: not server.is_running)


def test_stopping_does_not_wait_for_hooks(server: Server, wire: Callable[..., Wire]) -> None:
    asked = threading.Event()
    was_cancelled = threading.Event()

    @server.on_subscribe("*")
    async def decide(ctx: SubscribeContext) -> bool:
        asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            was_cancelled.set()
            raise
        return True

    server.start()
    client = wire(server)
    client.command(connect={})
    client.send(subscribe={"channel": "c"})
    assert asked.wait(5)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 4, "it waited for the hook's deadline"
    assert was_cancelled.is_set()


async def test_hooks_run_on_the_loop_that_is_given(carillon_server_factory: Callable[..., Server]) -> None:
    loops: list[object] = []

    def register(server: Server) -> None:
        @server.on_subscribe("*")
        async def decide(ctx: SubscribeContext) -> bool:
            loops.append(asyncio.get_running_loop())
            return True

        @server.on_publish("*")
        def pass_on(ctx: PublishContext) -> bool:
            loops.append(asyncio.get_running_loop())
            return True

    here = asyncio.get_running_loop()
    server = carillon_server_factory(loop=here, before_start=register)
    async with carillon.connect(server.url) as client, client.subscribe("c") as subscription:
        await subscription.publish(1)
        await subscription.next(5)
    assert loops == [here, here]


async def test_a_stop_cancels_hooks_on_the_loop_that_is_given(
    carillon_server_factory: Callable[..., Server],
) -> None:
    asked = asyncio.Event()
    was_cancelled = asyncio.Event()

    def register(server: Server) -> None:
        @server.on_connect
        async def decide(ctx: ConnectContext) -> bool:
            asked.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                was_cancelled.set()
                raise
            return True

    server = carillon_server_factory(loop=asyncio.get_running_loop(), before_start=register)
    client = carillon.connect(server.url, open_timeout=5)
    opening = asyncio.create_task(client.open())
    async with asyncio.timeout(5):
        await asked.wait()
        await asyncio.to_thread(server.stop)
        await was_cancelled.wait()
    with pytest.raises(carillon.CarillonError):
        await opening
    await client.aclose()


def test_a_loop_that_is_closed_denies_nothing(
    wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    server = Server(loop=loop)
    server.on_subscribe("*")(lambda ctx: True)
    with server:
        client = wire(server)
        client.command(connect={})
        began = time.monotonic()
        assert error_of(client.command(subscribe={"channel": "c"}))[0] == ASK_AGAIN
        assert time.monotonic() - began < 4, "it waited for the deadline"
        assert "loop" in caplog.text


# Registering.


def test_hooks_are_registered_before_the_start(server: Server) -> None:
    server.start()
    for register in (server.on_connect(), server.on_subscribe("c"), server.on_publish("c")):
        with pytest.raises(HookError, match=r"before start\(\)"):
            register(lambda ctx: True)
    server.stop()
    with pytest.raises(HookError, match=r"before start\(\)"):
        server.on_connect(lambda ctx: True)


def test_a_pattern_has_one_hook(server: Server) -> None:
    def decide(ctx: Any) -> bool:
        return True

    assert server.on_connect(decide) is decide
    assert server.on_subscribe("a")(decide) is decide
    server.on_subscribe("b")(decide)
    server.on_publish("a")(decide)
    with pytest.raises(HookError, match="on_subscribe: there is a hook for 'a'"):
        server.on_subscribe("a")(decide)
    with pytest.raises(HookError, match="on_connect"):
        server.on_connect(decide)


def test_what_is_no_hook_is_refused(server: Server) -> None:
    with pytest.raises(TypeError, match=r'@server.on_subscribe\("\*"\)'):
        server.on_subscribe(lambda ctx: True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="function"):
        server.on_publish("c")("no function")  # type: ignore[type-var]
    with pytest.raises(ValueError, match="empty"):
        server.on_subscribe("")(lambda ctx: True)
    for deadline, error in ((0, ValueError), (-1, ValueError), ("5", TypeError)):
        for register, arguments in (
            (server.on_connect, ()),
            (server.on_subscribe, ("c",)),
            (server.on_publish, ("c",)),
        ):
            with pytest.raises(error, match="deadline: "):
                register(*arguments, deadline=deadline)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("code", "reason"), [(1, ""), (99, ""), (2000, ""), (2999, ""), (5000, ""), (0, "x" * 124), (0, "é" * 62)]
)
def test_a_denial_that_no_client_could_get_is_refused(code: int, reason: str) -> None:
    with pytest.raises(ValueError, match="Deny"):
        Deny(code, reason)


@pytest.mark.parametrize("code", [3000, 3499, 4000, 4403, 4499])
def test_a_denial_after_which_clients_would_reconnect_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=rf"code={code}: .*Use 4500 to 4999 \(or 3500 to 3999\)"):
        Deny(code)


def test_a_hook_that_returns_such_a_denial_has_failed(
    server: Server, wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    server.on_subscribe("*")(lambda ctx: Deny(4403, "banned"))
    server.start()
    client = wire(server)
    client.command(connect={})
    assert error_of(client.command(subscribe={"channel": "c"}))[0] == ASK_AGAIN
    assert "Use 4500 to 4999" in caplog.text


def test_what_a_user_cannot_have_yet_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"User: expires_at=1700000000000\.0: is not a time in seconds"):
        User("ann", expires_at=1.7e12)
    with pytest.raises(TypeError, match="User: expires_at='now': give seconds since 1970"):
        User("ann", expires_at="now")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write User\('7'\)"):
        User(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"User: info={1, 2}: it has no JSON form: cannot publish a set"):
        User("ann", info={1, 2})
    with pytest.raises(ValueError, match=r"User: info=b'{': it has no JSON form: "):
        User("ann", info=b"{")
    assert User("ann", info=b'{"a": 1}').info == b'{"a": 1}'
    for wrong in ({"code": "no"}, {"reason": 403}, {"code": None}):
        with pytest.raises(TypeError, match="Deny: "):
            Deny(**wrong)


def test_subscriptions_that_are_none_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"User: subscriptions='news': .* write \['news'\]"):
        User("ann", subscriptions="news")
    with pytest.raises(TypeError, match="User: subscriptions: a channel: 7 is an int"):
        User("ann", subscriptions=[7])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Grant: channel: is empty"):
        Grant("")
    with pytest.raises(TypeError, match=r"Grant: info=\{1\}: it has no JSON form"):
        Grant("c", info={1})
    assert User("ann", subscriptions=["a", Grant("b", data=1)]).subscriptions[1] == Grant("b", None, 1)


def test_a_hook_grants_subscriptions(server: Server, wire: Callable[..., Wire]) -> None:
    server.on_connect(lambda ctx: User("ann", subscriptions=["a", Grant("b", {"role": "host"}, {"n": 1})]))
    server.start()
    connected = wire(server).command(connect={})["connect"]
    assert set(connected["subs"]) == {"a", "b"}
    assert connected["subs"]["b"]["data"] == {"n": 1}
    assert "data" not in connected["subs"]["a"]
    assert server.presence("b")[connected["client"]].chan_info == {"role": "host"}
    assert server.presence("a")[connected["client"]].chan_info is None


def test_a_grant_that_cannot_be_made_is_the_hooks_mistake(
    server: Server, wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    server.on_connect(lambda ctx: User("ann", subscriptions=["a\nb"]))
    server.start()
    client = wire(server)
    client.send(connect={})
    assert client.closed_with()[0] == 3004
    assert "channel: " in caplog.text


# The table by itself.


class FakeCore:
    """Notes what is resolved.

    Args:
        is_awaited: Whether the core still waits for answers.
    """

    def __init__(self, is_awaited: bool = True) -> None:
        self.resolved: list[tuple[Any, ...]] = []
        self._is_awaited = is_awaited

    def resolve(self, *answer: Any) -> bool:
        self.resolved.append(answer)
        return self._is_awaited


QUESTION = ("question", 7, "subscribe", {"client": "client", "channel": "c"})
UNDECIDED = (7, Verdict(is_undecided=True, reason="no hook could be asked"))


async def test_a_hook_that_is_cancelled_decides_nothing_and_has_not_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table, core, has_begun = HookTable(), FakeCore(), asyncio.Event()

    async def wait(_: SubscribeContext) -> bool:
        has_begun.set()
        await asyncio.sleep(60)
        return True

    table.add("subscribe", "*", wait, 5.0)
    table.ask(cast("Any", core), None, QUESTION)
    await has_begun.wait()
    table.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(others, timeout=5)
    assert core.resolved == [UNDECIDED]
    assert all(task.cancelled() for task in others)
    table.ask(cast("Any", core), None, QUESTION)
    assert not table._waiting, "nothing is asked after the end"
    assert not caplog.records


async def test_an_answer_that_nobody_awaits_any_more_is_told(caplog: pytest.LogCaptureFixture) -> None:
    table, core = HookTable(), FakeCore(is_awaited=False)
    table.add("subscribe", "*", lambda _: True, 5.0)
    table.ask(cast("Any", core), None, QUESTION)
    (answering,) = table._waiting
    await asyncio.wait_for(asyncio.wrap_future(answering), 5)
    assert core.resolved == [(7, Verdict(is_allowed=True))]
    assert "clients ask faster than hooks answer" in caplog.text
