"""Plants faults, one in each run of the tests that must notice it: tools/planted_faults.py BUILD

BUILD holds the programs that contain the faults of cpp/env/planted_fault.hpp (target carillon_with_faults).
Without a fault the same tests must pass. Exit code 1: a fault went unnoticed, or a test failed without one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEED_PERCENT = "10"
TIMEOUT_S = 300


@dataclass(frozen=True)
class Tests:
    """Tests of one program: a GoogleTest executable's filter, or files for pytest."""

    program: str
    chosen: str

    def command(self, build: Path) -> list[str]:
        """What runs them; they stop at the first failure."""
        if self.program == "pytest":
            return [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", self.chosen]
        executable = build / f"carillon_test_{self.program}_with_faults"
        return [str(executable), f"--gtest_filter={self.chosen}", "--gtest_brief=1", "--gtest_fail_fast"]


JOURNALS = Tests("session", "Journals.Are*:Journals.Equal*:Journals.Hold*")
HUB_WORLDS = Tests("hub", "HubProperty.*")
WORLDS = Tests("sim", "Worlds.OfThree*:Worlds.WhoseRedis*:Worlds.WithAShort*")
TRANSPORTS = Tests("pytest", "tests/python/wire/test_transport_change.py")
NOTICED_BY = {
    "lost_frame": TRANSPORTS,
    "lost_wake_up": HUB_WORLDS,
    "kept_ticket": HUB_WORLDS,
    "skipped_rewind": JOURNALS,
    "short_unsent": JOURNALS,
    "ignored_writability": JOURNALS,
    "hole_not_filled": WORLDS,
    "reset_not_told": WORLDS,
    "doubt_ignored": WORLDS,
    "recovered_across_epochs": WORLDS,
    "resumed_one_late": WORLDS,
    "not_followed_again": WORLDS,
    "unknown_told_as_refused": WORLDS,
}


def run(tests: Tests, build: Path, fault: str) -> subprocess.CompletedProcess[str]:
    """Runs the tests with a fault; without one, if its name is empty."""
    environment = {**os.environ, "PLANTED_FAULT": fault, "CARILLON_SEED_PERCENT": SEED_PERCENT}
    environment["PYTHONPATH"] = str(build / "with_faults")
    if tests.program == "pytest":
        del environment["CARILLON_SEED_PERCENT"]  # a setting that the server does not know
    return subprocess.run(
        tests.command(build),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",  # bytes of a cut frame may be part of the message
        timeout=TIMEOUT_S,
        check=False,
    )


def has_failed(tests: Tests, result: subprocess.CompletedProcess[str]) -> bool:
    """Whether a test failed, or the program was ended by a fault: not that nothing could be run."""
    if tests.program == "pytest":
        return result.returncode == 1
    return result.returncode == 1 or result.returncode < 0


def first_failure(output: str) -> str:
    """The line of a test's output that says what failed."""
    lines = [line.strip() for line in output.splitlines()]
    signs = ("FAILED", "E  ", "[  FAILED", "Failure", "Assertion")
    return next((line for line in lines if any(sign in line for sign in signs)), lines[-1] if lines else "")


def is_as_it_must_be(tests: Tests, fault: str, build: Path) -> bool:
    """Whether the tests fail with the fault, or pass without one (an empty name). Says what it saw."""
    began = time.monotonic()
    try:
        result = run(tests, build, fault)
    except subprocess.TimeoutExpired:
        print(f"{fault or 'without a fault':<20} the tests ran for {TIMEOUT_S} s", flush=True)
        return False
    if not fault:
        if result.returncode != 0:
            print(f"without a fault {tests.program} {tests.chosen} failed:\n{result.stdout}", flush=True)
        return result.returncode == 0
    if not has_failed(tests, result):
        print(f"{fault:<20} NOT NOTICED by {tests.program} {tests.chosen}:\n{result.stdout}", flush=True)
        return False
    took = f"{time.monotonic() - began:.1f} s"
    print(f"{fault:<20} noticed after {took}: {first_failure(result.stdout)}", flush=True)
    return True


def main() -> int:
    """Runs the command line."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    build = Path(sys.argv[1]).resolve()
    package = build / "with_faults" / "carillon"
    shutil.copytree(
        ROOT / "python" / "carillon",
        package,
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
        dirs_exist_ok=True,
    )
    trials = [(tests, "") for tests in dict.fromkeys(NOTICED_BY.values())]
    trials += [(tests, fault) for fault, tests in NOTICED_BY.items()]
    trials.append((WORLDS, "lost_wake_up"))  # the simulator has to notice it, too
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = list(threads.map(lambda trial: is_as_it_must_be(*trial, build), trials))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
