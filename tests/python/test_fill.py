"""The benchmarks that fill processes with connections, tiny: that they run, count, judge and end."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from carillon.load import Load, run_load
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
]  # not "wire": AddressSanitizer keeps what is freed for a while

ROOT = Path(__file__).resolve().parents[2]
ONE = ("one", "--connections", "300", "--seconds", "2", "--linger", "4", "--ping-interval", "1")


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.fill", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fill(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    report = tmp_path / "report.json"
    with start(*arguments, "--json", str(report)) as process:
        _, errors = process.communicate(timeout=50)
    assert report.exists(), errors  # a broken promise (exit code 1) is no failure on a busy machine
    return json.loads(report.read_text())  # type: ignore[no-any-return]


def test_one_process(tmp_path: Path) -> None:
    report = fill(tmp_path, *ONE)["one"]
    assert report["crowd"]["connections"] == 286
    assert report["group"]["connections"] == 15
    assert report["alone"]["channels"] == report["alone"]["connections"] == 1
    assert report["crowd"]["deliveries"] == report["crowd"]["messages"] * 286 > 0
    assert report["crowd"]["pings"] > 286
    assert 0 < len(report["resumes"]) <= 6
    assert not [each["fault"] for each in report["resumes"] if each["fault"]]
    assert {each["missed"] for each in report["resumes"]} != {0}
    assert [each["bound"] for each in report["promises"]] == [10.0, 2.0, 0]


@pytest.mark.skipif(not shutil.which("c++"), reason="compiles the bare loop")
def test_a_fleet_beside_bare_loops(tmp_path: Path) -> None:
    arguments = ("--connections", "60", "--processes", "3", "--idle", "0.5", "--rate", "10")
    report = fill(tmp_path, "fleet", *arguments, "--messages", "2", "--pause", "0")["fleet"]
    for name in ("bare", "carillon", "bare again"):
        ringing = report[name]["ringing"]
        assert ringing["generator_workers"] == 3
        assert ringing["deliveries"] == ringing["messages"] * 60 == 120
        assert ringing["last_subscriber_p99_ms"] > 0
        assert report[name]["idle"]["server_private_kib"] > 0
    assert len(report["promises"]) == 4


def test_memory_does_not_grow_with_rounds_of_connections(tmp_path: Path) -> None:
    arguments = ("--connections", "1000", "--rounds", "6", "--pause", "0.6")
    report = fill(tmp_path, "rounds", *arguments)["rounds"]
    peaks = [each["peak_kib"] for each in report["rounds"]]
    assert len(peaks) == 6
    # The first rounds fill the allocator's arenas, and a later one may fill another. A leak grows in each
    # round: one of 200 bytes per connection by 200 KiB.
    assert min(after - before for before, after in itertools.pairwise(peaks[2:])) < 190, peaks
    assert report["promises"][0]["bound"] == 1.05


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(number: int) -> None:
    with start(*ONE) as process:
        children: list[str] = []

        def are_all_there() -> bool:
            children[:] = (
                Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                + [pid for task in Path(f"/proc/{process.pid}/task").iterdir()
                   for pid in (task / "children").read_text().split()]
            )  # fmt: skip
            return len(set(children)) >= 2  # the server and a load

        wait_until(are_all_there, 30)
        os.kill(process.pid, number)
        assert process.wait(20) in (1, 130)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 10)


def test_a_message_goes_to_all_servers_at_once(carillon_server_factory: Callable[..., Server]) -> None:
    servers = [carillon_server_factory(port=0) for _ in range(3)]
    load = Load(
        ports=tuple(server.port for server in servers), connections=30, seconds=0, messages=20, warmup=1
    )
    result = run_load(load)
    assert result.is_clean, result.first_fault
    assert result.workers == 3
    assert (result.messages, result.deliveries) == (20, 600)
    assert result.last_subscriber.count == 20


def test_the_longest_time_without_a_ping_is_seen(carillon_server_factory: Callable[..., Server]) -> None:
    client = {"insecure": True, "ping_interval": "300ms", "pong_timeout": "200ms"}
    server = carillon_server_factory(port=0, config={"client": client})
    result = run_load(Load(port=server.port, connections=20, is_idle=True, seconds=1.5))
    assert result.is_clean, result.first_fault
    assert result.pings >= 20 * 4
    assert 0.25e9 < result.ping_gaps.max_ns < 1e9
