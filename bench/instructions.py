"""User instructions and system calls per delivery, and user instructions per publish: what no noise touches.

    python -m bench.instructions
    python -m bench.instructions --small      (what CI prints: it never fails)
    python -m bench.instructions --deflate --loads A    (2 kB of records, plain and compressed)

Everything runs twice under callgrind (and twice under strace) with two numbers of messages. The difference of
the counts over the difference of the deliveries leaves start-up, handshakes and end out. Needs valgrind and
strace.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carillon.load import LoadError

from .loads import NamedLoad, parse_loads
from .serving import (
    Contestant,
    ServingError,
    bare_loops,
    carillon,
    end_on_sigterm,
    machine,
    put_load,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable

WARMUP_MESSAGES = 64
ONE_SUBSCRIBER = NamedLoad("publish", "", {"connections": 1, "in_flight": 64})
COUNTED = {"bare", "gathered"}
# What --deflate publishes: as long as payloads must be that somebody wants to be shorter.
RECORDS = {"payload_bytes": 2048, "has_records": True}
COMPRESSION = "[websocket]\ncompression = true\n"


@dataclass(frozen=True)
class Run:
    """One way to run a server under a tool that counts.

    Attributes:
        contestant: The server.
        load: What is put on it.
        messages: Of the measured window, which is the only difference between two runs.
    """

    contestant: Contestant
    load: NamedLoad
    messages: int

    def put(self, prefix: list[str], *, is_child: bool = False) -> int:
        """Runs it; returns the deliveries."""
        with serving(self.contestant, self.load, prefix=prefix, is_child=is_child, timeout_s=180) as server:
            result = put_load(
                server,
                self.load,
                core=None,
                messages=self.messages,
                seconds=0.0,
                warmup=WARMUP_MESSAGES,
                timeout_s=120.0,
            )
        if not result.is_clean:
            raise LoadError(f"{result.faults}: {result.first_fault}")
        return result.deliveries


def count_instructions(run: Run) -> tuple[int, int]:
    """Instructions of the server's whole life, and the deliveries."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "callgrind.out"
        deliveries = run.put(callgrind(out))
        return total_of(out), deliveries


def count_system_calls(run: Run) -> tuple[int, int]:
    """System calls of the server's whole life, and the deliveries."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "strace.out"
        deliveries = run.put(["strace", "-c", "-f", "-o", str(out)], is_child=True)
        rows = [line.split() for line in out.read_text().splitlines() if line.endswith(" total")]
    if not rows:
        raise ServingError("strace counted nothing")
    return int(rows[0][3]), deliveries


def callgrind(out: Path) -> list[str]:
    """The prefix that counts the instructions of a command."""
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]


def total_of(out: Path) -> int:
    """What callgrind has counted."""
    found = re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)
    if not found:
        raise ServingError("callgrind counted nothing")
    return int(found[1])


def per_delivery(
    count: Callable[[Run], tuple[int, int]], run: Run, messages: tuple[int, int], *, at_once: int = 1
) -> float:
    """The difference of two runs' counts over the difference of their deliveries."""
    with ThreadPoolExecutor(at_once) as runs:
        (first, first_deliveries), (second, second_deliveries) = runs.map(
            lambda number: count(replace(run, messages=number)), messages
        )
    return (second - first) / (second_deliveries - first_deliveries)


def per_publish_from_python(how: str, messages: tuple[int, int]) -> float:
    """Instructions of the whole process, interpreter and all, for one message without subscribers."""
    counts = []
    for number in messages:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "callgrind.out"
            command = [*callgrind(out), sys.executable, "-m", "bench.publish_loop", how, str(number)]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            counts.append(total_of(out))
    return (counts[1] - counts[0]) / (messages[1] - messages[0])


def servers(args: argparse.Namespace) -> list[Contestant]:
    """The bare loop, the gathered loop, and Carillon with both ways to publish."""
    ours = carillon(args.carillon)
    both = [replace(ours, name=f"{ours.name} by {how}", publish_by=how) for how in ("post", "ws")]
    everybody = [*(each for each in bare_loops() if each.name in COUNTED), *both]
    return [each for each in everybody if args.only is None or each.name.startswith(args.only)]


