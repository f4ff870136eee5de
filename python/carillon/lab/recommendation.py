"""`recommend`: which strategy, from which size on, and why."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import card
from .capacity import LabError
from .costs import Costs
from .crossing import crossover
from .table import Rows, rows_of, table_of
from .verdict import Limit, microseconds, milliseconds, percent, quantity, quotient, rounded
from .workload import Workload

if TYPE_CHECKING:
    from ..fanout import Strategy
    from .table import Row, Table

Range = tuple[int, int | None]
"""Numbers of members from the first to the second; None: without an end."""

_CORE_US = 1e6  # CPU time of one core in a second


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The result of `recommend`. Numbers of members have two significant digits.

    Attributes:
        strategy: Value for the option `fanout`.
        threshold: Value for the option `fanout_threshold`: members above which a channel is read.
        cheaper_above: Members above which reading costs less CPU time; None: at no size.
        cheaper_between: The range of `cheaper_above` that follows from the spread of the costs; None: at no
            size, whatever the costs are within their spread.
        too_slow_above: Members above which a publisher would wait longer than `Workload.publish_ms_max` for
            the inboxes.
        saves: Share of a core that the cheaper mode saves on the largest channel.
        agrees: Whether the costs agree with the measurement that was given; None: none was given, or its
            noise is too large to tell.
        sweep_interval_ms: Value for the option `sweep_interval`.
        reasons: The reasons, a sentence each.
        rows: CPU time and waiting times, by size of channel and mode.
    """

    strategy: Strategy
    threshold: int
    cheaper_above: int | None
    cheaper_between: Range | None
    too_slow_above: int
    saves: float
    agrees: bool | None
    sweep_interval_ms: float
    reasons: tuple[str, ...]
    rows: Rows

    @property
    def table(self) -> Table:
        """The rows as a `pandas.DataFrame`, or as a list without pandas."""
        return table_of(self.rows)

    def __str__(self) -> str:
        """The recommendation, then a reason a line."""
        return "\n".join([self._headline(), *(f"- {reason}" for reason in self.reasons)])

    def _repr_html_(self) -> str:
        rows: dict[str, object] = {str(number): reason for number, reason in enumerate(self.reasons, 1)}
        return card.render(self._headline(), None, rows)

    def _repr_markdown_(self) -> str:
        return "\n".join([f"`{self._headline()}`", "", *(f"- {reason}" for reason in self.reasons)])

    def _headline(self) -> str:
        options = f'fanout = "{self.strategy}"'
        if self.strategy in ("hybrid", "adaptive"):
            options += f", fanout_threshold = {self.threshold}"
        if self.strategy != "write":
            options += f', sweep_interval = "{self.sweep_interval_ms:g}ms"'
        return options


