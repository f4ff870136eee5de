"""`calibrate`: the cost of each piece of work on this machine, in less than a minute."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ..load import Load, run_load
from ..load.serving import place, serving
from ..progress_line import ProgressLine
from .capacity import LabError, system_name
from .cell import CHANNEL, HEARTBEATS, MEMBER
from .costs import PAYLOAD_BYTES, Costs, TransportCosts
from .server_api import ServerApi
from .verdict import SINGLE_RUN_NOISE
from .verdict import rounded as _rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..load import LoadResult, Progress
    from ..load.serving import RunningServer

Socket = Literal["ws", "sse", "poll"]
SOCKETS: tuple[Socket, ...] = ("ws", "sse", "poll")

_CONNECTIONS = 200
# Publications per second: a shard that is busy, neither asleep nor overloaded. A poll costs more, and the
# next one must arrive before the next publication.
_RATES: dict[Socket, float] = {"ws": 200.0, "sse": 200.0, "poll": 50.0}
_BATCH = 10  # publications of a sweep
_PARTS = 6  # parts of a measured window, whose costs are compared
_SWEEP_S = 1.2  # the parts of a shorter window hold too few publications
_LARGE = 4 * 1024  # bytes: payload that shows the cost of a KiB
_MEMBERS = 20_000
_ROUNDS = 4  # of each measurement of inboxes
_ENTERED = 6  # publications of a round, to all of these members
_CHANNELS = 50  # channels of the user whose inbox is merged
_READS = 50  # inbox reads of a round
_ITEMS = 100
_STEPS = 2 * len(SOCKETS) + 4


def calibrate(*, seconds: float = 1.5, progress: bool = True) -> Costs:
    """Measures the cost constants of this machine, on servers in processes of their own.

    Deliveries are measured at 200 publications a second (polls: 50) to 200 connections, on a shard that is
    busy again and again. A shard that sleeps in between pays more for each publication (a wake-up, cold
    caches). An overloaded shard pays less, because batches form. Inbox entries are measured with two channels
    in turn: an entry that follows another one of the same channel costs less.

    Each cost is measured several times; `Costs.spread` holds its least and largest value. A cost below its
    noise has an upper bound there. Other busy programs make the spread wide; `Costs.machine` has the load
    average.

    Args:
        seconds: Length of each of the nine measurements of deliveries, seconds.
        progress: Draw a progress bar, on a terminal or in a notebook.

    Returns:
        The constants. Times have two significant digits.

    Raises:
        LabError: A delivery was wrong.
        LoadError: A server or a worker failed.
    """
    bench = _Bench(seconds)
    with contextlib.ExitStack() as running:
        line = running.enter_context(ProgressLine()) if progress else None
        steps = iter(range(_STEPS))

        def show(text: str) -> None:
            if line is not None:
                line.draw(next(steps) / (_STEPS), text)

        show("a publication without subscribers")
        publish = bench.publish()
        found: dict[str, _Estimate] = {"publish_us": publish}
        bytes_of: dict[str, dict[str, float]] = {}
        for transport in SOCKETS:
            show(f"deliveries over {transport}")
            written = bench.deliver(transport, "write")
            show(f"sweeps over {transport}")
            swept = bench.deliver(transport, "read")
            alone = (written.publication - publish) / _CONNECTIONS
            # One publication of a sweep pays for the write, all others are further ones.
            share = 1 / _BATCH
            further = ((swept.publication - publish) / _CONNECTIONS - alone * share) / (1 - share)
            further = further.at_most(alone)  # it saves a system call
            found |= {f"{transport}.delivery_us": alone, f"{transport}.further_us": further}
            bytes_of[transport] = _transport_bytes(written.result, swept.result)
        show("large payloads")
        large = bench.deliver("ws", "write", payload=_LARGE)
        large_us = (large.publication - publish) / _CONNECTIONS
        found["kib_us"] = (large_us - found["ws.delivery_us"]) / ((_LARGE - PAYLOAD_BYTES) / 1024)
        show("inboxes")
        inboxes, entry_bytes = bench.inboxes()
        show("sweeps of one connection")
        found |= inboxes | {"sweep_us": bench.sweep()}
    costs = {name: each.as_cost() for name, each in found.items()}
    values = {name: _rounded(each.value) for name, each in costs.items()}
    return Costs(
        **{name: value for name, value in values.items() if "." not in name},
        inbox_entry_bytes=entry_bytes,
        transports=MappingProxyType(
            {
                transport: TransportCosts(
                    delivery_us=values[f"{transport}.delivery_us"],
                    further_us=values[f"{transport}.further_us"],
                    **bytes_of[transport],
                )
                for transport in SOCKETS
            }
        ),
        spread=MappingProxyType({name: each.factors() for name, each in costs.items()}),
        machine=machine_now(),
    )


def machine_now() -> str:
    """Returns the circumstances of costs; other programs that were busy meanwhile have spoilt them."""
    system = f"{system_name()}, {platform.machine()}"
    return f"{os.cpu_count()} cores, {system}, load average {os.getloadavg()[0]:.1f}"


@dataclass(frozen=True)
class _Estimate:
    """A cost, and the least and the largest value that it had in parts of the measurement."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> _Estimate:
        return cls(median(values), min(values), max(values))

    def __sub__(self, other: _Estimate) -> _Estimate:
        return _Estimate(self.value - other.value, self.low - other.high, self.high - other.low)

    def __mul__(self, factor: float) -> _Estimate:
        return _Estimate(self.value * factor, self.low * factor, self.high * factor)

    def __truediv__(self, divisor: float) -> _Estimate:
        return self * (1 / divisor)

    def at_most(self, other: _Estimate) -> _Estimate:
        """The same, where it cannot be more than another cost: what is above it is noise."""
        return _Estimate(min(self.value, other.value), min(self.low, other.low), min(self.high, other.high))

    def as_cost(self) -> _Estimate:
        """The same as a cost: where it is below its noise, halfway between nothing and an upper bound."""
        if self.low > 0:
            return self
        high = self.high if self.high > 0 else (self.high - self.low) / 2
        return _Estimate(self.value if self.value > 0 else high / 2, 0.0, high)

    def factors(self) -> tuple[float, float]:
        """The range, as factors of the value."""
        return _rounded(self.low / self.value), _rounded(self.high / self.value)


