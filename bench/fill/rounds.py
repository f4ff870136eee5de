"""Connections that come and go by the thousand: does the server's memory grow with every round?"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carillon.load import Load, run_load

from ..loads import NamedLoad
from ..report import Promise, load_average, settings_line, table
from ..serving import carillon, serving
from .fleet import clean

if TYPE_CHECKING:
    import argparse

GROWTH_MAX = 1.05  # the last peak over the first
HOLD_S = 0.5


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str, list[Promise]]:
    """Runs it; returns what goes into the JSON, the text, and what was promised."""
    settings: dict[str, object] = {
        "part": "rounds",
        "rounds": args.rounds,
        "connections": f"{args.connections_rounds:,}",
        "load average before": load_average(),
    }
    rounds = []
    with serving(carillon(), NamedLoad("fill", "")) as server:
        for number in range(1, args.rounds + 1):
            forget_peak(server.pid)
            load = Load(port=server.port, connections=args.connections_rounds, is_idle=True, seconds=HOLD_S)
            result = clean(run_load(load))
            peak_kib = status_kib(server.pid, "VmHWM")
            time.sleep(args.pause / 3)  # until the server has heard of every end
            left_kib = status_kib(server.pid, "VmRSS")
            rounds.append({"peak_kib": peak_kib, "left_kib": left_kib, "connect_s": result.connect_s})
            print(f"[{time.strftime('%X')}] round {number}: {peak_kib:,} KiB", file=sys.stderr, flush=True)
    settings["load average after"] = load_average()
    rows = [["round", "peak", "left when all are gone", "connected in"]]
    for number, each in enumerate(rounds, 1):
        sizes = [f"{each[name] / 1024:.1f} MiB" for name in ("peak_kib", "left_kib")]
        rows.append([str(number), *sizes, f"{each['connect_s']:.2f} s"])
    growth = rounds[-1]["peak_kib"] / rounds[0]["peak_kib"]
    document = {"settings": settings, "rounds": rounds}
    promises = [Promise("peak of the last round ÷ first", round(growth, 4), GROWTH_MAX)]
    return document, f"{settings_line(settings)}\n\n{table(rows)}", promises


def forget_peak(pid: int) -> None:
    """The peak of a process is counted from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def status_kib(pid: int, name: str) -> int:
    """A size from /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
