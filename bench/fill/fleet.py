"""As many server processes as the connections need, one load on all of them, bare loops beside them."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carillon.descriptors import connections_max
from carillon.load import Load, LoadError, LoadResult, Progress, run_load

from ..loads import PAYLOAD_BYTES, NamedLoad
from ..report import Promise, load_average, settings_line, table
from ..serving import Contestant, bare_loops, carillon, serving

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PROCESS_CONNECTIONS = 19_900  # more is nothing that a process has to hold, even where it may
CONNECT_RATIO = 2.0
MEMORY_RATIO = 1.5
LAST_RATIO = 1.5
_LEAST_MIB = 0.1  # below this a difference of the memory of the machine says nothing


@dataclass
class Fleet:
    """What several processes of one contestant have shown.

    Attributes:
        name: Of the contestant.
        idle: Nothing is published; heartbeats go on.
        ringing: A message to everybody, again and again.
        memory_mib: What the machine has less of with all connections: servers, generators, kernel.
    """

    name: str
    idle: LoadResult
    ringing: LoadResult
    memory_mib: float

    def last_ms(self, share: float) -> float:
        """Until the last subscriber of all processes has a message."""
        return self.ringing.last_subscriber.percentile_ns(share) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "memory_mib": round(self.memory_mib, 1),
            "idle": self.idle.to_dict(),
            "ringing": self.ringing.to_dict(),
        }

    def row(self) -> list[str]:
        """For the table."""
        connections = self.idle.load.connections
        return [
            self.name,
            f"{self.idle.connect_s:.2f} s",
            f"{self.ringing.connect_s:.2f} s",
            f"{self.memory_mib:,.0f} MiB",
            f"{self.idle.server_private_kib / 1024:,.0f} MiB",
            f"{self.idle.server_cores_busy:.3f}",
            f"{self.idle.pings / connections:.2f}",
            f"{self.last_ms(0.5):,.0f} ms",
            f"{self.last_ms(0.99):,.0f} ms",
        ]


HEAD = [
    "",
    "all connected",
    "again",
    "memory of all",
    "of the servers",
    "idle cores",
    "pings each",
    "last subscriber p50",
    "p99",
]


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str, list[Promise]]:
    """Runs it; returns what goes into the JSON, the text, and what was promised."""
    processes = args.processes or math.ceil(
        args.connections_fleet / min(PROCESS_CONNECTIONS, connections_max())
    )
    settings: dict[str, object] = {
        "part": "fleet",
        "connections": f"{args.connections_fleet:,}",
        "processes": processes,
        "loads": processes,
        "payload": f"{PAYLOAD_BYTES} bytes",
        "messages": f"{args.messages}, {args.rate:g}/s, each published to all processes at once",
        "idle": f"{args.idle:g} s",
        "load average before": load_average(),
    }
    bare, bare_again = bare_loops()[:2]
    fleets = [measure(contestant, processes, args) for contestant in (bare, carillon(), bare_again)]
    settings["load average after"] = load_average()
    first, ours, again = fleets
    promises = [
        Promise(
            "until all are connected, ÷ bare",
            min(ours.idle.connect_s, ours.ringing.connect_s)
            / min(first.idle.connect_s, first.ringing.connect_s),
            CONNECT_RATIO,
        ),
        Promise("memory of everything, ÷ bare", ours.memory_mib / first.memory_mib, MEMORY_RATIO),
        Promise("last subscriber p50, ÷ bare", ours.last_ms(0.5) / first.last_ms(0.5), LAST_RATIO),
        Promise("last subscriber p99, ÷ bare", ours.last_ms(0.99) / first.last_ms(0.99), LAST_RATIO),
    ]
    strays = {
        "connected": again.idle.connect_s / first.idle.connect_s,
        "memory": again.memory_mib / first.memory_mib,
        "last subscriber": again.last_ms(0.5) / first.last_ms(0.5),
    }
    noise = ", ".join(f"{name} {ratio:.2f}" for name, ratio in strays.items())
    rows = table([HEAD, *(each.row() for each in fleets)])
    text = f"{settings_line(settings)}\n\n{rows}\n\nthe bare loop against itself: {noise}"
    document = {"settings": settings, **{each.name: each.to_dict() for each in fleets}}
    return document, text, promises


def measure(contestant: Contestant, processes: int, args: argparse.Namespace) -> Fleet:
    """One contestant: connections that idle, then new ones that are published to."""
    print(f"[{time.strftime('%X')}] {contestant.name}", file=sys.stderr, flush=True)
    before_mib = available_mib()
    memory_mib: list[float] = []
    connections = args.connections_fleet
    with started(contestant, processes) as (ports, pids):
        common = {
            "ports": ports,
            "connections": connections,
            "payload_bytes": PAYLOAD_BYTES,
            "server_pids": pids,
            "timeout_s": 60.0,
        }

        def note_memory(progress: Progress) -> None:
            if progress.live == connections and not memory_mib:
                # Others may have given memory back meanwhile: a few connections then seem to take none.
                memory_mib.append(max(before_mib - available_mib(), _LEAST_MIB))

        idle = clean(run_load(Load(**common, is_idle=True, seconds=args.idle), on_progress=note_memory))
        ringing = clean(
            run_load(Load(**common, rate_per_s=args.rate, warmup=1, messages=args.messages, seconds=0.0))
        )
    time.sleep(args.pause)  # the kernel frees the sockets
    return Fleet(contestant.name, idle, ringing, memory_mib[0] if memory_mib else math.nan)


def clean(result: LoadResult) -> LoadResult:
    """The result, or a LoadError if anything was lost."""
    if not result.is_clean:
        raise LoadError(f"{result.faults}: {result.first_fault}")
    return result


@contextlib.contextmanager
def started(contestant: Contestant, processes: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """That many servers; gives their ports and process ids."""
    with contextlib.ExitStack() as stack:
        load = NamedLoad("fill", "")
        running = [stack.enter_context(serving(contestant, load)) for _ in range(processes)]
        yield tuple(each.port for each in running), tuple(each.pid for each in running)


def available_mib() -> float:
    """Memory that the machine could still give to somebody."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:"))
