"""A cell over sinks in memory, in a process of its own: `python -m carillon.lab.sinks CELL`, in JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _core
from ..load import LoadError
from ..load.worker import histogram_to_json
from .capacity import LabError
from .cell import Cell
from .percentiles import columns, inbox_columns

if TYPE_CHECKING:
    from .table import Row

_TIMES = ("publish", "latency", "last_subscriber", "inbox_read")


def measure_sinks(cell: Cell) -> Row:
    """Measures a cell, and returns the columns of `compare`."""
    command = [sys.executable, "-m", "carillon.lab.sinks", json.dumps(asdict(cell))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=cell.give_up_s)
    except subprocess.TimeoutExpired:
        raise LabError(cell.too_fast("it had not ended")) from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no output"]
        raise LoadError(f"{cell}: {said[-1]}")
    report: dict[str, Any] = json.loads(done.stdout)
    if report["faults"]:
        raise LabError(f"{cell}: {report['faults']:,} publications were missing, repeated or out of order")
    found = {
        name: _core.LoadHistogram.from_buckets(
            [tuple(pair) for pair in report[name]["buckets"]], report[name]["max_ns"]
        )
        for name in _TIMES
    }
    cpu_us, deliveries = report["cpu_ns"] / 1e3, report["deliveries"]
    return {
        **cell.to_row(),
        "threads": 1,
        "publications": found["publish"].count,
        "deliveries": deliveries,
        **columns("publish", found["publish"]),
        **columns("delivery", found["latency"], found["publish"].count),
        **columns("last", found["last_subscriber"]),
        "publish_us": cpu_us / found["publish"].count,
        "delivery_us": cpu_us / deliveries if deliveries else None,
        "wire_bytes": report["delivered_bytes"] / deliveries if deliveries else None,
        "memory_mib": report["resident_mib"],
        "store_writes": report["inbox_entries"] / (cell.publications + cell.warmup),
        **inbox_columns(found["inbox_read"]),
    }


def main() -> int:
    """Runs the cell and prints its report."""
    cell = Cell(**json.loads(sys.argv[1]))
    report = _core.run_sinks(
        strategy=cell.strategy,
        threshold=cell.threshold,
        sweep_interval_ms=cell.sweep_interval_ms,
        channels=cell.channels,
        members=cell.members,
        online=cell.connections,
        rate_per_s=cell.publish_rate,
        messages=cell.publications,
        warmup=cell.warmup,
        payload_bytes=cell.payload,
    )
    counts = ("deliveries", "delivered_bytes", "inbox_entries", "cpu_ns", "faults")
    print(
        json.dumps(
            {
                **{name: histogram_to_json(getattr(report, name)) for name in _TIMES},
                **{name: getattr(report, name) for name in counts},
                "resident_mib": _resident_mib_max(),
            }
        )
    )
    return 0


def _resident_mib_max() -> float:
    """Peak memory of this process; getrusage would return the peak of its parent, if that was higher."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


if __name__ == "__main__":
    sys.exit(main())
