"""Two neighbouring versions share one Redis. What the newer one writes further harms nobody, and stays.

The newer one is played by scripts that write what it would: known fields among unknown ones, and more words
and bytes behind those that this version knows.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import Channel, Server, StoreError
from redis_fleet import config_of, on_redis
from wire_clients import open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carillon.testing import RedisServer
    from serve_process import Process

pytestmark = pytest.mark.wire

ROOM = "room"
NEIGHBOUR = "NEWERONE"  # eight letters, as every gateway has

# The newest entry of the stream once more, with unknown fields before and behind the known ones, and
# something further at the end of its bytes; announced with more words in each line.
APPEND = r"""
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'c')
local entry = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1][2]
local field = {}
for i = 1, #entry, 2 do field[entry[i]] = entry[i + 1] end
local bytes = field.d .. '\3new'
local offset, cost = known[2] + 1, known[3] + field.n
local now = redis.call('TIME')
local id = offset .. '-' .. string.format('%.0f', now[1] * 1000)
redis.call('XADD', KEYS[2], id, 'f', 'first', 'd', bytes, 'c', cost, 'n', field.n, 'future', 'last')
redis.call('HSET', KEYS[1], 'o', offset, 'c', cost, 'future', 'kept', 'g:' .. ARGV[2], 'in another form')
local head = 'a ' .. known[1] .. ' w 0 1 further words\n' .. offset .. ' ' .. #bytes .. ' further\n'
redis.call('PUBLISH', ARGV[1], head .. bytes .. 'and bytes at the end')
return offset
"""
# Entries with a field that is unknown here.
COUNT = r"""
local count = 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'future' then count = count + 1 end
  end
end
return count
"""


class Neighbour:
    """Writes as a newer version would."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis

    def key(self, kind: str, name: str, digest_of: str = "") -> str:
        """The key of a channel, user or gateway; in the braces is FNV-1a of its name."""
        digest = 0xCBF29CE484222325
        for letter in (digest_of or name).encode():
            digest = (digest ^ letter) * 0x100000001B3 % 2**64
        return f"carillon:1:{{{digest:016x}}}{kind}:{name}"

    def append(self, channel: str) -> int:
        """Appends the newest publication of the channel once more. Returns its offset."""
        keys = self.key("ch", channel), self.key("cs", channel)
        announcements = keys[0].replace("}ch:", "}ca:")
        return int(self.redis.cli("eval", APPEND, "2", *keys, announcements, NEIGHBOUR))

    def beat(self) -> None:
        """A sign of life, with words behind the version, beside a field that is not of a gateway."""
        now = self.redis.cli("time").split()[0] + "999"
        self.redis.cli("hset", "carillon:1:gateways", NEIGHBOUR, f"{now} {NEIGHBOUR} 9.9 further words")
        self.redis.cli("hset", "carillon:1:gateways", "future", "a setting")

    def tell(self, message: str) -> None:
        """To all gateways."""
        self.redis.cli("publish", "carillon:1:told:", message)


