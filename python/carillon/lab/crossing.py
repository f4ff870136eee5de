"""Where the costs of writing and reading cross, and how certain that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from .capacity import LabError
from .table import rows_of
from .verdict import SINGLE_RUN_NOISE, Limit, judge, quantity, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .table import Row, Table
    from .verdict import Verdict

Points = list[tuple[float, float]]

_LEAST_NOISE = 0.05
_PAIRS_MIN = 4
_CONDITIONS = ("transport", "publish_rate", "payload", "channels")


@dataclass(frozen=True)
class Crossover(Limit):
    """The size above which reading is cheaper than writing, as far as a measurement can tell.

    Attributes:
        low: Members below which writing is cheaper by more than the noise; 0: it is so at no size.
        high: Members above which reading is cheaper by more than the noise; None: it is so at no size.
        members: Where the measured lines cross; None: they do not.
        smallest: The smallest size that was measured.
        largest: The largest one.
        noise: Relative difference that says nothing.
    """

    members: float | None
    smallest: float
    largest: float
    noise: float

    @property
    def is_seen(self) -> bool:
        """Whether writing is cheaper at some size and reading at larger ones, both by more than the noise."""
        return self.low > 0 and self.high is not None

    @property
    def finding(self) -> str:
        """What the lines do, as a clause: "the lines cross at 280 to 1,000 members"."""
        if self.high is None:
            if self.low >= self.largest:
                return f"writing is cheaper at {quantity(self.largest)} members, the largest size"
            found = f"at {quantity(self.largest)} members neither is cheaper by more than the noise"
            return f"{found}; below {quantity(self.low)}, writing is" if self.low else found
        if self.high <= self.smallest:
            return f"reading is cheaper at every size from {quantity(self.smallest)} members on"
        if not self.is_seen:
            above = f"reading is cheaper above {self.named('members')}"
            return f"{above}, below which neither is cheaper by more than the noise"
        return f"the lines cross at {span(self.low, self.high)} members"


def crossover(
    table: Table, *, reads_per_publish: float = 0.0, noise: float | None = None
) -> Crossover | None:
    """Finds the sizes around which reading becomes cheaper than writing.

    Args:
        table: Rows of `compare` or `Simulation.to_row`, of one transport, rate and share of online members.
            Of several rows for one strategy and size the cheapest counts: other programs only add to a cost.
        reads_per_publish: Inbox reads per publication, whose time is added to its cost.
        noise: Relative difference that says nothing; by default `noise_of(table)`.

    Returns:
        A `Crossover`, or None where no size has rows of both strategies.

    Raises:
        LabError: The rows differ in more than strategy and members.
    """
    rows = rows_of(table)
    conditions_of(rows)
    lines = lines_of(rows, reads_per_publish)
    return cross(lines.get("write", []), lines.get("read", []), noise_of(rows) if noise is None else noise)


def noise_of(table: Table) -> float:
    """Returns how far measurements of one cost lie apart, as a relative difference.

    It is twice the median difference between the two cheapest rows of one strategy and size, and between
    `hybrid` and the strategy whose work it does at that size. With fewer than four such pairs it is at least
    25 %.

    Args:
        table: Rows of `compare`.
    """
    rows = rows_of(table)
    found: dict[tuple[object, ...], list[float]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in ("strategy", "transport", "channels", "members", "online"))
        found.setdefault(key, []).append(row["publish_us"])
    apart = [
        second / first - 1 for first, second, *_ in (sorted(each) for each in found.values() if len(each) > 1)
    ]
    cheapest = {key: min(each) for key, each in found.items()}
    for row in rows:
        if row["strategy"] == "hybrid":
            rest = tuple(row.get(name) for name in ("transport", "channels", "members", "online"))
            if other := cheapest.get((twin_of(row), *rest)):
                low, high = sorted((other, cheapest["hybrid", *rest]))
                apart.append(high / low - 1)
    least = _LEAST_NOISE if len(apart) >= _PAIRS_MIN else SINGLE_RUN_NOISE
    return max(least, 2 * median(apart)) if apart else least


def twin_of(row: Row) -> str:
    """The strategy that does the same work as a row of `hybrid`, at its size."""
    return "read" if row["members"] > row.get("threshold", math.inf) else "write"


def judge_cost(table: Table, members: int, strategy: str = "write", other: str = "read") -> Verdict:
    """Compares the costs of a publication under two strategies at one size, by the noise of the table."""
    lines = {name: dict(line) for name, line in lines_of(rows_of(table)).items()}
    return judge(lines[strategy][members], lines[other][members], noise=noise_of(table))


def lines_of(rows: Sequence[Row], reads_per_publish: float = 0.0) -> dict[str, Points]:
    """Members and CPU time of a publication, µs, by strategy: the cheapest row of each size."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        cost = row["publish_us"] + reads_per_publish * 1e3 * (row.get("inbox_read_ms") or 0.0)
        line = found.setdefault(row["strategy"], {})
        line[row["members"]] = min(cost, line.get(row["members"], math.inf))
    return {name: sorted(line.items()) for name, line in found.items()}


