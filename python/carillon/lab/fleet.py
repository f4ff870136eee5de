"""The subject of a simulation: the machines, and the members of each channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from .capacity import LabError
from .store_costs import StoreCosts

if TYPE_CHECKING:
    from .queues import Floats, Ints

MEASURED = StoreCosts()


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Gateways, and between them a broker that holds logs, members and inboxes.

    The costs of a gateway come from `Costs`. Those of the broker, and of the gateways for its sake, come from
    `StoreCosts`: a Redis. `with_store` takes other ones. The network and the prices are assumed.

    Attributes:
        gateways: Number of gateways. Connections are spread over them. A single gateway has no broker.
        cores: Shard threads of a gateway.
        network_gbit: Bandwidth of a gateway, Gbit/s.
        connections_max: Limit of connections per gateway: its descriptors, or a choice of its operator.
        memory_gib: Memory of a gateway, GiB.
        utilisation_max: Share of cores, network and memory that the load may use, 0 to 1.
        broker_cores: Single-threaded partitions of the broker. A channel belongs to one, inboxes to all.
        broker_append_us: CPU time of the broker for a publication, microseconds.
        broker_gateway_us: The same for handing it to one gateway.
        broker_entry_us: The same for entering it into one inbox.
        heard_us: CPU time of a gateway that hears a publication of another one, microseconds.
        entry_us: CPU time of the gateway that walks over the members, for each of them, microseconds.
        network_ms: One way between gateway and broker, ms.
        gateway_per_hour: Price of a gateway per hour, in any currency.
    """

    gateways: int = 1
    cores: int = 1
    network_gbit: float = 10.0
    connections_max: int = 100_000
    memory_gib: float = 16.0
    utilisation_max: float = 0.6
    broker_cores: int = 16
    broker_append_us: float = MEASURED.append_us
    broker_gateway_us: float = MEASURED.gateway_us
    broker_entry_us: float = MEASURED.entry_us
    heard_us: float = MEASURED.gateway_heard_us
    entry_us: float = MEASURED.gateway_entry_us
    network_ms: float = 0.25
    gateway_per_hour: float = 0.2

    def __post_init__(self) -> None:
        """Raises LabError for a value that is not possible."""
        for name in ("gateways", "cores", "connections_max", "broker_cores"):
            if getattr(self, name) < 1:
                raise LabError(f"{name}: {getattr(self, name)!r}; give at least 1")
        for name in ("network_gbit", "memory_gib", "utilisation_max"):
            if not getattr(self, name) > 0:
                raise LabError(f"{name}: {getattr(self, name)!r}; must be above 0")
        if self.utilisation_max > 1:
            raise LabError(f"utilisation_max: {self.utilisation_max!r}; give a share, 0 to 1")

    def with_store(self, costs: StoreCosts) -> Self:
        """Returns this fleet with the measured costs of a store. Its network stays as it is.

        Example:
            fleet = lab.Fleet(gateways=6).with_store(lab.calibrate_store())
        """
        return replace(
            self,
            broker_append_us=costs.append_us,
            broker_gateway_us=costs.gateway_us,
            broker_entry_us=costs.entry_us,
            heard_us=costs.gateway_heard_us,
            entry_us=costs.gateway_entry_us,
        )

    @property
    def has_broker(self) -> bool:
        """Whether there is more than one gateway."""
        return self.gateways > 1


@dataclass(frozen=True, kw_only=True)
class Population:
    """Channels whose sizes follow Zipf's law: the channel of rank r has `largest` / r ** `exponent` members.

    Attributes:
        users: Number of users, with and without a connection.
        channels: Number of channels.
        largest: Members of the largest channel.
        smallest: Members of the smallest channels.
        exponent: 0: all channels have one size; 1: the heavy tail of most social networks.
        activity: Publications go to channels in proportion to members ** activity; 0: to all equally.
    """

    users: int
    channels: int = 1
    largest: int = 1_000
    smallest: int = 2
    exponent: float = 1.0
    activity: float = 0.5

    def __post_init__(self) -> None:
        """Raises LabError for a value that is not possible."""
        if self.users < 1 or self.channels < 1:
            raise LabError(f"users: {self.users!r}, channels: {self.channels!r}; give at least 1 of each")
        if not 1 <= self.largest <= self.users:
            raise LabError(f"largest: {self.largest!r}; give 1 to the number of users ({self.users:,})")
        if self.smallest < 1 or self.exponent < 0:
            raise LabError(f"smallest: {self.smallest!r}, exponent: {self.exponent!r}; give 1 and 0 or more")

    def members(self) -> Ints:
        """Returns the members of each channel, the largest first."""
        ranks = np.arange(1, self.channels + 1, dtype=np.float64)
        sizes = np.round(self.largest / ranks**self.exponent).astype(np.int64)
        return np.maximum(sizes, min(self.smallest, self.largest))

    def shares(self) -> Floats:
        """Returns the share of all publications that goes to each channel."""
        weights = np.power(self.members().astype(np.float64), self.activity)
        return np.asarray(weights / weights.sum())
