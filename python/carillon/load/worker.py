"""One worker process: `python -m carillon.load.worker FOLDER WORKER WORKERS CORE LOAD`, with LOAD as JSON.

The board is in the folder. The report is written there as well: it is too large for a pipe without a reader.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from .. import _core
from ..descriptors import raise_limit
from .load import Load

FAULTS = ("missing", "repeated", "reordered", "malformed", "changed", "refused", "lost", "stalled")


CUT_COUNTS = ("returns", "closed", "retries", "not_recovered", "expected", "all_live_s", "server_cpu_ns")
CUT_TIMES = ("resume", "staying_quiet", "staying_storm")


def board_path(folder: str) -> str:
    """Returns the path of the board of a run."""
    return str(Path(folder) / "board")


def report_path(folder: str, worker: int) -> Path:
    """Returns the path of the report of a worker."""
    return Path(folder) / f"report-{worker}.json"


def to_json(report: _core.LoadReport) -> dict[str, Any]:
    """Returns the report as JSON values."""
    return {
        "latency": histogram_to_json(report.latency),
        "last_subscriber": histogram_to_json(report.last_subscriber),
        "publish": histogram_to_json(report.publish),
        "slices": [
            {"latency": histogram_to_json(each.latency), "publish": histogram_to_json(each.publish)}
            for each in report.slices
        ],
        "received_bytes": report.received_bytes,
        "sent_bytes": report.sent_bytes,
        "ping_gaps": histogram_to_json(report.ping_gaps),
        "pings": report.pings,
        "faults": {name: getattr(report, name) for name in FAULTS},
        "first_fault": report.first_fault,
        "cuts": {
            **{name: getattr(report.cuts, name) for name in CUT_COUNTS},
            **{name: histogram_to_json(getattr(report.cuts, name)) for name in CUT_TIMES},
        },
        "connect_s": report.connect_s,
        "window_s": report.window_s,
        "generator_us": report.generator_us,
        "server_total_us": report.server_cpu.total_ns / 1000,
        "server_user_ms": report.server_cpu.user_ms,
        "server_system_ms": report.server_cpu.system_ms,
        "server_private_before_kib": report.server_before.private_kib,
        "server_private_kib": report.server_connected.private_kib,
        "server_resident_kib": report.server_connected.resident_kib,
    }


def histogram_to_json(histogram: _core.LoadHistogram) -> dict[str, Any]:
    """Returns the buckets and the maximum."""
    return {"buckets": histogram.buckets(), "max_ns": histogram.max_ns}


def main() -> int:
    """Runs the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    folder, worker, workers, core, load = sys.argv[1:]
    if core:
        os.sched_setaffinity(0, {int(core)})
    raise_limit()
    settings = Load(**json.loads(load)).native(int(worker), int(workers))
    report = _core.run_load_worker(settings, _core.LoadBoard(board_path(folder), is_new=False))
    report_path(folder, int(worker)).write_text(json.dumps(to_json(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
