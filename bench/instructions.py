"""User instructions and system calls per delivery: figures that no noise touches.

    python bench/instructions.py --server-cmd "{python} -m carillon serve --threads 1 --port {port}"

Every server runs twice under callgrind (and twice under strace) with two numbers of messages. The difference
of the counts over the difference of the deliveries leaves start-up, handshakes and end out. Needs valgrind
and strace; for a server inside Python give the interpreter itself ({python} does), not a script around it.
"""

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from contestants import (
    BUILD,
    LOADS,
    Contestant,
    LoadFailedError,
    build,
    machine,
    parse_loads,
    run_load,
    serving,
    yardsticks,
)

WARMUP_MESSAGES = 64


def run_callgrind(contestant: Contestant, load: Path, options: list[str]) -> tuple[int, int]:
    """Instructions of the server's whole life, and the deliveries in it."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "callgrind.out"
        prefix = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        with serving(contestant, prefix=prefix, timeout_s=180) as server:
            report = run_load(load, server, options, core=None)
        found = re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)
    if not found:
        raise LoadFailedError(f"callgrind counted nothing for {contestant.name}")
    return int(found[1]), int(report["deliveries"])


def run_strace(contestant: Contestant, load: Path, options: list[str]) -> tuple[int, int]:
    """System calls of the server's whole life, and the deliveries in it."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "strace.out"
        prefix = ["strace", "-c", "-f", "-o", str(out)]
        with serving(contestant, prefix=prefix, is_child=True, timeout_s=180) as server:
            report = run_load(load, server, options, core=None)
        rows = [line.split() for line in out.read_text().splitlines() if line.endswith(" total")]
    if not rows:
        raise LoadFailedError(f"strace counted nothing for {contestant.name}")
    return int(rows[0][3]), int(report["deliveries"])


def per_delivery(
    run: Callable[[Contestant, Path, list[str]], tuple[int, int]],
    contestant: Contestant,
    load: Path,
    name: str,
    messages: tuple[int, int],
) -> float:
    """The difference of two runs' counts over the difference of their deliveries."""
    counts = []
    for number in messages:
        options = [*LOADS[name], "--warmup", str(WARMUP_MESSAGES), "--messages", str(number)]
        counts.append(run(contestant, load, [*options, "--sleep", "--timeout-s", "60"]))
    (first, first_deliveries), (second, second_deliveries) = counts
    return (second - first) / (second_deliveries - first_deliveries)


def parse_messages(text: str) -> tuple[int, int]:
    """Reads `M1,M2` with 0 < M1 < M2."""
    first, second = (int(number) for number in text.split(","))
    if not 0 < first < second:
        raise ValueError(f"not 0 < M1 < M2: {text}")
    return first, second


def main() -> int:
    """Runs the command line; exit code 1 if a run failed, 2 if a tool is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server-cmd", help="command of Carillon's server; {port} and {python} are filled in"
    )
    parser.add_argument("--only", help="measure only the contestant of this name (bare, gathered, carillon)")
    parser.add_argument("--loads", default="A,E,B", type=parse_loads, help="of A,E,B,C (default A,E,B)")
    parser.add_argument(
        "--messages", default=(128, 1152), type=parse_messages, metavar="M1,M2", help="default 128,1152"
    )
    parser.add_argument("--no-strace", action="store_true", help="count instructions only")
    parser.add_argument("--build-dir", default=BUILD, type=Path, help="where the native programs go")
    args = parser.parse_args()
    for tool in ["valgrind"] if args.no_strace else ["valgrind", "strace"]:
        if shutil.which(tool) is None:
            print(f"{tool} is missing: apt-get install {tool}", file=sys.stderr)
            return 2

    load, bare_loop = build(args.build_dir)
    contestants = [each for each in yardsticks(bare_loop) if each.name != "bare again"]
    if args.server_cmd:
        contestants.append(Contestant("carillon", args.server_cmd))
    if args.only:
        contestants = [each for each in contestants if each.name == args.only]
    print("; ".join(f"{name}: {value}" for name, value in machine().items()))
    print(f"per delivery, from {args.messages[0]} to {args.messages[1]} messages")
    print(f"{'load':<6}{'server':<12}{'user instructions':>18}{'system calls':>14}")
    try:
        for name in args.loads:
            for each in contestants:
                instructions = per_delivery(run_callgrind, each, load, name, args.messages)
                row = f"{name:<6}{each.name:<12}{instructions:>18.1f}"
                if not args.no_strace:
                    row += f"{per_delivery(run_strace, each, load, name, args.messages):>14.4f}"
                print(row, flush=True)
    except LoadFailedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
