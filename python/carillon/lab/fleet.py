"""What a simulation is of: the machines, and who is on which channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .capacity import LabError

if TYPE_CHECKING:
    from .queues import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Gateways, and between them a broker that holds logs, members and inboxes.

    What a gateway spends comes from `Costs`. What the broker spends is assumed, not measured here.

    Attributes:
        gateways: Alike, with the connections spread over them; one has its store within, and no broker.
        cores: Shard threads of a gateway, each with its connections.
        network_gbit: What leaves a gateway per second.
        connections_max: Of a gateway: descriptors, or what its operator allows.
        memory_gib: Of a gateway.
        utilisation_max: How far cores and network may be loaded, 0 to 1: for the number needed.
        broker_cores: Single-threaded partitions of the broker; a channel lives in one, inboxes in all.
        broker_append_us: Of a publication in the broker.
        broker_gateway_us: Handing it to one gateway.
        broker_entry_us: Entering it into one inbox.
        network_ms: One way between gateway and broker.
        gateway_per_hour: Price of a gateway, in whatever currency.
    """

    gateways: int = 1
    cores: int = 1
    network_gbit: float = 10.0
    connections_max: int = 100_000
    memory_gib: float = 16.0
    utilisation_max: float = 0.6
    broker_cores: int = 16
    broker_append_us: float = 15.0
    broker_gateway_us: float = 2.0
    broker_entry_us: float = 0.5
    network_ms: float = 0.25
    gateway_per_hour: float = 0.2

    def __post_init__(self) -> None:
        """Raises LabError for what cannot be."""
        for name in ("gateways", "cores", "connections_max", "broker_cores"):
            if getattr(self, name) < 1:
                raise LabError(f"{name}: {getattr(self, name)!r}; give at least 1")
        for name in ("network_gbit", "memory_gib", "utilisation_max"):
            if not getattr(self, name) > 0:
                raise LabError(f"{name}: {getattr(self, name)!r}; must be above 0")
        if self.utilisation_max > 1:
            raise LabError(f"utilisation_max: {self.utilisation_max!r}; give a share, 0 to 1")

    @property
    def has_broker(self) -> bool:
        """Whether there is more than one gateway."""
        return self.gateways > 1


@dataclass(frozen=True, kw_only=True)
class Population:
    """Channels whose members follow Zipf's law: the one of rank r has `largest` / r ** `exponent` of them.

    Attributes:
        users: In all, online or not.
        channels: In all.
        largest: Members of the largest channel.
        smallest: Members that no channel has fewer of.
        exponent: 0: all channels are alike; 1: the heavy tail of most networks of people.
        activity: Publications go to channels in proportion to members ** activity; 0: to all alike.
    """

    users: int
    channels: int = 1
    largest: int = 1_000
    smallest: int = 2
    exponent: float = 1.0
    activity: float = 0.5

    def __post_init__(self) -> None:
        """Raises LabError for what cannot be."""
        if self.users < 1 or self.channels < 1:
            raise LabError(f"users: {self.users!r}, channels: {self.channels!r}; give at least 1 of each")
        if not 1 <= self.largest <= self.users:
            raise LabError(f"largest: {self.largest!r}; give 1 to the number of users ({self.users:,})")
        if self.smallest < 1 or self.exponent < 0:
            raise LabError(f"smallest: {self.smallest!r}, exponent: {self.exponent!r}; give 1 and 0 or more")

    def members(self) -> Ints:
        """Of each channel, the largest first."""
        ranks = np.arange(1, self.channels + 1, dtype=np.float64)
        sizes = np.round(self.largest / ranks**self.exponent).astype(np.int64)
        return np.maximum(sizes, min(self.smallest, self.largest))

    def shares(self) -> Floats:
        """Which share of all publications goes to each channel."""
        weights = np.power(self.members().astype(np.float64), self.activity)
        return np.asarray(weights / weights.sum())
