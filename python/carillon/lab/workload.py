"""The load of a channel, and its limits: the question that `recommend` answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .capacity import LabError


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The load of a channel, or of several typical ones, and the times that it must keep.

    Attributes:
        members: Members of the channel, or of each of several typical channels.
        online: Share of the members that have a connection, 0 to 1.
        publish_rate: Publications per second of one channel.
        visits_per_hour: Visits of an offline member per hour; each visit reads the inbox.
        channels_per_member: Channels that each member belongs to; an inbox read visits those in read mode.
        payload: Size of a publication, bytes.
        transport: Transport of the subscribers.
        publish_ms_max: Longest acceptable time until a publisher has its reply, ms.
        delivery_ms_max: Longest acceptable time until a subscriber has a publication, ms.
        sweep_interval_ms: Interval between sweeps in read mode, ms.
        favour: What counts between the size where reading becomes cheaper and the size where writing becomes
            too slow: `latency` writes as long as it may, `cost` reads as soon as it pays.
        worth_core: Share of a core per channel that a change of mode must save, 0 to 1.
        is_steady: Whether rates and visits stay as they are; if not, a fixed threshold is right only today.
    """

    members: int | Sequence[int]
    online: float = 0.1
    publish_rate: float = 1.0
    visits_per_hour: float = 2.0
    channels_per_member: int = 20
    payload: int = 128
    transport: Literal["ws", "sse", "poll"] = "ws"
    publish_ms_max: float = 20.0
    delivery_ms_max: float = 250.0
    sweep_interval_ms: float = 100.0
    favour: Literal["latency", "cost"] = "latency"
    worth_core: float = 0.01
    is_steady: bool = True

    def __post_init__(self) -> None:
        """Raises LabError for a value that is not possible."""
        sizes = self.members if isinstance(self.members, Sequence) else [self.members]
        if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise LabError(
                f"members: {self.members!r}; give a whole number of at least 1, or a list of such numbers"
            )
        if not 0 <= self.online <= 1:
            raise LabError(f"online: {self.online!r}; give the share of members that are online, 0 to 1")
        if self.favour not in ("latency", "cost"):
            raise LabError(f"favour: {self.favour!r} is not one of latency, cost")
        for name in ("publish_rate", "publish_ms_max", "delivery_ms_max", "sweep_interval_ms"):
            if not getattr(self, name) > 0:
                raise LabError(f"{name}: {getattr(self, name)!r}; must be above 0")
        for name in ("visits_per_hour", "channels_per_member", "worth_core"):
            if getattr(self, name) < 0:
                raise LabError(f"{name}: {getattr(self, name)!r}; must not be negative")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The members of each channel, the smallest first."""
        return (self.members,) if isinstance(self.members, int) else tuple(sorted(self.members))
