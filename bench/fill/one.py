"""One server process with all the connections that its descriptors allow."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carillon.load import Load, LoadError, LoadResult

from ..loads import PAYLOAD_BYTES, NamedLoad
from ..report import Promise, load_average, settings_line, table
from ..serving import Contestant, cores, pinned, serving
from .resumes import Resume, Resumes
from .together import Together

if TYPE_CHECKING:
    import argparse

CROWD_PER_S = 5.0
PROBES_PER_S = 50.0
RESUMES_PER_S = 3.0
ALONE_P99_MS = 10.0  # what is promised to the subscriber of a channel of its own
PONG_TIMEOUT_MS = 3_000
PING_TOLERANCE_S = 1.0
CROWD_NICENESS = 5  # whoever measures does not wait for whoever only makes the load

CONFIG = """
[client]
insecure = true
ping_interval = "{ping_interval}s"
pong_timeout = "{pong_timeout}ms"
"""
COMMAND = (
    "{python} -m carillon serve --config {folder}/fill.toml --threads THREADS --port {port} --no-access-log"
)


@dataclass(frozen=True)
class Split:
    """Connections of the channels of three sizes, which leave room for publishers and resumes."""

    crowd: int
    group: int
    alone: int

    @classmethod
    def of(cls, connections: int) -> Split:
        """19,900 are 19,000 in one channel, 100 in one, and 780 in channels of their own."""
        crowd = round(connections * 190 / 199)
        group = min(100, connections // 20)
        return cls(crowd, group, max(1, connections - crowd - group - 20))

    @property
    def total(self) -> int:
        """All that are held to the end."""
        return self.crowd + self.group + self.alone


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str, list[Promise]]:
    """Runs it; returns what goes into the JSON, the text, and what was promised."""
    split = Split.of(args.connections_one)
    settings = {
        "part": "one",
        "connections": f"{split.crowd:,} + {split.group:,} + {split.alone:,} x 1",
        "crowd": f"{CROWD_PER_S:g} messages/s",
        "probes": f"{PROBES_PER_S:g} messages/s over the channels of one",
        "payload": f"{PAYLOAD_BYTES} bytes",
        "seconds": args.seconds,
        "threads": args.threads,
        "ping interval": f"{args.ping_interval} s",
        "load average before": load_average(),
    }
    pong_timeout = min(PONG_TIMEOUT_MS, args.ping_interval * 800)
    config = CONFIG.format(ping_interval=args.ping_interval, pong_timeout=pong_timeout)
    contestant = Contestant("carillon", f"{COMMAND} --threads {args.threads}", files={"fill.toml": config})
    server_core, generator_core = cores() if args.threads == 1 else (None, None)
    generators = () if generator_core is None else (generator_core,)
    with (
        serving(contestant, NamedLoad("fill", ""), prefix=pinned(server_core)) as server,
        Together() as together,
    ):
        common = {"port": server.port, "payload_bytes": PAYLOAD_BYTES, "server_pids": (server.pid,)}
        crowd = together.start(
            Load(
                **common,
                channel="crowd",
                connections=split.crowd,
                rate_per_s=CROWD_PER_S,
                warmup=5,
                seconds=args.seconds + args.linger,
            ),
            cores=generators,
            niceness=CROWD_NICENESS,
        )
        crowd.wait_until_measuring()
        note(f"{split.crowd:,} are connected, subscribed, and are being published to")
        group = together.start(
            Load(
                **common,
                channel="group",
                connections=split.group,
                rate_per_s=CROWD_PER_S,
                warmup=5,
                seconds=args.seconds,
            ),
            cores=generators,
        )
        alone = together.start(
            Load(
                **common,
                channel="alone",
                connections=split.alone,
                channels=split.alone,
                rate_per_s=PROBES_PER_S,
                warmup=50,
                seconds=args.seconds,
            ),
            cores=generators,
        )
        alone.wait_until_measuring()
        note(f"{split.total:,} are")
        resumes = Resumes(server.port, "crowd", per_s=RESUMES_PER_S, seconds=args.seconds)
        resumes.start()
        results = {"alone": alone.result(), "group": group.result()}
        resumes.join(60)
        if crowd.is_over():
            raise LoadError(f"the crowd ended before the others; give more than --linger {args.linger:g}")
        results["crowd"] = crowd.result()
    for name, result in results.items():
        if not result.is_clean:
            raise LoadError(f"{name}: {result.faults}: {result.first_fault}")
    return judge(args, settings, results, resumes.done)


def judge(
    args: argparse.Namespace,
    settings: dict[str, object],
    results: dict[str, LoadResult],
    resumes: list[Resume],
) -> tuple[dict[str, Any], str, list[Promise]]:
    """Makes figures of what was seen."""
    settings["load average after"] = load_average()
    ping_gap_s = max(result.ping_gaps.max_ns for result in results.values()) / 1e9
    faults = [each.fault for each in resumes if each.fault]
    promises = [
        Promise(
            "p99 of the channels of one, ms", results["alone"].latency.percentile_ns(0.99) / 1e6, ALONE_P99_MS
        ),
        Promise("longest time without a ping, s", ping_gap_s, args.ping_interval + PING_TOLERANCE_S),
        Promise("resumes that were not complete", len(faults), 0),
    ]
    rows = [["channel of", "p50", "p99", "p99.9", "max", "last subscriber p50", "p99", "deliveries", "pings"]]
    for result in results.values():
        shares = [result.latency.percentile_ns(share) for share in (0.5, 0.99, 0.999, 1.0)]
        last = [result.last_subscriber.percentile_ns(share) for share in (0.5, 0.99)]
        members = result.load.connections // result.load.channels
        times = [f"{ns / 1e6:.2f} ms" for ns in (*shares, *last)]
        rows.append([f"{members:,}", *times, f"{result.deliveries:,}", f"{result.pings:,}"])
    seconds = sorted(each.seconds for each in resumes if not each.fault) or [0.0]
    busy = results["crowd"].server_cores_busy
    lines = [
        settings_line(settings),
        "",
        table(rows),
        "",
        f"{len(resumes)} resumes, 1 to 50 publications behind: {len(resumes) - len(faults)} complete; "
        f"all missed there after {seconds[len(seconds) // 2] * 1e3:.1f} ms (median), "
        f"{seconds[-1] * 1e3:.1f} ms (slowest)",
        f"the crowd connected in {results['crowd'].connect_s:.1f} s; the server used {busy:.2f} cores",
        *(f"resume: {fault}" for fault in faults[:3]),
    ]
    document = {
        "settings": settings,
        **{name: result.to_dict() for name, result in results.items()},
        "resumes": [vars(each) for each in resumes],
    }
    return document, "\n".join(lines), promises


def note(text: str) -> None:
    """Progress, on standard error."""
    print(f"[{time.strftime('%X')}] {text}", file=sys.stderr, flush=True)
