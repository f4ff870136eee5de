"""Sums and percentiles over what the processes of subscribers have counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from .subscribers import upper_bound_ns

if TYPE_CHECKING:
    from collections.abc import Sequence


def merged(tallies: Sequence[dict[str, Any]], name: str) -> Counter[Any]:
    """The sum of one counter over all of them."""
    total: Counter[Any] = Counter()
    for each in tallies:
        total.update(each[name])
    return total


def histogram_row(phase: str, tallies: Sequence[dict[str, Any]]) -> list[str]:
    """A row of latencies of one phase, in ms. A percentile needs ten observations beyond it."""
    total: Counter[int] = Counter()
    for each in tallies:
        total.update(each["latencies"].get(phase, {}))
    slowest = max((each["slowest_ns"].get(phase, 0) for each in tallies), default=0)
    count = total.total()
    cells = [
        f"{min(_percentile(total, share), slowest) / 1e6:.1f}" if count * (1 - share) >= 10 else "-"
        for share in (0.5, 0.99, 0.999)
    ]
    return [phase, f"{count:,}", *cells, f"{slowest / 1e6:.0f}"]


def _percentile(buckets: Counter[int], share: float) -> int:
    rank, below = share * buckets.total(), 0
    for bucket in sorted(buckets):
        below += buckets[bucket]
        if below >= rank:
            return upper_bound_ns(bucket)
    return 0