def contestants(args: argparse.Namespace) -> list[tuple[Contestant, dict[str, Any]]]:
    """Who is measured, and with which further settings of the load."""
    if not args.deflate:
        return [(each, {}) for each in servers(args)]
    ours = carillon(args.carillon)
    files = {name: text + COMPRESSION for name, text in ours.files.items()}
    return [
        (replace(ours, name=f"{ours.name} plain", publish_by="post"), RECORDS),
        (
            replace(ours, name=f"{ours.name} deflate", publish_by="post", files=files),
            {**RECORDS, "is_deflated": True},
        ),
    ]


def print_deliveries(args: argparse.Namespace) -> None:
    """A row per load and server."""
    first, second = args.messages
    print(f"\nper delivery, {args.connections} subscribers, from {first} to {second} messages", end="")
    print(f", {RECORDS['payload_bytes']} bytes of records" if args.deflate else "")
    print(f"{'load':<6}{'server':<20}{'user instructions':>18}{'system calls':>14}")
    for load in args.loads:
        sized = replace(load, settings={**load.settings, "connections": args.connections})
        for each, settings in contestants(args):
            run = Run(each, replace(sized, settings={**sized.settings, **settings}), 0)
            at_once = 2 if args.small else 1  # two servers do not fill their batches as one does
            instructions = per_delivery(count_instructions, run, args.messages, at_once=at_once)
            row = f"{load.name:<6}{each.name:<20}{instructions:>18.1f}"
            if not args.no_strace:
                calls = per_delivery(count_system_calls, run, args.messages, at_once=at_once)
                row += f"{calls:>14.4f}"
            print(row, flush=True)


def print_publishes(args: argparse.Namespace) -> None:
    """A row per way to publish."""
    print(
        "\nuser instructions per publish (by POST and WebSocket: one subscriber, 64 in flight, its delivery"
    )
    print("included; from Python: no subscriber, the interpreter's own included)")
    for each in servers(args):
        if each.name not in COUNTED:
            figure = per_delivery(count_instructions, Run(each, ONE_SUBSCRIBER, 0), args.publishes)
            print(f"{each.name:<26}{figure:>18,.0f}", flush=True)
    if args.only is None or "carillon".startswith(args.only):
        for how in ("publish", "publish_many"):
            print(
                f"{f'carillon {how}':<26}{per_publish_from_python(how, args.publishes):>18,.0f}", flush=True
            )


def parse_messages(text: str) -> tuple[int, int]:
    """Reads `M1,M2` with 0 < M1 < M2."""
    first, second = (int(number) for number in text.split(","))
    if not 0 < first < second:
        raise ValueError(f"not 0 < M1 < M2: {text}")
    return first, second


def main() -> int:
    """Runs the command line; exit code 1 if a run failed, 2 if a tool is missing; with --small always 0."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--carillon", default="", metavar="NAME=COMMAND", help="instead of this tree's server"
    )
    parser.add_argument("--only", help="only servers whose name begins so (bare, gathered, carillon)")
    parser.add_argument("--loads", default="A,E,B", type=parse_loads, help="of A,E,B (default all)")
    parser.add_argument("--connections", default=1000, type=int, help="subscribers (default 1000)")
    parser.add_argument(
        "--messages", default=(128, 1152), type=parse_messages, metavar="M1,M2", help="default 128,1152"
    )
    parser.add_argument(
        "--publishes", default=(1024, 11264), type=parse_messages, metavar="M1,M2", help="default 1024,11264"
    )
    parser.add_argument(
        "--deflate", action="store_true", help="Carillon with 2 kB of records, plain and compressed"
    )
    parser.add_argument("--no-strace", action="store_true", help="count instructions only")
    parser.add_argument("--no-publishes", action="store_true", help="count deliveries only")
    parser.add_argument("--small", action="store_true", help="100 subscribers, few messages, never fails")
    args = parser.parse_args()
    if args.small:
        args.connections, args.messages, args.publishes = 100, (64, 320), (512, 2560)
        args.loads = parse_loads("A,E")
    for tool in ["valgrind"] if args.no_strace else ["valgrind", "strace"]:
        if shutil.which(tool) is None:
            print(f"{tool} is missing: apt-get install {tool}", file=sys.stderr)
            return 0 if args.small else 2

    print("; ".join(f"{name}: {value}" for name, value in machine().items()))
    try:
        print_deliveries(args)
        if not (args.no_publishes or args.deflate):
            print_publishes(args)
    except (LoadError, ServingError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 0 if args.small else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
