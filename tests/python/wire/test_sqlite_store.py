"""A server whose publications are in SQLite: what it promises, tried with processes that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import Channel, Server, StoreConflict, StoreError, StoreUnavailable
from carillon.testing import wait_until
from crowd import ROOM, Crowd, Promise, check_journals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serve_process import Process

pytestmark = pytest.mark.wire

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, which only root may")


def in_file(path: Path, **options: Any) -> dict[str, Any]:
    """Arguments of a server that keeps 10,000 publications of a channel in this file."""
    return {
        "store": {"url": f"sqlite:{path / 'carillon.db'}", **options},
        "channels": {"*": Channel(history_size=10_000)},
    }


# One server after another.


def test_what_was_published_is_there_after_a_restart(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    first = carillon_server_factory(**in_file(tmp_path))
    positions = [first.publish(ROOM, {"n": n}, idempotency_key=f"k{n}") for n in range(300)]
    first.stop()
    second = carillon_server_factory(**in_file(tmp_path))
    history = second.history(ROOM, last=1_000)
    assert [message.json() for message in history.messages] == [{"n": n} for n in range(300)]
    assert history.position == positions[-1]
    assert second.publish(ROOM, {"n": 7}, idempotency_key="k7") == positions[7], "the key is known, too"
    with pytest.raises(StoreConflict):
        second.publish(ROOM, {}, expected_offset=3)
    assert second.publish(ROOM, {}, expected_offset=300).offset == 301
    poll = f"{second.url}/poll?channel={ROOM}&since={positions[-1]}"
    assert [m["offset"] for m in httpx.get(poll, timeout=5).json()["publications"]] == [301]


def test_members_and_what_they_have_not_read_are_there_after_a_restart(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    first = carillon_server_factory(**in_file(tmp_path))
    first.add_members(ROOM, ["ann", "bob"])
    for n in range(5):
        first.publish(ROOM, {"n": n})
    first.mark_read("ann", ROOM, 3)
    first.stop()
    second = carillon_server_factory(**in_file(tmp_path))
    assert second.unread("ann") == {ROOM: 2}
    assert second.unread("bob") == {ROOM: 5}


async def test_a_resume_far_beyond_the_memory_is_read_from_the_file(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    first = carillon_server_factory(**in_file(tmp_path))
    start = first.publish(ROOM, {"n": 0})
    first.publish_many([(ROOM, {"n": n}) for n in range(1, 5_000)])
    first.stop()
    second = carillon_server_factory(**in_file(tmp_path))
    async with second.subscribe(ROOM, since=start) as messages:
        numbers = [(await anext(messages)).json()["n"] for _ in range(4_999)]
    assert numbers == list(range(1, 5_000))
    assert second.ledger()["is_balanced"]


def test_the_file_belongs_to_one_server(
    carillon_server_factory: Callable[..., Server], tmp_path: Path, launch: Callable[..., Process]
) -> None:
    first = carillon_server_factory(**in_file(tmp_path))
    with pytest.raises(StoreError, match=rf"another server \(process {os.getpid()}\)"):
        carillon_server_factory(**in_file(tmp_path))
    other = launch(0, "--store", f"sqlite:{tmp_path / 'carillon.db'}", waits=False)
    assert other.ended() == 1
    wait_until(lambda: other.log)
    assert "another server" in other.log[-1], other.log
    assert first.publish(ROOM, 1).offset == 1, "and nobody has touched it"


def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "carillon.db")) as other, other:
        other.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "carillon.db").read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        carillon_server_factory(**in_file(tmp_path))
    assert (tmp_path / "carillon.db").read_bytes() == before


def test_the_file_is_for_its_owner_alone(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    server = carillon_server_factory(**in_file(tmp_path))
    server.publish(ROOM, 1)
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_publications_beyond_waiting_appends_are_refused_for_now(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    server = carillon_server_factory(**in_file(tmp_path, waiting_appends=16))

    def publish_much() -> None:
        for _ in range(100):
            server.publish_many([(ROOM, n) for n in range(1_000)])

    with pytest.raises(StoreUnavailable):
        publish_much()
    wait_until(lambda: server.publish(ROOM, "later").offset > 1)


def test_the_log_of_writes_is_bounded(carillon_server_factory: Callable[..., Server], tmp_path: Path) -> None:
    server = carillon_server_factory(**in_file(tmp_path, wal_bytes=65_536))
    for _ in range(30):
        server.publish_many([(ROOM, "x" * 1_000) for _ in range(100)])
    wait_until(lambda: (tmp_path / "carillon.db-wal").stat().st_size < 2_000_000)


# Backups.


def carillon(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carillon", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_ctrl_c_leaves_nothing_of_a_backup(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    server = carillon_server_factory(**in_file(tmp_path))
    for room in range(20):
        server.publish_many([(f"room{room}", "x" * 5_000) for _ in range(1_000)])
    server.stop()
    target = tmp_path / "backup" / "copy.db"
    target.parent.mkdir()
    source = str(tmp_path / "carillon.db")
    command = [sys.executable, "-m", "carillon", "store", "backup", source, str(target)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as making:
        wait_until(lambda: any(target.parent.glob("copy.db.*")), 20)
        making.send_signal(signal.SIGINT)
        _, said = making.communicate(timeout=60)
    assert (making.returncode, f"interrupted: {target} was not written" in said) == (130, True), said
    assert [each.name for each in target.parent.iterdir()] == ["copy.db-lock"]


def test_a_backup_of_a_store_in_use_is_restored_with_new_epochs(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    server = carillon_server_factory(**in_file(tmp_path))
    server.publish_many([(ROOM, {"n": n}) for n in range(1_000)])
    file, copy = tmp_path / "carillon.db", tmp_path / "copy.db"
    made = carillon("store", "backup", f"sqlite:{file}", copy)
    assert made.returncode == 0, made.stderr
    lost = server.publish(ROOM, {"n": "after the backup"})
    server.stop()
    assert carillon("store", "check", copy).stdout == f"{copy} is sound\n"
    missing = carillon("store", "check", tmp_path / "none.db")
    assert (missing.returncode, "there is no such file" in missing.stderr) == (1, True)
    refused = carillon("store", "restore", copy, file)
    assert refused.returncode == 1
    assert "move it away" in refused.stderr
    for path in tmp_path.glob("carillon.db*"):
        path.unlink()
    assert carillon("store", "restore", copy, file).returncode == 0
    again = carillon_server_factory(**in_file(tmp_path))
    history = again.history(ROOM, last=2_000)
    assert [message.json()["n"] for message in history.messages] == list(range(1_000))
    assert history.position.epoch != lost.epoch, "what came after the backup is missing, so clients are told"
    assert again.publish(ROOM, {}).offset == 1_001


def test_a_damaged_file_is_named(tmp_path: Path, carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(**in_file(tmp_path))
    server.publish_many([(ROOM, "x" * 500) for _ in range(1_000)])
    server.stop()
    file = tmp_path / "carillon.db"
    with file.open("r+b") as raw:
        raw.seek(40_000)
        raw.write(os.urandom(60_000))
    checked = carillon("store", "check", file)
    assert checked.returncode == 1
    assert "damaged" in checked.stderr
    assert carillon("store", "backup", file, tmp_path / "copy.db").returncode == 1
    assert not (tmp_path / "copy.db").exists()
    with pytest.raises(StoreError, match="damaged"):
        carillon_server_factory(**in_file(tmp_path))


# Killed, with publishers and subscribers at work.


@pytest.mark.parametrize("durability", ["full", "normal", "async"])
def test_killed_under_load(durability: str, launch: Callable[..., Process], tmp_path: Path) -> None:
    """What docs/stores.md promises: full and normal lose nothing, async tells what it has lost."""
    config = tmp_path / "carillon.toml"
    config.write_text(
        f'[store]\nurl = "sqlite:{tmp_path / "carillon.db"}"\ndurability = "{durability}"\n'
        "[client]\ninsecure = true\n[http_api]\ninsecure = true\n"
        '[channels."*"]\nhistory_size = 100000\n'
    )
    server = launch(0, "--config", str(config))
    crowd = Crowd(server.port, publishers=8, subscribers=6)

    async def kill() -> None:
        nonlocal server
        await asyncio.sleep(0.7)
        server.child.send_signal(signal.SIGKILL)
        server.child.wait()
        server = await asyncio.to_thread(launch, server.port, "--config", str(config))

    asyncio.run(crowd.meet(kill, times=2))
    check_journals(crowd, Promise.TOLD if durability == "async" else Promise.LOSSLESS)


# Links, and who reads for long.


def test_a_link_to_the_file_is_the_same_file(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    carillon_server_factory(**in_file(tmp_path))
    (tmp_path / "link.db").symlink_to(tmp_path / "carillon.db")
    with pytest.raises(StoreError, match="another server"):
        carillon_server_factory(store=f"sqlite:{tmp_path / 'link.db'}")


def test_a_long_reader_does_not_hold_publishers_up(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    server = carillon_server_factory(**in_file(tmp_path, wal_bytes=65_536))
    server.publish(ROOM, 1)
    reading = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN'); "
    reading += "print(c.execute('SELECT count(*) FROM meta').fetchall(), flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", reading, str(tmp_path / "carillon.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        # Each of these would wait a second for the reader, all together beyond the test's own limit.
        for _ in range(100):
            server.publish(ROOM, "x" * 2_000)
        assert reader.stdin is not None
        reader.stdin.close()
    wait_until(lambda: server.publish(ROOM, "x" * 100_000) and server.stats()["wal_bytes"] < 200_000, 20)


# A disk without room.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@ROOT_ONLY
def test_a_backup_on_a_disk_that_is_read_only_is_checked_and_restored(
    small_disk: Path, carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    server = carillon_server_factory(**in_file(tmp_path))
    server.publish_many([(ROOM, {"n": n}) for n in range(10)])
    copy, file = small_disk / "copy.db", tmp_path / "restored.db"
    assert carillon("store", "backup", f"sqlite:{tmp_path / 'carillon.db'}", copy).returncode == 0
    (small_disk / "in_use.db").write_bytes((tmp_path / "carillon.db").read_bytes())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    unread = carillon("store", "check", small_disk / "in_use.db")
    assert unread.returncode == 1
    assert "carillon store backup" in unread.stderr
    assert "damaged" not in unread.stderr
    checked = carillon("store", "check", copy)
    assert checked.stdout == f"{copy} is sound\n", checked.stderr
    restored = carillon("store", "restore", copy, file)
    assert restored.returncode == 0, restored.stderr
    again = carillon_server_factory(**in_file(tmp_path) | {"store": f"sqlite:{file}"})
    assert len(again.history(ROOM, last=100).messages) == 10


@ROOT_ONLY
def test_a_full_disk_fails_publishes_for_now_and_reads_go_on(
    small_disk: Path, launch: Callable[..., Process], tmp_path: Path
) -> None:
    config = tmp_path / "carillon.toml"
    config.write_text(
        f'[store]\nurl = "sqlite:{small_disk / "carillon.db"}"\n'
        "[client]\ninsecure = true\n[http_api]\ninsecure = true\n"
        '[channels."*"]\nhistory_size = 100\n'
    )
    server = launch(0, "--config", str(config))
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=5) as client:

        def publish(number: int) -> dict[str, Any]:
            answer = client.post("/api/publish", json={"channel": ROOM, "data": {"n": number}})
            return dict(answer.json())

        kept = publish(1)["result"]
        (small_disk / "ballast").write_bytes(b"x" * (2_500_000))
        number = 1
        while "result" in (answer := publish(number + 1)):
            number += 1
            assert number < 5_000
        assert answer["error"]["code"] == 100, "temporary: clients come back"
        wait_until(lambda: any("takes no publications" in line for line in server.log))
        history = client.post("/api/history", json={"channel": ROOM, "limit": 1}).json()["result"]
        assert history["offset"] == number
        assert history["epoch"] == kept["epoch"]
        health = client.get("/health")
        assert (health.status_code, health.json()) == (200, {"store": "unavailable"})
        (small_disk / "ballast").unlink()
        wait_until(lambda: "result" in publish(number + 1))
        wait_until(lambda: any("takes publications again" in line for line in server.log))
        assert client.get("/health").json() == {}


# Takeover.


def test_a_takeover_hands_the_file_over(launch: Callable[..., Process], tmp_path: Path) -> None:
    config = tmp_path / "carillon.toml"
    config.write_text(
        f'[store]\nurl = "sqlite:{tmp_path / "carillon.db"}"\n'
        "[client]\ninsecure = true\n[http_api]\ninsecure = true\n"
        '[channels."*"]\nhistory_size = 100000\n'
    )
    server = launch(0, "--config", str(config))
    crowd = Crowd(server.port, publishers=16, subscribers=10)

    async def take_over() -> None:
        nonlocal server
        await asyncio.sleep(0.5)
        arguments = ("--config", str(config), "--takeover")
        old, server = server, await asyncio.to_thread(launch, server.port, *arguments)
        assert await asyncio.to_thread(old.ended) == 0, old.log

    asyncio.run(crowd.meet(take_over, times=3))
    check_journals(crowd, Promise.LOSSLESS)
    other = launch(0, "--config", str(config), waits=False)
    assert other.ended() == 1, "the lock has gone along"


def test_a_takeover_with_another_store_is_refused(launch: Callable[..., Process], tmp_path: Path) -> None:
    first = launch(0, "--store", f"sqlite:{tmp_path / 'carillon.db'}")
    second = launch(first.port, "--takeover", waits=False)
    assert second.ended() == 1
    wait_until(lambda: second.log)
    assert "store.url" in second.log[-1]
    third = launch(first.port, "--takeover", "--store", f"sqlite:{tmp_path / 'carillon.db'}")
    assert third.port == first.port
    assert first.ended() == 0
