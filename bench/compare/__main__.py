"""CPU time per delivery of Carillon and others beside a bare epoll loop, as ratios of the same round.

    python -m bench.compare --loads A,E --rounds 5

Every round measures every contestant at every load, each with a fresh server, server and generator pinned to
one core each. Linux only; everything runs on 127.0.0.1 and ends by itself. Exit code 1 if Carillon or a bare
loop failed or lost anything; a peer that does is named in the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from carillon.load import LoadError

from ..loads import LOADS, PAYLOAD_BYTES, NamedLoad, parse_loads
from ..serving import (
    Contestant,
    ServingError,
    bare_loops,
    carillon,
    cores,
    end_on_sigterm,
    machine,
    pinned,
    put_load,
    serving,
)
from .cuts import compare_cuts
from .peers import peers
from .tables import HEAD, Comparison, Report, Rounds, noise, render, rows_of

PAUSE_S = 0.3  # the kernel frees the sockets of the run before


def measure_once(contestant: Contestant, load: NamedLoad, args: argparse.Namespace) -> Report:
    """One run. Raises LoadError or ServingError if it says nothing."""
    server_core, generator_core = cores()
    with serving(contestant, load, prefix=pinned(server_core)) as server:
        is_spinning = generator_core is not None and not args.sleep
        result = put_load(
            server, load, core=generator_core, seconds=args.seconds, is_spinning=is_spinning, timeout_s=20
        )
    if not result.is_clean:
        raise LoadError(f"{result.faults}: {result.first_fault}")
    return result.to_dict()


def measure(contestants: list[Contestant], args: argparse.Namespace) -> Comparison:
    """Runs all rounds."""
    comparison: Comparison = {}
    for load in args.loads:
        able = [each for each in contestants if load.transport in each.transports]
        comparison[load.name] = {each.name: Rounds() for each in able}
    for number in range(args.rounds):
        for load in args.loads:
            by_contestant = comparison[load.name]
            able = [each for each in contestants if each.name in by_contestant]
            # Each round starts with another contestant, so that none always has the warm or the cold place.
            turn = number % len(able)
            for contestant in [*able[turn:], *able[:turn]]:
                rounds = by_contestant[contestant.name]
                try:
                    report = measure_once(contestant, load, args)
                except (LoadError, ServingError) as error:
                    rounds.failure = rounds.failure or str(error)
                    rounds.reports.append(None)
                    print(f"round {number + 1} {load.name} {contestant.name}: {error}", file=sys.stderr)
                else:
                    rounds.reports.append(report)
                    tell_progress(number, load, contestant, report)
                time.sleep(PAUSE_S)
    return comparison


def tell_progress(number: int, load: NamedLoad, contestant: Contestant, report: Report) -> None:
    """A line per run on standard error."""
    figure = report.get("server_us_per_delivery")
    text = f"{figure:.3f} µs" if figure else f"{report.get('memory_bytes_per_connection')} bytes"
    print(f"round {number + 1} {load.name} {contestant.name}: {text}", file=sys.stderr, flush=True)


def choose(contestants: list[Contestant], names: str | None) -> list[Contestant]:
    """Those of the list that are named, and the yardstick under both names."""
    if names is None:
        return contestants
    wanted = {"bare", "bare again", *names.split(",")}
    if unknown := wanted - {each.name for each in contestants}:
        raise SystemExit(f"no such contestant: {', '.join(sorted(unknown))}; there are "
                         f"{', '.join(each.name for each in contestants)}")  # fmt: skip
    return [each for each in contestants if each.name in wanted]


def main() -> int:
    """Runs the command line."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = ",".join(LOADS)
    parser.add_argument("--loads", default=everything, help=f"of {everything} (default: all)")
    parser.add_argument("--rounds", default=3, type=int, help="default 3")
    parser.add_argument("--seconds", default=3.0, type=float, help="per run (default 3)")
    parser.add_argument("--only", metavar="NAME,...", help="only these contestants, and the bare loop twice")
    parser.add_argument(
        "--carillon",
        action="append",
        metavar="NAME=COMMAND",
        help="instead of the server of this tree; may be repeated; {port} and {python} are filled in",
    )
    parser.add_argument("--sleep", action="store_true", help="the generator sleeps instead of spinning")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every report there")
    parser.add_argument(
        "--cuts",
        nargs="?",
        const=4,
        type=int,
        metavar="N",
        help="instead of the loads: what is delivered over N cuts of 2 s (default 4)",
    )
    parser.add_argument(
        "--connections", default=10_000, type=int, help="subscribers of --cuts (default 10000)"
    )
    args = parser.parse_args()
    if args.cuts:
        return compare_cuts(args)
    try:
        args.loads = parse_loads(args.loads)
    except ValueError as error:
        parser.error(str(error))

    present, absent = peers()
    ours = [carillon(text) for text in args.carillon or [""]]
    contestants = choose([*bare_loops(), *ours, *present], args.only)
    absent = absent if args.only is None else {}
    comparison = measure(contestants, args)

    server_core, generator_core = cores()
    settings = {
        **machine(),
        "payload": f"{PAYLOAD_BYTES} bytes",
        "rounds": f"{args.rounds} of {args.seconds:g} s",
        "server": "not pinned" if server_core is None else f"on core {server_core}",
        "generator": ("not pinned" if generator_core is None else f"on core {generator_core}")
        + (", sleeping" if args.sleep or generator_core is None else ", spinning"),
    }
    print("; ".join(f"{name}: {value}" for name, value in settings.items()))
    versions = {each.name: each.version for each in contestants if each.version}
    print("; ".join(f"{name} {version}" for name, version in versions.items()) or "no peers")
    for load in args.loads:
        print(f"- {load.name}: {load.text}")
    rows = [HEAD]
    for load in args.loads:
        rows += rows_of(load, comparison[load.name], absent)
    print(f"\n{render(rows)}\n\n{noise(comparison)}")
    if args.json:
        document = {
            "settings": settings,
            "versions": versions,
            "absent": absent,
            "reports": {
                load: {
                    name: {"failure": rounds.failure, "rounds": rounds.reports}
                    for name, rounds in each.items()
                }
                for load, each in comparison.items()
            },
        }
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    own = {each.name for each in contestants} - {each.name for each in present}
    has_failed = any(each[name].failure for each in comparison.values() for name in own & each.keys())
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
