"""`check_fleet`: what the simulator says of a fleet beside what was measured with one."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .capacity import LabError
from .fleet import Fleet, Population
from .simulation import simulate
from .table import Row, Table, table_of

if TYPE_CHECKING:
    from .costs import Costs
    from .store_costs import StoreCosts


@dataclass(frozen=True, kw_only=True)
class MeasuredFleet:
    """One channel on gateways that share a Redis, as `python -m bench.fleet last --json FILE` measures it.

    The defaults are a measurement of 2026-11-30, in docs/performance.md.

    Attributes:
        gateways: Gateways, with one thread each.
        subscribers: Subscribers of the channel, spread over the gateways.
        publish_rate: Publications per second.
        publications: Publications that were measured.
        deliveries: Deliveries of them.
        gateways_us: CPU time of all gateways for one publication, microseconds.
        generator_us: CPU time of the load generator for one publication, microseconds.
        last_p50_ms: Median time until the last subscriber had a publication, ms.
        host_cores: Cores that gateways, Redis and the generator shared.
        measured_on: Date of the measurement.
        machine: Machine, and its load average.
    """

    gateways: int = 6
    subscribers: int = 50_000
    publish_rate: float = 0.8
    publications: int = 60
    deliveries: int = 3_000_000
    gateways_us: float = 389_000.0
    generator_us: float = 502_000.0
    last_p50_ms: float = 306.0
    host_cores: int = 2
    measured_on: str = "2026-11-30"
    machine: str = "2 cores, load average 2 to 11 with the programs of the measurement"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads the file that the bench has written.

        Raises:
            LabError: It has no such measurement.
        """
        try:
            values = json.loads(Path(path).read_text())["last"]["measured_fleet"]
            return cls(**{each.name: values[each.name] for each in fields(cls)})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LabError(
                f"{path}: {error!r}; give a file of `python -m bench.fleet last --json FILE`"
            ) from None


def check_fleet(
    measured: MeasuredFleet | None = None, costs: Costs | None = None, store: StoreCosts | None = None
) -> Table:
    """Simulates a measured fleet, and puts both values side by side.

    The gateways of the measurement share the cores of one machine with Redis and the load generator, which
    the simulator does not know. So its time until the last subscriber is compared in the form in which all
    CPU time of a publication is spread over those cores; the part of the generator is the measured one.

    Example:
        lab.check_fleet(lab.MeasuredFleet.load("fleet.json"), lab.calibrate(), lab.calibrate_store())

    Args:
        measured: The measurement; by default the stored one.
        costs: What `calibrate` has returned; by default the stored costs of another machine.
        store: What `calibrate_store` has returned; by default the stored ones.

    Returns:
        A row per figure: `figure`, `kind` (`count` or `time`), `measured`, `modelled`, `ratio`
        (modelled / measured) and `error` (ratio - 1).
    """
    measured = measured or MeasuredFleet()
    fleet = Fleet(gateways=measured.gateways, cores=1, broker_cores=1, network_ms=0.0)
    if store is not None:
        fleet = fleet.with_store(store)
    found = simulate(
        "write",
        population=Population(users=measured.subscribers, largest=measured.subscribers, exponent=0.0),
        fleet=fleet,
        online=1.0,
        publish_rate=measured.publish_rate,
        seconds=measured.publications / measured.publish_rate,
        arrivals="paced",
        costs=costs,
        # Subscribers without inboxes: in write mode the simulator would enter the publication for each.
        has_inboxes=False,
    )
    gateways_us = found.core_seconds * 1e6 / found.publications
    redis_us = fleet.broker_append_us + (fleet.gateways - 1) * fleet.broker_gateway_us
    shared_ms = (gateways_us + redis_us + measured.generator_us) / measured.host_cores / 1e3
    alone_ms = found.last.percentile_s(0.5) * 1e3
    figures = (
        ("deliveries", "count", measured.deliveries, found.deliveries),
        ("gateways_us", "time", measured.gateways_us, gateways_us),
        ("last_p50_ms", "time", measured.last_p50_ms, max(alone_ms, shared_ms)),
    )
    rows: list[Row] = [
        {"figure": name, "kind": kind, "measured": real, "modelled": modelled, "ratio": modelled / real,
         "error": modelled / real - 1}
        for name, kind, real, modelled in figures
    ]  # fmt: skip
    return table_of(rows)
