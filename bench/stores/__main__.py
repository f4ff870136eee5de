"""Figures of the stores that outlive a process.

    python -m bench.stores --only cpu latency cut walk resume sqlite

Starts a `redis-server` of its own that keeps nothing on disk. Everything stays on 127.0.0.1, is bounded
and stops by itself. What is compared is measured one after another in each round. CPU times are of the
processes (user and system): another program beside them disturbs them less than it does a clock.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import carillon
from carillon.testing import RedisServer

from bench.report import load_average
from bench.serving import build_program, end_on_sigterm, machine

from .cpu import cpu
from .cut import cut
from .latency import latency
from .resume import resume
from .sqlite import sqlite
from .walk import walk

PARTS = ("cpu", "latency", "cut", "walk", "resume", "sqlite")


def main() -> None:
    """Runs the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--appends", type=int, default=60_000, help="of a figure of cpu, at most")
    parser.add_argument("--rate", type=int, default=1_000, help="publications a second of latency")
    parser.add_argument("--seconds", type=int, default=5, help="of a round of latency and sqlite")
    parser.add_argument(
        "--channels", type=int, default=100_000, help="that are followed when the link is cut"
    )
    parser.add_argument("--clients", type=int, default=1_000, help="that resume")
    parser.add_argument("--entries", type=int, default=500, help="that each of them has missed")
    parser.add_argument("--disk", help="folder for SQLite; by default that of temporary files")
    arguments = parser.parse_args()
    end_on_sigterm()
    print(f"{machine()}\nload average {load_average()}; carillon {carillon.__version__}; {vars(arguments)}")
    rounds = arguments.rounds
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
        if "cpu" in arguments.only:
            cpu(redis, arguments.appends, rounds)
        if "latency" in arguments.only:
            latency(redis, arguments.seconds, rounds, arguments.rate)
        if "cut" in arguments.only:
            cut(redis, arguments.channels, rounds)
        if "walk" in arguments.only:
            walk(redis, rounds)
        if "resume" in arguments.only:
            resume(redis, arguments.clients, arguments.entries)
    if "sqlite" in arguments.only:
        sqlite(build_program("sqlite_groups"), arguments.disk, arguments.seconds, rounds)


if __name__ == "__main__":
    main()
