"""The rights that docs/redis.md lists for the user of Redis: they are enough, and none is too much."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import Channel, Server, StoreError
from carillon.testing import RedisServer, wait_until
from wire_clients import open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "correct-horse"
OF_THE_TEST = re.compile(r"(acl|config|scan|hkeys|replicaof)(\||$)")


def user_of_the_docs() -> list[str]:
    """The words of the block `user carillon on …`, without the first."""
    text = (ROOT / "docs" / "redis.md").read_text()
    block = re.search(r"^user carillon on .*?^```", text, re.MULTILINE | re.DOTALL)
    assert block
    line = block[0].removesuffix("```").strip()
    assert "\n" not in line, "redis reads a user from one line"
    return line.replace("PASSWORD", PASSWORD).split()[1:]


def test_the_rights_can_be_pasted_into_an_acl_file_and_a_shell(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "redis.md").read_text()
    of_file = tmp_path / "users.acl"
    of_file.write_text(" ".join(["user", *user_of_the_docs()]) + "\n")
    command = re.search(r"^redis-cli ACL SETUSER .*$", text, re.MULTILINE)
    assert command
    with RedisServer(tmp_path, "--aclfile", str(of_file)) as redis:
        rights = redis.cli("acl", "list")
        assert "user carillon on" in rights
        redis.cli("acl", "deluser", "carillon")
        in_shell = command[0].replace("redis-cli", f"redis-cli -p {redis.port}").replace("PASSWORD", PASSWORD)
        subprocess.run(in_shell, shell=True, check=True, timeout=30)
        assert redis.cli("acl", "list") == rights


def commands_of(words: list[str]) -> set[str]:
    return {word[1:] for word in words if word.startswith("+")}


@pytest.fixture
def redis(carillon_redis: RedisServer) -> RedisServer:
    """A Redis that has the user of the docs, and where nobody comes in without a password."""
    assert carillon_redis.cli("acl", "setuser", *user_of_the_docs()) == "OK"
    return carillon_redis


def as_that_user(redis: RedisServer, **options: Any) -> dict[str, Any]:
    """Arguments of a server that logs in as that user, in another database than the first."""
    return {
        "store": {"url": f"{redis.url}/1", "user": "carillon", "password": PASSWORD, **options},
        "channels": {
            "live": Channel(history_size=0),
            "*": Channel(history_size=50, history_bytes=100_000, presence=True, fanout="write"),
        },
        "limits": {"inbox_entries": 5},
    }


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`carillon doctor`, with these variables beside its PATH."""
    return subprocess.run(
        [sys.executable, "-m", "carillon", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT / "python"), "PATH": "/usr/bin:/bin", **environment},
        check=False,
    )


def doctor_as_that_user(redis: RedisServer) -> subprocess.CompletedProcess[str]:
    return doctor(
        "--store", f"{redis.url}/1", CARILLON_STORE_USER="carillon", CARILLON_STORE_PASSWORD=PASSWORD
    )


def used(redis: RedisServer) -> set[str]:
    """Commands that Redis has carried out since CONFIG RESETSTAT, but those of the test itself."""
    stats = redis.cli("info", "commandstats")
    names = set(re.findall(r"^cmdstat_([a-z|-]+):calls=[1-9]", stats, re.MULTILINE))
    return {name for name in names if not OF_THE_TEST.match(name)}


