"""`check_model`: the simulator held against what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fleet import Fleet, Population
from .simulation import simulate
from .table import Row, Table, rows_of, table_of

if TYPE_CHECKING:
    from .costs import Costs
    from .outcome import Simulation

COUNTS = ("deliveries", "store_writes", "wire_bytes")
TIMES = (
    "publish_us",
    "publish_p50_ms",
    "publish_p99_ms",
    "delivery_p50_ms",
    "delivery_p99_ms",
    "last_p50_ms",
)


def check_model(table: Table, costs: Costs | None = None) -> Table:
    """Plays every row of `compare` in the simulator, and puts both figures side by side.

    Counts must agree: deliveries and store writes exactly, bytes within 2 % (an offset has more digits later
    on). Times have an error, which this tells.

    Args:
        table: Rows of `compare` over sockets.
        costs: Of `calibrate`; by default those of the machine that Carillon is measured on.

    Returns:
        A row per measured row and figure: `strategy`, `transport`, `members`, `online`, `figure`, `kind`
        (`count` or `time`), `measured`, `modelled`, and `ratio` (modelled / measured).
    """
    found: list[Row] = []
    for row in rows_of(table):
        if row["transport"] == "memory":
            continue
        modelled = _play(row, costs).to_row()
        for figure in (*COUNTS, *TIMES):
            if row.get(figure) is None or modelled.get(figure) is None:
                continue
            found.append(
                {
                    **{name: row[name] for name in ("strategy", "transport", "members", "online")},
                    "figure": figure,
                    "kind": "count" if figure in COUNTS else "time",
                    "measured": row[figure],
                    "modelled": modelled[figure],
                    "ratio": modelled[figure] / row[figure] if row[figure] else None,
                }
            )
    return table_of(found)


def _play(row: Row, costs: Costs | None) -> Simulation:
    members = row["members"]
    return simulate(
        row["strategy"],
        population=Population(users=members, channels=row["channels"], largest=members, exponent=0.0),
        fleet=Fleet(gateways=1, cores=row["threads"]),
        online=row["online"] / members,
        publish_rate=row["publish_rate"],
        payload=row["payload"],
        seconds=row["publications"] / row["publish_rate"],
        transport=row["transport"],
        threshold=row["threshold"],
        sweep_interval_ms=row["sweep_interval_ms"],
        arrivals="paced",
        costs=costs,
    )
