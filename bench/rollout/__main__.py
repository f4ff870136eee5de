"""A fleet behind a proxy is replaced, gateway after gateway, by `carillon rollout` under load.

    python -m bench.rollout --proxy haproxy --clients 8000

Starts a Redis, gateways with one thread each, and HAProxy or nginx with the files of deploy/. Subscribers on
all transports and SDKs connect through the proxy. Publishers use the HTTP API of the gateways, and repeat
what was not acknowledged with its idempotency key. Every delivery is checked against what was acknowledged.
Exit code 1: anything was lost, doubled, out of order or not recovered, or the rollout stopped. Everything
runs on 127.0.0.1 and ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import carillon
from carillon.descriptors import raise_limit
from carillon.testing import RedisServer

from ..compare.tables import render
from ..serving import end_on_sigterm, machine
from . import sdks
from .fleet import Fleet
from .proxies import COMMANDS, front, version_of
from .publishers import Publishing, publish
from .report import histogram_row, merged, transport_table
from .workers import Workers

LIVE_S = 300.0
SETTLE_S = 60.0
ROLLOUT_S = 1800.0


class Publishers:
    """The publishers, on a thread of their own."""

    def __init__(self, fleet: Fleet, channels: list[str], rate_per_s: float) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_over = asyncio.Event()
        self._work = publish(fleet.ports, channels, rate_per_s, self._is_over, f"{time.time_ns()}")
        self._result: Publishing | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._result = self._loop.run_until_complete(self._work)

    def end(self) -> Publishing:
        """Ends them, and returns what was acknowledged."""
        self._loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join(SETTLE_S)
        if self._result is None:
            raise SystemExit(f"the publishers did not end within {SETTLE_S:g} s")
        return self._result


def run(options: argparse.Namespace, folder: Path) -> bool:
    """Runs it, prints the report, and says whether all was well."""
    channels = [f"room{number}" for number in range(options.channels)]
    with contextlib.ExitStack() as running:
        (folder / "redis").mkdir()
        redis = running.enter_context(RedisServer(folder / "redis"))
        fleet = Fleet(folder, redis.url, options.pace, options.first_python, options.other_python)
        running.callback(fleet.end)
        fleet.start(options.gateways)
        proxy = running.enter_context(front(options.proxy, folder, fleet.ports))
        workers = Workers(proxy.plain_port, channels, options.clients, options.workers)
        running.callback(workers.kill)
        begin_s = time.monotonic()
        wait_until_live(workers, options.clients)
        clients = sdks.start(proxy, channels, options.sdks)
        running.callback(sdks.close_all, clients)
        print(
            f"all live after {time.monotonic() - begin_s:.1f} s: {options.clients:,} and {len(clients)} SDKs"
        )
        print(
            "clients by gateway:", ", ".join(f"{node['num_clients']:,}" for node in fleet.nodes()), flush=True
        )
        publishers = Publishers(fleet, channels, options.rate)
        time.sleep(options.before)
        workers.ask("during")
        rolled_s = time.monotonic()
        code, steps, error = roll(fleet, options)
        during_s = time.monotonic() - rolled_s
        workers.ask("after")
        time.sleep(options.after)
        published = publishers.end()
        settled = settle(workers, published.tops)
        for _ in range(100):
            if all(each.offset >= published.tops[each.channel] for each in clients):
                break
            time.sleep(0.1)
        tallies = workers.ask("end")
        print(f"rollout: exit code {code}, {during_s:.1f} s{', ' + error if error else ''}\n")
        print_steps(steps)
        return print_report(options, published, settled, tallies, clients, rolled_s, during_s) and code == 0


def wait_until_live(workers: Workers, count: int) -> None:
    """Waits for all subscribers."""
    deadline = time.monotonic() + LIVE_S
    while (live := sum(workers.ask("live"))) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {live:,} of {count:,} subscribers were live within {LIVE_S:g} s")
        time.sleep(0.2)


def roll(fleet: Fleet, options: argparse.Namespace) -> tuple[int, list[dict[str, Any]], str]:
    """Runs the rollout. Returns its exit code, its steps and its error."""
    nodes = [f"127.0.0.1:{port}" for port in fleet.ports]
    command = [sys.executable, "-m", "carillon", "rollout", *nodes, "--json", "--restart", fleet.restart()]
    command += ["--pause", options.pause, "--interval", options.interval, "--expect", str(options.expect)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ROLLOUT_S)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.strip()


def settle(workers: Workers, tops: dict[str, int]) -> list[dict[str, Any]]:
    """Waits until every subscriber has everything. Returns what is missing then."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = workers.ask(tops)
        if not any(each["behind"] for each in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def print_steps(steps: list[dict[str, Any]]) -> None:
    """Prints a row for each gateway."""
    rows: dict[str, dict[str, Any]] = {}
    for step in steps:
        if "node" in step:
            rows.setdefault(step["node"], {})[step["event"]] = step
    table = [
        ["gateway", "clients", "has left s", "clients elsewhere", "after s", "healthy s", "all s", "versions"]
    ]
    for name, row in rows.items():
        if "replaced" in row:
            versions = f"{row['healthy']['version_before']} -> {row['healthy']['version']}"
            table.append(
                [
                    name,
                    f"{row['drain']['clients']:,}",
                    f"{row['left']['seconds']:.1f}",
                    f"{row['back']['clients_back']:,}",
                    f"{row['back']['seconds']:.1f}",
                    f"{row['healthy']['seconds']:.1f}",
                    f"{row['replaced']['seconds']:.1f}",
                    versions,
                ]
            )
    print(render(table))


def print_report(
    options: argparse.Namespace,
    published: Publishing,
    settled: list[dict[str, Any]],
    tallies: list[dict[str, Any]],
    clients: list[sdks.Sdk],
    rolled_s: float,
    during_s: float,
) -> bool:
    """Prints what the subscribers have seen. Returns whether it is what it should be."""
    acknowledged = sum(published.tops.values())
    lost = sum(each["lost"] for each in settled) + sum(each["missing"] for each in tallies)
    totals = {
        name: sum(each[name] for each in tallies)
        for name in ("repeated", "missing", "changed", "not_recovered")
    }
    beyond = sum(each["beyond"] for each in settled)
    print("subscribers:", ", ".join(f"{n:,} {t}" for t, n in merged(tallies, "transports").most_common()))
    print(
        f"\nacknowledged {acknowledged:,} publications to {options.channels} channels, {published.wrong} of "
        f"them at another offset than their number\nsent again without an answer: {published.repeated}; "
        f"slowest acknowledgement {published.slowest_s:.2f} s"
    )
    received = merged(tallies, "received")
    print(
        f"deliveries: {sum(received.values()):,}\nlost {lost}, doubled {totals['repeated']}, "
        f"other data than at its offset {totals['changed']}, not recovered {totals['not_recovered']}, "
        f"never acknowledged {beyond}\n"
    )
    table = [["publish to delivery", "deliveries", "p50 ms", "p99 ms", "p99.9 ms", "max ms"]]
    table += [histogram_row(phase, tallies) for phase in ("before", "during", "after")]
    print(render(table))
    print("\npublish to delivery by transport, before and during the roll:")
    print(render(transport_table(tallies)))
    opened = merged(tallies, "opened")
    during = {s: n for s, n in opened.items() if rolled_s - 1 <= s <= rolled_s + during_s + 1}
    peak = max(during.values(), default=0)
    print(f"\nreconnects: {sum(during.values()):,} in the roll, at most {peak:,} in a second")
    for why, count in merged(tallies, "ended").most_common():
        print(f"  {count:>7,} {why}")
    for each in clients:
        top = published.tops[each.channel]
        if each.offset != top:
            each.faults.append(f"is at {each.offset}, and the channel at {top}")
        found = "; ".join(each.faults[:3]) or "got everything"
        print(f"SDK {each.kind}: connected {each.connects} times, {found}")
    faults = [fault for each in tallies for fault in each["first_faults"]] + published.errors
    for text in [
        *(f"{text} ({n} times)" for text, n in Counter(faults).most_common(20)),
        *(name for each in settled for name in each["names"]),
    ]:
        print(f"note: {text}")
    is_whole = not (
        lost or beyond or published.wrong or any(totals.values()) or any(c.faults for c in clients)
    )
    print("\n" + ("nothing was lost, doubled or out of order" if is_whole else "NOT WHOLE"))
    return is_whole


def main() -> int:
    """Runs the command line."""
    end_on_sigterm()
    raise_limit()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proxy", choices=list(COMMANDS), default="haproxy", help="default haproxy")
    parser.add_argument("--gateways", default=6, type=int, help="default 6")
    parser.add_argument("--clients", default=8_000, type=int, help="default 8000")
    parser.add_argument("--sdks", default=1, type=int, help="clients of each kind of SDK (default 1)")
    parser.add_argument("--channels", default=80, type=int, help="default 80")
    parser.add_argument("--rate", default=20.0, type=float, help="publications per second (default 20)")
    parser.add_argument("--workers", default=2, type=int, help="processes of subscribers (default 2)")
    parser.add_argument("--before", default=15.0, type=float, help="seconds before the roll (default 15)")
    parser.add_argument("--after", default=5.0, type=float, help="seconds after it (default 5)")
    parser.add_argument("--pace", default="5s", help="shutdown.pace of the gateways (default 5s)")
    parser.add_argument("--pause", default="2s", help="of the rollout (default 2s)")
    parser.add_argument("--interval", default="1s", help="of the rollout (default 1s)")
    parser.add_argument("--expect", default=0.95, type=float, help="of the rollout (default 0.95)")
    parser.add_argument(
        "--first-python", default=sys.executable, metavar="PATH",
        help="interpreter of the gateways that are replaced (default: this one)",
    )  # fmt: skip
    parser.add_argument(
        "--other-python", default=sys.executable, metavar="PATH",
        help="interpreter of the replacements, with another version of the package (default: this one)",
    )  # fmt: skip
    options = parser.parse_args()
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    here = machine()
    print(
        f"{options.gateways} gateways (1 thread each) on one Redis behind "
        f"{options.proxy} {version_of(options.proxy)}\n{options.clients:,} clients without TLS on all "
        f"transports, {options.sdks} of each kind of SDK over TLS\n{options.channels} channels, "
        f"{options.rate:g} publications/s; pace {options.pace}\ncarillon {carillon.__version__}\n"
        f"gateways at first: {options.first_python}\nreplacements: {options.other_python}\n"
        f"{here['cpu']}, {here['cores']} cores, commit {here['commit']}, load average before: {load}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="carillon-rollout-") as folder:
        return 0 if run(options, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
