"""A scrape of /metrics at a full gateway: the time that it takes of the shard's thread, and its pieces."""

from __future__ import annotations

import http.client
import os
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from carillon.load import Load
from carillon.metrics_page import parse

from ..report import Promise, load_average, table
from .gateways import HOST, fleet
from .holding import HOLD_S, held

if TYPE_CHECKING:
    import argparse

    from .gateways import Gateway

SCRAPE_MS = 20.0
PIECE_MS = 1.0
APART_S = 0.25
PER_CONNECTION = 6
SHARD = "carillon-s0"  # the name of its thread
SETTLE_S = 60.0
SETTLED_MS = 150.0  # of CPU in a second: pings, and comparisons with Redis
PARTS = 2  # processes of the generator


def thread_cpu_ms(pid: int) -> dict[str, float]:
    """Returns the CPU time of each thread, ms, by its name and id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        # sum_exec_runtime of the scheduler, ns; it does not count while others have the core
        found[f"{name} {task.name}"] = int((task / "schedstat").read_text().split()[0]) / 1e6
    return found


def turns(page: str) -> list[tuple[float, float]]:
    """Returns the cumulative buckets of the lengths of turns on a page, by their upper bounds in ms."""
    return [
        (float(dict(sample.labels)["le"]) * 1e3, sample.value)
        for sample in parse(page)["carillon_turn_seconds"].samples
        if sample.name.endswith("_bucket")
    ]


def prefer(gateway: Gateway) -> str:
    """Gives the shard's thread real-time priority, so that a turn's length is its time on the CPU.

    Returns the words for it: it needs root.
    """
    for task in Path(f"/proc/{gateway.pid}/task").iterdir():
        if (task / "comm").read_text().startswith(SHARD):
            try:
                os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(1))
            except PermissionError:
                return "other programs may have its core: turns look longer than they are"
    return "its thread has real-time priority"


def settle(gateway: Gateway) -> None:
    """Returns once the gateway does little: so many new channels keep it busy for a while."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        before = sum(thread_cpu_ms(gateway.pid).values())
        time.sleep(1.0)
        if sum(thread_cpu_ms(gateway.pid).values()) - before < SETTLED_MS:
            return


class Scraper:
    """Reads the page over one connection, as Prometheus does."""

    def __init__(self, gateway: Gateway) -> None:
        self._connection = http.client.HTTPConnection(HOST, gateway.port, timeout=60)

    def page(self) -> str:
        """Returns the page."""
        self._connection.request("GET", "/metrics")
        return self._connection.getresponse().read().decode()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def scrape_once(gateway: Gateway, scraper: Scraper) -> tuple[dict[str, float], dict[float, float]]:
    """Returns the CPU time of each thread for a scrape, ms, and the turns from it to the next by bucket.

    The next page is read at once: it has counted the turns of this scrape, and hardly any others.
    """
    before = thread_cpu_ms(gateway.pid)
    first = scraper.page()
    after = thread_cpu_ms(gateway.pid)
    second = scraper.page()
    rises = [(bound, b - a) for (bound, a), (_, b) in zip(turns(first), turns(second), strict=True)]
    alone = {rises[0][0]: rises[0][1]}
    alone |= {bound: rise - below for (_, below), (bound, rise) in pairwise(rises)}
    return {name: value - before.get(name, 0.0) for name, value in after.items()}, alone


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
            settle(gateway)
            priority = prefer(gateway)
            page = gateway.metrics()
            sizes = {
                name: sum(sample.value for sample in page[f"carillon_{name}"].samples)
                for name in ("connections", "channels", "subscriptions")
            }
            scraper = Scraper(gateway)
            used: list[dict[str, float]] = []
            lengths: Counter[float] = Counter()
            for _ in range(args.scrapes):
                cpu_ms, found = scrape_once(gateway, scraper)
                used.append(cpu_ms)
                lengths.update(found)
                time.sleep(APART_S)
            length = len(scraper.page())
            scraper.close()
            load = load_average()
    costs = {name: [each.get(name, 0.0) for each in used] for name in used[0]}
    names = sorted(costs, key=lambda name: -median(costs[name]))
    rows = [["CPU of a thread for a scrape", "median", "most"]]
    rows += [[name, f"{median(costs[name]):.2f} ms", f"{max(costs[name]):.2f} ms"] for name in names[:5]]
    shown = [(bound, count) for bound, count in sorted(lengths.items()) if count]
    text = "\n".join(
        [
            f"## {args.scrapes} scrapes of a page of {length:,} bytes, {APART_S:g} s apart: "
            + ", ".join(f"{value:,.0f} {name}" for name, value in sizes.items()),
            f"load average {load}; {priority}",
            "",
            table(rows),
            "",
            "turns of the shard from a scrape to another right behind it, by the time of day, which counts "
            "waiting: " + ", ".join(f"{count:g} of at most {bound:g} ms" for bound, count in shown),
        ]
    )
    shard = next(name for name in names if name.startswith(SHARD))
    promises = [
        Promise("CPU of the shard's thread for a scrape, ms (median)", median(costs[shard]), SCRAPE_MS),
        Promise("most of any scrape, ms: no piece is longer", max(costs[shard]), PIECE_MS),
    ]
    document = {
        "sizes": sizes,
        "cpu_ms": costs,
        "turns_by_bound_ms": {f"{bound:g}": count for bound, count in shown},
        "page_bytes": length,
    }
    return document, text, promises
