"""The simulator as Python sees it: whole fleets inside of one test function."""

from __future__ import annotations

import subprocess
import sys

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
