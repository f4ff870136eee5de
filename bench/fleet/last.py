"""The last subscriber of a publication over the fleet, beside bare loops; and what Redis does for it."""

from __future__ import annotations

import contextlib
import math
import os
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from carillon.load import Load, LoadError, LoadResult, run_load

from ..loads import PAYLOAD_BYTES
from ..report import Promise, load_average, table
from .gateways import bare_loops_of, fleet
from .holding import held, idle_loads
from .redis_cost import Monitor

if TYPE_CHECKING:
    import argparse

LAST_RATIO = 1.5
WATCHED = 10  # messages while Redis is watched

COST_HEAD = [
    "Redis, per publication",
    "commands of gateways",
    "commands in their scripts",
    "bytes received",
    "announced to each gateway",
    "other commands",
    "their bytes",
]


def ms(results: list[LoadResult], share: float) -> list[float]:
    """Returns a percentile of the last subscriber in each round, ms."""
    return [each.last_subscriber.percentile_ns(share) / 1e6 for each in results]


def clean(result: LoadResult) -> LoadResult:
    """Returns the result; raises LoadError if a delivery was wrong."""
    if not result.is_clean:
        raise LoadError(f"{result.faults}: {result.first_fault}")
    return result


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str, list[Promise]]:
    """Measures both, alternating; returns what goes into the JSON, the text, and what was promised."""
    others = args.connections - args.members
    common: dict[str, Any] = {
        "payload_bytes": PAYLOAD_BYTES,
        "connections": args.members,
        "warmup": 2,
        "seconds": 0.0,
        "rate_per_s": args.rate,
        "messages": args.messages,
        "timeout_s": 120.0,
    }
    bare_results: list[LoadResult] = []
    our_results: list[LoadResult] = []
    loads: list[str] = []
    with contextlib.ExitStack() as running:
        ours = running.enter_context(fleet(args.gateways))
        ports, pids = running.enter_context(bare_loops_of(args.gateways))
        for where in (ours.ports, ports):
            running.enter_context(held(idle_loads(where, others, "others")))
        costs: dict[int, dict[str, float]] = {}
        for size in sorted({10 * args.gateways, args.members // 8, args.members}):
            channel = f"watched-{size}"
            with Monitor(ours.redis, channel) as monitor:
                watched = {**common, "connections": size, "channel": channel, "messages": WATCHED}
                clean(run_load(Load(gateways=ours.ports, **watched)))
            costs[size] = monitor.per_publication()

        def measure_ours() -> None:
            our_results.append(clean(run_load(Load(gateways=ours.ports, server_pids=ours.pids, **common))))

        def measure_bare() -> None:
            bare_results.append(clean(run_load(Load(ports=ports, server_pids=pids, **common))))

        for number in range(args.rounds):
            for step in (measure_bare, measure_ours)[:: 1 if number % 2 == 0 else -1]:
                step()
                loads.append(f"{os.getloadavg()[0]:.1f}")
    return report(args, bare_results, our_results, costs, loads)


def report(
    args: argparse.Namespace,
    bare: list[LoadResult],
    ours: list[LoadResult],
    costs: dict[int, dict[str, float]],
    loads: list[str],
) -> tuple[dict[str, Any], str, list[Promise]]:
    """Returns the JSON, the text and the promises of what was measured."""
    rows = [["last subscriber", "p50 of each round", "p99 of each round", "CPU of servers per delivery",
             "CPU of generator"]]  # fmt: skip
    for name, results in (("bare loops", bare), ("gateways", ours)):
        per_delivery = median(each.server_us_per_delivery or math.nan for each in results)
        generator = median(each.to_dict()["generator_us_per_delivery"] for each in results)
        rows.append(
            [
                f"{args.gateways} {name}",
                ", ".join(f"{each:,.0f}" for each in ms(results, 0.5)) + " ms",
                ", ".join(f"{each:,.0f}" for each in ms(results, 0.99)) + " ms",
                f"{per_delivery:.2f} us",
                f"{generator:.2f} us",
            ]
        )
    ratios = {
        share: [a / b for a, b in zip(ms(ours, share), ms(bare, share), strict=True)] for share in (0.5, 0.99)
    }
    spread = ", ".join(f"p{100 * share:g} {min(each):.2f}-{max(each):.2f}" for share, each in ratios.items())
    cost_rows = [COST_HEAD]
    for size, found in costs.items():
        cost_rows.append([f"{size:,} subscribers", f"{found['commands']:.2f}", f"{found['within']:.1f}",
                          f"{found['received']:,.0f} B", f"{found['announced']:,.0f} B",
                          f"{found['other_commands']:.2f}", f"{found['other_received']:,.0f} B"])  # fmt: skip
    text = "\n".join(
        [
            f"## Last subscriber of {args.members:,} on {args.gateways} gateways, "
            f"{args.connections:,} connections; {args.rounds} rounds of {args.messages} messages, "
            f"{args.rate:g}/s",
            f"load average after each load: {', '.join(loads)}; now {load_average()}",
            "",
            table(rows),
            "",
            f"ours / bare of the same round, least to greatest: {spread}",
            "",
            table(cost_rows),
            "Read by MONITOR: the scripts that append to the channel. Others are those that name the channel",
            "between the first and the last append: comparisons of its top, and presence.",
        ]
    )
    promises = [
        Promise("last subscriber p50, / bare (median of the rounds)", median(ratios[0.5]), LAST_RATIO),
        Promise("last subscriber p99, / bare (median of the rounds)", median(ratios[0.99]), LAST_RATIO),
    ]
    document = {
        "bare": [each.to_dict() for each in bare],
        "ours": [each.to_dict() for each in ours],
        "redis_per_publication": {str(size): each for size, each in costs.items()},
        "load_averages": loads,
        "measured_fleet": measured_fleet(args, ours, loads),
    }
    return document, text, promises


def measured_fleet(args: argparse.Namespace, ours: list[LoadResult], loads: list[str]) -> dict[str, Any]:
    """Returns what `carillon.lab.check_fleet` compares with its model."""
    generator_us = median(each.to_dict()["generator_us_per_delivery"] for each in ours)
    return {
        "gateways": args.gateways,
        "subscribers": args.members,
        "publish_rate": args.rate,
        "publications": sum(each.messages for each in ours),
        "deliveries": sum(each.deliveries for each in ours),
        "gateways_us": median(each.server_us_per_delivery or math.nan for each in ours) * args.members,
        "generator_us": generator_us * args.members,
        "last_p50_ms": median(ms(ours, 0.5)),
        "host_cores": len(os.sched_getaffinity(0)),
        "measured_on": time.strftime("%F"),
        "machine": f"{os.cpu_count()} cores, load average {', '.join(loads)}",
    }
