"""What a channel, or a population of channels, is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .capacity import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be served, and within which times.

    Attributes:
        members: Of the channel, or of each of several that are typical.
        online: Share of the members that have a connection, 0 to 1.
        publish_rate: Publications per second of one channel.
        visits_per_hour: How often an offline member comes back and reads the inbox.
        channels_per_member: That a member belongs to; an inbox read visits those that are in read mode.
        payload: Bytes of a publication.
        transport: How subscribers connect.
        publish_ms_max: A publisher waits no longer for the reply.
        delivery_ms_max: A subscriber waits no longer for a publication.
        sweep_interval_ms: Read mode: subscribers are served at most so often.
        favour: What counts between the sizes where reading becomes cheaper and where writing becomes too
            slow: `latency` writes as long as it may, `cost` reads as soon as it pays.
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
    is_steady: bool = True

    def __post_init__(self) -> None:
        """Raises LabError for what cannot be."""
        if not self.sizes or min(self.sizes) < 1:
            raise LabError(f"members: {self.members!r}; give at least 1, of at least one channel")
        if not 0 <= self.online <= 1:
            raise LabError(f"online: {self.online!r}; give the share of members that are online, 0 to 1")
        if self.favour not in ("latency", "cost"):
            raise LabError(f"favour: {self.favour!r} is none of latency, cost")
        for name in ("publish_rate", "publish_ms_max", "delivery_ms_max", "sweep_interval_ms"):
            if not getattr(self, name) > 0:
                raise LabError(f"{name}: {getattr(self, name)!r}; must be above 0")
        for name in ("visits_per_hour", "channels_per_member"):
            if getattr(self, name) < 0:
                raise LabError(f"{name}: {getattr(self, name)!r}; must not be negative")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Members of each channel, the smallest first."""
        return (self.members,) if isinstance(self.members, int) else tuple(sorted(self.members))
