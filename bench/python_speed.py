"""How fast Python publishes and reads in the server's own process, alone and with the hub under load.

    python -m bench.python_speed

128-byte `bytes`, memory store. `publish` and `publish_many` have no subscriber; `async for` reads a history
that is there, so that nothing but the reading is timed. Loads come from processes of their own, over sockets,
to the same hub. Figures are per second of the clock and, beside it, per CPU second of the thread that calls:
the latter hardly depends on what else the machine does. Exit code 1: below what is promised.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import carillon
from carillon.load import Load, LoadResult

from .fill.together import Together
from .loads import PAYLOAD_BYTES
from .report import Promise, load_average, settings_line, table
from .serving import end_on_sigterm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = b"x" * PAYLOAD_BYTES
BATCH = 1000  # of publish_many
LOAD_SUBSCRIBERS = 1000
LOAD_PER_S = 50.0
PROMISED_PER_S = {"publish": 0.4e6, "publish_many": 2e6, "async for": 1e6}
CONFIG: dict[str, Any] = {"client": {"insecure": True}}
CHANNELS = {"read*": carillon.Channel(history_size=50_000, history_bytes=64 << 20)}


@dataclass(frozen=True)
class Speed:
    """Items of one second.

    Attributes:
        by_clock: Of the clock on the wall.
        by_cpu: Of CPU time of the thread.
    """

    by_clock: float
    by_cpu: float

    def cells(self) -> list[str]:
        """For a table."""
        return [f"{value / 1e6:.2f} M/s" for value in (self.by_clock, self.by_cpu)]


def timed(items: int, act: Callable[[], object]) -> Speed:
    """Runs `act`, which handles so many items."""
    clock, cpu = time.perf_counter(), time.thread_time()
    act()
    cpu = time.thread_time() - cpu
    return Speed(items / (time.perf_counter() - clock), items / cpu)


def publish(server: carillon.Server, items: int) -> Speed:
    """One after another."""

    def act() -> None:
        for _ in range(items):
            server.publish("quiet", DATA)

    return timed(items, act)


def publish_many(server: carillon.Server, items: int) -> Speed:
    """A thousand at a time."""
    batch = [("quiet", DATA)] * BATCH

    def act() -> None:
        for _ in range(items // BATCH):
            server.publish_many(batch)

    return timed(items // BATCH * BATCH, act)


def async_for(server: carillon.Server, items: int) -> Speed:
    """Reads what the history holds."""
    items = min(items, 40_000)
    channel = f"read{time.monotonic_ns()}"
    begin = server.publish(channel, DATA)
    server.publish_many([(channel, DATA)] * items)

    async def read() -> None:
        left = items
        async with server.subscribe(channel, since=begin) as cursor:
            async for item in cursor:
                assert isinstance(item, carillon.Message)
                left -= 1
                if not left:
                    return

    return timed(items, lambda: asyncio.run(read()))


WAYS: dict[str, Callable[[carillon.Server, int], Speed]] = {
    "publish": publish,
    "publish_many": publish_many,
    "async for": async_for,
}


def measure(server: carillon.Server, args: argparse.Namespace) -> dict[str, Speed]:
    """Every way, in turns; medians."""
    found: dict[str, list[Speed]] = {name: [] for name in WAYS}
    for _ in range(args.rounds):
        for name, way in WAYS.items():
            found[name].append(way(server, args.items))
    return {
        name: Speed(
            statistics.median(each.by_clock for each in speeds),
            statistics.median(each.by_cpu for each in speeds),
        )
        for name, speeds in found.items()
    }


@contextlib.contextmanager
def started(hook: Callable[[Any], Any] | None = None) -> Iterator[carillon.Server]:
    """A server with one thread; every publication of a client passes through the hook."""
    server = carillon.Server(port=0, threads=1, config=CONFIG, channels=CHANNELS)
    if hook is not None:
        server.on_publish("*")(hook)
    with server:
        yield server


def under_load(args: argparse.Namespace) -> tuple[dict[str, Speed], LoadResult]:
    """The same while the hub serves 1,000 sockets."""
    with started() as server, Together() as together:
        load = Load(
            port=server.port,
            connections=args.subscribers,
            rate_per_s=LOAD_PER_S,
            seconds=args.load_seconds,
            warmup=20,
        )
        running = together.start(load)
        running.wait_until_measuring()
        speeds = measure(server, args)
        return speeds, running.result()


def through_hooks(args: argparse.Namespace) -> tuple[LoadResult, int]:
    """Publications of a client that each ask a hook in Python, at once as many as fit."""
    asked = 0

    async def allow(_context: object) -> bool:
        nonlocal asked
        asked += 1
        return True

    with started(allow) as server, Together() as together:
        load = Load(port=server.port, connections=10, channels=10, in_flight=64, seconds=args.hook_seconds)
        return together.start(load).result(), asked


def main() -> int:
    """Runs the command line."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000, help="per measurement (default 100,000)")
    parser.add_argument("--rounds", type=int, default=5, help="of measurements (default 5)")
    parser.add_argument(
        "--subscribers", type=int, default=LOAD_SUBSCRIBERS, help="of the load (default 1,000)"
    )
    parser.add_argument("--load-seconds", type=float, default=8.0, help="its window (default 8)")
    parser.add_argument("--hook-seconds", type=float, default=3.0, help="of publishing by hooks (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    args = parser.parse_args()
    before = load_average()
    with started() as server:
        alone = measure(server, args)
    loaded, load = under_load(args)
    hooked, asked = through_hooks(args)
    settings: dict[str, object] = {
        "payload": f"{PAYLOAD_BYTES} bytes",
        "items": args.items,
        "rounds": args.rounds,
        "load": f"{args.subscribers:,} WebSockets, {LOAD_PER_S:g} messages/s",
        "load average": f"{before} before, {load_average()} after",
    }
    rows = [["", "alone, by clock", "by CPU", "under load, by clock", "by CPU"]]
    rows += [[name, *alone[name].cells(), *loaded[name].cells()] for name in WAYS]
    promises = [
        Promise(f"{name}, ns of CPU each", round(1e9 / alone[name].by_cpu, 1), 1e9 / per_s)
        for name, per_s in PROMISED_PER_S.items()
    ]
    hook_rate = hooked.messages / hooked.window_s if hooked.window_s else 0.0
    latency = hooked.last_subscriber.percentile_ns(0.5) / 1e6
    print(settings_line(settings))
    print(f"\n{table(rows)}\n")
    print(f"the load meanwhile: {load.faults}; p99 {load.latency.percentile_ns(0.99) / 1e6:.2f} ms")
    print(f"through a hook in Python: {hook_rate:,.0f} publications/s, 64 in flight, {latency:.2f} ms (p50)")
    print(f"\n{table([['', 'measured', 'promised', ''], *(each.row() for each in promises)])}")
    if args.json:
        speeds = {name: {"alone": vars(alone[name]), "under_load": vars(loaded[name])} for name in WAYS}
        document = {
            "settings": settings,
            "speeds": speeds,
            "load": load.to_dict(),
            "hooks": {"asked": asked, **hooked.to_dict()},
            "promises": [each.to_dict() for each in promises],
        }
        args.json.write_text(json.dumps(document, indent=1))
    is_clean = load.is_clean and hooked.is_clean
    return 0 if is_clean and all(each.is_kept for each in promises) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
