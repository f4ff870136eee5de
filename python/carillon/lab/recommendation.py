"""`recommend`: which strategy, from which size on, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import card
from .costs import Costs
from .table import Rows, table_of

if TYPE_CHECKING:
    from .cell import Strategy
    from .table import Row, Table
    from .workload import Workload


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What `recommend` says.

    Attributes:
        strategy: For the option `fanout`.
        threshold: For the option `fanout_threshold`: members above which a channel is to be read.
        cheaper_above: Members above which reading costs less CPU time; None: never.
        too_slow_above: Members above which a publisher would wait longer than `Workload.publish_ms_max` for
            the inboxes.
        sweep_interval_ms: For the option `sweep_interval`.
        reasons: Why, a sentence each.
        rows: By size of channel and mode: CPU time and waiting times.
    """

    strategy: Strategy
    threshold: int
    cheaper_above: int | None
    too_slow_above: int
    sweep_interval_ms: float
    reasons: tuple[str, ...]
    rows: Rows

    @property
    def table(self) -> Table:
        """The figures as a `pandas.DataFrame`, or as rows without pandas."""
        return table_of(self.rows)

    def __str__(self) -> str:
        """The recommendation, then a reason a line."""
        return "\n".join([self._headline(), *(f"- {reason}" for reason in self.reasons)])

    def _repr_html_(self) -> str:
        rows: dict[str, object] = {str(number): reason for number, reason in enumerate(self.reasons, 1)}
        return card.render(self._headline(), None, rows)

    def _headline(self) -> str:
        options = f'fanout = "{self.strategy}"'
        if self.strategy in ("hybrid", "adaptive"):
            options += f", fanout_threshold = {self.threshold}"
        if self.strategy != "write":
            options += f', sweep_interval = "{self.sweep_interval_ms:g}ms"'
        return options


def recommend(workload: Workload, costs: Costs | None = None) -> Recommendation:
    """Chooses the cheaper mode that keeps the times of a workload.

    Two sizes of channel matter. Above the first, reading costs less CPU time than writing: entering an inbox
    is paid per publication and member, merging a channel per visit of an offline member. Above the second, a
    publisher would wait too long for the inboxes. The threshold is one of them, as `Workload.favour` says,
    and never beyond the second; where sweeps would make subscribers wait too long, it is the second.

    Args:
        workload: What is to be served.
        costs: Of `calibrate`; by default those of the machine that Carillon is measured on.
    """
    costs = costs or Costs()
    model = _Model(workload, costs)
    slow = model.too_slow_above()
    cheap = model.cheaper_above()
    can_read = workload.sweep_interval_ms <= workload.delivery_ms_max
    sweep_ms = workload.sweep_interval_ms if can_read else max(1.0, math.floor(workload.delivery_ms_max / 2))
    reads_early = workload.favour == "cost" and can_read
    threshold = min(slow, cheap) if reads_early and cheap is not None else slow
    sizes = workload.sizes
    strategy: Strategy
    if sizes[-1] <= threshold:
        strategy = "write"
    elif sizes[0] > threshold:
        strategy = "read"
    else:
        strategy = "hybrid" if workload.is_steady else "adaptive"
    rows = Rows(row for size in _ladder(sizes, threshold) for row in model.rows(size))
    return Recommendation(
        strategy=strategy,
        threshold=threshold,
        cheaper_above=cheap,
        too_slow_above=slow,
        sweep_interval_ms=sweep_ms,
        reasons=tuple(model.reasons(strategy, threshold, cheap, slow, can_read, sweep_ms)),
        rows=rows,
    )


