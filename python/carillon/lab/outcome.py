"""What a simulation has shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import card

if TYPE_CHECKING:
    from .fleet import Fleet
    from .queues import Floats
    from .spread import Spread
    from .table import Row

_HOURS_PER_MONTH = 730


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A fleet, as it was played.

    Attributes:
        settings: What was asked for.
        publications: In the simulated seconds.
        deliveries: Of them, to connections.
        store_writes: Inbox entries of all publications.
        wire_bytes: Sent to connections, above TCP.
        inbox_reads: Members who came back and read their inbox.
        publish: Times until publishers had their reply.
        delivery: Times of all deliveries.
        last: Times until the last subscriber of each publication had it.
        inbox: Times of inbox reads.
        core_seconds: CPU time of all gateways.
        utilisation: Share of its cores that each gateway used, 1 being all of them all the time.
        network_utilisation: The same of its network card.
        broker_utilisation: The same of each partition of the broker; empty for one gateway.
        online: Share of users that have a connection, 0 to 1.
        connections: Online users.
        connection_bytes: Memory of one.
        read_channels: Channels in read mode, of those that were published to.
        fleet: What it ran on.
    """

    settings: dict[str, object]
    publications: int
    deliveries: int
    store_writes: int
    wire_bytes: float
    inbox_reads: int
    publish: Spread
    delivery: Spread
    last: Spread
    inbox: Spread
    core_seconds: float
    utilisation: Floats
    network_utilisation: Floats
    broker_utilisation: Floats
    online: float
    connections: int
    connection_bytes: float
    read_channels: int
    fleet: Fleet

    @property
    def gateways_by(self) -> dict[str, int]:
        """How many gateways each resource asks for, within `Fleet.utilisation_max`."""
        fleet = self.fleet
        cores = float(self.utilisation.sum()) / fleet.utilisation_max
        network = float(self.network_utilisation.sum()) / fleet.utilisation_max
        memory = self.connections * self.connection_bytes / (fleet.memory_gib * 2**30 * fleet.utilisation_max)
        connections = self.connections / fleet.connections_max
        needs = {"cores": cores, "network": network, "memory": memory, "connections": connections}
        return {name: max(1, math.ceil(round(need, 9))) for name, need in needs.items()}

    @property
    def gateways_needed(self) -> int:
        """For what is scarcest."""
        return max(self.gateways_by.values())

    @property
    def bottleneck(self) -> str:
        """What is scarcest: cores, network, memory, connections, or the broker if it is over its limit."""
        if len(self.broker_utilisation) and self.broker_utilisation.max() > self.fleet.utilisation_max:
            return "broker"
        by = self.gateways_by
        return max(by, key=lambda name: by[name])

    @property
    def cost_per_month(self) -> float:
        """Of the gateways that are needed, in the currency of `Fleet.gateway_per_hour`."""
        return self.gateways_needed * self.fleet.gateway_per_hour * _HOURS_PER_MONTH

    def to_row(self) -> Row:
        """A row with the columns of `compare`, and what only a fleet has."""
        per_delivery = self.deliveries or math.nan
        has_broker = bool(len(self.broker_utilisation))
        return {
            **self.settings,
            "online": self.connections,
            "online_share": self.online,
            "publications": self.publications,
            "deliveries": self.deliveries,
            **self.publish.to_row("publish"),
            **self.delivery.to_row("delivery"),
            **self.last.to_row("last"),
            "publish_us": self.core_seconds * 1e6 / self.publications,
            "delivery_us": self.core_seconds * 1e6 / per_delivery if self.deliveries else None,
            "wire_bytes": self.wire_bytes / per_delivery if self.deliveries else None,
            "memory_mib": self.connections * self.connection_bytes / self.fleet.gateways / 2**20,
            "store_writes": self.store_writes / self.publications,
            "inbox_read_ms": self.inbox.percentile_s(0.5) * 1e3 if self.inbox_reads else None,
            "inbox_read_p99_ms": self.inbox.percentile_s(0.99) * 1e3 if self.inbox_reads else None,
            "gateways": self.fleet.gateways,
            "utilisation": float(self.utilisation.mean()),
            "utilisation_max": float(self.utilisation.max()),
            "network_utilisation_max": float(self.network_utilisation.max()),
            "broker_utilisation_max": float(self.broker_utilisation.max()) if has_broker else None,
            "gateways_needed": self.gateways_needed,
            "bottleneck": self.bottleneck,
            "cost_per_month": self.cost_per_month,
        }

    def __str__(self) -> str:
        return "\n".join([self._title, *(f"- {name}: {fact}" for name, fact in self._facts().items())])

    def _repr_html_(self) -> str:
        return card.render(self._title, None, self._facts())

    @property
    def _title(self) -> str:
        return f"Simulation: {self.settings['strategy']}"

    def _facts(self) -> dict[str, object]:
        row = self.to_row()
        rows: dict[str, object] = {
            "connections": f"{self.connections:,} on {self.fleet.gateways:,} gateways",
            "publications": f"{self.publications:,}, {self.deliveries:,} deliveries",
            "inbox entries": f"{self.store_writes:,}",
        }
        for name, title in (("publish", "publish"), ("delivery", "delivery"), ("last", "last subscriber")):
            if row[f"{name}_p50_ms"] is not None:
                rows[title] = f"p50 {row[f'{name}_p50_ms']:.3g} ms, p99 {row[f'{name}_p99_ms']:.3g} ms"
        rows["busiest gateway"] = f"{row['utilisation_max']:.0%} of its cores"
        rows["needed"] = f"{self.gateways_needed:,} gateways, for {self.bottleneck}"
        return rows
