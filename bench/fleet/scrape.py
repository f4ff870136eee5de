"""A scrape of /metrics at a full gateway: the time that it takes of the shard's thread, and its pieces."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from carillon.load import Load

from ..fill.report import Promise, load_average, table
from .gateways import fleet
from .holding import HOLD_S, held

if TYPE_CHECKING:
    import argparse

    from .gateways import Gateway

SCRAPE_MS = 20.0
PIECE_MS = 1.0
APART_S = 0.25
PER_CONNECTION = 6
SHARD = "carillon-s0"  # the name of its thread
PARTS = 2  # processes of the generator


def thread_cpu_ms(pid: int) -> dict[str, float]:
    """Returns the CPU time of each thread, ms, by its name and id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        # sum_exec_runtime of the scheduler, ns; it does not count while others have the core
        found[f"{name} {task.name}"] = int((task / "schedstat").read_text().split()[0]) / 1e6
    return found


def turns(gateway: Gateway) -> list[tuple[float, float]]:
    """Returns the cumulative buckets of the lengths of turns, by their upper bounds in ms."""
    family = gateway.metrics()["carillon_turn_seconds"]
    return [
        (float(dict(sample.labels)["le"]) * 1e3, sample.value)
        for sample in family.samples
        if sample.name.endswith("_bucket")
    ]


def window(
    gateway: Gateway, scrapes: int, *, is_scraping: bool
) -> tuple[list[dict[str, float]], list[float]]:
    """Returns the CPU time of the threads in each interval, and the turns by bucket, over a window."""
    before = turns(gateway)
    used = []
    for _ in range(scrapes):
        start = thread_cpu_ms(gateway.pid)
        begin = time.monotonic()
        if is_scraping:
            gateway.page()
        time.sleep(max(0.0, begin + APART_S - time.monotonic()))
        end = thread_cpu_ms(gateway.pid)
        used.append({name: value - start.get(name, 0.0) for name, value in end.items()})
    after = turns(gateway)
    rises = [b - a for (_, a), (_, b) in zip(before, after, strict=True)]
    return used, [rises[0], *(b - a for a, b in pairwise(rises))]


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str, list[Promise]]:
    """Scrapes it, and leaves it alone; returns what goes into the JSON, the text, and what was promised."""
    each, channels = args.scrape_connections // PARTS, args.scrape_channels // PARTS
    with fleet(1) as ours:
        gateway = ours.gateways[0]
        loads = [
            Load(port=gateway.port, connections=each, channels=channels, channel=f"many-{part}",
                 channels_per_connection=max(1, min(channels, PER_CONNECTION)), is_idle=True, seconds=HOLD_S,
                 timeout_s=HOLD_S)
            for part in range(PARTS)
        ]  # fmt: skip
        with held(loads):
            time.sleep(2.0)
            page = gateway.metrics()
            sizes = {
                name: sum(sample.value for sample in page[f"carillon_{name}"].samples)
                for name in ("connections", "channels", "subscriptions")
            }
            bounds = [bound for bound, _ in turns(gateway)]
            quiet, quiet_turns = window(gateway, args.scrapes, is_scraping=False)
            scraped, scraped_turns = window(gateway, args.scrapes, is_scraping=True)
            load = load_average()
            length = len(gateway.page())
    names = sorted(scraped[0], key=lambda name: -median(row.get(name, 0.0) for row in scraped))
    rows = [["thread", "CPU per interval, quiet", "with a scrape", "a scrape: median", "most"]]
    costs: dict[str, float] = {}
    for name in names:
        base = median(row.get(name, 0.0) for row in quiet)
        costs[name] = median(row.get(name, 0.0) for row in scraped) - base
        most = max(row.get(name, 0.0) for row in scraped) - base
        cells = (base, median(row.get(name, 0.0) for row in scraped), costs[name], most)
        rows.append([name, *(f"{cell:.2f} ms" for cell in cells)])
    turn_rows = [["turns of the shard", *(f"<= {bound:g} ms" for bound in bounds)]]
    for name, counts in (("quiet", quiet_turns), ("with scrapes", scraped_turns)):
        turn_rows.append([name, *(f"{count:g}" for count in counts)])

    def long(counts: list[float]) -> float:
        return sum(count for bound, count in zip(bounds, counts, strict=True) if bound > PIECE_MS)

    shard = next(name for name in names if name.startswith(SHARD))
    text = "\n".join(
        [
            f"## {args.scrapes} scrapes of a page of {length:,} bytes, "
            f"{APART_S:g} s apart: {', '.join(f'{value:,.0f} {name}' for name, value in sizes.items())}",
            f"load average {load}",
            "",
            table(rows[:8]),
            "",
            table(turn_rows),
            "A turn's length is the time of day: it counts while other programs have the core.",
        ]
    )
    promises = [
        Promise("CPU of the shard's thread for a scrape, ms", costs[shard], SCRAPE_MS),
        Promise(f"turns above {PIECE_MS:g} ms with scrapes, less those without, per scrape",
                max(0.0, long(scraped_turns) - long(quiet_turns)) / args.scrapes, 0),
    ]  # fmt: skip
    document = {"sizes": sizes, "cpu_ms": costs, "bounds_ms": bounds, "quiet": quiet_turns,
                "scraped": scraped_turns, "page_bytes": length}  # fmt: skip
    return document, text, promises
