"""Measures a fleet: gateways on one Redis, with connections spread over all of them.

    python -m bench.fleet last crash scrape inboxes

`last`: one channel whose subscribers are spread over the gateways, beside as many others: the last subscriber
of a publication, alternating with bare loops that are sent the same message at once; what Redis does for it.
`crash`: a gateway is killed, its clients reconnect to the others.
`scrape`: a page of metrics of a gateway with many connections and channels.
`inboxes`: members: one walk per publication, every inbox once, and a walk whose gateway is killed.
Linux only; everything runs on 127.0.0.0/8 and ends by itself, or on Ctrl-C. Exit code 1: a promise was
broken, or a run failed.
"""

from __future__ import annotations

import argparse
import sys
import time

from carillon.descriptors import connections_max, raise_limit
from carillon.testing import RedisServer

from ..parts import add_parts, parse_parts, run_parts
from ..report import settings_line
from ..serving import end_on_sigterm
from . import crash, inboxes, last, scrape

PARTS = {"last": last.run, "crash": crash.run, "scrape": scrape.run, "inboxes": inboxes.run}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_parts(parser, PARTS)
    parser.add_argument("--gateways", type=int, default=6, help="default 6")
    parser.add_argument("--connections", type=int, default=100_000, help="last: in all (default 100,000)")
    parser.add_argument("--members", type=int, default=50_000, help="of the channel (default 50,000)")
    parser.add_argument("--rounds", type=int, default=3, help="last: of both (default 3)")
    parser.add_argument("--messages", type=int, default=20, help="last: of a round (default 20)")
    parser.add_argument("--rate", type=float, default=0.8, help="last: messages per second (default 0.8)")
    parser.add_argument("--crash-clients", type=int, default=15_000, help="default 15,000")
    parser.add_argument(
        "--crash-others", type=int, default=5_000, help="at the other gateways (default 5,000)"
    )
    parser.add_argument("--before", type=float, default=4.0, help="crash: seconds before it (default 4)")
    parser.add_argument("--after", type=float, default=8.0, help="crash: seconds after it (default 8)")
    parser.add_argument("--scrape-connections", type=int, default=19_000, help="default 19,000")
    parser.add_argument("--scrape-channels", type=int, default=100_000, help="default 100,000")
    parser.add_argument("--scrapes", type=int, default=20, help="default 20")
    args = parse_parts(parser, PARTS)
    if args.gateways < 2:
        parser.error(f"--gateways {args.gateways}: give at least 2")
    if args.members > args.connections:
        parser.error(f"--members {args.members}: give at most --connections ({args.connections})")
    each = max(args.connections // args.gateways, args.scrape_connections, args.crash_clients)
    if each > connections_max():
        parser.error(f"{each:,} connections of a process; it gets {connections_max():,} here")
    return args


def main() -> int:
    """Runs the command line."""
    end_on_sigterm()
    args = parse()
    if missing := RedisServer.missing():
        print(missing, file=sys.stderr)
        return 1
    raise_limit()
    settings = {name: value for name, value in vars(args).items() if name not in ("parts", "json")}
    print(settings_line({"date": time.strftime("%F %T"), **settings}), flush=True)
    return run_parts(PARTS, args)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
