"""Fan-out strategies over sockets: whoever does the work, everybody gets the same."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import Channel, Gap, Message, fanout
from journals import OURS, TRANSPORTS, all_reach, journals
from wire_clients import open_http, open_tcp, open_ws, row_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from carillon import Server

pytestmark = pytest.mark.wire

Json = dict[str, Any]
MEMBERS = ("ann", "bob", "cem", "dan")


async def api(client: httpx.AsyncClient, method: str, **fields: Any) -> Json:
    response = await client.post(f"/api/{method}", json=fields)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


async def result(client: httpx.AsyncClient, method: str, **fields: Any) -> Json:
    answer = await api(client, method, **fields)
    assert "result" in answer, answer
    found: Json = answer["result"]
    return found


async def rpc(ws: Any, method: str, **data: Any) -> Json:
    reply = await ws.command(rpc={"method": method, "data": data})
    assert "rpc" in reply, reply
    found: Json = reply["rpc"]["data"]
    return found


async def test_all_strategies_give_the_same_inboxes_and_the_same_stream(serve: Callable[..., Server]) -> None:
    seen: dict[str, Any] = {}
    for strategy in fanout.STRATEGIES:
        options = Channel(
            fanout=strategy, fanout_threshold=3, sweep_interval="20ms", allow_history_for_client=True
        )
        server = serve(channels={"*": options})
        server.add_members("a", MEMBERS)
        server.add_members("b", MEMBERS[:2])
        async with journals(server, "a", TRANSPORTS * 2) as written:
            for number in range(1, 101):
                await server.publish_async("a", {"n": number})
                if number % 3 == 0:
                    await server.publish_async("b", b"\x00\xff", tags={"n": str(number)})
                if number == 50:
                    server.mark_read("bob", "a", 30)
                await asyncio.sleep(0.0005)
            await all_reach(written, 100)
            for journal in written:
                assert not journal.faults(1, 100), strategy
                assert journal.data == [{"n": n} for n in range(1, 101)]
        inboxes = {user: server.inbox(user, limit=1000) for user in (*MEMBERS, "eve")}
        for user, inbox in inboxes.items():
            for channel in ("a", "b"):
                offsets = [each.offset for each in inbox.messages if each.channel == channel]
                assert offsets == sorted(offsets), user
        seen[strategy] = {
            user: (
                sorted(
                    (each.channel, each.offset, each.data, each.tags["n"] if each.tags else "")
                    for each in inbox.messages
                ),
                inbox.unread,
                inbox.has_more,
            )
            for user, inbox in inboxes.items()
        }
        assert inboxes["ann"].unread == {"a": 100, "b": 33}
        assert inboxes["bob"].unread == {"a": 70, "b": 33}
        assert inboxes["eve"].unread == {}
        entries = server.stats()["inbox_entries"]
        assert entries == {"write": 466, "read": 0}.get(strategy, entries)
        assert server.fanout("a").mode == {"write": "write"}.get(strategy, "read")
    for strategy in fanout.STRATEGIES[1:]:
        assert seen[strategy] == seen["write"], strategy


@pytest.mark.slow
async def test_a_switch_under_load_loses_repeats_and_reorders_nothing(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": Channel(sweep_interval="10ms", history_size=20_000, fanout_threshold=200)})
    total, members = 3_000, [f"user-{number}" for number in range(500)]
    server.add_members("a", members)
    done = threading.Event()

    def publish() -> None:
        for number in range(1, total + 1):
            server.publish("a", number)
            time.sleep(0.001)
        done.set()

    transports = ("ws",) * 20 + ("sse",) * 10 + ("poll",) * 5 + ("cursor",) * 15
    async with journals(server, "a", transports) as written:
        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            strategies = itertools.cycle(["read", "write", "hybrid", "write", "adaptive"])
            while not done.is_set():
                server.set_fanout("a", next(strategies))  # type: ignore[arg-type]
                await asyncio.sleep(0.02)
        finally:
            publisher.join()
        await all_reach(written, total)
        faults = [journal.faults(1, total) for journal in written]
        assert not any(faults), faults
        assert all(journal.data == list(range(1, total + 1)) for journal in written)
        assert server.fanout("a").switches >= 20, "both directions, again and again"
    for user in (members[0], members[-1]):
        read: list[int] = []
        while True:
            inbox = server.inbox(user, limit=700)
            assert inbox.unread == {"a": total - len(read)}
            assert not [item for item in inbox.items if isinstance(item, Gap)]
            read += [message.offset for message in inbox.messages]
            server.mark_read(user, "a", read[-1])
            if not inbox.has_more:
                break
        assert read == list(range(1, total + 1)), user
        assert server.unread(user) == {}
    row = row_of(server, "a")
    assert row["delivered"] == total * len(transports)


async def test_inbox_and_live_subscription_never_count_twice(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": Channel(sweep_interval="10ms")})
    server.add_members("a", MEMBERS)
    total = 600

    async def publish() -> None:
        for number in range(1, total + 1):
            if number % 50 == 0:
                server.set_fanout("a", "read" if number % 100 else "write")
            await server.publish_async("a", number)
            await asyncio.sleep(0.001)

    async def come(user: str) -> list[int]:
        """Reads the inbox, subscribes behind it, and marks what comes live as read."""
        async with open_ws(server, f"?user={user}") as ws:
            seen: list[int] = []
            position: Json = {}
            while True:
                inbox = await rpc(ws, "carillon.inbox", limit=50)
                seen += [item["offset"] for item in inbox["items"]]
                if inbox["items"]:
                    position = {key: inbox["items"][-1][key] for key in ("epoch", "offset")}
                    await rpc(ws, "carillon.mark_read", channel="a", offset=position["offset"])
                if not inbox["has_more"] and position:
                    break
            subscribed = await ws.subscribe("a", recover=True, **position)
            assert subscribed["recovered"] is True
            seen += [each["offset"] for each in subscribed.get("publications", [])]
            while not seen or seen[-1] < total:
                seen.append((await ws.publications(1))[0]["offset"])
                if seen[-1] % 20 == 0 or seen[-1] == total:
                    await rpc(ws, "carillon.mark_read", channel="a", offset=seen[-1])
            assert (await rpc(ws, "carillon.unread")) == {"unread": {}}
            return seen

    async def late(user: str, after_s: float) -> list[int]:
        await asyncio.sleep(after_s)
        return await come(user)

    async with asyncio.timeout(40):
        _, *seen = await asyncio.gather(
            publish(), *(late(user, 0.05 + 0.15 * place) for place, user in enumerate(MEMBERS))
        )
    for journal in seen:
        assert journal == list(range(1, total + 1))
    assert all(server.unread(user) == {} for user in MEMBERS)


async def test_the_api_the_rpc_and_python_tell_the_same_inbox(serve: Callable[..., Server]) -> None:
    server = serve(
        channels={
            "big": Channel(fanout="read"),
            "short": Channel(history_size=2),
            "live": {"history_size": 0},
        }
    )
    async with open_http(server) as client, open_ws(server, "?user=ann") as ws:
        assert await result(client, "add_members", channel="big", users=["ann", "bob"]) == {"members": 2}
        assert await result(client, "add_members", channel="short", users=["ann"]) == {"members": 1}
        assert await result(client, "members", channel="big") == {"users": ["ann", "bob"], "members": 2}
        assert (await result(client, "members", channel="big", limit=1, after="ann"))["users"] == ["bob"]
        await result(client, "publish", channel="big", data={"x": 1}, tags={"lang": "en"})
        for number in range(4):
            await result(client, "publish", channel="short", b64data="AP8=" if number % 2 else "AQ==")
        by_api = await result(client, "inbox", user="ann", limit=50)
        assert by_api == await rpc(ws, "carillon.inbox", limit=50)
        inbox = server.inbox("ann", limit=50)
        assert by_api["unread"] == inbox.unread == server.unread("ann") == {"big": 1, "short": 4}
        assert await result(client, "unread", user="ann") == {"unread": inbox.unread}
        assert await rpc(ws, "carillon.unread") == {"unread": inbox.unread}
        assert [each for each in by_api["items"] if each["channel"] == "big"] == [
            {
                "channel": "big",
                "epoch": server.history("big").position.epoch,
                "offset": 1,
                "data": {"x": 1},
                "tags": {"lang": "en"},
            }
        ]
        epoch = server.history("short").position.epoch
        assert [each for each in by_api["items"] if each["channel"] == "short"] == [
            {"channel": "short", "epoch": epoch, "gap": {"from": 1, "to": 2}},
            {"channel": "short", "epoch": epoch, "offset": 3, "b64": "AQ=="},
            {"channel": "short", "epoch": epoch, "offset": 4, "b64": "AP8="},
        ]
        assert Gap("short", epoch, 1, 2) in inbox.items
        assert [
            each.data for each in inbox.items if isinstance(each, Message) and each.channel == "short"
        ] == [
            b"\x01",
            b"\x00\xff",
        ]

        assert await result(client, "mark_read", user="ann", channel="short", offset=3) == {}
        assert await rpc(ws, "carillon.unread") == {"unread": {"big": 1, "short": 1}}
        assert await result(client, "set_fanout", channel="big", strategy="hybrid", threshold=1) == {
            "strategy": "hybrid",
            "mode": "read",
            "threshold": 1,
            "members": 2,
            "subscribers": 0,
            "switches": 0,
        }
        assert server.fanout("big") == carillon.FanOut("hybrid", "read", 1, 2, 0, 0)
        assert await result(client, "remove_members", channel="big", users=["ann", "eve"]) == {"members": 1}
        await result(client, "publish", channel="big", data=2)
        assert server.unread("ann") == {"big": 1, "short": 1}, "what came later is not theirs"
        assert server.unread("bob") == {"big": 2}


async def test_refusals_name_what_is_wrong(serve: Callable[..., Server]) -> None:
    server = serve(
        channels={"live": {"history_size": 0}}, limits={"members_per_request": 3, "inbox_items": 10}
    )
    server.add_members("c", ["ann"])
    server.publish("c", 1)
    wrong: list[tuple[str, Json, int, str]] = [
        ("add_members", {"channel": "live", "users": ["a"]}, 108, "'live' keeps no history"),
        ("add_members", {"channel": "c", "users": []}, 107, "users"),
        ("add_members", {"channel": "c", "users": ["a", ""]}, 107, "index 1 is empty"),
        ("add_members", {"channel": "c", "users": list("abcd")}, 107, "limits.members_per_request (3)"),
        ("remove_members", {"users": ["a"]}, 107, "channel"),
        ("members", {"channel": "c", "limit": 4}, 107, "limits.members_per_request (3)"),
        ("members", {"channel": "c\n"}, 107, "is not a channel name"),
        ("inbox", {}, 107, "user: missing"),
        ("inbox", {"user": "ann", "limit": 11}, 107, "limits.inbox_items (10)"),
        ("inbox", {"user": "ann", "limit": -1}, 107, "limit: -1"),
        ("unread", {"user": ""}, 107, "user: missing or empty"),
        ("mark_read", {"user": "ann", "channel": "c"}, 107, "offset"),
        (
            "mark_read",
            {"user": "ann", "channel": "c", "offset": 2},
            107,
            "above the newest publication of 'c'",
        ),
        ("mark_read", {"user": "ann", "channel": "a" + "\N{BELL}" * 40, "offset": 1}, 107, "\N{BELL}…'"),
        (
            "set_fanout",
            {"channel": "c", "strategy": "push"},
            107,
            "write, read, hybrid, adaptive or configured",
        ),
        ("set_fanout", {"channel": "c", "strategy": "hybrid", "threshold": 0}, 107, "threshold: 0"),
        ("fanout", {}, 107, "channel"),
    ]
    async with open_http(server) as client:
        for method, fields, code, words in wrong:
            error = (await api(client, method, **fields))["error"]
            assert error["code"] == code, (method, fields, error)
            assert words in error["message"], (method, fields, error)
        for body, words in (
            ('{"user":1}', "user: broken JSON, or not a string"),
            ("{", "not a JSON object"),
            ('{"user":"a","limit":"1"}', "limit: broken JSON, or not a whole number"),
        ):
            refused = await client.post("/api/inbox", content=body)
            assert refused.status_code == 400
            assert words in refused.text
        assert (await client.get("/api/inbox")).status_code == 405
    closed = serve(insecure=False, api_key="k", config={"channel": {"namespaces": [{"name": "chat"}]}})
    async with open_http(closed) as client:
        for method in ("add_members", "remove_members", "members", "inbox", "unread", "mark_read", "fanout"):
            assert (await client.post(f"/api/{method}", json={})).status_code == 401
    async with open_http(closed, headers={"X-API-Key": "k"}) as client:
        error = (await api(client, "add_members", channel="other:a", users=["a"]))["error"]
        assert error["code"] == 102
    async with open_ws(server) as nobody, open_ws(server, "?user=ann") as ann:
        reply = await nobody.command(rpc={"method": "carillon.inbox"})
        assert reply["error"]["code"] == 103
        reply = await ann.command(rpc={"method": "carillon.inbox", "data": {"limit": 11}})
        assert reply["error"]["code"] == 107
        assert "limits.inbox_items (10)" in reply["error"]["message"]


async def test_a_ticker_conflates(serve: Callable[..., Server]) -> None:
    keys, total = [f"key-{number}" for number in range(10)], 1_000
    swept = {
        "swept": Channel(fanout="read", sweep_interval="100ms", conflate=True),
        "batched": Channel(batch_interval="100ms", conflate=True),
    }
    server = serve(channels=swept)
    for channel in swept:
        async with journals(server, channel, TRANSPORTS + OURS) as written:
            for number in range(1, total + 1):
                key = keys[number % len(keys)]
                server.publish(channel, {"key": key, "n": number}, key=key)
                if (
                    number % 100 == 0
                ):  # ten of each key at once: whenever they are read, some are not the newest
                    await asyncio.sleep(0.01)
            await all_reach(written, total)
            for journal in written:
                newest = {each["key"]: each["n"] for each in journal.data}
                assert sorted(newest.values()) == list(range(total - len(keys) + 1, total + 1)), (
                    journal.transport
                )
                assert journal.offsets == sorted(set(journal.offsets)), "in order, nothing twice"
                assert len(journal.offsets) < total, journal.transport
                assert not journal.told, journal.told[:2]
            row = row_of(server, channel)
            assert row["delivered"] == sum(len(journal.offsets) for journal in written)
            assert row["conflated"] == len(written) * total - row["delivered"]
            assert row["is_balanced"], row
        assert len(server.history(channel, limit=-1).messages) == total, "the log keeps them all"


async def test_a_batch_is_one_write_per_interval_and_the_first_leaves_at_once(
    serve: Callable[..., Server],
) -> None:
    server = serve(channels={"*": Channel(batch_interval="300ms")})
    async with open_tcp(server) as tcp:
        await tcp.get("/sse?channel=a")
        await tcp.read_until("event: status\n")
        await tcp.read_until("\n\n")
        await asyncio.sleep(0.4)
        arrivals: list[tuple[float, bytes]] = []

        async def read() -> None:
            while data := await tcp.reader.read(1 << 20):
                arrivals.append((time.monotonic(), data))

        reading = asyncio.create_task(read())
        began = time.monotonic()
        for number in range(150):
            server.publish("a", number)
            await asyncio.sleep(0.01)
        took = time.monotonic() - began
        await until(lambda: sum(data.count(b"data:") for _, data in arrivals) == 150)
        reading.cancel()
    assert arrivals[0][0] - began < 0.15, "the first waits for nobody"
    writes = [arrivals[0][0]]  # what comes within 100 ms is one write in several reads
    for at, _ in arrivals:
        if at - writes[-1] > 0.1:
            writes.append(at)
    assert len(writes) <= took / 0.3 + 2
    assert len(writes) >= 3
    pauses = [later - earlier for earlier, later in itertools.pairwise(writes)]
    assert statistics.median(pauses) > 0.2, pauses  # one that is read late shortens the pause after it


async def test_join_and_leave_in_mid_stream(serve: Callable[..., Server]) -> None:
    # Room for all that is published while the test waits for a core: what left the log is told as a gap.
    kept = Channel(sweep_interval="10ms", history_size=1_000_000, history_bytes=2**30)
    server = serve(channels={"*": kept})
    server.add_members("a", [f"user-{number}" for number in range(200)])
    is_over = False

    def publish() -> None:
        while not is_over:
            server.publish("a", 1)

    def top() -> int:
        return server.history("a", limit=0).position.offset

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        strategies = itertools.cycle(fanout.STRATEGIES)
        for turn in range(40):
            user = f"guest-{turn}"
            server.set_fanout("a", next(strategies), threshold=100)
            before_joining = top()
            server.add_members("a", [user])
            joined = top()
            await until(lambda joined=joined: top() > joined + 2)  # type: ignore[misc]
            server.set_fanout("a", next(strategies), threshold=100)
            before_leaving = top()
            server.remove_members("a", [user])
            left = top()
            await until(lambda left=left: top() > left + 2)  # type: ignore[misc]
            inbox = server.inbox(user, limit=1000)
            offsets = [item.offset for item in inbox.messages]
            assert len(offsets) == inbox.unread.get("a", 0) or inbox.has_more
            assert offsets, "some were published meanwhile"
            assert offsets == list(range(offsets[0], offsets[-1] + 1)), "one range, without a hole"
            assert before_joining < offsets[0] <= joined + 1
            last = offsets[0] + inbox.unread["a"] - 1
            assert before_leaving <= last <= left
    finally:
        is_over = True
        publisher.join()
