"""What is delivered when links are cut again and again: `python -m bench.compare --cuts`."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from carillon.load import LoadError

from ..loads import NamedLoad
from ..serving import Contestant, ServingError, carillon, cores, machine, pinned, put_load, serving
from .peers import peers_with_recovery
from .tables import render

if TYPE_CHECKING:
    import argparse

CUT_S = 2.0
EVERY_S = 5.0
RATE_PER_S = 4.0  # times 10,000 subscribers: what the slowest peer can deliver, too

RESUMES_BY = {
    "Centrifugo": "history of 1,000 and recovery by (epoch, offset)",
    "uWebSockets": "nothing: it keeps no history",
    "ws": "nothing: it keeps no history",
    "websockets": "nothing: it keeps no history",
    "socket.io": "nothing, as it is by default",
    "socket.io, recovery": "connectionStateRecovery: session and last offset",
    "nchan": {
        "ws": "nothing: its WebSocket frames carry no id",
        "sse": "buffer of 1,000 and Last-Event-ID",
        "poll": "buffer of 1,000, If-Modified-Since and Etag",
    },
}
HEAD = [
    "transport", "server", "resumes by", "delivered", "missing", "repeated", "told of a gap",
    "all live after s", "connect to live p99 ms", "server µs per return",
]  # fmt: skip


def resumes_by(name: str, transport: str) -> str:
    """What a client of it comes back with."""
    known = RESUMES_BY.get(name, "position (epoch, offset)")
    return known if isinstance(known, str) else known[transport]


def measure_cuts(contestant: Contestant, transport: str, args: argparse.Namespace) -> dict[str, Any]:
    """One run, whatever it loses. Raises LoadError or ServingError if it says nothing."""
    settings = {
        "transport": transport,
        "connections": args.connections,
        "rate_per_s": RATE_PER_S,
        "warmup": 4,
        "cuts": args.cuts,
        "cut_every_s": EVERY_S,
        "cut_s": CUT_S,
    }
    load = NamedLoad("cuts", "", settings)
    server_core, generator_core = cores()
    with serving(contestant, load, prefix=pinned(server_core)) as server:
        result = put_load(server, load, core=generator_core, seconds=EVERY_S, timeout_s=60)
    faults = result.faults
    if faults.stalled or faults.lost or faults.refused or faults.malformed:
        raise LoadError(f"{faults}: {result.first_fault}")
    return result.to_dict()


def row_of(name: str, transport: str, report: dict[str, Any]) -> list[str]:
    """A row of the table."""
    share = report["delivered_share"]
    return [
        transport,
        name,
        resumes_by(name, transport),
        "100 %" if report["missing"] == 0 else f"{share:.2%}".replace("%", " %"),
        f"{report['missing']:,}",
        f"{report['repeated']:,}",
        f"{report['not_recovered']:,}",
        f"{max(report['all_live_s']):.2f}",
        f"{report['resume_p99_ms']:,.0f}",
        f"{report.get('server_us_per_return', 0):,.0f}",
    ]


def compare_cuts(args: argparse.Namespace) -> int:
    """Prints the table. Exit code 1 if Carillon lost, repeated or told of a gap anything."""
    present, absent = peers_with_recovery()
    wanted = None if args.only is None else set(args.only.split(","))
    contestants = [carillon(), *(each for each in present if wanted is None or each.name in wanted)]
    load_average = " ".join(f"{each:.1f}" for each in os.getloadavg())
    settings = {
        **machine(),
        "subscribers": f"{args.connections:,}",
        "cuts": f"{args.cuts} of {CUT_S:g} s, one every {EVERY_S:g} s, all come back within 1 s",
        "publishing": f"{RATE_PER_S:g} a second, all the time",
        "load average before": load_average,
    }
    print("; ".join(f"{name}: {value}" for name, value in settings.items()))
    rows = [HEAD]
    reports: dict[str, dict[str, Any]] = {}
    has_failed = False
    for contestant in contestants:
        for transport in ("ws", "sse", "poll"):
            if transport not in contestant.transports:
                continue
            try:
                report = measure_cuts(contestant, transport, args)
            except (LoadError, ServingError) as error:
                rows.append([transport, contestant.name, str(error)])
                has_failed = has_failed or contestant.name == "carillon"
                continue
            reports[f"{contestant.name}/{transport}"] = report
            rows.append(row_of(contestant.name, transport, report))
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
            is_whole = not report["missing"] and not report["repeated"] and not report["not_recovered"]
            has_failed = has_failed or (contestant.name == "carillon" and not is_whole)
    if wanted is None:
        rows += [["", name, f"not here: {reason}"] for name, reason in absent.items()]
    print(f"\n{render(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"settings": settings, "reports": reports}, indent=1) + "\n")
    return 1 if has_failed else 0
