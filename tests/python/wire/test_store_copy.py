"""A store moves from a file into Redis, and clients go on as if nothing had been."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from carillon import Channel, Server, StoreConflict, StoreError
from carillon.testing import FaultProxy, wait_until
from wire_clients import open_ws

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carillon.testing import RedisServer

pytestmark = pytest.mark.wire

ROOM = "room"
CHANNELS = {
    "*": Channel(history_size=10_000, history_ttl="1h", fanout="write", allow_history_for_client=True)
}


def carillon(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carillon", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def copied(source: Path, redis: RedisServer, *options: object) -> str:
    done = carillon("store", "copy", source, redis.url, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(source: object, redis: RedisServer, *options: object) -> str:
    done = carillon("store", "copy", source, redis.url, *options)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def in_file(path: Path, **options: Any) -> dict[str, Any]:
    return {"store": {"url": f"sqlite:{path}", **options}, "channels": CHANNELS}


def in_redis(redis: RedisServer) -> dict[str, Any]:
    return {"store": redis.url, "channels": CHANNELS}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the SQLite store is."""
    return tmp_path / "carillon.db"


async def test_clients_publishers_and_members_go_on_where_they_were(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path
) -> None:
    first = carillon_server_factory(**in_file(file))
    for n in range(300):
        first.publish(ROOM, {"n": n}, idempotency_key=f"k{n}", tags={"n": str(n)})
    first.publish("versions", {}, version=2**63 - 1, version_epoch="e")
    first.publish("bytes", b"\x00\xff")
    first.publish("emptied", 1)
    first.history_remove("emptied")
    first.add_members("team", ["ann", "bob", "cem"])
    first.add_members("quiet", ["ann"])
    for n in range(20):
        first.publish("team", {"n": n})
    first.mark_read("ann", "team", 12)
    first.remove_members("team", ["cem"])
    first.publish("team", {"n": 20})
    first.remove_members("team", ["bob"])
    first.add_members("team", ["bob"])
    first.publish("team", {"n": 21})
    users = ("ann", "bob", "cem", "dan")
    channels = (ROOM, "team", "bytes", "emptied")
    before = {
        "histories": {channel: shown(first, channel) for channel in channels},
        "unread": {user: first.unread(user) for user in users},
        "inboxes": {user: offsets(first, user) for user in users},
        "members": first.members("team"),
    }
    assert before["unread"]["ann"] == {"team": 10}
    position = first.history(ROOM, last=1).position
    first.stop()

    said = copied(file, carillon_redis)
    assert "6 channels" in said, said
    assert "324 publications" in said, said
    assert "300 idempotency keys" in said, said
    assert "new epochs" not in said

    second = carillon_server_factory(**in_redis(carillon_redis))
    after = {
        "histories": {channel: shown(second, channel) for channel in channels},
        "unread": {user: second.unread(user) for user in users},
        "inboxes": {user: offsets(second, user) for user in users},
        "members": second.members("team"),
    }
    assert after == before
    assert second.history(ROOM, last=1).position == position
    async with open_ws(second) as ws:
        resumed = await ws.subscribe(ROOM, recover=True, epoch=position.epoch, offset=290)
        assert resumed["recovered"]
        assert [each["data"]["n"] for each in resumed["publications"]] == list(range(290, 300))
        assert second.publish(ROOM, {"n": 7}, idempotency_key="k7").offset == 8, "the key is known"
        with pytest.raises(StoreConflict):
            second.publish(ROOM, {}, expected_offset=299)
        assert second.publish(ROOM, {"n": 300}, expected_offset=300).epoch == position.epoch
        assert [each["data"] for each in await ws.publications(1)] == [{"n": 300}]
    with pytest.raises(StoreConflict):
        second.publish("versions", {}, version=5, version_epoch="e")
    assert second.publish("emptied", 2).offset == 2
    second.publish("team", {"n": 22})
    wait_until(lambda: second.unread("ann") == {"team": 11})
    assert second.unread("bob") == {"team": before["unread"]["bob"]["team"] + 1}
    assert second.unread("cem") == before["unread"]["cem"], "who was removed gets no more"
    second.mark_read("ann", "team", 23)
    assert second.unread("ann") == {}
    second.add_members("team", ["cem"])
    assert second.members("team") == ["ann", "bob", "cem"]
    second.remove_members("team", ["ann"])
    assert second.members("team") == ["bob", "cem"]


