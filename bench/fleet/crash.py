"""A gateway is killed: until its clients are live at the others, and what the clients of those notice."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from carillon import _core
from carillon.load import Load, LoadError, LoadResult, Progress, run_load

from ..loads import PAYLOAD_BYTES
from ..report import Promise, load_average, table
from .gateways import fleet

if TYPE_CHECKING:
    import argparse

LIVE_S = 3.0
MORE_S = 4.0  # the clients that return are watched for longer than the others
SLICE_S = 0.5
RETURN_RATE = 5.0
OTHERS_RATE = 20.0


class _Load(threading.Thread):
    """A load beside others."""

    def __init__(self, load: Load) -> None:
        super().__init__(daemon=True)
        self.load = load
        self.since_ns = 0
        self.result: LoadResult | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.result = run_load(self.load, on_progress=self._watch)
        except Exception as error:
            self.error = error

    def _watch(self, progress: Progress) -> None:
        if progress.is_measuring:
            self.since_ns = progress.measuring_since_ns

    def found(self) -> LoadResult:
        """Returns the result; raises LoadError if there is none."""
        self.join()
        if self.result is None:
            raise LoadError(f"a load failed: {self.error}")
        return self.result


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str, list[Promise]]:
    """Kills one; returns what goes into the JSON, the text, and what was promised."""
    common: dict[str, Any] = {"payload_bytes": PAYLOAD_BYTES, "warmup": 5, "timeout_s": 60.0}
    with fleet(args.gateways) as ours:
        *survivors, victim = ours.gateways
        each = args.crash_clients // len(survivors)
        returning = [
            _Load(
                Load(port=victim.port, return_port=other.port, connections=each, channel=f"crash-{number}",
                     rate_per_s=RETURN_RATE, seconds=args.before + args.after + MORE_S, **common)
            )
            for number, other in enumerate(survivors)
        ]  # fmt: skip
        others = _Load(
            Load(gateways=tuple(other.port for other in survivors), connections=args.crash_others,
                 channel="others", rate_per_s=OTHERS_RATE, seconds=args.before + args.after, slice_s=SLICE_S,
                 **common)
        )  # fmt: skip
        loads = [*returning, others]
        for load in returning:
            load.start()
        wait_for(returning)
        others.start()
        wait_for([others])
        time.sleep(max(0.0, args.before - (time.monotonic_ns() - others.since_ns) / 1e9))
        before = load_average()
        killed_ns = time.monotonic_ns()
        victim.kill()
        results = [load.found() for load in returning]
        beside = others.found()
    live_s = [max(result.to_dict()["all_live_s"], default=float("nan")) for result in results]
    faults = [str(load.found().faults) for load in loads if not load.found().is_clean]
    killed_s = (killed_ns - others.since_ns) / 1e9
    parts = {"before": (0.0, killed_s), "until all are live": (killed_s - SLICE_S, killed_s + max(live_s)),
             "after": (killed_s + max(live_s), 1e9)}  # fmt: skip
    rows = [["the others' deliveries", "p50", "p99", "longest"]]
    figures: dict[str, Any] = {}
    for name, (start, end) in parts.items():
        merged = _core.LoadHistogram()
        for part in beside.slices:
            inside = start < part.start_s < end if name != "before" else part.start_s + SLICE_S <= end
            if inside:
                merged.merge(part.latency)
        found = [merged.percentile_ns(0.5) / 1e6, merged.percentile_ns(0.99) / 1e6, merged.max_ns / 1e6]
        figures[name] = found
        rows.append([name, *(f"{value:,.1f} ms" for value in found)])
    resumes = [result.to_dict() for result in results]
    returned = sum(row["closed"] for row in resumes)
    lost = sum(row["missing"] for row in resumes)
    repeated = sum(row["repeated"] for row in resumes)
    not_recovered = sum(row["not_recovered"] for row in resumes)
    text = "\n".join(
        [
            f"## A gateway with {returned:,} clients is killed; {args.crash_others:,} are at the "
            f"{len(survivors)} others, {OTHERS_RATE:g} messages/s",
            f"load average before {before}, after {os.getloadavg()[0]:.2f}",
            "",
            f"all live elsewhere after {max(live_s):.2f} s (by process of the generator: "
            f"{', '.join(f'{each:.2f}' for each in live_s)}); each client waits 0.5 to 1.5 s by itself",
            f"connect to live of a client, p99: {max(row['resume_p99_ms'] for row in resumes):,.0f} ms",
            f"missing {lost}, repeated {repeated}, not recovered {not_recovered}, "
            f"further tries {sum(row['retries'] for row in resumes)}; "
            f"faults: {'; '.join(faults) or 'none'}",
            "",
            table(rows),
        ]
    )
    promises = [
        Promise("until all clients of the killed gateway are live elsewhere, s", max(live_s), LIVE_S),
        Promise("missing, repeated, not recovered, other faults", lost + repeated + not_recovered
                + len(faults), 0),
    ]  # fmt: skip
    return {"live_s": live_s, "others_ms": figures, "returning": resumes}, text, promises


def wait_for(loads: list[_Load]) -> None:
    """Returns once all of them are measured."""
    deadline = time.monotonic() + 120
    while not all(load.since_ns for load in loads):
        if failed := next((load.error for load in loads if load.error), None):
            raise LoadError(f"a load failed: {failed}")
        if time.monotonic() > deadline:
            raise LoadError("the clients were not connected within 120 s")
        time.sleep(0.02)
