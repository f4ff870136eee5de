"""Percentiles of native histograms, as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import _core
    from .table import Row

SHARES = (("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))


def columns(name: str, histogram: _core.LoadHistogram) -> Row:
    """`<name>_p50_ms` and its like, and the maximum; None where the histogram is empty."""
    found: Row = {f"{name}_{key}_ms": histogram.percentile_ns(share) / 1e6 for key, share in SHARES}
    found[f"{name}_max_ms"] = histogram.max_ns / 1e6
    return found if histogram.count else dict.fromkeys(found)


def inbox_columns(histogram: _core.LoadHistogram) -> Row:
    """The two that inbox reads have."""
    of_all = columns("inbox_read", histogram)
    return {"inbox_read_ms": of_all["inbox_read_p50_ms"], "inbox_read_p99_ms": of_all["inbox_read_p99_ms"]}
