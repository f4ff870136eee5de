"""Publishers with one publication under way each, over SQLite, beside one commit per publication."""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import TYPE_CHECKING

from .running import spread

if TYPE_CHECKING:
    from pathlib import Path

# Publishers, channels, and the ratio that is promised.
CASES = ((16, 1, 6), (16, 16, 6), (256, 1, 25), (256, 16, 25), (256, 256, 25))


def sqlite(program: Path, disk: str | None, seconds: int, rounds: int) -> None:
    """Prints publications per second as ratios to the bare loop of the same round."""
    print(f"\n## SQLite, full: rounds of {seconds} s, median (min-max) of {rounds}")
    print("| publishers | channels | bare commits/s | publications/s | / bare commits | promised | CPU, us |")
    print("| --- " * 7 + "|")
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        for publishers, channels, promised in CASES:
            settings = {"publishers": publishers, "channels": channels, "seconds": seconds, "rounds": rounds}
            words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
            done = subprocess.run(
                [str(program), "--folder", folder, *words], capture_output=True, text=True, check=True
            )
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            bare, rate = [row["bare_commits_s"] for row in rows], [row["publications_s"] for row in rows]
            print(
                f"| {publishers} | {channels} | {spread(bare, 0)} | {spread(rate, 0)} | "
                f"{spread([mine / its for mine, its in zip(rate, bare, strict=True)], 1)} | {promised} | "
                f"{spread([row['cpu_us'] for row in rows], 1)} |",
                flush=True,
            )