@pytest.fixture
def gateways(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> Callable[..., list[Server]]:
    """Two servers on one Redis."""

    def start(**channel: Any) -> list[Server]:
        options = on_redis(carillon_redis.url)
        options["channels"]["short"] = Channel(presence=True, **channel)
        return [carillon_server_factory(**options) for _ in range(2)]

    return start


async def test_what_a_newer_neighbour_appends_is_delivered_read_resumed_and_kept(
    gateways: Callable[..., list[Server]], carillon_redis: RedisServer
) -> None:
    one, two = gateways()
    newer = Neighbour(carillon_redis)
    async with open_ws(two) as ws:
        start = await ws.subscribe(ROOM, recoverable=True)
        one.publish(ROOM, {"n": 1}, idempotency_key="k")
        assert newer.append(ROOM) == 2
        assert one.publish(ROOM, {"n": 3}).offset == 3
        assert newer.append(ROOM) == 4
        assert [each["data"]["n"] for each in await ws.publications(4)] == [1, 1, 3, 3]
    async with open_ws(one) as ws:
        again = await ws.subscribe(ROOM, recover=True, epoch=start["epoch"], offset=1)
        assert again["recovered"], again
        assert [each["data"]["n"] for each in again["publications"]] == [1, 3, 3]
    key = newer.key("ci", f"{ROOM}:{len(ROOM)}:k", ROOM)
    carillon_redis.cli("set", key, carillon_redis.cli("get", key) + " further words", "keepttl")
    assert two.publish(ROOM, {"n": 1}, idempotency_key="k").offset == 1
    fresh = Server(
        **on_redis(carillon_redis.url)
    )  # new in the channel: it looks at the marks of all gateways
    with fresh:
        assert fresh.publish(ROOM, {"n": 5}).offset == 5
    assert [message.json()["n"] for message in two.history(ROOM, last=9).messages] == [1, 1, 3, 3, 5]
    fields = carillon_redis.cli("hmget", newer.key("ch", ROOM), "future", f"g:{NEIGHBOUR}")
    assert fields.splitlines() == ["kept", "in another form"]
    assert carillon_redis.cli("eval", COUNT, "1", newer.key("cs", ROOM)) == "2"


@pytest.mark.parametrize("bound", [{"history_bytes": 2_000}, {"history_size": 3}, {"history_ttl": "2s"}])
async def test_what_a_newer_neighbour_appends_is_within_the_bounds_of_the_history(
    bound: dict[str, Any], gateways: Callable[..., list[Server]], carillon_redis: RedisServer
) -> None:
    one, two = gateways(**{"history_size": 1_000, **bound})
    newer = Neighbour(carillon_redis)
    for n in range(1, 21):
        one.publish("short", {"n": n, "text": "x" * 100})
        newer.append("short")
    if "history_ttl" in bound:
        await asyncio.sleep(2.1)
        for n in range(21, 31):
            one.publish("short", {"n": n})
            two.publish("short", {"n": n})
            newer.append("short")
    assert int(carillon_redis.cli("xlen", newer.key("cs", "short"))) < 40
    kept = two.history("short", last=99).messages
    assert kept
    newest = two.history("short", last=1).position.offset
    assert [message.offset for message in kept] == list(range(newest + 1 - len(kept), newest + 1))


async def test_gateways_presence_members_and_words_of_a_newer_neighbour(
    gateways: Callable[..., list[Server]], carillon_redis: RedisServer
) -> None:
    one, two = gateways()
    newer = Neighbour(carillon_redis)
    newer.beat()
    one.add_members(ROOM, ["ann"])
    one.publish(ROOM, 1)
    await until(lambda: two.unread("ann") == {ROOM: 1})
    carillon_redis.cli("hset", newer.key("um", "ann"), "future", "kept")
    carillon_redis.cli("hset", newer.key("ch", ROOM), "future", "kept")
    async with open_ws(one, "?user=ann") as ann:
        await ann.subscribe(ROOM)
        await until(lambda: len(two.presence(ROOM)) == 1)
        # An entry of the neighbour, with a text more than here.
        entry = f"4f3d\0{NEIGHBOUR}3:bob2:{{}}0:3:new"
        script = f"return redis.call('ZADD', KEYS[1], 0, {json.dumps(entry)})".replace("\\u0000", "\\0")
        carillon_redis.cli("eval", script, "1", newer.key("cp", ROOM))
        carillon_redis.cli("hset", newer.key("cq", ROOM), "bob", "1")
        for server in (one, two):
            assert {info.user for info in server.presence(ROOM).values()} == {"ann", "bob"}
        for words in (
            f"{NEIGHBOUR} 1\nsay 1 something\nfurther",
            f"{NEIGHBOUR} 2 -\nask 1 unknown topic\nfurther",
            f'{NEIGHBOUR} 3 - further words\nask 2 disconnect\n{{"user":"nobody","future":1}}',
        ):
            newer.tell(words)
        carillon_redis.cli(
            "xadd", "carillon:1:told:", "*", "future", "x", "h", f"{NEIGHBOUR} 4 more", "m", "?"
        )
        newer.tell(f'{NEIGHBOUR} 5 - further words\nask 3 disconnect\n{{"user":"ann","future":1}}')
        assert (await ann.closed())[0] == 3000
    await until(lambda: {info.user for info in two.presence(ROOM).values()} == {"bob"})
    # It leaves: what it had is cleared up, and nothing else.
    carillon_redis.cli("sadd", newer.key("gc", NEIGHBOUR), ROOM)
    carillon_redis.cli("zadd", newer.key("cp", ROOM), "0", "of another form")
    carillon_redis.cli("hset", "carillon:1:gateways", NEIGHBOUR, f"0 {NEIGHBOUR} 9.9 further words")
    await until(lambda: NEIGHBOUR not in carillon_redis.cli("hkeys", "carillon:1:gateways"), 30)
    assert carillon_redis.cli("zrange", newer.key("cp", ROOM), "0", "-1") == "of another form"
    two.mark_read("ann", ROOM, 1)
    assert one.unread("ann") == {}
    assert one.remove_members(ROOM, ["ann"]) == 0
    assert carillon_redis.cli("hget", "carillon:1:gateways", "future") == "a setting"
    assert carillon_redis.cli("hget", newer.key("um", "ann"), "future") == "kept"
    assert carillon_redis.cli("hget", newer.key("ch", ROOM), "future") == "kept"
    for server in (one, two):
        assert not server.stats()["store_trouble"]


# Another layout.


@pytest.mark.parametrize(
    ("layout", "said"), [("2", "it has layout 2, which another version"), ("x", "is not a")]
)
def test_a_redis_with_another_layout_is_refused_with_a_sentence(
    layout: str, said: str, carillon_redis: RedisServer, launch: Callable[..., Process], tmp_path: Path
) -> None:
    with Server(**on_redis(carillon_redis.url)) as first:
        first.publish(ROOM, 1)
    assert carillon_redis.cli("get", "carillon:layout") == "1"
    carillon_redis.cli("set", "carillon:layout", layout)
    with pytest.raises(StoreError, match=said) as error, Server(**on_redis(carillon_redis.url)):
        pass
    assert "carillon:layout" in str(error.value)
    assert "store.prefix" in str(error.value)
    config = config_of(tmp_path, carillon_redis.url)
    refused = launch(0, "--config", str(config), waits=False)
    assert refused.ended() == 1
    assert "Traceback" not in "".join(refused.log)
    doctor = [sys.executable, "-m", "carillon", "doctor", "--store", carillon_redis.url]
    seen = subprocess.run(doctor, capture_output=True, text=True, check=False, timeout=60)
    assert seen.returncode == 1, seen.stdout
    assert said in " ".join(seen.stdout.split())
    with Server(**on_redis(carillon_redis.url, prefix="other")) as other:
        assert other.publish(ROOM, 1).offset == 1
    carillon_redis.cli("del", "carillon:layout")  # as of a gateway before there was this key
    with Server(**on_redis(carillon_redis.url)) as again:
        assert again.publish(ROOM, 2).offset == 2
    assert carillon_redis.cli("get", "carillon:layout") == "1"


def test_after_redis_has_forgotten_all_the_layout_is_there_again(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url))
    carillon_redis.cli("flushall")
    asyncio.run(until(lambda: carillon_redis.cli("get", "carillon:layout") == "1", 20))
    assert httpx.get(f"{server.url}/health", timeout=5).json() == {}


def test_a_copy_into_another_layout_is_refused(carillon_redis: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    with Server(store=f"sqlite:{file}") as server:
        server.publish(ROOM, 1)
    carillon_redis.cli("set", "carillon:layout", "2")
    command = [sys.executable, "-m", "carillon", "store", "copy", str(file), carillon_redis.url]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert "it has layout 2" in refused.stderr
    assert carillon_redis.cli("dbsize") == "1"
