"""A histogram of weighted times: percentiles of hundreds of millions of deliveries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .percentiles import SHARES
from .verdict import is_carried

if TYPE_CHECKING:
    from .queues import Floats
    from .table import Row

_LEAST_S = 1e-7
_PER_DECADE = 250  # buckets; a percentile is at most 1 % too high
_DECADES = 12
_POINTS = 8  # that stand for the deliveries of one job, which leave one after another


class Spread:
    """A histogram of times in seconds."""

    def __init__(self) -> None:
        self._weights = np.zeros(_PER_DECADE * _DECADES + 1)
        self._max_s = 0.0

    @property
    def count(self) -> float:
        """The sum of all weights."""
        return float(self._weights.sum())

    def add(self, times_s: Floats, weights: Floats | None = None) -> None:
        """Counts times, each with its weight (default 1)."""
        if not len(times_s):
            return
        buckets = np.ceil(np.log10(np.maximum(times_s, _LEAST_S) / _LEAST_S) * _PER_DECADE).astype(np.int64)
        buckets = np.minimum(buckets, len(self._weights) - 1)
        self._weights += np.bincount(buckets, weights, minlength=len(self._weights))
        self._max_s = max(self._max_s, float(times_s.max()))

    def add_evenly(self, first_s: Floats, last_s: Floats, weights: Floats) -> None:
        """Counts deliveries that are spread evenly between the first time and the last."""
        if not len(first_s):
            return
        for point in range(_POINTS):
            self.add(first_s + (last_s - first_s) * ((point + 0.5) / _POINTS), weights / _POINTS)
        self._max_s = max(self._max_s, float(last_s.max()))

    def percentile_s(self, share: float) -> float:
        """Returns the least time that at least this share of the times does not exceed."""
        wanted = self._weights.sum() * share
        bucket = int(np.searchsorted(np.cumsum(self._weights), wanted * (1 - 1e-12)))
        return min(_LEAST_S * 10 ** (bucket / _PER_DECADE), self._max_s)

    def to_row(self, name: str, independent: float = math.inf) -> Row:
        """Returns the columns of `compare`, in milliseconds; None where the sample does not carry a value.

        Args:
            name: Beginning of their names.
            independent: Number of independent samples, if it is less than all of them.
        """
        count = self.count
        carrying = min(count, independent)
        row: Row = {
            f"{name}_{key}_ms": self.percentile_s(share) * 1e3 if is_carried(share, carrying) else None
            for key, share in SHARES
        }
        row[f"{name}_max_ms"] = self._max_s * 1e3 if count else None
        return row
