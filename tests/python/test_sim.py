"""The simulator as Python sees it: whole fleets inside of one test function."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import carillon.sim
import pytest


def test_small_worlds_keep_every_promise() -> None:
    for seed in range(1, 21):
        report = carillon.sim.run(seed)
        assert report.is_ok, report
        assert report.acknowledged >= 20
        assert report.delivered > report.acknowledged


def test_the_same_seed_makes_the_same_trace() -> None:
    first, second = (carillon.sim.run(7, trace=True) for _ in range(2))
    assert first.trace == second.trace
    assert len(first.trace) > 100
    assert first.trace_hash == second.trace_hash != carillon.sim.run(8).trace_hash


def test_a_fleet_with_thousands_of_clients() -> None:
    report = carillon.sim.run(
        3, gateways=6, clients=3_000, channels=4, publications=60, faults=6, duration_ms=10_000
    )
    assert report.is_ok, report
    assert report.delivered > 60_000
    assert report.lost >= 0


def test_a_planted_bug_is_found_shrunk_and_replayed() -> None:
    report = carillon.sim.hunt(range(1, 100), bug="epoch_not_bumped")
    assert report is not None
    assert not report.is_ok
    assert len(report.acts) <= 8
    assert str(report).endswith(f"replay: {report.replay}")
    replayed = subprocess.run(
        [sys.executable, *report.replay.split()[1:]], capture_output=True, text=True, timeout=60, check=False
    )
    assert replayed.returncode == 1
    assert report.complaints[0] in replayed.stdout
    # Without the bug the same world is well.
    numbers = [int(act.split()[0].removeprefix("#")) for act in report.acts]
    assert carillon.sim.run(report.seed, only=numbers).is_ok


def test_the_command_plays_many_worlds(capsys: pytest.CaptureFixture[str]) -> None:
    assert carillon.sim.main(["--seeds", "5", "--no-redis"]) == 0
    assert "5 worlds, all is well" in capsys.readouterr().out
    assert carillon.sim.main(["--bug", "list"]) == 0
    assert "late_group_appended" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"gateways": 0}, "gateways"),
        ({"clients": -1}, "clients"),
        ({"bug": "no_such_bug"}, "no_such_bug"),
        ({"redis": False, "gateways": 2}, "gateways"),
        ({"duration_ms": 0}, "duration_ms"),
    ],
)
def test_options_that_make_no_world_are_refused_by_name(options: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        carillon.sim.run(1, **options)  # type: ignore[arg-type]


def test_only_a_failing_world_can_be_shrunk() -> None:
    with pytest.raises(ValueError, match="did not fail"):
        carillon.sim.shrink(carillon.sim.run(1))


def test_a_world_with_an_sqlite_file_is_replayed_by_its_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = next(
        found
        for seed in range(1, 200)
        if not (found := carillon.sim.run(seed, sqlite="normal", bug="boot_not_noticed")).is_ok
    )
    arguments = report.replay.split()[3:]
    assert arguments[arguments.index("--sqlite") + 1] == "normal"
    assert carillon.sim.main(arguments) == 1
    assert report.complaints[0] in capsys.readouterr().out
    assert carillon.sim.run(report.seed, sqlite="normal").is_ok


def test_the_world_of_each_bug_is_one_that_can_be_played() -> None:
    for bug in carillon.sim.planted_bugs():
        world = carillon.sim.world_of(bug)
        assert world["bug"] == bug
        carillon.sim.run(1, **world)
    assert carillon.sim.world_of("walk_not_released")["members"] == 6
    with pytest.raises(ValueError, match="no_such_bug"):
        carillon.sim.world_of("no_such_bug")


def test_a_failing_test_shows_how_to_play_the_world_again(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import carillon.sim\n"
        "def test_mine():\n"
        "    report = carillon.sim.run(3, bug='epoch_not_bumped')\n"
        "    assert report.is_ok, report\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:nbmake",
        "test_mine.py",
    ]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    report = carillon.sim.run(3, bug="epoch_not_bumped")
    assert shown.returncode == 1
    assert f"replay: {report.replay}>" in shown.stdout
    assert report.complaints[0][:80] in shown.stdout


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"clients": "many"}, TypeError, "clients: 'many' is no whole number"),
        ({"clients": True}, TypeError, "clients: True"),
        ({"redis": 0}, TypeError, "redis: 0 is no flag"),
        ({"bug": 3}, TypeError, "bug: 3"),
        ({"only": "4,9"}, TypeError, "only: '4,9'"),
        ({"only": [9_999]}, ValueError, "only: this world has no act 9999"),
        ({"seed": -1}, ValueError, "seed: -1"),
        ({"gatewys": 3}, TypeError, "gatewys"),
    ],
)
def test_clumsy_options_are_named(options: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=re.escape(named)):
        carillon.sim.run(**options)


def test_a_hunt_without_seeds_says_so() -> None:
    with pytest.raises(ValueError, match="seeds: there are none"):
        carillon.sim.hunt([])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--seeds", "0"], "--seeds: 0 worlds say nothing"),
        (["--seed", "-1"], "seed: -1"),
        (["--only", "a"], "'a' is no list of numbers"),
        (["--seed", "3", "--seeds", "9"], "--seed plays one world"),
        (["--seed", "3", "--only", "9999"], "no act 9999"),
    ],
)
def test_clumsy_commands_are_refused_with_a_sentence(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        carillon.sim.main(arguments)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_the_command_without_a_traceback() -> None:
    shown = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m carillon.sim --seed 1 | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shown.stdout.count("\n") == 1
    assert shown.stderr == ""


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_ctrl_c_says_how_far_it_has_come() -> None:
    command = [sys.executable, "-m", "carillon.sim", "--seeds", "1000000"]
    hunting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while cpu_s(hunting.pid) < 1.5:  # it has begun to play
        time.sleep(0.05)
    hunting.send_signal(signal.SIGINT)
    _, errors = hunting.communicate(timeout=30)
    assert hunting.returncode == 130
    assert re.fullmatch(r"stopped: \d+ worlds of 1000000, all is well so far\n", errors)
