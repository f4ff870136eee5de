"""`carillon doctor` at a Redis: what it says of the settings, and when it is content."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from carillon.testing import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.wire


def doctor(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carillon", "doctor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., RedisServer]:
    """Returns a function that makes a server with these arguments of redis-server."""
    if why := RedisServer.missing():
        pytest.skip(why)

    def make(*arguments: str) -> RedisServer:
        folder = tmp_path / f"redis-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return RedisServer(folder, *arguments)

    return make


def with_store(tmp_path: Path, redis: RedisServer, **options: str) -> Path:
    """A configuration with this store."""
    file = tmp_path / "carillon.toml"
    lines = [f'{name} = "{value}"' for name, value in {"url": redis.url, **options}.items()]
    file.write_text("\n".join(["[store]", *lines, ""]))
    return file


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "all is lost when the process ends"),
        (("--save", "60 1"), "what came after the last snapshot is lost"),
        (("--appendonly", "yes"), "up to 2 s when its machine ends"),
        (("--appendonly", "yes", "--appendfsync", "no"), "what the system had not written yet"),
        (
            ("--appendonly", "yes", "--appendfsync", "always"),
            "nothing is lost when the process or its machine",
        ),
    ],
    ids=["none", "save", "everysec", "no", "always"],
)
def test_it_says_what_is_lost_with_these_settings(
    start: Callable[..., RedisServer], arguments: tuple[str, ...], said: str
) -> None:
    with start(*arguments) as redis:
        seen = doctor("--store", redis.url)
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert said in seen.stdout
    assert "MEND" not in seen.stdout
    assert "primary with 0 connected replicas" in seen.stdout


def test_eviction_is_to_be_mended(start: Callable[..., RedisServer]) -> None:
    with start("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as redis:
        seen = doctor("--store", redis.url)
    assert seen.returncode == 1
    assert "MEND: allkeys-lru may evict channels" in seen.stdout


def test_never_is_checked_against_the_server(start: Callable[..., RedisServer], tmp_path: Path) -> None:
    with start("--appendonly", "yes") as redis:
        seen = doctor("--config", with_store(tmp_path, redis, loss="never"))
        assert seen.returncode == 1
        assert (
            "MEND: never is not true: this server has not appendonly yes with appendfsync always"
            in seen.stdout
        )
        redis.cli("config", "set", "appendfsync", "always")
        seen = doctor(with_store(tmp_path, redis, loss="never"))
        assert seen.returncode == 0, seen.stdout
        assert "never: this is one server with appendfsync always" in seen.stdout
        with start("--replicaof", f"127.0.0.1 {redis.port}") as replica:
            redis.cli("wait", "1", "10000")
            seen = doctor(with_store(tmp_path, redis, loss="never"))
            assert seen.returncode == 1
            assert "1 replicas are connected, which may take over" in seen.stdout
            of_replica = doctor("--store", replica.url)
            assert of_replica.returncode == 1
            assert "MEND: this server is a replica" in of_replica.stdout


def test_without_config_it_says_what_it_could_not_see(start: Callable[..., RedisServer]) -> None:
    with start("--rename-command", "CONFIG", "", "--maxmemory-policy", "volatile-lru") as redis:
        seen = doctor("--store", redis.url)
    assert "CONFIG GET is not permitted or not known" in seen.stdout
    assert "MEND: volatile-lru may evict channels" in seen.stdout, "INFO says that, too"
    assert seen.returncode == 1


def test_a_server_that_is_silent_or_away_is_told_in_time(
    start: Callable[..., RedisServer], tmp_path: Path
) -> None:
    with start() as redis:
        file = with_store(tmp_path, redis, password="wrong-horse")
        redis.cli("config", "set", "requirepass", "correct-horse")
        seen = doctor(file)
        assert seen.returncode == 1
        assert "MEND: redis at" in seen.stdout
        assert "refused the user or password" in seen.stdout
        assert "horse" not in seen.stdout + seen.stderr
        redis.stop()
        silent = doctor("--store", redis.url)
        assert silent.returncode == 1
        assert "MEND: " in silent.stdout
        redis.cont()
    away = doctor("--store", redis.url)
    assert away.returncode == 1
    assert "cannot connect" in away.stdout


def test_another_store_has_nothing_to_look_at(tmp_path: Path) -> None:
    assert doctor("--store", "memory").returncode == 0
    seen = doctor("--store", f"sqlite:{tmp_path / 'carillon.db'}")
    assert seen.returncode == 0
    assert "'carillon store check' reads the file" in seen.stdout
    assert doctor("--store", "redis://:x").returncode == 3