def cross(write: Points, read: Points, noise: float) -> Crossover | None:
    """As `crossover`, of two lines."""
    shared = sorted({x for x, _ in write} & {x for x, _ in read})
    if not shared:
        return None
    written, merged = ([dict(line)[x] for x in shared] for line in (write, read))
    low = _dearer_from(shared, [cost * (1 + noise) for cost in written], merged)
    high = _dearer_from(shared, written, [cost * (1 + noise) for cost in merged])
    return Crossover(
        low=shared[-1] if low is None else low,
        high=max(high, shared[0]) if high is not None else None,
        members=_dearer_from(shared, written, merged) or None,
        smallest=shared[0],
        largest=shared[-1],
        noise=noise,
    )


def _dearer_from(sizes: Sequence[float], write: Sequence[float], read: Sequence[float]) -> float | None:
    """From where on writing is dearer than reading, between two measured sizes, on logarithmic axes.

    Returns:
        The size; 0: at every measured size; None: not even at the largest.
    """
    gaps = [(x, math.log(a) - math.log(b)) for x, a, b in zip(sizes, write, read, strict=True)]
    if gaps[-1][1] < 0:
        return None
    for (x0, gap0), (x1, gap1) in reversed(list(pairwise(gaps))):
        if gap0 < 0:
            return math.exp(math.log(x0) + gap0 / (gap0 - gap1) * (math.log(x1) - math.log(x0)))
    return 0.0


def conditions_of(rows: Sequence[Row], *, is_strict: bool = True) -> str:
    """What all rows have in common, in words.

    Raises:
        LabError: There is no row, or (`is_strict`) the rows differ in more than strategy and members.
    """
    if not rows:
        raise LabError("table: it has no rows")
    shared = {}
    for name in _CONDITIONS:
        values = {row.get(name) for row in rows}
        if len(values) == 1:
            shared[name] = values.pop()
        elif is_strict:
            raise LabError(f"table: its rows differ in {name} ({_values(values)}); choose the rows of one")
    shares = {
        round(row.get("online_share", row["online"] / row["members"]), 2)
        for row in rows
        if row["members"] >= 100
    }
    if len(shares) > 1 and is_strict:
        raise LabError(
            f"table: its rows differ in the share that is online ({_values(shares)}); choose the rows of one"
        )
    words = []
    if len(shares) == 1:
        words.append(f"{shares.pop():.0%} online")
    if transport := shared.get("transport"):
        words.append("sinks in memory" if transport == "memory" else f"over {transport}")
    if "publish_rate" in shared:
        words.append(f"{shared['publish_rate']:g} publications a second")
    if "payload" in shared:
        words.append(f"{shared['payload']:,} bytes each")
    if shared.get("channels", 1) not in (1, None):
        words.append(f"{shared['channels']:,} channels")
    return ", ".join(words)


def _values(values: set[object] | set[float]) -> str:
    return ", ".join(sorted(str(value) for value in values))