@dataclass(frozen=True)
class _Measured:
    """A load, and the CPU time of a publication in it."""

    result: LoadResult
    publication: _Estimate


class _Bench:
    """The measurements."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def publish(self) -> _Estimate:
        """CPU time of a publication without subscribers, its reply included."""
        with _server("write") as server:
            return self._load(server, connections=0).publication

    def deliver(self, transport: Socket, strategy: str, payload: int = PAYLOAD_BYTES) -> _Measured:
        """Publications to all connections, each in a write of its own, or in sweeps."""
        with _server(strategy, sweep_ms=round(_BATCH / _RATES[transport] * 1e3)) as server:
            return self._load(server, transport=transport, connections=_CONNECTIONS, payload_bytes=payload)

    def sweep(self) -> _Estimate:
        """The cost that a sweep adds: one channel, one connection, changed between both modes under load.

        Neighbouring parts are compared, so that a drift of the machine does not count as a cost.
        """
        seconds = max(self._seconds, _SWEEP_S)
        parts: list[tuple[int, float]] = []  # publications and CPU time of each part
        with _server("write", sweep_ms=1) as server, ServerApi(server.host, server.port) as api:
            start = (0, 0.0)

            def on_progress(progress: Progress) -> None:
                nonlocal start
                if not progress.is_measuring or progress.is_over:
                    return
                now_s = (time.monotonic_ns() - progress.measuring_since_ns) / 1e9
                if start[0] and now_s >= (len(parts) + 1) * seconds / _PARTS:
                    parts.append((progress.completed - start[0], _cpu_clock_us(server) - start[1]))
                    strategy = "write" if len(parts) % 2 == 0 else "read"
                    api.call("set_fanout", channel=CHANNEL, strategy=strategy)
                    start = (0, 0.0)
                if not start[0]:
                    start = (progress.completed, _cpu_clock_us(server))

            self._load(server, connections=1, seconds=seconds * 1.1, on_progress=on_progress)
        costs = [cpu_us / count for count, cpu_us in parts if count]
        if len(costs) < 2:
            raise LabError("calibrate: too few publications to measure a sweep. Give more seconds")
        pairs = list(pairwise(costs))
        return _Estimate.of([b - a if number % 2 == 0 else a - b for number, (a, b) in enumerate(pairs)])

    def inboxes(self) -> tuple[dict[str, _Estimate], float]:
        """Entering at publish, and reading with and without merging; and the memory of an entry, bytes."""
        with _server("write") as server, ServerApi(server.host, server.port) as api:
            # Two channels in turn, so that no entry joins the one before it.
            channels = [f"{CHANNEL}-{i}" for i in range(2)]

            def publish() -> None:
                _publish(api, channels, _ENTERED)

            plain = _in_rounds(server, publish)
            for channel in channels:
                api.add_members(channel, [f"{MEMBER}{i}" for i in range(_MEMBERS)])
            before = api.stats()
            filled = _in_rounds(server, publish)
            after = api.stats()
            entries = after["inbox_entries"] - before["inbox_entries"]
            grown = max(0, after["resident_bytes"] - before["resident_bytes"])

            nothing = _read(server, api, "nobody", 1)
            merged = [f"{CHANNEL}-merged-{i}" for i in range(_CHANNELS)]
            written = [f"{CHANNEL}-written-{i}" for i in range(_CHANNELS)]
            for channel in (*merged, *written):
                api.add_members(channel, ["reader" if channel in merged else "written"])
            for channel in merged:
                api.call("set_fanout", channel=channel, strategy="read")
            _publish(api, [*merged, *written], 2 * _CHANNELS)
            of_written = _read(server, api, "written", _ITEMS)
            of_merged = _read(server, api, "reader", _ITEMS)
        return {
            "inbox_entry_us": (filled - plain) * (_ROUNDS / entries),
            "inbox_read_us": nothing,
            "inbox_item_us": (of_written - nothing) / _CHANNELS,
            "merge_us": (of_merged - of_written) / _CHANNELS,
        }, grown / entries

    def _load(
        self,
        server: RunningServer,
        *,
        transport: Socket = "ws",
        connections: int,
        payload_bytes: int = PAYLOAD_BYTES,
        seconds: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> _Measured:
        placement = place(connections)
        load = Load(
            host=server.host,
            port=server.port,
            transport=transport,
            channel=CHANNEL,
            connections=connections,
            payload_bytes=payload_bytes,
            rate_per_s=_RATES[transport],
            seconds=self._seconds if seconds is None else seconds,
            warmup=2 * _BATCH,
            awaits_replies=True,
            is_spinning=placement.has_own_cores,
            server_pids=(server.pid,),
        )
        seen: list[tuple[int, float]] = []  # publications and CPU time so far

        def watch(progress: Progress) -> None:
            if progress.is_measuring and not progress.is_over:
                seen.append((progress.completed, _cpu_clock_us(server)))

        result = run_load(load, cores=placement.generator_cores, on_progress=on_progress or watch)
        if not result.is_clean:
            raise LabError(f"{transport}: {result.first_fault} (in all {result.faults})")
        return _Measured(result, _of_window(result.server_us / result.publish.count, seen))


def _of_window(mean_us: float, seen: Sequence[tuple[int, float]]) -> _Estimate:
    """The cost of a publication, and the range of its means over parts of the measured window.

    A window that is too short for parts has the range of a single measurement.
    """
    size = len(seen) // _PARTS
    marks = seen[:: size or 1]
    means = [(us1 - us0) / (n1 - n0) for (n0, us0), (n1, us1) in pairwise(marks) if n1 - n0 >= _BATCH]
    if len(means) < 2:
        return _Estimate(mean_us, mean_us / (1 + SINGLE_RUN_NOISE), mean_us * (1 + SINGLE_RUN_NOISE))
    return _Estimate(mean_us, min(mean_us, *means), max(mean_us, *means))


def _server(strategy: str, sweep_ms: int = 100) -> contextlib.AbstractContextManager[RunningServer]:
    options = {
        "history_size": 1_000,
        "history_ttl": "1h",
        "fanout": strategy,
        "sweep_interval": f"{sweep_ms}ms",
    }
    return serving(place(_CONNECTIONS), {**HEARTBEATS, "channels": {f"{CHANNEL}*": options}})


def _transport_bytes(written: LoadResult, swept: LoadResult) -> dict[str, float]:
    alone = (written.received_bytes + written.sent_bytes) / written.deliveries - PAYLOAD_BYTES
    share = 1 / _BATCH
    in_sweeps = (swept.received_bytes + swept.sent_bytes) / swept.deliveries - PAYLOAD_BYTES
    return {
        "envelope_bytes": _rounded(alone, 3),
        "further_bytes": _rounded(max(0.0, (in_sweeps - share * alone) / (1 - share)), 3),
        "connection_bytes": _rounded(max(0.0, written.memory_bytes_per_connection or 0.0)),
    }


def _publish(api: ServerApi, channels: list[str], publications: int) -> None:
    data = "x" * (PAYLOAD_BYTES - 2)
    for number in range(publications):
        api.call("publish", channel=channels[number % len(channels)], data=data)


def _read(server: RunningServer, api: ServerApi, user: str, limit: int) -> _Estimate:
    """CPU time of an inbox read, microseconds."""

    def read() -> None:
        for _ in range(_READS):
            api.call("inbox", user=user, limit=limit)

    return _in_rounds(server, read) / _READS


def _in_rounds(server: RunningServer, work: Callable[[], None]) -> _Estimate:
    """CPU time of the server while `work` is done, microseconds, in several rounds."""
    found = []
    for _ in range(_ROUNDS):
        before_us = _cpu_clock_us(server)
        work()
        found.append(_cpu_clock_us(server) - before_us)
    return _Estimate.of(found)


def _cpu_clock_us(server: RunningServer) -> float:
    return cpu_clock_us(server.pid)


def cpu_clock_us(pid: int) -> float:
    """Returns the CPU time of a process since its start, microseconds."""
    clock = (~pid << 3) | 2  # the CPU clock of another process, as clock_getcpuclockid(3) makes it
    return time.clock_gettime_ns(clock) / 1e3
