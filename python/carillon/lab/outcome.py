"""The result of a simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import card
from .verdict import counted, milliseconds, percent

if TYPE_CHECKING:
    from .fleet import Fleet
    from .queues import Floats
    from .spread import Spread
    from .table import Row

_HOURS_PER_MONTH = 730


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The result of `simulate`. Only medians of its times come near to what is measured; see `check_model`.

    Attributes:
        settings: Arguments of `simulate`.
        publications: Publications in the simulated seconds.
        deliveries: Deliveries of these publications to connections.
        store_writes: Inbox entries of all publications.
        wire_bytes: Bytes sent to connections, above TCP.
        inbox_reads: Members who returned and read their inbox.
        publish: Times until publishers had their reply.
        delivery: Times of all deliveries.
        last: Times until the last subscriber of each publication had it.
        inbox: Times of inbox reads.
        core_seconds: CPU time of all gateways.
        utilisation: Share of its cores that the load of each gateway needs; more than 1 is an overload.
        network_utilisation: The same for the network card of each gateway.
        broker_utilisation: The same for each partition of the broker; empty for a fleet of one gateway.
        online: Share of users that have a connection, 0 to 1.
        connections: Number of connections.
        connection_bytes: Memory of one connection.
        read_channels: Channels in read mode, of the channels that were published to.
        fleet: Machines that were simulated.
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
        """Gateways that each resource asks for, within `Fleet.utilisation_max`."""
        fleet = self.fleet
        cores = float(self.utilisation.sum()) / fleet.utilisation_max
        network = float(self.network_utilisation.sum()) / fleet.utilisation_max
        memory = self.connections * self.connection_bytes / (fleet.memory_gib * 2**30 * fleet.utilisation_max)
        connections = self.connections / fleet.connections_max
        needs = {"cores": cores, "network": network, "memory": memory, "connections": connections}
        return {name: max(1, math.ceil(round(need, 9))) for name, need in needs.items()}

    @property
    def gateways_needed(self) -> int:
        """Gateways that the scarcest resource asks for."""
        return max(self.gateways_by.values())

    @property
    def bottleneck(self) -> str:
        """The scarcest resource: cores, network, memory, connections, or an overloaded broker."""
        if len(self.broker_utilisation) and self.broker_utilisation.max() > self.fleet.utilisation_max:
            return "broker"
        by = self.gateways_by
        return max(by, key=lambda name: by[name])

    @property
    def cost_per_month(self) -> float:
        """Price of the gateways that are needed, in the currency of `Fleet.gateway_per_hour`."""
        return self.gateways_needed * self.fleet.gateway_per_hour * _HOURS_PER_MONTH

    def to_row(self) -> Row:
        """Returns a row with the columns of `compare`, and further columns that only a fleet has."""
        per_delivery = self.deliveries or math.nan
        has_broker = bool(len(self.broker_utilisation))
        return {
            **self.settings,
            "online": self.connections,
            "online_share": self.online,
            "publications": self.publications,
            "deliveries": self.deliveries,
            **self.publish.to_row("publish"),
            **self.delivery.to_row("delivery", self.publications),
            **self.last.to_row("last"),
            "publish_us": self.core_seconds * 1e6 / self.publications,
            "delivery_us": self.core_seconds * 1e6 / per_delivery if self.deliveries else None,
            "wire_bytes": self.wire_bytes / per_delivery if self.deliveries else None,
            "memory_mib": self.connections * self.connection_bytes / self.fleet.gateways / 2**20,
            "store_writes": self.store_writes / self.publications,
            "inbox_read_ms": self.inbox.percentile_s(0.5) * 1e3 if self.inbox_reads else None,
            "inbox_read_max_ms": self.inbox.percentile_s(1.0) * 1e3 if self.inbox_reads else None,
            "gateways": self.fleet.gateways,
            "utilisation": float(self.utilisation.mean()),
            "utilisation_max": float(self.utilisation.max()),
            "network_utilisation_max": float(self.network_utilisation.max()),
            "broker_utilisation_max": float(self.broker_utilisation.max()) if has_broker else None,
            **{f"gateways_for_{name}": count for name, count in self.gateways_by.items()},
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
            "connections": f"{self.connections:,} on {counted(self.fleet.gateways, 'gateway')}",
            "publications": f"{self.publications:,}, {self.deliveries:,} deliveries",
            "inbox entries": f"{self.store_writes:,}",
        }
        for name, title in (("publish", "publish"), ("delivery", "delivery"), ("last", "last subscriber")):
            if row[f"{name}_p50_ms"] is not None:
                rows[title] = f"median {milliseconds(row[f'{name}_p50_ms'])}"
        busy = row["utilisation_max"]
        rows["busiest gateway"] = (
            f"{percent(busy)} of its cores"
            if busy <= 1
            else f"overloaded: the load needs {percent(busy)} of its cores"
        )
        rows["needed"] = f"{counted(self.gateways_needed, 'gateway')}; scarcest: {self.bottleneck}"
        return rows