def shown(server: Server, channel: str) -> tuple[Any, ...]:
    history = server.history(channel, last=1_000)
    messages = [(message.offset, message.data, message.tags) for message in history.messages]
    return (history.position, messages)


def offsets(server: Server, user: str) -> list[tuple[str, int]]:
    return sorted((each.channel, each.offset) for each in server.inbox(user, limit=1_000).messages)


def test_publications_keep_their_age_and_keys_their_end(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path
) -> None:
    options = {"old": Channel(history_size=100, history_ttl="1s"), "*": CHANNELS["*"]}
    first = carillon_server_factory(store=f"sqlite:{file}", channels=options)
    first.publish("old", 1)
    before_ms = time.time() * 1_000 - 1
    position = first.publish(ROOM, 1, idempotency_key="k")
    after_ms = time.time() * 1_000 + 1
    time.sleep(1.1)
    first.stop()
    assert "1 publications" in copied(file, carillon_redis), "the other one is too old"
    stream = carillon_redis.cli("--scan", "--pattern", f"*cs:{ROOM}")
    entry = carillon_redis.cli("eval", "return redis.call('XRANGE', KEYS[1], '-', '+')[1][1]", "1", stream)
    assert before_ms < int(entry.removeprefix("1-")) < after_ms
    ends_ms = int(carillon_redis.cli("pttl", carillon_redis.cli("--scan", "--pattern", "*ci:*")))
    assert 0 < ends_ms < 299_000, "not another whole window"
    second = carillon_server_factory(store=carillon_redis.url, channels=options)
    assert second.history(ROOM, last=5).position == position
    assert not second.history("old", last=5).messages


def test_what_a_killed_server_may_have_lost_is_told_by_new_epochs(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path
) -> None:
    first = carillon_server_factory(**in_file(file, durability="async"))
    position = first.publish(ROOM, 1)
    first.stop()
    mark(file, "is_clean", 0)  # as after kill -9
    assert "new epochs" in copied(file, carillon_redis)
    second = carillon_server_factory(**in_redis(carillon_redis))
    assert second.history(ROOM, last=1).position.offset == position.offset
    assert second.history(ROOM, last=1).position.epoch != position.epoch


def mark(file: Path, key: str, value: int) -> None:
    """Writes into a file that no server uses."""
    with contextlib.closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def test_the_file_does_not_go_on_with_the_same_epochs(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path
) -> None:
    first = carillon_server_factory(**in_file(file))
    position = first.publish(ROOM, 1)
    first.stop()
    copied(file, carillon_redis)
    back = carillon_server_factory(**in_file(file))
    assert back.publish(ROOM, 2).epoch != position.epoch, "one offset would name two publications"


