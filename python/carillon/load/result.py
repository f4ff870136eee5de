"""The result of a load."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from .. import _core

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .load import Load

_EMPTY_SLICE = {name: {"buckets": [], "max_ns": 0} for name in ("latency", "publish")}


@dataclass(frozen=True)
class Faults:
    """Counts of everything that must not happen.

    Attributes:
        missing: Deliveries that did not arrive.
        repeated: Deliveries that arrived again.
        reordered: Deliveries that arrived behind a later one.
        malformed: Data that is not a message, or a message that was not published.
        changed: Messages with other data than were published (checked on one connection of each worker).
        refused: Handshakes, subscriptions and publications that the server refused.
        lost: Connections that failed or ended.
        stalled: Workers that gave up because nothing moved.
    """

    missing: int = 0
    repeated: int = 0
    reordered: int = 0
    malformed: int = 0
    changed: int = 0
    refused: int = 0
    lost: int = 0
    stalled: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether all of them are zero."""
        return not any(asdict(self).values())

    def __str__(self) -> str:
        """The counts that are not zero."""
        found = ", ".join(f"{count} {name}" for name, count in asdict(self).items() if count)
        return found or "nothing missing, repeated, reordered, changed, refused or lost"


class LoadResult:
    """The reports of all workers of a run, as one. The report of worker 0 is the first.

    Attributes:
        load: The load that was run.
        workers: Number of worker processes.
        faults: Faults of all workers; with any fault, the times say nothing.
        first_fault: Description of one fault.
        latency: Time of every delivery, from when its message was due.
        last_subscriber: Time of every message, from when it was due until its last subscriber had it.
        publish: Time of every message, from when it was due until its publisher had the reply
            (`awaits_replies`).
        slices: Parts of the measured window (`slice_s`).
        received_bytes: Bytes above TCP that all subscribers received in the measured window.
        sent_bytes: Bytes above TCP that they sent.
        ping_gaps: Times that connections were without a ping of the server, the end of the run included.
        pings: Number of pings.
    """

    def __init__(self, load: Load, reports: Sequence[dict[str, Any]]) -> None:
        self.load = load
        self.workers: int = len(reports)
        self._first = reports[0]
        self._generator_us = sum(report["generator_us"] for report in reports)
        self.faults: Faults = Faults(
            **{each.name: sum(report["faults"][each.name] for report in reports) for each in fields(Faults)}
        )
        self.first_fault: str = next(
            (report["first_fault"] for report in reports if report["first_fault"]), ""
        )
        self._cuts = reports[0]["cuts"]  # they have one worker
        self.latency: _core.LoadHistogram = _merged(reports, "latency")
        self.last_subscriber: _core.LoadHistogram = _merged(reports, "last_subscriber")
        self.publish: _core.LoadHistogram = _merged(reports, "publish")
        self.slices: list[Slice] = _slices(reports, load.slice_s)
        self.received_bytes: int = sum(int(report["received_bytes"]) for report in reports)
        self.sent_bytes: int = sum(int(report["sent_bytes"]) for report in reports)
        self.ping_gaps: _core.LoadHistogram = _merged(reports, "ping_gaps")
        self.pings: int = sum(report["pings"] for report in reports)

    @property
    def is_clean(self) -> bool:
        """Whether every delivery was right."""
        return self.faults.is_clean

    @property
    def messages(self) -> int:
        """Number of messages of the measured window that every subscriber has."""
        return self.last_subscriber.count

    @property
    def deliveries(self) -> int:
        """Number of deliveries of the measured window."""
        return self.latency.count

    @property
    def window_s(self) -> float:
        """Length of the measured window."""
        return float(self._first["window_s"])

    @property
    def deliveries_per_s(self) -> float:
        """Deliveries per second."""
        return self.deliveries / self.window_s if self.window_s else 0.0

    @property
    def server_us_per_delivery(self) -> float | None:
        """CPU time of the server per delivery, µs; None if it is unknown or nothing was delivered."""
        if not self.load.server_pids or not self.deliveries:
            return None
        return float(self._first["server_total_us"]) / self.deliveries

    @property
    def server_us(self) -> float:
        """CPU time of the server in the measured window, µs."""
        return float(self._first["server_total_us"])

    @property
    def connect_s(self) -> float:
        """Time until all connections were open and subscribed, seconds."""
        return float(self._first["connect_s"])

    @property
    def server_cores_busy(self) -> float:
        """CPU time of the server per second of the measured window."""
        return float(self._first["server_total_us"]) / 1e6 / self.window_s if self.window_s else 0.0

    @property
    def server_private_kib(self) -> int:
        """Private memory of the server with all subscribers, KiB."""
        return int(self._first["server_private_kib"])

    @property
    def memory_bytes_per_connection(self) -> float | None:
        """Private memory of the server per subscriber, bytes, from the second one on."""
        if not self.load.server_pids or self.load.connections < 2:
            return None
        grown = self._first["server_private_kib"] - self._first["server_private_before_kib"]
        return float(grown) * 1024 / (self.load.connections - 1)

    @property
    def delivered_share(self) -> float:
        """Share of the expected deliveries that arrived, in a run with cuts; else 1.0."""
        expected = self._cuts["expected"]
        return 1.0 - self.faults.missing / expected if expected else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as one flat dict, for JSON. Names end with their unit."""
        load = self.load
        row: dict[str, Any] = {
            "transport": load.transport,
            "protocol": load.protocol,
            "connections": load.connections,
            "channels": load.channels,
            "channels_per_connection": load.channels_per_connection,
            "payload_bytes": load.payload_bytes,
            "publish_by": None if load.is_idle else load.publish_by,
            "in_flight": None if load.is_idle or load.rate_per_s else load.in_flight,
            "rate_per_s": load.rate_per_s or None,
            "generator_workers": self.workers,
            "generator_waits": "spinning" if load.is_spinning else "sleeping",
            "connect_s": round(self.connect_s, 3),
            "window_s": round(self.window_s, 3),
        }
        if not load.is_idle:
            row |= {
                "messages": self.messages,
                "deliveries": self.deliveries,
                "deliveries_per_s": round(self.deliveries_per_s),
                **_percentiles("latency", self.latency),
                **_percentiles("last_subscriber", self.last_subscriber),
                "received_bytes": self.received_bytes,
                "sent_bytes": self.sent_bytes,
            }
            if load.awaits_replies:
                row |= {"publishes": self.publish.count, **_percentiles("publish", self.publish)}
        if self.pings:
            row |= {"pings": self.pings, "ping_gap_max_ms": round(self.ping_gaps.max_ns / 1e6, 3)}
        if load.cuts or load.return_port:
            row |= self._cuts_row()
        row |= self._server()
        if self.deliveries:
            row["generator_us_per_delivery"] = round(self._generator_us / self.deliveries, 4)
        row |= asdict(self.faults)
        row["first_fault"] = self.first_fault or None
        return row

    def _cuts_row(self) -> dict[str, Any]:
        cuts = self._cuts
        load = self.load
        all_live_s: list[float] = cuts["all_live_s"]
        row: dict[str, Any] = {
            "cuts": len(all_live_s),
            "cut_s": load.cut_s,
            "return_s": load.return_s,
            "staying": load.staying,
            "delivered_share": self.delivered_share,
            **{name: cuts[name] for name in ("returns", "closed", "retries", "not_recovered")},
            "all_live_s": [round(each, 3) for each in all_live_s],
            "returns_per_s": round(cuts["returns"] / sum(all_live_s)) if sum(all_live_s) else 0,
            **_percentiles("resume", _histogram(cuts["resume"])),
        }
        if load.staying:
            row |= _percentiles("staying_quiet", _histogram(cuts["staying_quiet"]))
            row |= _percentiles("staying_storm", _histogram(cuts["staying_storm"]))
        if load.server_pids and cuts["returns"]:
            row["server_us_per_return"] = round(cuts["server_cpu_ns"] / 1000 / cuts["returns"], 1)
        return row

    def _server(self) -> dict[str, Any]:
        if not self.load.server_pids:
            return {}
        row: dict[str, Any] = {}
        if self.window_s:
            row["server_cores_busy"] = round(self.server_cores_busy, 4)
        if self.deliveries:
            ticks = self._first["server_user_ms"] + self._first["server_system_ms"]
            user_share = self._first["server_user_ms"] / ticks if ticks else 0.0
            per_delivery = float(self._first["server_total_us"]) / self.deliveries
            row["server_us_per_delivery"] = round(per_delivery, 4)
            row["server_user_us_per_delivery"] = round(per_delivery * user_share, 4)
            row["server_system_us_per_delivery"] = round(per_delivery * (1 - user_share), 4)
        row |= {name: self._first[name] for name in ("server_private_before_kib", "server_private_kib")}
        row["server_resident_kib"] = self._first["server_resident_kib"]
        memory = self.memory_bytes_per_connection
        row["memory_bytes_per_connection"] = None if memory is None else round(memory)
        return row


@dataclass(frozen=True)
class Slice:
    """A part of the measured window; a message belongs to the slice in which it was due.

    Attributes:
        start_s: Seconds from the start of the window.
        latency: Times of the deliveries of its messages.
        publish: Times from when each message was due until its publisher had the reply.
    """

    start_s: float
    latency: _core.LoadHistogram
    publish: _core.LoadHistogram


def _slices(reports: Sequence[dict[str, Any]], slice_s: float) -> list[Slice]:
    of_workers: Iterable[tuple[dict[str, Any], ...]] = zip_longest(
        *(report["slices"] for report in reports), fillvalue=_EMPTY_SLICE
    )
    return [
        Slice(number * slice_s, _merged(parts, "latency"), _merged(parts, "publish"))
        for number, parts in enumerate(of_workers)
    ]


def _merged(reports: Sequence[dict[str, Any]], name: str) -> _core.LoadHistogram:
    merged = _core.LoadHistogram()
    for report in reports:
        merged.merge(_histogram(report[name]))
    return merged


def _histogram(part: dict[str, Any]) -> _core.LoadHistogram:
    return _core.LoadHistogram.from_buckets([tuple(pair) for pair in part["buckets"]], part["max_ns"])


def _percentiles(name: str, histogram: _core.LoadHistogram) -> dict[str, float]:
    shares = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
    row = {f"{name}_{key}_ms": round(histogram.percentile_ns(share) / 1e6, 3) for key, share in shares}
    return row | {f"{name}_max_ms": round(histogram.max_ns / 1e6, 3)}
