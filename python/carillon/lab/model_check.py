"""`check_model`: what the simulator says beside what was measured."""

from __future__ import annotations

from statistics import median
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
    "publish_p90_ms",
    "delivery_p50_ms",
    "delivery_p90_ms",
    "last_p50_ms",
)


def check_model(table: Table, costs: Costs | None = None) -> Table:
    """Simulates every row of `compare`, and puts both values side by side.

    Counts must agree: deliveries and store writes exactly, bytes within 2 %, because offsets have more digits
    later on. Times have an error; `error_of` sums it up. A percentile is compared where both samples carry
    it.

    Args:
        table: Rows of `compare` over sockets.
        costs: What `calibrate` has returned; by default the stored costs of another machine.

    Returns:
        A row per measured row and figure: `strategy`, `transport`, `members`, `online`, `publish_rate`,
        `figure`, `kind` (`count` or `time`), `measured`, `modelled`, and `ratio` (modelled / measured).

    Raises:
        LabError: It is not a table.
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
                    **{
                        name: row[name]
                        for name in ("strategy", "transport", "members", "online", "publish_rate")
                    },
                    "figure": figure,
                    "kind": "count" if figure in COUNTS else "time",
                    "measured": row[figure],
                    "modelled": modelled[figure],
                    "ratio": modelled[figure] / row[figure] if row[figure] else None,
                }
            )
    return table_of(found)


def error_of(check: Table, of: str) -> float | None:
    """Returns the factor by which modelled times are off, up or down: the median over all rows.

    Args:
        check: What `check_model` has returned.
        of: The times: `us` for CPU, `p50` or `p90` for waits.

    Returns:
        The factor, at least 1; None where the check has no such times.
    """
    ratios = [
        row["ratio"]
        for row in rows_of(check)
        if row["kind"] == "time" and row["ratio"] and row["figure"].removesuffix("_ms").endswith(f"_{of}")
    ]
    return median(max(ratio, 1 / ratio) for ratio in ratios) if ratios else None


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
