"""Sentences that the numbers choose: which value is larger, and whether the difference is noise.

A sentence with numbers in it is fixed text until something chooses it. `judge` compares two values,
`judge_samples` two samples, `judge_counts` two counts. All have a third outcome, `same`, for differences
within the noise. `is_carried` says which percentiles a sample can carry. The other functions write numbers
with two significant digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Outcome = Literal["less", "same", "more"]

NOISE = 0.1
"""Relative difference that repeated measurements of one thing show on a quiet machine."""

SINGLE_RUN_NOISE = 0.25
"""The same of measurements that were made only once."""

TAIL_SAMPLES = 10
"""Samples that must lie beyond a percentile."""

_SPACE = "\u00a0"  # does not break a line between a number and its unit


@dataclass(frozen=True)
class Verdict:
    """Two values, and whether the first is less or more than the second, or the same within the noise."""

    value: float
    other: float
    outcome: Outcome

    @property
    def ratio(self) -> float:
        """The first value divided by the second."""
        return self.value / self.other if self.other else math.inf

    def choose(self, *, less: str, same: str, more: str) -> str:
        """Returns the text that belongs to the outcome."""
        return {"less": less, "same": same, "more": more}[self.outcome]

    def __str__(self) -> str:
        """How the first value compares with the second, for example "19 % less" or "2.3 times as much"."""
        return self.choose(less=less_by(self.ratio), same="about the same", more=more_by(self.ratio))


def judge(value: float, other: float, *, noise: float = NOISE) -> Verdict:
    """Compares two values of 0 or more.

    Args:
        value: The first value.
        other: The second value.
        noise: Relative difference up to which both are the same: 0.1 is 10 %, 1.0 a factor of 2.
    """
    low, high = sorted((value, other))
    if high <= low * (1 + noise):
        return Verdict(value, other, "same")
    return Verdict(value, other, "more" if value > other else "less")


def judge_samples(values: Iterable[float], others: Iterable[float]) -> Verdict:
    """Compares the medians of two samples. They are the same where their `median_range`s overlap."""
    values, others = sorted(values), sorted(others)
    (low, high), (other_low, other_high) = median_range(values), median_range(others)
    outcome: Outcome = "more" if low > other_high else "less" if high < other_low else "same"
    return Verdict(_median(values), _median(others), outcome)


def judge_counts(count: int, other: int) -> Verdict:
    """Compares two counts of rare events. They are the same where chance alone makes such a difference."""
    if abs(count - other) <= 2 * math.sqrt(count + other):
        return Verdict(count, other, "same")
    return Verdict(count, other, "more" if count > other else "less")


def median_range(values: Iterable[float]) -> tuple[float, float]:
    """Returns the range that holds the median of the population with 95 % confidence, by order statistics."""
    ordered = sorted(values)
    count = len(ordered)
    skipped = max(0, math.floor((count - 1.96 * math.sqrt(count)) / 2))
    return ordered[skipped], ordered[-1 - skipped]


def _median(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def is_carried(share: float, count: float) -> bool:
    """Whether a sample can carry a percentile: the median always, a higher one with ten samples beyond it.

    Args:
        share: The percentile as a share, 0 to 1.
        count: Size of the sample.
    """
    return count > 0 and (share <= 0.5 or count * (1 - share) >= TAIL_SAMPLES - 1e-6)


# ---- numbers in words


def rounded(value: float, digits: int = 2) -> float:
    """Returns the value with the given number of significant digits."""
    return float(f"{value:.{digits}g}")


def quantity(value: float, digits: int = 2) -> str:
    """Writes a number with significant digits, without powers of ten: "1,200", "0.37"."""
    value = rounded(value, digits)
    if 0 < abs(value) < 1e-4:
        return f"{value:.{digits - 1 - math.floor(math.log10(abs(value)))}f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def milliseconds(value: float) -> str:
    """Writes a time that is given in milliseconds: "0.37 ms", "12 ms", "3.4 s"."""
    return f"{quantity(value / 1e3)}{_SPACE}s" if value >= 999.5 else f"{quantity(value)}{_SPACE}ms"


def microseconds(value: float) -> str:
    """Writes a time that is given in microseconds: "0.37 µs", "12 µs", "3.4 ms"."""
    return milliseconds(value / 1e3) if value >= 999.5 else f"{quantity(value)}{_SPACE}µs"


def percent(share: float) -> str:
    """Writes a share: "0.83 %", "19 %"."""
    return f"{quantity(100 * share)}{_SPACE}%"


def span(low: float, high: float, digits: int = 2) -> str:
    """Writes a range: "280 to 1,000"; "at most 12" from 0 on; "0.2 or more" up to infinity.

    Where both ends read the same it is one number.
    """
    if math.isinf(high):
        return f"{quantity(low, digits)} or more"
    least, most = quantity(low, digits), quantity(high, digits)
    if not low and high:
        return f"at most {most}"
    return least if least == most else f"{least} to {most}"


def counted(count: int, one: str, several: str = "") -> str:
    """Writes a count with its noun: "1 gateway", "200 gateways"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """Writes words as a list: "write, hybrid and read"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def less_by(ratio: float) -> str:
    """Writes how much less a value is than another one, whose ratio is below 1: "19 % less"."""
    if not ratio:
        return "nothing"
    return f"{percent(1 - ratio)} less" if ratio > 0.5 else f"{quantity(1 / ratio)} times less"


def more_by(ratio: float) -> str:
    """Writes how much more a value is than another one, whose ratio is above 1."""
    return f"{percent(ratio - 1)} more" if ratio < 2 else f"{quantity(ratio)} times as much"
