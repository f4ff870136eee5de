"""Gateways that share a Redis serve everybody's clients, also while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import GapError, Server, StoreConflict, StoreError, StoreOutcomeUnknown, StoreUnavailable
from carillon.testing import FaultProxy, RedisServer, wait_until
from crowd import ROOM, Crowd, Promise, check_journals
from redis_fleet import a_stranger, config_of, on_redis, ports_of, serve_on_redis
from wire_clients import open_http, open_sse, open_ws, poll, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carillon import sync
    from serve_process import Process

pytestmark = pytest.mark.wire


@pytest.fixture
def gateways(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> Callable[..., list[Server]]:
    """Starts that many servers on one Redis."""

    def start(count: int, **store: Any) -> list[Server]:
        return [carillon_server_factory(**on_redis(carillon_redis.url, **store)) for _ in range(count)]

    return start


async def api(server: Server, method: str, **fields: Any) -> dict[str, Any]:
    async with open_http(server) as client:
        answer = (await client.post(f"/api/{method}", json=fields)).json()
    assert "result" in answer, answer
    return dict(answer["result"])


# One log.


async def test_subscribe_here_publish_there_and_resume_on_a_third(
    gateways: Callable[..., list[Server]],
) -> None:
    here, there, third = gateways(3)
    async with open_ws(here) as ws, open_sse(here, ROOM) as sse:
        start = await ws.subscribe(ROOM, recoverable=True)
        await sse.status()
        first = poll_of = (await http_poll(here, timeout=0))["since"]
        positions = [there.publish(ROOM, {"n": n}) for n in range(5)]
        assert [each["data"]["n"] for each in await ws.publications(5)] == list(range(5))
        assert [each["data"]["n"] for each in await sse.publications(5)] == list(range(5))
        polled = await http_poll(here, since=poll_of, timeout=5)
        assert polled["publications"][0]["data"] == {"n": 0}
    since = {"recover": True, "epoch": start["epoch"], "offset": 2}
    for _ in range(5, 8):
        positions.append(here.publish(ROOM, {"n": len(positions)}))
    async with open_ws(third) as ws:
        result = await ws.subscribe(ROOM, **since)
        assert result["recovered"]
        assert [each["offset"] for each in result["publications"]] == list(range(3, 9))
    async with open_sse(third, ROOM, headers={"Last-Event-ID": str(positions[2])}) as sse:
        assert (await sse.status())["recovered"]
        assert [each["offset"] for each in await sse.publications(5)] == [4, 5, 6, 7, 8]
    answer = await http_poll(third, since=first, timeout=5)
    assert [each["offset"] for each in answer["publications"]] == list(range(1, 9))
    assert third.history(ROOM, last=100).position == positions[-1]
    assert [message.json()["n"] for message in third.history(ROOM, last=100).messages] == list(range(8))


async def http_poll(server: Server, **query: Any) -> dict[str, Any]:
    async with open_http(server) as client:
        return await poll(client, ROOM, **query)


def test_a_crowd_that_wanders_over_three_gateways(gateways: Callable[..., list[Server]]) -> None:
    crowd = Crowd(ports_of(gateways(3)), publishers=6, subscribers=9, stay_s=0.3)
    asyncio.run(crowd.meet(lambda: asyncio.sleep(2)))
    print(check_journals(crowd, Promise.LOSSLESS))


def test_keys_offsets_and_versions_are_of_the_fleet(gateways: Callable[..., list[Server]]) -> None:
    one, two = gateways(2)
    first = one.publish(ROOM, 1, idempotency_key="k")
    assert two.publish(ROOM, 2, idempotency_key="k") == first
    assert two.publish(ROOM, 2, expected_offset=1).offset == 2
    with pytest.raises(StoreConflict) as conflict:
        one.publish(ROOM, 3, expected_offset=1)
    assert conflict.value.top.offset == 2
    assert [message.json() for message in one.history(ROOM, last=9).messages] == [1, 2]


async def test_of_writers_at_two_gateways_who_compare_each_change_is_made_once(
    gateways: Callable[..., list[Server]],
) -> None:
    servers = gateways(2)

    async def count(server: Server) -> None:
        for _ in range(20):
            while True:
                history = await asyncio.to_thread(server.history, ROOM, last=1)
                number = history.messages[0].json() if history.messages else 0
                try:
                    await server.publish_async(ROOM, number + 1, expected_offset=history.position.offset)
                    break
                except StoreConflict:
                    await asyncio.sleep(0)

    await asyncio.gather(*(count(server) for server in servers for _ in range(3)))
    assert servers[0].history(ROOM, last=1).messages[0].json() == 120


async def test_history_that_is_removed_at_one_is_gone_at_the_other(
    gateways: Callable[..., list[Server]],
) -> None:
    one, two = gateways(2)
    async with open_ws(two) as ws:
        start = await ws.subscribe(ROOM, recoverable=True)
        for n in range(5):
            one.publish(ROOM, n)
        await ws.publications(5)
        one.history_remove(ROOM)
        await until(lambda: not two.history(ROOM, last=9).messages)
        assert one.publish(ROOM, "next").offset == 6
        assert (await ws.publications(1))[0]["offset"] == 6
    async with open_ws(two) as ws:
        since = {"recover": True, "epoch": start["epoch"]}
        assert not (await ws.subscribe(ROOM, offset=2, **since)).get("recovered")


async def test_who_reads_a_stream_that_somebody_else_has_written_to_is_told(
    gateways: Callable[..., list[Server]], carillon_redis: RedisServer
) -> None:
    here, there = gateways(2)
    async with open_sse(there, ROOM) as sse, open_ws(there) as ws:
        await sse.status()
        start = await ws.subscribe(ROOM, recoverable=True)
        here.publish(ROOM, "before")
        await sse.publications(1)
        await ws.publications(1)
        stream = carillon_redis.cli("--scan", "--pattern", f"*cs:{ROOM}")
        carillon_redis.cli("xadd", stream, "*", "field", "value")
        assert here.publish(ROOM, "after").offset == 2
        assert not (await sse.status())["recovered"]
        assert (await ws.push())["unsubscribe"]["code"] == 2500
        assert [each["data"] for each in await sse.publications(1)] == ["after"]
        assert there.publish(ROOM, "later").offset == 3
        assert [each["data"] for each in await sse.publications(1)] == ["later"]
    async with open_ws(here) as ws:
        again = await ws.subscribe(ROOM, recover=True, epoch=start["epoch"], offset=1)
        assert not again.get("recovered")
        assert again["epoch"] != start["epoch"]


# One fleet.


async def test_presence_is_of_all_and_a_client_that_leaves_is_gone_everywhere(
    gateways: Callable[..., list[Server]],
) -> None:
    one, two = gateways(2)
    async with open_ws(one, "?user=ann") as ann, open_sse(two, ROOM, user="bob") as bob:
        await ann.subscribe(ROOM)
        await bob.status()
        async with open_ws(two, "?user=ann") as again:
            await again.subscribe(ROOM)
            for server in (one, two):
                await until(lambda server=server: len(server.presence(ROOM)) == 3)
                assert {info.user for info in server.presence(ROOM).values()} == {"ann", "bob"}
                assert await api(server, "presence_stats", channel=ROOM) == {"num_clients": 3, "num_users": 2}
        for server in (one, two):
            await until(lambda server=server: len(server.presence(ROOM)) == 2)
    for server in (one, two):
        await until(lambda server=server: not server.presence(ROOM))


async def test_channels_are_those_of_all(gateways: Callable[..., list[Server]]) -> None:
    one, two = gateways(2)
    async with open_ws(one) as here, open_ws(two) as there:
        await here.subscribe(ROOM)
        await there.subscribe(ROOM)
        await there.subscribe("other")
        for server in (one, two):
            assert server.channels() == {ROOM: 2, "other": 1}
            assert set((await api(server, "channels"))["channels"]) == {ROOM, "other"}


async def test_members_and_inboxes_are_of_the_fleet_and_each_inbox_is_entered_once(
    gateways: Callable[..., list[Server]],
) -> None:
    one, two = gateways(2)
    assert one.add_members(ROOM, ["ann", "bob"]) == 2
    assert two.add_members(ROOM, ["cid"]) == 3
    async with open_ws(one) as here, open_ws(two) as there:  # both hear what is published
        await here.subscribe(ROOM)
        await there.subscribe(ROOM)
        for n in range(10):
            (one, two)[n % 2].publish(ROOM, n)
        for server in (one, two):
            await until(lambda server=server: server.unread("ann") == {ROOM: 10})
        assert [message.json() for message in two.inbox("bob").messages] == list(range(10))
        assert (await api(one, "members", channel=ROOM))["users"] == ["ann", "bob", "cid"]
        two.mark_read("ann", ROOM, 4)
        assert one.unread("ann") == {ROOM: 6}
    assert two.remove_members(ROOM, ["bob"]) == 2
    one.publish(ROOM, 10)
    await until(lambda: two.unread("cid") == {ROOM: 11})
    assert one.unread("bob").get(ROOM, 0) <= 10


async def test_users_are_acted_on_wherever_they_are(gateways: Callable[..., list[Server]]) -> None:
    one, two = gateways(2)
    async with open_ws(one, "?user=ann") as here, open_ws(two, "?user=ann") as there:
        assert await asyncio.to_thread(one.subscribe_user, "ann", "more") == 2
        two.publish("more", 1)
        for ws in (here, there):
            assert (await ws.push())["subscribe"] is not None
            assert [each["data"] for each in await ws.publications(1)] == [1]
        assert await asyncio.to_thread(one.unsubscribe_user, "ann", "more") == 2
        for ws in (here, there):
            assert "unsubscribe" in await ws.push()
        assert await api(two, "subscribe", user="ann", channel="again") == {"connections": 2}
        assert await api(one, "unsubscribe", user="ann", channel="again") == {"connections": 2}
        assert await api(one, "refresh", user="ann", expired=False) == {"connections": 2}
        assert await api(one, "refresh", user="ann", expired=True) == {"connections": 2}
        for ws in (here, there):
            assert (await ws.closed())[0] == 3005
    async with open_ws(two, "?user=ann") as there, open_ws(two, "?user=bob") as bob:
        assert await asyncio.to_thread(one.disconnect_user, "ann") == 1
        assert (await there.closed())[0] == 3503
        assert await api(one, "disconnect", user="bob") == {"connections": 1}
        assert (await bob.closed())[0] == 3503
        assert await asyncio.to_thread(one.disconnect_user, "nobody") == 0


# A gateway dies.


async def test_the_presence_of_a_gateway_that_was_killed_goes(
    carillon_redis: RedisServer,
    carillon_server_factory: Callable[..., Server],
    launch: Callable[..., Process],
    tmp_path: Path,
) -> None:
    other = carillon_server_factory(**on_redis(carillon_redis.url))
    killed = await asyncio.to_thread(serve_on_redis, launch, tmp_path, carillon_redis.url)
    url = f"http://127.0.0.1:{killed.port}/sse?channel={ROOM}&user=ann"
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client, client.stream("GET", url) as stream:
        lines = stream.aiter_lines()  # kept: its end would be the stream's
        await anext(lines)
        await until(lambda: [info.user for info in other.presence(ROOM).values()] == ["ann"])
        killed.child.kill()
        killed.child.wait()
    before = time.monotonic()
    await until(lambda: not other.presence(ROOM), 20)
    assert time.monotonic() - before < 16
    assert await api(other, "presence_stats", channel=ROOM) == {"num_clients": 0, "num_users": 0}
    await until(lambda: other.channels() == {})


# Takeover.


def test_a_takeover_under_load_is_noticed_by_nobody(
    carillon_redis: RedisServer,
    carillon_server_factory: Callable[..., Server],
    launch: Callable[..., Process],
    tmp_path: Path,
) -> None:
    other = carillon_server_factory(**on_redis(carillon_redis.url))
    server = serve_on_redis(launch, tmp_path, carillon_redis.url)
    crowd = Crowd([server.port, other.port], publishers=8, subscribers=9)

    async def take_over() -> None:
        nonlocal server
        await asyncio.sleep(0.5)
        arguments = ("--config", str(tmp_path / "carillon.toml"), "--takeover")
        old, server = server, await asyncio.to_thread(launch, server.port, *arguments)
        assert await asyncio.to_thread(old.ended) == 0, old.log

    asyncio.run(crowd.meet(take_over, times=2))
    check_journals(crowd, Promise.LOSSLESS)


def test_a_takeover_while_redis_is_stopped_is_refused_and_the_old_one_goes_on(
    carillon_redis: RedisServer, launch: Callable[..., Process], tmp_path: Path
) -> None:
    old = serve_on_redis(launch, tmp_path, carillon_redis.url)
    url = f"http://127.0.0.1:{old.port}/api/publish"
    assert httpx.post(url, json={"channel": ROOM, "data": 1}, timeout=5).json()["result"]["offset"] == 1
    carillon_redis.stop()
    refused = launch(old.port, "--config", str(tmp_path / "carillon.toml"), "--takeover", waits=False)
    assert refused.ended() == 1
    wait_until(lambda: refused.log)
    assert "redis" in refused.log[-1].lower(), refused.log
    assert "Traceback" not in "".join(refused.log), refused.log
    carillon_redis.cont()
    assert httpx.post(url, json={"channel": ROOM, "data": 2}, timeout=15).json()["result"]["offset"] == 2
    after = launch(old.port, "--config", str(tmp_path / "carillon.toml"), "--takeover")
    assert after.port == old.port
    assert old.ended() == 0
    assert httpx.post(url, json={"channel": ROOM, "data": 3}, timeout=5).json()["result"]["offset"] == 3


# Redis is away, or does not let us in.


@pytest.mark.parametrize("way", ["url", "option"])
def test_a_wrong_password_is_one_line_without_the_password(
    way: str, tmp_path: Path, launch: Callable[..., Process]
) -> None:
    if why := RedisServer.missing():
        pytest.skip(why)
    with RedisServer(tmp_path, "--requirepass", "right") as redis:
        at = f"127.0.0.1:{redis.port}"
        if way == "url":
            config = config_of(tmp_path, f"redis://:s3cret@{at}")
        else:
            config = config_of(tmp_path, f"redis://{at}", password="s3cret")
        refused = launch(0, "--config", str(config), waits=False)
        assert refused.ended() == 1
        wait_until(lambda: refused.log)
        time.sleep(0.1)
        assert len(refused.log) == 1, refused.log
        assert f"redis at {at} refused the user or password" in refused.log[0]
        assert "store.password" in refused.log[0]
        assert "s3cret" not in "".join(refused.log)
        with (
            pytest.raises(StoreError, match="refused the user or password") as error,
            Server(store={"url": f"redis://:s3cret@{at}"}),
        ):
            pass
        assert "s3cret" not in str(error.value)
        with Server(store={"url": f"redis://:right@{at}"}) as server:
            assert server.publish(ROOM, 1).offset == 1
            assert "right" not in repr(server)


async def test_health_and_the_log_say_that_redis_is_away_and_that_it_is_back(
    carillon_redis: RedisServer, launch: Callable[..., Process], tmp_path: Path
) -> None:
    server = await asyncio.to_thread(serve_on_redis, launch, tmp_path, carillon_redis.url, unavailable="fail")
    base = f"http://127.0.0.1:{server.port}"

    def health() -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{base}/health", timeout=5)
        return answer.status_code, answer.json()

    def said(word: str) -> int:
        return sum(word in line for line in server.log)

    assert health() == (200, {})
    for times in (1, 2):
        carillon_redis.kill()
        await until(lambda: health() == (200, {"store": "unavailable"}))
        await until(lambda times=times: said("takes no publications") == times)
        carillon_redis.restart()
        await until(lambda: health() == (200, {}))
        await until(lambda times=times: said("takes publications again") == times)
    assert "127.0.0.1" in next(line for line in server.log if "takes no publications" in line)
    assert said("the store") == 4, server.log


@pytest.mark.parametrize("unavailable", ["wait", "fail"])
async def test_live_subscribers_stay_and_everything_comes_back_by_itself(
    unavailable: str, carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url, unavailable=unavailable, wait_ms=1_500))
    async with open_ws(server) as ws, open_ws(server) as late, open_sse(server, ROOM) as sse:
        await ws.subscribe(ROOM)
        await sse.status()
        carillon_redis.stop()
        if unavailable == "fail":
            await until(lambda: server.stats()["store_trouble"])
        begin = time.monotonic()
        with pytest.raises(StoreError) as error:
            await server.publish_async(ROOM, "never")
        took = time.monotonic() - begin
        assert took > 1.2 if unavailable == "wait" else took < 0.5
        assert isinstance(error.value, StoreUnavailable) or unavailable == "wait"
        for ask in (server.history, server.presence, server.members):
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(ask, "not followed")
        with pytest.raises((StoreUnavailable, StoreOutcomeUnknown)):
            await asyncio.to_thread(server.add_members, ROOM, ["ann"])
        with pytest.raises(StoreUnavailable if unavailable == "fail" else StoreError):
            await asyncio.to_thread(server.mark_read, "ann", ROOM, 1)
        reply = await late.command(subscribe={"channel": "new"})
        assert reply["error"]["code"] == 100, reply
        assert reply["error"]["temporary"], reply
        async with open_http(server) as client:
            refused = await client.get("/poll", params={"channel": "new", "timeout": "0"})
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            publish = await client.post("/api/publish", json={"channel": ROOM, "data": "never"})
            assert publish.json()["error"]["code"] == 100
        carillon_redis.cont()
        await until(lambda: not server.stats()["store_trouble"])
        await late.subscribe("new")
        server.publish(ROOM, "back")
        async with asyncio.timeout(10):
            while (await ws.publications(1))[0]["data"] != "back":
                pass
        assert "back" in [each["data"] for each in await sse.publications(1)] or unavailable == "wait"


async def test_what_waits_for_redis_is_published_when_it_is_back(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url))
    async with open_ws(server) as ws:
        await ws.subscribe(ROOM)
        server.publish(ROOM, -1)
        carillon_redis.stop()
        waiting = [asyncio.create_task(server.publish_async(ROOM, n)) for n in range(50)]
        await asyncio.sleep(2.5)  # the link is given up, twice
        assert not any(task.done() for task in waiting)
        carillon_redis.cont()
        positions = await asyncio.gather(*waiting)
        assert [each.offset for each in positions] == list(range(2, 52))
        assert [each["data"] for each in await ws.publications(51)] == list(range(-1, 50))
    assert server.history(ROOM, last=1).position.offset == 51


async def test_more_than_waiting_appends_is_refused_for_now(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url, waiting_appends=16))
    carillon_redis.stop()
    waiting = [asyncio.create_task(server.publish_async(ROOM, n)) for n in range(20)]
    refused = 0
    for task in waiting[16:]:
        with contextlib.suppress(StoreUnavailable):
            await task
            continue
        refused += 1
    assert refused == 4
    carillon_redis.cont()
    await asyncio.gather(*waiting[:16])
    for n in range(20):
        await server.publish_async(ROOM, n)  # what was refused has left no trace


# Redis forgets: the fleet does not.


@pytest.mark.parametrize("way", ["flushall", "restart"])
async def test_the_fleet_is_whole_again_after_redis_has_forgotten_all(
    way: str, carillon_redis: RedisServer, gateways: Callable[..., list[Server]]
) -> None:
    one, two = gateways(2)
    # A stream goes on when it is told of the loss; a WebSocket would have to subscribe again.
    async with open_sse(one, ROOM, user="ann") as ann, open_sse(two, ROOM, user="bob") as bob:
        await ann.status()
        await bob.status()
        await until(lambda: len(one.presence(ROOM)) == 2)
        if way == "flushall":
            carillon_redis.cli("flushall")
        else:
            await asyncio.to_thread(carillon_redis.restart)
        for server in (one, two):
            await until(lambda server=server: users_of(server) == ["ann", "bob"])
            await until(lambda server=server: server.channels() == {ROOM: 2})
        await until(lambda: counts_of(one) == {"num_clients": 2, "num_users": 2})
        async with open_ws(two, "?user=cid") as cid:
            await cid.subscribe(ROOM)
            await until(lambda: users_of(one) == ["ann", "bob", "cid"])
            assert await asyncio.to_thread(one.disconnect_user, "cid") == 1
        await until(lambda: users_of(one) == ["ann", "bob"])


def counts_of(server: Server) -> dict[str, int]:
    answer = httpx.post(f"{server.url}/api/presence_stats", json={"channel": ROOM}, timeout=15).json()
    return dict(answer["result"])


def users_of(server: Server) -> list[str]:
    with contextlib.suppress(StoreError):
        return sorted(info.user for info in server.presence(ROOM).values())
    return []


async def test_who_is_here_is_acted_on_while_redis_is_away(
    carillon_redis: RedisServer, gateways: Callable[..., list[Server]]
) -> None:
    one, two = gateways(2, wait_ms=1_000)
    async with open_ws(one, "?user=ann") as here, open_ws(two, "?user=ann") as there:
        await here.subscribe(ROOM)
        carillon_redis.stop()
        begin = time.monotonic()
        assert await asyncio.to_thread(one.disconnect_user, "ann") >= 1
        assert (await here.closed())[0] == 3503
        with pytest.raises(StoreError):
            await asyncio.to_thread(one.presence, ROOM)
        assert time.monotonic() - begin < 8
        carillon_redis.cont()
        await until(lambda: not one.stats()["store_trouble"])
        await asyncio.to_thread(one.disconnect_user, "ann")
        assert (await there.closed())[0] == 3503


async def test_a_gateway_whose_link_is_away_carries_out_what_it_missed_when_the_link_is_back(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    one = carillon_server_factory(**on_redis(carillon_redis.url))
    with FaultProxy(carillon_redis.url.replace("redis://", "http://")) as link:
        two = carillon_server_factory(**on_redis(link.url.replace("http://", "redis://")))
        async with open_ws(two, "?user=ann") as ann, open_ws(two, "?user=bob") as bob:
            assert await asyncio.to_thread(one.subscribe_user, "bob", "news") == 1
            assert "subscribe" in await bob.push()
            link.is_refusing = True
            await asyncio.to_thread(link.cut)
            await until(lambda: two.stats()["store_trouble"])
            assert await asyncio.to_thread(one.disconnect_user, "ann") == 0, "two does not answer"
            assert await asyncio.to_thread(one.unsubscribe_user, "bob", "news") == 0
            assert await asyncio.to_thread(one.subscribe_user, "bob", "more") == 0
            later = carillon_server_factory(**on_redis(carillon_redis.url))
            async with open_ws(later, "?user=ann") as elsewhere:
                link.is_refusing = False
                assert (await ann.closed())[0] == 3503
                left, joined = await bob.push(), await bob.push()
                assert "unsubscribe" in left
                assert "subscribe" in joined
                assert (left["channel"], joined["channel"]) == ("news", "more")
                one.publish("more", 1)
                assert [each["data"] for each in await bob.publications(1)] == [1]
                await elsewhere.subscribe(ROOM)  # the order is older than its gateway


async def test_a_poll_answers_what_is_at_hand_while_redis_is_silent(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(
        **on_redis(carillon_redis.url, command_timeout_ms=10_000), limits={"history_bytes_total": 65_536}
    )
    first = server.publish(ROOM, 1)
    server.publish_many([(ROOM, "x" * 100) for _ in range(599)])
    async with open_ws(server) as live, open_http(server) as client:
        await live.subscribe(ROOM)
        since = f"{first.epoch}:200"
        await poll(client, ROOM, since=since)  # the page with what follows is in memory now
        carillon_redis.stop()
        try:
            answer = await asyncio.wait_for(poll(client, ROOM, since=since, timeout=60), 10)
        finally:
            carillon_redis.cont()
        offsets = [each["offset"] for each in answer["publications"]]
        assert offsets == list(range(201, offsets[-1] + 1))
        assert offsets[-1] in (256, 512), "up to the end of a page"
        answer = await poll(client, ROOM, since=answer["since"])
        assert answer["publications"][0]["offset"] == offsets[-1] + 1, "and the next one goes on"


async def test_a_publication_that_was_sent_and_not_answered_is_in_doubt(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url, wait_ms=800))
    server.publish(ROOM, "before")
    for _ in range(10):
        carillon_redis.stop()
        try:
            with pytest.raises(StoreOutcomeUnknown):
                await server.publish_async(ROOM, "sent")
        except StoreUnavailable:  # on a busy machine: it has not heard for a second which Redis this is
            continue
        finally:
            carillon_redis.cont()
            await until(lambda: not server.stats()["store_trouble"])
        break
    else:
        pytest.fail("nothing was ever sent")
    server.publish(ROOM, "after")
    data = [message.json() for message in server.history(ROOM, last=9).messages]
    assert data in (["before", "sent", "after"], ["before", "after"]), "once, and in order, or not at all"


async def test_a_server_that_stops_answers_the_questions_under_way(
    carillon_server_factory: Callable[..., Server], carillon_redis: RedisServer
) -> None:
    patient = {"fleet_answer_timeout_ms": 60_000}
    server = carillon_server_factory(**on_redis(carillon_redis.url), limits=patient)
    async with a_stranger(carillon_redis), open_http(server) as client:
        await client.get("/health")
        begin = time.monotonic()
        waiting = asyncio.create_task(client.post("/api/disconnect", json={"user": "ann"}))
        await asyncio.sleep(0.2)
        assert not waiting.done(), "it waits for the stranger"
        draining = asyncio.create_task(asyncio.to_thread(server.drain, 10))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.stop)
        answer = await waiting
        assert answer.json() == {"result": {"connections": 0}}
        assert time.monotonic() - begin < 50, "before its time was over"
        await draining


async def test_what_is_no_message_of_a_gateway_harms_none(
    gateways: Callable[..., list[Server]], carillon_redis: RedisServer
) -> None:
    here, there = gateways(2)
    for words in (
        '{"user":1}',
        '{"user":"ann","code":"x"}',
        '{"grant":7,"since":"x"}',
        '{"user":"ann","grant":{"channel":"room"},"since":{"kind":99}}',
        "[]",
        "nothing",
    ):
        for topic in ("disconnect", "refresh", "subscribe", "unsubscribe", "channels", "strategy", "else"):
            carillon_redis.cli("publish", "carillon:1:told:", f"xxxxxxxx\nask 1 {topic}\n{words}")
    async with a_stranger(carillon_redis):
        # The stranger gives an answer that is none.
        waiting = asyncio.create_task(api(here, "disconnect", user="ann"))
        await asyncio.sleep(0.3)
        for number in range(1, 20):
            told = f'xxxxxxxx\nanswer {number}\n{{"connections":"x","refusal":{number * 99}}}'
            carillon_redis.cli("publish", "carillon:1:told:", told)
        assert await asyncio.wait_for(waiting, 5) == {"connections": 0}
    async with open_ws(there) as ws:
        await ws.subscribe(ROOM)
        here.publish(ROOM, {"n": 1})
        assert (await ws.publications(1))[0]["data"] == {"n": 1}
    assert here.is_running
    assert there.is_running


def test_after_a_gap_the_client_gets_the_whole_history_of_the_new_epoch(
    tmp_path: Path,
    carillon_server_factory: Callable[..., Server],
    carillon_sync_client: Callable[..., sync.Client],
) -> None:
    if why := RedisServer.missing():
        pytest.skip(why)
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as redis:
        server = carillon_server_factory(**on_redis(redis.url))
        with carillon_sync_client(server.url).subscribe(ROOM) as subscription:
            server.publish_many([(ROOM, 1), (ROOM, 2)])
            assert [subscription.next(timeout=5).json() for _ in range(2)] == [1, 2]
            redis.restart()  # it has kept all, but nobody can know
            position = server.publish(ROOM, 3)
            with pytest.raises(GapError):
                subscription.next(timeout=10)
            again = [subscription.next(timeout=5) for _ in range(3)]
            assert [(each.epoch, each.json()) for each in again] == [(position.epoch, n) for n in (1, 2, 3)]
