"""Sentences that the numbers choose: which value is larger, and whether the difference is noise.

A sentence with numbers in it is fixed text until something chooses it. `judge` compares two values,
`judge_samples` two samples, `judge_counts` two counts. All have a third outcome, `same`, for differences
within the noise. `Limit` words a limit that is known only as a range. `is_carried` says which percentiles a
sample can carry. The other functions write numbers with two significant digits.
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
"""Independent samples that must lie beyond a percentile."""

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


@dataclass(frozen=True)
class Limit:
    """A limit that is known as a range: below `low` it is not passed, above `high` it is.

    Attributes:
        low: 0: the limit may lie anywhere below `high`.
        high: None: there may be no limit.
    """

    low: float
    high: float | None

    def overlaps(self, other: Limit) -> bool:
        """Whether both may be the same limit."""
        return self.low <= _end(other) and other.low <= _end(self)

    def agrees(self, other: Limit) -> bool | None:
        """Whether both may be the same limit; None: one of them has no end, so that this says nothing."""
        if not self.overlaps(other):
            return False
        return None if self.high is None or other.high is None else True

    def named(self, unit: str, noun: str = "a size") -> str:
        """Names the limit for a sentence, behind "above" or "below".

        Args:
            unit: Unit of the limit, for example "members".
            noun: Name of the limit, with its article.

        Returns:
            For example "900 members", "a size between 44 and 470 members", "a size of at most 230 members",
            "a size of at least 44 members, if there is one".
        """
        if self.high is None and not self.low:
            return f"{noun} that is not known"
        if self.high is None:
            return f"{noun} of at least {quantity(self.low)} {unit}, if there is one"
        least, most = quantity(self.low), quantity(self.high)
        if not self.low:
            return f"{noun} of at most {most} {unit}"
        return f"{least} {unit}" if least == most else f"{noun} between {least} and {most} {unit}"

    def told(self, below: str, above: str, unit: str) -> str:
        """Says what holds on either side of the limit, and where that is not known, as a clause.

        Args:
            below: Clause that holds below the limit, for example "reading is cheaper".
            above: Clause that holds above it.
            unit: Unit of the limit.
        """
        if self.high is None and not self.low:
            return f"it cannot be told from these numbers where {below}, and where {above}"
        if self.high is None:
            return f"{below} below {quantity(self.low)} {unit}; above that it cannot be told"
        least, most = quantity(self.low), quantity(self.high)
        if not self.low:
            return f"{above} above {most} {unit}; below that it cannot be told"
        if least == most:
            return f"{below} below {least} {unit}, and {above} above that"
        return f"{below} below {least} {unit}, and {above} above {most}; in between it cannot be told"

    def __str__(self) -> str:
        """For a table: "44 to 470", "at most 230", "at least 44, if any"."""
        if self.high is None:
            return f"at least {quantity(self.low)}, if any" if self.low else "not known"
        return span(self.low, self.high)


def _end(limit: Limit) -> float:
    return math.inf if limit.high is None else limit.high


def quotient(above: tuple[float, float], below: tuple[float, float]) -> Limit:
    """Returns the range of a quotient, from the ranges of both its values.

    It has no end where the divisor may be 0, which is a value below its noise.
    """
    (low, high), (divisor_low, divisor_high) = above, below
    return Limit(
        low / divisor_high if divisor_high > 0 else 0.0, high / divisor_low if divisor_low > 0 else None
    )


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


def covering(ranges: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Returns the range that holds all of the ranges."""
    lows, highs = zip(*ranges, strict=True)
    return min(lows), max(highs)


def _median(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def is_carried(share: float, count: float) -> bool:
    """Whether a sample can carry a percentile: the median always, others with ten samples beyond them.

    Args:
        share: The percentile as a share, 0 to 1.
        count: Number of independent samples. The deliveries of one publication are not: they share its fate.
    """
    return count > 0 and (share == 0.5 or count * min(share, 1 - share) >= TAIL_SAMPLES - 1e-6)


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
    """Writes a range: "280 to 1,000"; "at most 12" from 0 on; "at least 0.2" up to infinity.

    Where both ends read the same it is one number.
    """
    if math.isinf(high):
        return f"at least {quantity(low, digits)}"
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


def sentence(clause: str) -> str:
    """Writes a clause as a sentence."""
    return f"{clause[:1].upper()}{clause[1:]}."


def less_by(ratio: float) -> str:
    """Writes how much less a value is than another one, whose ratio is below 1: "19 % less"."""
    if not ratio:
        return "nothing"
    return f"{percent(1 - ratio)} less" if ratio > 0.5 else f"{quantity(1 / ratio)} times less"


def more_by(ratio: float) -> str:
    """Writes how much more a value is than another one, whose ratio is above 1."""
    return f"{percent(ratio - 1)} more" if ratio < 2 else f"{quantity(ratio)} times as much"