def recommend(
    workload: Workload, costs: Costs | None = None, *, measured: Table | None = None
) -> Recommendation:
    """Chooses the cheaper mode that keeps the times of a workload.

    Two sizes of channel matter. Above the first, reading costs less CPU time than writing: writing costs an
    inbox entry per publication and member, reading costs a merge per visit of an offline member. Above the
    second, a publisher would wait too long for the inboxes. The threshold is the second size, or with
    `favour="cost"` the smaller of the two. It stays the second size where reading saves less than
    `Workload.worth_core` of a core, or where sweeps would make subscribers wait too long.

    Args:
        workload: The channels to serve, and their limits.
        costs: What `calibrate` has returned; by default the stored costs of another machine.
        measured: Rows of `compare`. The recommendation then says whether the costs predict the crossover that
            was measured there.

    Raises:
        LabError: An argument is of another class, the costs do not have the transport, or the rows of
            `measured` differ in more than strategy and members.
    """
    if not isinstance(workload, Workload):
        raise LabError(f"workload: {workload!r}; give a lab.Workload, for example lab.Workload(members=500)")
    if costs is None:
        costs = Costs()
    if not isinstance(costs, Costs):
        raise LabError(f"costs: {costs!r}; give lab.Costs, for example those that lab.calibrate() returns")
    model = _Model(workload, costs)
    slow = _rounded_down(model.too_slow_above())
    cheap = model.cheaper_above()
    between = _between(workload, costs)
    can_read = workload.sweep_interval_ms <= workload.delivery_ms_max
    sweep_ms = workload.sweep_interval_ms if can_read else max(1.0, math.floor(workload.delivery_ms_max / 2))
    largest = workload.sizes[-1]
    saves = (model.write_us_per_s(largest) - model.read_us_per_s(largest)) / _CORE_US
    reads_early = workload.favour == "cost" and can_read and saves >= workload.worth_core
    threshold = min(slow, cheap) if reads_early and cheap is not None else slow
    strategy: Strategy
    if largest <= threshold:
        strategy = "write"
    elif workload.sizes[0] > threshold:
        strategy = "read"
    else:
        strategy = "hybrid" if workload.is_steady else "adaptive"
    agreement = _Agreement.of(measured, costs) if measured is not None else None
    reasons = _Reasons(model, strategy, threshold, cheap, between, slow, can_read, sweep_ms, saves)
    return Recommendation(
        strategy=strategy,
        threshold=threshold,
        cheaper_above=cheap,
        cheaper_between=between,
        too_slow_above=slow,
        saves=abs(saves),
        agrees=agreement.agrees if agreement else None,
        sweep_interval_ms=sweep_ms,
        reasons=(*reasons.all(), *([agreement.reason] if agreement else [])),
        rows=Rows(row for size in _ladder(workload.sizes, threshold) for row in model.rows(size)),
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
        """Until the last subscriber has it, on an idle server; in read mode after the longest wait."""
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
        return None if saved <= 0 else round(rounded(self.sweeps * self.costs.sweep_us / saved))

    def too_slow_above(self) -> float:
        spare_us = self.workload.publish_ms_max * 1e3 - self.costs.publish_us
        return max(0.0, spare_us / max(self.costs.inbox_entry_us, 1e-6))

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


@dataclass(frozen=True)
class _Reasons:
    """Sentences with the numbers that choose them."""

    model: _Model
    strategy: str
    threshold: int
    cheap: int | None
    between: Range | None
    slow: int
    can_read: bool
    sweep_ms: float
    saves: float

    def all(self) -> list[str]:
        return [self._publisher(), self._cpu(), self._crossover(), *self._price(), self._verdict()]

    def _publisher(self) -> str:
        workload, costs = self.model.workload, self.model.costs
        largest = workload.sizes[-1]
        entry_us = costs.inbox_entry_us
        return (
            f"Writing enters {largest:,} inboxes per publication of the largest channel: {largest:,} x "
            f"{quantity(entry_us)} µs = {milliseconds(largest * entry_us / 1e3)}, for which the publisher "
            f"waits. Within its limit of {workload.publish_ms_max:g} ms it writes to {self.slow:,} members."
        )

    def _cpu(self) -> str:
        model = self.model
        write, read = model.entering + model.pushing, model.sweeping + model.merging
        entering, pushing, sweeping, merging = (
            microseconds(each) for each in (model.entering, model.pushing, model.sweeping, model.merging)
        )
        sweeps = "a sweep for each publication"
        if model.batch > 1:
            sweeps = f"sweeps of {quantity(model.batch)} publications"
        return (
            f"Per second and member, writing costs {microseconds(write)} of CPU: {entering} for inboxes, "
            f"{pushing} for the {percent(model.workload.online)} online. Reading costs {microseconds(read)}: "
            f"{sweeping} for {sweeps}, {merging} for merges at "
            f"{model.workload.visits_per_hour:g} visits an hour."
        )

    def _crossover(self) -> str:
        if self.between is None:
            return "Reading is never cheaper here: members return more often than is published."
        text = (
            f"Reading is cheaper above {Limit(*self.between).named('members')}, as far as the costs are known"
        )
        if self.model.costs.is_below_noise("sweep_us"):
            bound = microseconds(self.model.costs.range_of("sweep_us")[1])
            text += f" (a sweep costs less than its noise; {bound} at most)"
        largest, worth = self.model.workload.sizes[-1], self.model.workload.worth_core
        which = "reading" if self.saves > 0 else "writing"
        text += f". At {largest:,} members {which} saves {percent(abs(self.saves))} of a core"
        return text + (
            f": not worth a change of mode (below {percent(worth)})." if abs(self.saves) < worth else "."
        )

    def _price(self) -> list[str]:
        workload = self.model.workload
        if not self.can_read:
            return [
                f"A sweep every {workload.sweep_interval_ms:g} ms is later than the "
                f"{workload.delivery_ms_max:g} ms that a subscriber may wait. Read only where writing is too "
                f"slow for the publisher, and then with a sweep every {self.sweep_ms:g} ms."
            ]
        if self.strategy == "write":
            return []
        merging, plain = (microseconds(self.model.inbox_us(mode)) for mode in ("read", "write"))
        return [
            f"The price of reading: subscribers wait up to {workload.sweep_interval_ms:g} ms for a sweep. An "
            f"inbox read merges up to {workload.channels_per_member} channels: {merging} instead of {plain}."
        ]

    def _verdict(self) -> str:
        why = (
            "the largest size that writes in time"
            if self.threshold == self.slow
            else "where reading begins to pay"
        )
        at = f"{self.threshold:,} members ({why})"
        return {
            "write": f"No channel is above {at}: write.",
            "read": f"Every channel is above {at}: read.",
            "hybrid": f"Channels are on both sides of {at}: hybrid, with that threshold.",
            "adaptive": f"Channels are on both sides of {at}, and the load changes: adaptive, from there.",
        }[self.strategy]


@dataclass(frozen=True)
class _Agreement:
    """Whether costs predict a crossover that was measured."""

    agrees: bool | None
    reason: str

    @classmethod
    def of(cls, table: Table, costs: Costs) -> _Agreement:
        found, row = crossover(table), rows_of(table)[0]
        if found is None:
            return cls(None, "The measurement that was given has no size with both write and read.")
        # Nobody reads an inbox there, and with a sweep per publication the deliveries of both modes cost the
        # same.
        sweeps = min(row["publish_rate"], 1e3 / row["sweep_interval_ms"]) / row["publish_rate"]
        low_us, high_us = costs.range_of("sweep_us")
        expected = quotient((sweeps * low_us, sweeps * high_us), costs.range_of("inbox_entry_us"))
        text = (
            "Held against the measurement that was given: by these costs reading is cheaper above "
            f"{expected.named('members')}; as measured, {found.finding}."
        )
        agrees = found.agrees(expected)
        if agrees is False:
            return cls(
                False,
                f"{text} They do not agree: trust the measurement where your load is like it, and calibrate "
                "again on a quiet machine.",
            )
        if agrees is None:
            return cls(None, f"{text} The measurement neither confirms nor contradicts the costs.")
        return cls(True, f"{text} Both agree.")


def _between(workload: Workload, costs: Costs) -> Range | None:
    """The range of `cheaper_above`: with every constant at either end of its spread."""
    transport = workload.transport
    names = ("sweep_us", "inbox_entry_us", "merge_us", f"{transport}.delivery_us", f"{transport}.further_us")
    corners = itertools.product(*({*costs.range_of(name)} for name in names))
    found = [
        _Model(workload, costs.with_values(dict(zip(names, values, strict=True)))).cheaper_above()
        for values in corners
    ]
    sizes = [size for size in found if size is not None]
    return (min(sizes), None if len(sizes) < len(found) else max(sizes)) if sizes else None


def _rounded_down(value: float) -> int:
    """Two significant digits, never more than the value: a limit that is kept."""
    step = 10 ** max(0, math.floor(math.log10(value)) - 1) if value >= 1 else 1
    return math.floor(value / step) * step


def _ladder(sizes: tuple[int, ...], threshold: int) -> list[int]:
    """Sizes to show: from the smallest to the largest channel, with the threshold between."""
    marks = {sizes[0], sizes[len(sizes) // 2], sizes[-1]}
    if sizes[0] < threshold < sizes[-1]:
        marks.add(threshold)
    return sorted(marks)
