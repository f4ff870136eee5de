"""CPU time per delivery of Carillon beside a bare epoll loop, as ratios of the same round.

    python bench/first_figure.py --carillon "{python} -m carillon serve --threads 1 --port {port}"

Every round measures every contestant at every load, each with a fresh server, server and generator pinned to
one core each. Linux only; everything runs on 127.0.0.1 and ends by itself.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contestants import (
    BUILD,
    LOADS,
    Contestant,
    LoadFailedError,
    build,
    machine,
    parse_loads,
    pinned,
    run_load,
    serving,
    yardsticks,
)

Reports = dict[str, dict[str, list[dict[str, Any]]]]
"""By load, by contestant: one report of the generator per round."""

YARDSTICK = "bare"
PAUSE_S = 0.3  # the kernel frees the sockets of the run before


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`median (min to max)`."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratios(reports: dict[str, list[dict[str, Any]]], name: str, field: str) -> list[float]:
    """The contestant's figure over the yardstick's, round by round."""
    pairs = zip(reports[name], reports[YARDSTICK], strict=True)
    return [float(one[field]) / float(bare[field]) for one, bare in pairs if float(bare[field]) > 0]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Prints a Markdown table; the first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print(f"| {' | '.join('-' * width for width in widths)} |")


def print_load(load: str, reports: dict[str, list[dict[str, Any]]]) -> None:
    """Prints the tables of one load."""
    print(f"\nLoad {load}: {' '.join(LOADS[load]).replace('--', '')}; median (min to max) of the rounds")
    head = ["server", "CPU per delivery ÷ bare", "CPU µs per delivery", "of it user µs", "deliveries/s",
            "last subscriber p50 ms", "p99 ms", "p50 ÷ bare"]  # fmt: skip
    rows = [head]
    for name, rounds in reports.items():

        def values(field: str, rounds: list[dict[str, Any]] = rounds) -> list[float]:
            return [float(report[field]) for report in rounds]

        rows.append(
            [
                name,
                spread(ratios(reports, name, "server_us_per_delivery"), 3),
                spread(values("server_us_per_delivery"), 3),
                f"{statistics.median(values('server_user_us_per_delivery')):.3f}",
                f"{statistics.median(values('deliveries_per_s')):,.0f}",
                spread(values("last_subscriber_p50_ms")),
                f"{statistics.median(values('last_subscriber_p99_ms')):.2f}",
                spread(ratios(reports, name, "last_subscriber_p50_ms")),
            ]
        )
    print_table(rows)


def measure(
    contestants: Sequence[Contestant], loads: Sequence[str], load: Path, args: argparse.Namespace
) -> Reports:
    """Runs all rounds."""
    reports: Reports = {name: {contestant.name: [] for contestant in contestants} for name in loads}
    for number in range(args.rounds):
        for name in loads:
            # Each round starts with another contestant, so that none always has the warm or the cold place.
            turn = number % len(contestants)
            for contestant in [*contestants[turn:], *contestants[:turn]]:
                options = [*LOADS[name], "--seconds", str(args.seconds), "--payload", str(args.payload)]
                options += ["--publish-by", args.publish_by, *(["--sleep"] if args.sleep else [])]
                with serving(contestant, prefix=pinned(args.server_core)) as server:
                    report = run_load(load, server, options, core=args.generator_core)
                reports[name][contestant.name].append(report)
                figure = report.get("server_us_per_delivery", float("nan"))
                print(f"round {number + 1} {name} {contestant.name}: {figure:.3f} µs", file=sys.stderr)
                time.sleep(PAUSE_S)
    return reports


def measure_idle(contestants: Sequence[Contestant], load: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Memory per idle connection of every contestant, at `args.idle` connections."""
    idle = {}
    for contestant in contestants:
        options = ["--hold", "--subscribers", str(args.idle), "--seconds", "3"]
        with serving(contestant, prefix=pinned(args.server_core)) as server:
            idle[contestant.name] = run_load(load, server, options, core=args.generator_core)
        time.sleep(PAUSE_S)
    return idle


def main() -> int:
    """Runs the command line; exit code 1 if a run failed or lost anything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--carillon", help="command of the server; {port} and {python} are filled in")
    parser.add_argument("--loads", default="A,E,B", type=parse_loads, help="of A,E,B,C,D (default A,E,B)")
    parser.add_argument("--rounds", default=3, type=int, help="default 3")
    parser.add_argument("--seconds", default=3.0, type=float, help="per run (default 3)")
    parser.add_argument("--payload", default=128, type=int, help="bytes of data (default 128)")
    parser.add_argument("--publish-by", default="ws", choices=["ws", "post"])
    parser.add_argument("--sleep", action="store_true", help="the generator sleeps instead of spinning")
    parser.add_argument("--idle", default=0, type=int, metavar="N", help="also: memory at N idle connections")
    parser.add_argument("--server-core", default=0, type=int, help="default 0")
    parser.add_argument("--generator-core", default=1, type=int, help="default 1")
    parser.add_argument("--build-dir", default=BUILD, type=Path, help="where the native programs go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every report there")
    args = parser.parse_args()

    load, bare_loop = build(args.build_dir)
    contestants = yardsticks(bare_loop)
    if args.carillon:
        contestants.append(Contestant("carillon", args.carillon))
    settings = machine()
    try:
        reports = measure(contestants, args.loads, load, args)
        idle = measure_idle(contestants, load, args) if args.idle else {}
    except LoadFailedError as error:
        print(error, file=sys.stderr)
        return 1

    print("; ".join(f"{name}: {value}" for name, value in settings.items()))
    print(f"payload {args.payload} bytes, published by {args.publish_by}, server on core {args.server_core},",
          f"generator on core {args.generator_core} ({'sleeping' if args.sleep else 'spinning'}),",
          f"{args.rounds} rounds of {args.seconds:g} s")  # fmt: skip
    for name in args.loads:
        print_load(name, reports[name])
    if idle:
        print(f"\nPrivate memory at {args.idle} idle WebSocket subscribers")
        rows = [["server", "bytes per connection", "resident KiB"]]
        rows += [[name, f"{report['private_bytes_per_connection']}", f"{report['server_resident_kib']}"]
                 for name, report in idle.items()]  # fmt: skip
        print_table(rows)
    if args.json:
        args.json.write_text(
            json.dumps({"machine": settings, "loads": reports, "idle": idle}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