async def test_the_commands_of_the_docs_are_those_that_gateways_use(
    redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    redis.cli("config", "resetstat")
    first = carillon_server_factory(**as_that_user(redis))
    second = carillon_server_factory(**as_that_user(redis))

    # The log: by keys, by compare, beyond its bounds, in pages of both directions.
    async with first.subscribe("room", since="oldest") as messages:
        top = second.publish("room", {"n": 0}, idempotency_key="k")
        assert second.publish("room", {"n": 0}, idempotency_key="k") == top
        assert (await anext(messages)).json() == {"n": 0}
    second.publish("room", {"n": 1}, expected_offset=1)
    first.publish_many([("room", {"n": n, "text": "x" * 3_000}) for n in range(60)])
    assert len(second.history("room", last=5).messages) == 5
    async with open_ws(second) as ws:
        position = {"epoch": top.epoch, "offset": 59, "recover": True}
        assert (await ws.subscribe("room", **position))["recovered"]

    async with first.subscribe("live"):
        pass
    await until(lambda: "unsubscribe" in used(redis))

    # Members and inboxes, beyond their bound.
    first.add_members("team", ["ann", "bob", "cem"])
    second.remove_members("team", ["cem"])
    assert first.members("team") == ["ann", "bob"]
    for n in range(8):
        first.publish("team", {"n": n})
    first.add_members("pair", ["ann"])  # runs of two channels take turns, and the oldest go
    for n in range(8):
        first.publish("team" if n % 2 else "pair", {"n": n})
    change = "9999999999999+12"  # of a gateway that died before it told the user
    redis.cli("-n", "1", "hset", user_key(redis, "ann", "*cm:team").replace("cm:", "cj:"), "dan", change)
    first.publish("team", {"n": 12})
    await until(lambda: second.unread("ann") == {"team": 13, "pair": 4})
    assert len(second.inbox("ann").messages) > 0
    second.mark_read("ann", "team", 7)
    first.remove_members("team", ["ann"])
    assert first.unread("ann") == {"team": 6, "pair": 4}

    # Presence, and what gateways tell each other.
    async with open_ws(first) as ws:
        await ws.subscribe("room")
        await until(lambda: len(second.presence("room")) == 1)
        async with httpx.AsyncClient() as http:
            stats = await http.post(f"{second.url}/api/presence_stats", json={"channel": "room"})
        assert stats.json()["result"]["num_clients"] == 1
        assert await asyncio.to_thread(second.channels) == {"room": 1}
        client = next(iter(second.presence("room")))
        assert await asyncio.to_thread(second.disconnect, client)
        await until(lambda: not first.presence("room"))
    second.set_fanout("team", "read")
    second.history_remove("room")

    # One that leaves is cleared up behind, and a new primary is believed.
    first.publish("team", {"n": 13})
    first.stop()
    await until(lambda: len(redis.cli("-n", "1", "hkeys", "carillon:1:gateways").split()) == 1, 20)
    redis.cli("replicaof", "127.0.0.1", "1")
    redis.cli("replicaof", "no", "one")
    await until(lambda: second.publish("room", 1).epoch != top.epoch, 20)
    second.stop()

    assert redis.cli("acl", "log") == "", "a command was refused"
    needed = commands_of(user_of_the_docs())
    assert used(redis) == needed


def user_key(redis: RedisServer, user: str, pattern: str = "") -> str:
    """The key of a user's memberships, or the one key that matches the pattern."""
    return redis.cli("-n", "1", "--scan", "--pattern", pattern or f"*um:{user}")


def test_the_list_of_the_docs_is_the_one_that_the_doctor_tries(redis: RedisServer) -> None:
    header = (ROOT / "cpp" / "store" / "redis" / "redis_needed_commands.hpp").read_text()
    of_server, of_cluster = (
        set(re.findall(r'RedisNeededCommand\{"([a-z|]+)"', part))
        for part in header.split("kRedisClusterCommands")
    )
    assert of_server == commands_of(user_of_the_docs())
    assert of_cluster == commands_of(words_behind("A cluster needs"))
    seen = doctor_as_that_user(redis)
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert "the user may run all" in seen.stdout
    assert PASSWORD not in seen.stdout + seen.stderr
    log = redis.cli("acl", "log")
    assert "config" in log, "it asks for the settings"
    assert log.count("reason") == 1, log
    assert redis.cli("-n", "1", "dbsize") == "0", "it leaves nothing"


@pytest.mark.parametrize(
    "command", ["evalsha", "xadd", "info", "publish", "subscribe", "hmget", "script|load"]
)
def test_a_command_that_is_missing_is_named(
    redis: RedisServer, carillon_server_factory: Callable[..., Server], command: str
) -> None:
    redis.cli("acl", "setuser", "carillon", f"-{command}")
    said = ""
    try:
        server = carillon_server_factory(**as_that_user(redis, wait_ms=500, retry_pause_ms=50))
    except StoreError as error:
        said = str(error)
    else:

        def names_it() -> bool:
            nonlocal said
            with_trouble: str = server.stats()["store_trouble"]
            said = with_trouble or said
            return command in said

        def try_it() -> bool:
            with contextlib.suppress(StoreError):
                server.publish("room", 1)
            return names_it()

        wait_until(try_it, 15)
    assert command in said, said
    assert "docs/redis.md" in said or "permissions" in said, said
    seen = doctor_as_that_user(redis)
    assert seen.returncode == 1, seen.stdout
    missing = re.findall(r"may not run the command (\S+):", seen.stdout)
    assert missing == [command], seen.stdout
    assert f"to be added to the ACL of the user: +{command}\n" in seen.stdout


def test_keys_and_channels_that_are_missing_are_named(redis: RedisServer) -> None:
    redis.cli("acl", "setuser", "carillon", "resetkeys", "~other:*", "resetchannels", "&other:*")
    seen = doctor_as_that_user(redis)
    assert seen.returncode == 1
    assert "~carillon:* is missing" in seen.stdout
    assert "&carillon:* is missing" in seen.stdout


@pytest.mark.parametrize(
    ("rights", "named"),
    [
        ("resetchannels", "&PREFIX:*"),
        ("resetchannels &carillon:1:told:*", "&PREFIX:*"),  # enough to subscribe when it starts
        ("resetkeys ~other:*", "~PREFIX:*"),
    ],
)
def test_keys_and_channels_that_are_missing_are_seen_at_the_start(
    rights: str, named: str, redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    redis.cli("acl", "setuser", "carillon", *rights.split())
    with pytest.raises(StoreError, match="the ACL of its user in redis lacks") as error:
        carillon_server_factory(**as_that_user(redis))
    assert named in str(error.value)
    assert "docs/redis.md" in str(error.value)
    seen = doctor_as_that_user(redis)
    assert seen.returncode == 1
    assert f"{named.replace('PREFIX', 'carillon')} is missing" in seen.stdout


def words_behind(sentence: str) -> list[str]:
    """The rights that stand in the docs behind these words."""
    text = " ".join((ROOT / "docs" / "redis.md").read_text().split())
    found = re.search(re.escape(sentence) + r"[^`]*`([^`]+)`", text)
    assert found, sentence
    return found[1].split()


def test_a_user_of_the_sentinels_needs_no_more_than_the_docs_say(redis: RedisServer, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = tmp_path / "sentinel.conf"
    rights = " ".join(words_behind("The user of the Sentinels needs"))
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\nuser watcher on >{PASSWORD} nocommands {rights}\n"
        f"sentinel monitor main 127.0.0.1 {redis.port} 1\n"
    )
    sentinel = subprocess.Popen(
        ["redis-server", str(settings), "--sentinel"], stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        login = {"CARILLON_STORE_USER": "carillon", "CARILLON_STORE_PASSWORD": PASSWORD}
        of_sentinel = {
            "CARILLON_STORE_SENTINEL_USER": "watcher",
            "CARILLON_STORE_SENTINEL_PASSWORD": PASSWORD,
        }
        url = f"redis+sentinel://127.0.0.1:{port}/main"
        wait_until(lambda: doctor("--store", url, **login, **of_sentinel).returncode == 0, 20)
        wrong = doctor("--store", url, **login, **{**of_sentinel, "CARILLON_STORE_SENTINEL_PASSWORD": "no"})
        assert "store.sentinel_user, store.sentinel_password" in wrong.stdout, wrong.stdout
    finally:
        sentinel.kill()
        sentinel.wait()


def test_a_node_of_a_cluster_needs_what_the_docs_say_for_it(
    tmp_path: Path, carillon_server_factory: Callable[..., Server]
) -> None:
    if why := RedisServer.missing():
        pytest.skip(why)
    of_cluster = words_behind("A cluster needs")
    with RedisServer(tmp_path, "--cluster-enabled", "yes") as node:
        node.cli("cluster", "addslotsrange", "0", "16383")
        wait_until(lambda: "cluster_state:ok" in node.cli("cluster", "info"))
        url = node.url.replace("redis://", "redis+cluster://")
        login = {"CARILLON_STORE_USER": "carillon", "CARILLON_STORE_PASSWORD": PASSWORD}
        node.cli("acl", "setuser", *user_of_the_docs())
        seen = doctor("--store", url, **login)
        missing = re.findall(r"may not run the command (\S+):", seen.stdout)
        assert sorted(missing) == sorted(commands_of(of_cluster)), seen.stdout
        node.cli("acl", "setuser", "carillon", *of_cluster)
        seen = doctor("--store", url, **login)
        assert seen.returncode == 0, seen.stdout
        node.cli("acl", "log", "reset")
        store = {"url": url, "user": "carillon", "password": PASSWORD}
        first, second = (carillon_server_factory(store=store) for _ in range(2))
        first.add_members("room", ["ann"])
        position = first.publish("room", 1)
        assert second.history("room", last=1).position == position
        assert second.unread("ann") == {"room": 1}
        assert node.cli("acl", "log") == ""
