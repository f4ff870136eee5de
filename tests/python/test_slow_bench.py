"""bench/slow_consumers.py at a small load: what must hold at any. Latencies decide nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["wait", "skip", "disconnect"])
def test_stalled_readers_cost_positions_and_the_books_balance(policy: str) -> None:
    command = ["-m", "bench.slow_consumers", "--json", "--policy", policy]
    scale = ["--stalled", "90", "--readers", "20", "--seconds", "1"]
    done = subprocess.run(
        [sys.executable, *command, *scale], cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["is_balanced"]
    assert report["growth_bytes"] < report["growth_bound_bytes"]
    assert report["beside"]["clogged"] >= 60, "WebSockets and streams had stopped reading"
    if policy == "disconnect":
        assert report["slow"] > 0
    else:
        assert report["gaps_told"] > 0
    assert (report["account"]["dropped"]["skipped"] > 0) == (policy == "skip")
