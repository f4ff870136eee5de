"""A listener is drained under load, and its clients come back at the other one of the same hub.

    python -m bench.drain --connections 10000

For each transport: a server of two listeners, subscribers at the first, and publishing all the time. The
first is drained; every subscriber that is asked to go comes back at the second with its position. Exit code 1
if anything was missing, repeated or told as a gap, or if somebody had to be cut off. Everything runs on
127.0.0.1 and ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from carillon.load import Load, LoadResult, Progress, run_load

from .compare.tables import render
from .serving import cores, end_on_sigterm, pinned

TRANSPORTS = ("ws", "sse", "poll")
SERVER = """
import json, sys, time
from carillon import Server
from carillon.descriptors import raise_limit
raise_limit()
with Server(port=0, insecure=True, threads=1) as server:
    first, second = server.listeners[0], server.listen()
    print(first.port, second.port, flush=True)
    deadline, pace = map(float, sys.stdin.readline().split())
    began = time.monotonic()
    have_left = first.drain(deadline, pace)
    print(json.dumps({"have_left": have_left, "drain_s": time.monotonic() - began}), flush=True)
    sys.stdin.readline()
"""
HEAD = [
    "transport", "moved", "delivered", "missing", "repeated", "told of a gap", "further tries",
    "drained in s", "connect to live p99 ms",
]  # fmt: skip


def drain_once(transport: str, options: argparse.Namespace) -> dict[str, Any]:
    """One server, one drain."""
    server_core, generator_core = cores()
    with subprocess.Popen(
        [*pinned(server_core), sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin
        assert server.stdout
        try:
            first, second = map(int, server.stdout.readline().split())
            load = Load(
                transport=transport,  # type: ignore[arg-type]
                port=first,
                return_port=second,
                connections=options.connections,
                rate_per_s=options.rate,
                warmup=min(20, max(1, int(options.rate))),
                seconds=options.deadline + 4,
                timeout_s=60,
                server_pids=(server.pid,),
            )
            result, said = run_with_drain(load, server, generator_core, options)
            print("", file=server.stdin, flush=True)
            server.wait(30)
        finally:
            server.kill()
    return {**result.to_dict(), **said}


def run_with_drain(
    load: Load, server: subprocess.Popen[str], core: int | None, options: argparse.Namespace
) -> tuple[LoadResult, dict[str, Any]]:
    """The load, in whose second second the drain begins; and what the server says of it."""
    said: dict[str, Any] = {}
    draining: list[threading.Thread] = []

    def drain() -> None:
        time.sleep(1)
        assert server.stdin
        assert server.stdout
        print(options.deadline, options.pace, file=server.stdin, flush=True)
        said.update(json.loads(server.stdout.readline()))

    def look(progress: Progress) -> None:
        if progress.is_measuring and not draining:
            draining.append(threading.Thread(target=drain))
            draining[0].start()

    result = run_load(load, cores=() if core is None else (core,), on_progress=look)
    for thread in draining:
        thread.join()
    return result, said


def main() -> int:
    """Runs the command line."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", default=10_000, type=int, help="default 10000")
    parser.add_argument("--rate", default=20.0, type=float, help="messages per second (default 20)")
    parser.add_argument("--deadline", default=10.0, type=float, help="of the drain, seconds (default 10)")
    parser.add_argument("--pace", default=5.0, type=float, help="of the drain, seconds (default 5)")
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="default all three")
    parser.add_argument("--json", action="store_true", help="print the reports instead of the table")
    options = parser.parse_args()
    before = " ".join(f"{each:.1f}" for each in os.getloadavg())
    reports = [drain_once(transport, options) for transport in options.transports.split(",")]
    if options.json:
        print(json.dumps(reports, indent=1))
    else:
        print(
            f"{options.connections:,} subscribers, {options.rate:g} messages a second; asked to go within "
            f"{options.pace:g} s, deadline {options.deadline:g} s; load average before: {before}\n"
        )
        print(render([HEAD, *(row_of(report) for report in reports)]))
    return 0 if all(is_whole(report) for report in reports) else 1


def row_of(report: dict[str, Any]) -> list[str]:
    """A row of the table."""
    return [
        report["transport"],
        f"{report['closed']:,}",
        f"{report['delivered_share']:.4%}".replace("%", " %"),
        *(f"{report[name]:,}" for name in ("missing", "repeated", "not_recovered", "retries")),
        f"{report['drain_s']:.2f}" + ("" if report["have_left"] else ", some cut off"),
        f"{report['resume_p99_ms']:.0f}",
    ]


def is_whole(report: dict[str, Any]) -> bool:
    """Whether all have moved, and nothing is missing or came twice."""
    faults = ("missing", "repeated", "reordered", "changed", "not_recovered", "lost", "refused", "stalled")
    return not any(report[name] for name in faults) and report["closed"] == report["connections"]


if __name__ == "__main__":
    sys.exit(main())
