"""Fills a process, and a machine, with connections.

    python -m bench.fill one fleet rounds

`one`: a server process with 19,900 WebSocket connections in channels of 1, 100 and 19,000 members; while the
largest gets 5 messages a second, the others are timed, heartbeats are watched, and clients resume.
`fleet`: 100,000 connections on as many processes as the descriptors ask for, bare epoll loops beside them in
the same run: time to connect, memory, idle CPU, time until the last has a message that all publish at once.
`rounds`: 10,000 connections that come and go ten times: does the peak of the server's memory grow?
Linux only; everything runs on 127.0.0.0/8 and ends by itself, or on Ctrl-C. Exit code 1: a promise was
broken, or a run failed.
"""

from __future__ import annotations

import argparse
import sys

from carillon.descriptors import connections_max, raise_limit

from ..parts import add_parts, parse_parts, run_parts
from ..serving import end_on_sigterm
from . import fleet, one, rounds

PARTS = {"one": one.run, "fleet": fleet.run, "rounds": rounds.run}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    most = min(fleet.PROCESS_CONNECTIONS, connections_max())
    add_parts(parser, PARTS)
    parser.add_argument("--connections", type=int, help=f"default: {most:,}; 100,000; 10,000")
    parser.add_argument("--seconds", type=float, default=30.0, help="one: the window (default 30)")
    parser.add_argument(
        "--linger", type=float, default=10.0, help="one: seconds that the crowd has beyond them (default 10)"
    )
    parser.add_argument("--threads", type=int, default=1, help="one: of the server (default 1)")
    parser.add_argument("--ping-interval", type=int, default=10, help="one: in seconds (default 10)")
    parser.add_argument("--processes", type=int, default=0, help="fleet: default as the descriptors ask for")
    parser.add_argument("--idle", type=float, default=30.0, help="fleet: seconds of quiet (default 30)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds: how many (default 10)")
    parser.add_argument("--rate", type=float, default=0.5, help="fleet: messages per second (default 0.5)")
    parser.add_argument("--messages", type=int, default=20, help="fleet: to everybody (default 20)")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two runs (default 3)")
    args = parse_parts(parser, PARTS)
    args.connections_one = args.connections or most
    args.connections_fleet = args.connections or 100_000
    args.connections_rounds = args.connections or 10_000
    if args.connections_one > connections_max() and "one" in args.parts:
        parser.error(
            f"--connections {args.connections_one}: a process gets {connections_max()} here; raise ulimit -Hn"
        )
    return args


def main() -> int:
    """Runs the command line."""
    end_on_sigterm()
    args = parse()
    raise_limit()
    return run_parts(PARTS, args)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
