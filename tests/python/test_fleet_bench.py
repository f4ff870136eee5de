"""bench/fleet at a small load: what must hold at any. Times decide nothing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from carillon.testing import RedisServer
from conftest import require, require_tool

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SCALE = "--gateways 3 --connections 300 --members 240 --rounds 1 --messages 5 --rate 20"


def measured(folder: Path, *arguments: str) -> dict[str, Any]:
    """Runs parts of the bench; a promise of a time may be broken (exit code 1), nothing else."""
    require(not RedisServer.missing(), RedisServer.missing())
    require_tool("c++")
    file = folder / "fleet.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.fleet", *SCALE.split(), *arguments, "--json", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert file.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.wire
@pytest.mark.timeout(120)
def test_a_publication_costs_redis_the_same_with_more_subscribers(tmp_path: Path) -> None:
    found = measured(tmp_path, "last", "scrape", "--scrape-connections", "100", "--scrape-channels", "200",
                     "--scrapes", "2")  # fmt: skip
    costs = found["last"]["redis_per_publication"]
    assert set(costs) == {"30", "240"}
    assert [each["commands"] for each in costs.values()] == [1, 1]
    assert costs["240"]["announced"] == costs["30"]["announced"] > 128
    assert abs(costs["240"]["received"] - costs["30"]["received"]) < 20, "names and offsets differ in length"
    assert found["last"]["measured_fleet"]["deliveries"] == 5 * 240
    assert found["scrape"]["sizes"]["channels"] == 200


@pytest.mark.wire
@pytest.mark.timeout(120)
def test_clients_of_a_killed_gateway_lose_nothing(tmp_path: Path) -> None:
    found = measured(tmp_path, "crash", "--crash-clients", "60", "--crash-others", "30", "--before", "1",
                     "--after", "3")["crash"]  # fmt: skip
    assert sum(each["closed"] for each in found["returning"]) == 60
    assert found["promises"][1]["value"] == 0, "missing, repeated, not recovered, other faults"


@pytest.mark.slow
@pytest.mark.wire
@pytest.mark.timeout(180)
def test_a_walk_outlives_its_gateway(tmp_path: Path) -> None:
    found = measured(tmp_path, "inboxes", "--connections", "8000", "--members", "8000")["inboxes"]
    assert found["write"]["inboxes"] == [8_000] * 3
    assert found["write"]["walkers"] == [1] * 3
    assert all(each["is_kept"] for each in found["promises"])


@pytest.fixture
def costs_of(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.fleet.redis_cost")


def test_commands_are_counted_by_the_script_that_appends(costs_of: ModuleType) -> None:
    monitor = costs_of.Monitor(None, "room")
    for by, words in (
        ("a", ["evalsha", "presence", "p:room"]),  # before the first append: a subscriber that comes
        ("a", ["evalsha", "append", ":room"]),
        ("lua", ["xadd", ":room", "x"]),
        ("lua", ["publish", ":room", "12345"]),
        ("b", ["evalsha", "top", ":room"]),
        ("lua", ["hget", ":room"]),
        ("a", ["evalsha", "append", ":room"]),
        ("lua", ["xadd", ":room", "x"]),
        ("lua", ["publish", ":room", "1\\x00345"]),
        ("a", ["evalsha", "presence", "p:room"]),  # behind the last one: it leaves
    ):
        monitor._count(by, words)
    found = monitor.per_publication()
    assert (found["commands"], found["within"], found["announced"]) == (1, 2, 5)
    assert found["other_commands"] == 0.5
    assert found["received"] == len("*3\r\n$7\r\nevalsha\r\n$6\r\nappend\r\n$5\r\n:room\r\n")
