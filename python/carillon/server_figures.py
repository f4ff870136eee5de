"""What the metrics of a server say: its state, and what it did in an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .metrics_page import Family, Histogram, MalformedPage, histograms_of, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Reading:
    """A page of metrics, and when it was read.

    Attributes:
        families: The metrics by name.
        at_s: Time of the answer by a clock that only goes forward, seconds.
    """

    families: Mapping[str, Family]
    at_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one server, or of several. None stands for one that the page does not have.

    Rates, processor time and histograms are of the interval between two readings, and None after the first.

    Attributes:
        connections: Clients that are connected, by transport.
        subscriptions: Open subscriptions.
        channels: Channels with subscribers. In a sum a channel counts once for each server.
        publications_per_s: Publications that publishers gave to the server, per second.
        deliveries_per_s: Publications, joins and leaves that subscribers got, per second.
        bytes_per_s: Bytes of these deliveries, per second.
        drops_per_s: Entries that subscriptions did not get, per second, by reason.
        publish_to_socket: Time from a publisher's call until the kernel has the bytes, seconds.
        turn: Length of a turn of a thread, seconds.
        loop_lag: By how much ticks of a thread came too late, seconds.
        store_call: Time that the store took to answer, seconds. A store in memory has none.
        lagging_subscriptions: Subscriptions that are behind.
        slowest_publications: How far the slowest subscription is behind; of several servers the largest.
        slowest_seconds: Age of the oldest publication that it has not got; of several servers the largest.
        is_store_up: Whether the store takes publications; of several servers, of all of them.
        burn_rates: Burn rate of the error budget by objective and window; of several servers the largest.
        budgets: What is left of the error budget by objective, 1 is all; of several servers the least.
        memory_bytes: Resident memory of the process.
        open_descriptors: Open descriptors of the process.
        max_descriptors: Maximum number of open descriptors.
        cores: Processor time per second, seconds: the number of cores that are busy.
        is_draining: Whether clients are asked to go elsewhere; of several servers, of any.
    """

    connections: dict[str, float]
    subscriptions: float | None
    channels: float | None
    publications_per_s: float | None
    deliveries_per_s: float | None
    bytes_per_s: float | None
    drops_per_s: dict[str, float] | None
    publish_to_socket: Histogram | None
    turn: Histogram | None
    loop_lag: Histogram | None
    store_call: Histogram | None
    lagging_subscriptions: float | None
    slowest_publications: float | None
    slowest_seconds: float | None
    is_store_up: bool
    burn_rates: dict[str, dict[str, float]]
    budgets: dict[str, float]
    memory_bytes: float | None
    open_descriptors: float | None
    max_descriptors: float | None
    cores: float | None
    is_draining: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures with names and units of the metrics, for JSON."""
        return {
            "draining": self.is_draining,
            "connections": {name: _plain(value) for name, value in self.connections.items()},
            "subscriptions": _plain(self.subscriptions),
            "channels": _plain(self.channels),
            "publications_per_s": self.publications_per_s,
            "deliveries_per_s": self.deliveries_per_s,
            "delivered_bytes_per_s": self.bytes_per_s,
            "drops_per_s": self.drops_per_s,
            "publish_to_socket_seconds": _percentiles(self.publish_to_socket),
            "lagging_subscriptions": _plain(self.lagging_subscriptions),
            "slowest_subscription_publications": _plain(self.slowest_publications),
            "slowest_subscription_seconds": self.slowest_seconds,
            "turn_seconds": _percentiles(self.turn),
            "loop_lag_seconds": _percentiles(self.loop_lag),
            "store_up": self.is_store_up,
            "store_call_seconds": _percentiles(self.store_call),
            "error_budget_burn_rate": self.burn_rates,
            "error_budget_remaining_ratio": self.budgets,
            "resident_memory_bytes": _plain(self.memory_bytes),
            "open_fds": _plain(self.open_descriptors),
            "max_fds": _plain(self.max_descriptors),
            "cpu_cores": self.cores,
        }


def figures_of(now: Reading, earlier: Reading | None = None) -> Figures:
    """Returns the figures of a server.

    A counter that went down belongs to a server that was restarted: then it counts from 0.

    Example:
        figures_of(second, first).deliveries_per_s

    Args:
        now: The newest reading.
        earlier: The reading before it; by default none, then there are no rates.

    Raises:
        MalformedPage: The page is not one of a Carillon server, or a figure in it is not a number.
    """
    page = _Page(now, earlier)
    burn_rates: dict[str, dict[str, float]] = {}
    for labels, rate in page.series("carillon_error_budget_burn_rate"):
        burn_rates.setdefault(labels.get("objective", ""), {})[labels.get("window", "")] = rate
    return Figures(
        connections=page.by("transport", "carillon_clients"),
        subscriptions=page.gauge("carillon_subscriptions"),
        channels=page.gauge("carillon_channels"),
        publications_per_s=page.rate("carillon_publications_total"),
        deliveries_per_s=page.rate("carillon_deliveries_total"),
        bytes_per_s=page.rate("carillon_delivered_bytes_total"),
        drops_per_s=page.rates_by("reason", "carillon_drops_total"),
        publish_to_socket=page.histogram("carillon_publish_to_socket_seconds"),
        turn=page.histogram("carillon_turn_seconds"),
        loop_lag=page.histogram("carillon_loop_lag_seconds"),
        store_call=page.histogram("carillon_store_call_seconds"),
        lagging_subscriptions=page.gauge("carillon_lagging_subscriptions"),
        slowest_publications=page.gauge("carillon_slowest_subscription_publications"),
        slowest_seconds=page.gauge("carillon_slowest_subscription_seconds"),
        is_store_up=page.gauge("carillon_store_up") != 0,
        burn_rates=burn_rates,
        budgets=page.by("objective", "carillon_error_budget_remaining_ratio"),
        memory_bytes=page.gauge("process_resident_memory_bytes"),
        open_descriptors=page.gauge("process_open_fds"),
        max_descriptors=page.gauge("process_max_fds"),
        cores=page.rate("process_cpu_seconds_total"),
        is_draining=bool(page.gauge("carillon_draining")),
    )


def sum_of(servers: Sequence[Figures]) -> Figures:
    """Returns the figures of several servers in one. `Figures` says which of them are not sums."""

    def total(get: Callable[[Figures], float | None]) -> float | None:
        return _of_those(sum, map(get, servers))

    def largest(get: Callable[[Figures], float | None]) -> float | None:
        return _of_those(max, map(get, servers))

    def one(get: Callable[[Figures], Histogram | None]) -> Histogram | None:
        return merged(found for each in servers if (found := get(each)) is not None)

    drops = [each.drops_per_s for each in servers if each.drops_per_s is not None]
    objectives = dict.fromkeys(name for each in servers for name in each.burn_rates)
    return Figures(
        connections=_joined(sum, (each.connections for each in servers)),
        subscriptions=total(lambda each: each.subscriptions),
        channels=total(lambda each: each.channels),
        publications_per_s=total(lambda each: each.publications_per_s),
        deliveries_per_s=total(lambda each: each.deliveries_per_s),
        bytes_per_s=total(lambda each: each.bytes_per_s),
        drops_per_s=_joined(sum, drops) if drops else None,
        publish_to_socket=one(lambda each: each.publish_to_socket),
        turn=one(lambda each: each.turn),
        loop_lag=one(lambda each: each.loop_lag),
        store_call=one(lambda each: each.store_call),
        lagging_subscriptions=total(lambda each: each.lagging_subscriptions),
        slowest_publications=largest(lambda each: each.slowest_publications),
        slowest_seconds=largest(lambda each: each.slowest_seconds),
        is_store_up=all(each.is_store_up for each in servers),
        burn_rates={
            name: _joined(max, (each.burn_rates.get(name, {}) for each in servers)) for name in objectives
        },
        budgets=_joined(min, (each.budgets for each in servers)),
        memory_bytes=total(lambda each: each.memory_bytes),
        open_descriptors=total(lambda each: each.open_descriptors),
        max_descriptors=total(lambda each: each.max_descriptors),
        cores=total(lambda each: each.cores),
        is_draining=any(each.is_draining for each in servers),
    )


class _Page:
    """A reading beside the one before it."""

    def __init__(self, now: Reading, earlier: Reading | None) -> None:
        self._now = now.families
        self._earlier = earlier.families if earlier else None
        self._seconds = now.at_s - earlier.at_s if earlier else 0.0
        if "carillon_info" not in self._now:
            raise MalformedPage("carillon_info is missing, so the page is not that of a Carillon server")

    def series(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The samples of a metric, with their labels."""
        family = self._now.get(name)
        for sample in family.samples if family else ():
            if not math.isfinite(sample.value):
                raise MalformedPage(f"{name}: {sample.value} is not a figure; expected a finite number")
        return [(dict(sample.labels), sample.value) for sample in family.samples] if family else []

    def gauge(self, name: str) -> float | None:
        return next((value for _, value in self.series(name)), None)

    def by(self, label: str, name: str) -> dict[str, float]:
        return {labels.get(label, ""): value for labels, value in self.series(name)}

    def rate(self, name: str) -> float | None:
        rates = self.rates_by(None, name)
        return sum(rates.values()) if rates is not None else None

    def rates_by(self, label: str | None, name: str) -> dict[str, float] | None:
        """Increases per second of a counter, by a label; None without an interval, or without the counter."""
        if self._earlier is None or self._seconds <= 0 or name not in self._now:
            return None
        family = self._earlier.get(name)
        before = {sample.labels: sample.value for sample in family.samples} if family else {}
        rates: dict[str, float] = {}
        for labels, value in self.series(name):
            start = before.get(tuple(labels.items()), 0.0)
            key = labels.get(label, "") if label else ""
            rates[key] = rates.get(key, 0.0) + (value - start if value >= start else value) / self._seconds
        return rates

    def histogram(self, name: str) -> Histogram | None:
        """Observations of the interval, of all labels; None without an interval, or without the metric."""
        if self._earlier is None or name not in self._now:
            return None
        family = self._earlier.get(name)
        before = histograms_of(family) if family else {}
        now = histograms_of(self._now[name])
        return merged(each.since(before.get(labels)) for labels, each in now.items())


def _of_those(how: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return how(known) if known else None


def _joined(how: Callable[[list[float]], float], tables: Iterable[Mapping[str, float]]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for table in tables:
        for name, value in table.items():
            columns.setdefault(name, []).append(value)
    return {name: how(values) for name, values in columns.items()}


def _plain(value: float | None) -> float | None:
    return int(value) if value is not None and value.is_integer() else value


def _percentiles(histogram: Histogram | None) -> dict[str, float | None] | None:
    if histogram is None:
        return None
    return {"p50": histogram.quantile(0.5), "p99": histogram.quantile(0.99)}