class _Model:
    """The arithmetic: everything per second and channel, in microseconds of CPU time."""

    def __init__(self, workload: Workload, costs: Costs) -> None:
        self.workload = workload
        self.costs = costs
        interval_s = workload.sweep_interval_ms / 1e3
        self.sweeps = min(workload.publish_rate, 1 / interval_s)  # per second
        self.batch = workload.publish_rate / self.sweeps
        self.visits = (1 - workload.online) * workload.visits_per_hour / 3600  # per second and member
        push_us = costs.write_us(workload.transport, 1.0, workload.payload)
        sweep_us = costs.write_us(workload.transport, self.batch, workload.payload)
        self.entering = workload.publish_rate * costs.inbox_entry_us  # per member
        self.pushing = workload.publish_rate * workload.online * push_us
        self.sweeping = self.sweeps * workload.online * sweep_us
        self.merging = self.visits * costs.merge_us
        self.publishing = workload.publish_rate * costs.publish_us  # whatever the size

    def write_us_per_s(self, members: int) -> float:
        return self.publishing + members * (self.entering + self.pushing)

    def read_us_per_s(self, members: int) -> float:
        fixed = self.publishing + self.sweeps * self.costs.sweep_us
        return fixed + members * (self.sweeping + self.merging)

    def publish_ms(self, mode: str, members: int) -> float:
        entries = members * self.costs.inbox_entry_us if mode == "write" else 0.0
        return (self.costs.publish_us + entries) / 1e3

    def last_ms(self, mode: str, members: int) -> float:
        """Until the last subscriber has it, if nothing else goes on; of a sweep, in the worst case."""
        online = members * self.workload.online
        if mode == "write":
            each_us = self.costs.write_us(self.workload.transport, 1.0, self.workload.payload)
            return (self.costs.publish_us + online * each_us + members * self.costs.inbox_entry_us) / 1e3
        each_us = self.costs.write_us(self.workload.transport, self.batch, self.workload.payload)
        return self.workload.sweep_interval_ms + online * each_us / 1e3

    def inbox_us(self, mode: str) -> float:
        merges = self.workload.channels_per_member if mode == "read" else 0
        return self.costs.inbox_read_us + merges * self.costs.merge_us

    def cheaper_above(self) -> int | None:
        saved = self.entering + self.pushing - self.sweeping - self.merging  # per second and member
        if saved <= 0:
            return None
        return math.floor(self.sweeps * self.costs.sweep_us / saved)

    def too_slow_above(self) -> int:
        spare_us = self.workload.publish_ms_max * 1e3 - self.costs.publish_us
        return max(0, math.floor(spare_us / self.costs.inbox_entry_us))

    def rows(self, members: int) -> list[Row]:
        """One per mode."""
        return [
            {
                "members": members,
                "mode": mode,
                "cpu_ms_per_s": cpu_us / 1e3,
                "publish_ms": self.publish_ms(mode, members),
                "last_subscriber_ms": self.last_ms(mode, members),
                "inbox_read_us": self.inbox_us(mode),
                "inbox_entries_per_s": members * self.workload.publish_rate if mode == "write" else 0.0,
            }
            for mode, cpu_us in (
                ("write", self.write_us_per_s(members)),
                ("read", self.read_us_per_s(members)),
            )
        ]

    def reasons(
        self, strategy: str, threshold: int, cheap: int | None, slow: int, can_read: bool, sweep_ms: float
    ) -> list[str]:
        """Sentences with the numbers."""
        workload, costs = self.workload, self.costs
        largest = workload.sizes[-1]
        found = [
            f"Writing enters {largest:,} inboxes per publication of the largest channel: {largest:,} x "
            f"{costs.inbox_entry_us:.3g} µs = {largest * costs.inbox_entry_us / 1e3:.3g} ms, for which the "
            f"publisher waits. The {workload.publish_ms_max:g} ms that it may wait are enough for {slow:,} "
            "members.",
            f"Writing costs {self.entering + self.pushing:.3g} µs of CPU per second and member "
            f"({self.entering:.3g} for inboxes, {self.pushing:.3g} for {workload.online:.0%} online), "
            f"reading {self.sweeping + self.merging:.3g} ({self.sweeping:.3g} for sweeps of {self.batch:.3g} "
            f"publication(s), {self.merging:.3g} for merges at {workload.visits_per_hour:g} visits an hour).",
        ]
        if cheap is None:
            found.append("So reading is never cheaper here: members come back more often than is published.")
        else:
            saved = self.write_us_per_s(largest) - self.read_us_per_s(largest)
            found.append(
                f"So reading is cheaper above {cheap:,} members, where it has paid for its sweeps; at "
                f"{largest:,} it saves {saved / 1e4:.2g} % of a core."
                if largest > cheap
                else f"So reading is cheaper only above {cheap:,} members, where it has paid for its sweeps."
            )
        if not can_read:
            found.append(
                f"A sweep every {workload.sweep_interval_ms:g} ms is later than the "
                f"{workload.delivery_ms_max:g} ms that a subscriber may wait: read only where writing is too "
                f"slow for the publisher, and then every {sweep_ms:g} ms."
            )
        elif strategy != "write":
            found.append(
                f"The price of reading: subscribers wait for a sweep, {workload.sweep_interval_ms:g} ms at "
                f"most, and an inbox read merges up to {workload.channels_per_member} channels, "
                f"{self.inbox_us('read'):.3g} µs instead of {self.inbox_us('write'):.3g}."
            )
        why = "the last size that writes in time" if threshold == slow else "where reading begins to pay"
        at = f"{threshold:,} members ({why})"
        verdicts = {
            "write": f"No channel is above {at}: write.",
            "read": f"Every channel is above {at}: read.",
            "hybrid": f"Channels lie on both sides of {at}: hybrid, with that threshold.",
            "adaptive": f"Channels lie on both sides of {at}, and the load changes: adaptive, from there.",
        }
        return [*found, verdicts[strategy]]


def _ladder(sizes: tuple[int, ...], threshold: int) -> list[int]:
    """Sizes to show: from the smallest to the largest channel, with the threshold between."""
    marks = {sizes[0], sizes[len(sizes) // 2], sizes[-1]}
    if sizes[0] < threshold < sizes[-1]:
        marks.add(threshold)
    return sorted(marks)
