"""Percentiles of native histograms, as columns of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .verdict import is_carried

if TYPE_CHECKING:
    from .. import _core
    from .table import Row

SHARES = (("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))


def percentile_ms(
    histogram: _core.LoadHistogram, share: float, *, independent: int | None = None
) -> float | None:
    """Returns a percentile in milliseconds, or None where fewer than ten independent samples lie beyond it.

    Args:
        histogram: A histogram of a `LoadResult`, for example `latency`.
        share: The percentile as a share, 0 to 1.
        independent: Number of independent samples; by default all of them. Of deliveries it is the number of
            publications, `LoadResult.messages`: if one publication is late, so are all its deliveries.
    """
    count = histogram.count if independent is None else min(histogram.count, independent)
    return histogram.percentile_ns(share) / 1e6 if is_carried(share, count) else None


def columns(name: str, histogram: _core.LoadHistogram, independent: int | None = None) -> Row:
    """Returns `<name>_p50_ms` and its like, and the maximum; None where the sample does not carry a value."""
    found: Row = {
        f"{name}_{key}_ms": percentile_ms(histogram, share, independent=independent) for key, share in SHARES
    }
    found[f"{name}_max_ms"] = histogram.max_ns / 1e6 if histogram.count else None
    return found


def inbox_columns(histogram: _core.LoadHistogram) -> Row:
    """Returns the two columns of inbox reads: the median and the slowest."""
    of_all = columns("inbox_read", histogram)
    return {"inbox_read_ms": of_all["inbox_read_p50_ms"], "inbox_read_max_ms": of_all["inbox_read_max_ms"]}


def highest_carried(rows: list[Row], names: tuple[str, ...]) -> str:
    """Returns the key of the highest percentile that every row has for every one of the names."""
    for key, _ in reversed(SHARES):
        if all(row.get(f"{name}_{key}_ms") is not None for row in rows for name in names):
            return key
    return "p50"