def test_it_is_refused_with_a_sentence(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path, tmp_path: Path
) -> None:
    first = carillon_server_factory(**in_file(file))
    first.publish_many([(ROOM, "x" * 500) for _ in range(1_000)])
    assert f"another server (process {os.getpid()}) uses this file" in refused(file, carillon_redis)
    first.stop()
    assert "there is no such file" in refused(tmp_path / "none.db", carillon_redis)
    assert not (tmp_path / "none.db").exists()
    with contextlib.closing(sqlite3.connect(tmp_path / "theirs.db")) as other, other:
        other.execute("CREATE TABLE theirs (x)")
    assert "another program's database" in refused(tmp_path / "theirs.db", carillon_redis)
    carillon_redis.cli("set", "carillon:1:mine", "1")
    assert "it has keys that begin with carillon:1: already" in refused(file, carillon_redis)
    assert carillon_redis.cli("dbsize") == "1", "and nothing was written"
    usage = carillon("store", "copy", file, tmp_path / "other.db")
    assert (usage.returncode, "no address of Redis" in usage.stderr) == (2, True)
    config = tmp_path / "other.toml"
    config.write_text('[store]\nprefix = "other"\n')
    copied(file, carillon_redis, "--config", config)
    assert "other:1:" in carillon_redis.cli("--scan", "--pattern", "other:*")
    with file.open("r+b") as raw:
        raw.seek(40_000)
        raw.write(os.urandom(60_000))
    carillon_redis.cli("flushall")
    assert "the file is damaged" in refused(file, carillon_redis)
    assert carillon_redis.cli("dbsize") == "0"


def test_nothing_starts_on_a_copy_that_was_interrupted(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path
) -> None:
    first = carillon_server_factory(**in_file(file))
    position = first.publish_many([(ROOM, "x" * 2_000) for _ in range(1_500)])[-1]
    first.stop()
    carillon_redis.cli("config", "set", "maxmemory", "3mb")
    said = refused(file, carillon_redis)
    assert "it answered XADD with: OOM" in said
    remedy = f"redis-cli -h 127.0.0.1 -p {carillon_redis.port} --scan --pattern 'carillon:1:*' | xargs"
    assert f"no server starts on that. Remove it, and copy again: {remedy}" in said
    carillon_redis.cli("config", "set", "maxmemory", "0")
    with pytest.raises(StoreError, match="`carillon store copy` writes there, or was interrupted"):
        carillon_server_factory(**in_redis(carillon_redis))
    again = refused(file, carillon_redis)
    assert "or was interrupted: wait for its end, or remove the keys carillon:1:*" in again
    assert remedy in again
    assert "was interrupted" in carillon("doctor", "--store", carillon_redis.url).stdout
    subprocess.run(said[said.index("redis-cli -h") :], shell=True, check=True, timeout=60)
    left = carillon_redis.cli("keys", "*").split()
    assert left in ([], ["carillon:layout"]), "the command that is given is the right one"
    assert "1500 publications" in copied(file, carillon_redis)
    second = carillon_server_factory(**in_redis(carillon_redis))
    assert second.history(ROOM, last=1).position == position, "the first try has not changed the epochs"


def test_ctrl_c_says_what_is_left_of_a_copy(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path
) -> None:
    first = carillon_server_factory(**in_file(file))
    for room in range(4):
        first.publish_many([(f"room{room}", "x" * 2_000) for _ in range(2_500)])
    first.stop()
    with FaultProxy(carillon_redis.url.replace("redis://", "http://")) as slow:
        slow.delay_ms = 30
        target = slow.url.replace("http://", "redis://")
        command = [sys.executable, "-m", "carillon", "store", "copy", str(file), target]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as copying:
            wait_until(lambda: int(carillon_redis.cli("dbsize")) > 1, 20)  # more than the mark
            copying.send_signal(signal.SIGINT)
            _, said = copying.communicate(timeout=60)
    assert copying.returncode == 1, said
    assert "interrupted; a part is in redis, and no server starts on that" in said
    assert "redis-cli -h 127.0.0.1" in said
    assert carillon_redis.cli("exists", "carillon:1:copying") == "1"


def test_without_the_right_to_look_nothing_is_left(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server], file: Path
) -> None:
    carillon_server_factory(**in_file(file)).stop()
    carillon_redis.cli("acl", "setuser", "ann", "on", ">hush", "~*", "&*", "+@all", "-scan")
    url = f"redis://ann:hush@127.0.0.1:{carillon_redis.port}"
    done = carillon("store", "copy", file, url)
    assert done.returncode == 1
    assert "lacks +scan" in done.stderr
    assert carillon_redis.cli("dbsize") == "0"
