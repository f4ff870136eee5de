"""Sums and percentiles over what the processes of subscribers have counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .subscribers import TRANSPORTS, upper_bound_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEEDED_BEYOND = 10  # observations beyond a percentile


def merged(tallies: Sequence[dict[str, Any]], name: str) -> Counter[Any]:
    """The sum of one counter over all of them."""
    total: Counter[Any] = Counter()
    for each in tallies:
        total.update(each[name])
    return total


@dataclass(frozen=True, slots=True)
class Latencies:
    """The time from publish to delivery, of one phase.

    Attributes:
        buckets: Number of deliveries by bucket.
        slowest_ns: The longest.
    """

    buckets: Counter[int]
    slowest_ns: int

    @classmethod
    def of(cls, tallies: Sequence[dict[str, Any]], phase: str, transport: str | None = None) -> Latencies:
        """Those of one phase, over one transport or all."""
        transports = TRANSPORTS if transport is None else (transport,)
        keys = [(phase, name) for name in transports]
        total: Counter[int] = Counter()
        for each in tallies:
            for key in keys:
                total.update(each["latencies"].get(key, {}))
        slowest = max((each["slowest_ns"].get(key, 0) for each in tallies for key in keys), default=0)
        return cls(total, slowest)

    @property
    def count(self) -> str:
        """Number of deliveries."""
        return f"{self.buckets.total():,}"

    @property
    def longest(self) -> str:
        """The longest, in ms."""
        return f"{self.slowest_ns / 1e6:.0f}" if self.buckets else "-"

    def percentile(self, share: float) -> str:
        """A percentile in ms. It needs ten observations beyond it."""
        if self.buckets.total() * (1 - share) < _NEEDED_BEYOND - 1e-6:  # 1 - 0.99 is less than 0.01
            return "-"
        return f"{min(_percentile(self.buckets, share), self.slowest_ns) / 1e6:.1f}"


def histogram_row(phase: str, tallies: Sequence[dict[str, Any]]) -> list[str]:
    """A row of latencies of one phase, in ms."""
    found = Latencies.of(tallies, phase)
    return [phase, found.count, *map(found.percentile, (0.5, 0.99, 0.999)), found.longest]


def transport_table(tallies: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Latencies by transport, in ms: those before the roll beside those during it."""
    table = [["transport", "before", "p99 ms", "max ms", "during", "p99 ms", "max ms"]]
    for transport in TRANSPORTS:
        row = [transport]
        for phase in ("before", "during"):
            found = Latencies.of(tallies, phase, transport)
            row += [found.count, found.percentile(0.99), found.longest]
        table.append(row)
    return table


def _percentile(buckets: Counter[int], share: float) -> int:
    rank, below = share * buckets.total(), 0
    for bucket in sorted(buckets):
        below += buckets[bucket]
        if below >= rank:
            return upper_bound_ns(bucket)
    return 0
