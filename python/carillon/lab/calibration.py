"""`calibrate`: what each piece of work costs on this machine, in less than a minute."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ..load import Load, run_load
from ..load.serving import place, serving
from ..progress_line import ProgressLine
from .capacity import LabError
from .cell import CHANNEL, HEARTBEATS, MEMBER
from .costs import PAYLOAD_BYTES, Costs, TransportCosts
from .server_api import ServerApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..load import LoadResult
    from ..load.serving import RunningServer

Socket = Literal["ws", "sse", "poll"]
SOCKETS: tuple[Socket, ...] = ("ws", "sse", "poll")

_CONNECTIONS = 200
# Publications per second: a shard that is busy, neither asleep nor overloaded. A poll costs more, and must
# be back before the next one.
_RATES: dict[Socket, float] = {"ws": 200.0, "sse": 200.0, "poll": 50.0}
_BATCH = 10  # publications of a sweep
_LARGE = 4 * 1024  # bytes, for what a KiB costs
_MEMBERS = 20_000
_ENTERED = 20  # publications to them
_CHANNELS = 50  # of a user, for what a merge costs
_READS = 200
_ITEMS = 100
_STEPS = 2 * len(SOCKETS) + 3


def calibrate(*, seconds: float = 1.5, progress: bool = True) -> Costs:
    """Measures the cost constants of this machine, on servers in processes of their own.

    Deliveries are measured at 200 publications a second (polls: 50) to 200 connections: a shard that has
    something to do again and again. One that sleeps in between pays more for each (a wake-up, cold caches),
    one that is overloaded less, since batches form. Inbox entries are measured with two channels in turn: a
    publication that follows the one before it in the same inbox costs less.

    Args:
        seconds: Of each of the ten measurements of deliveries.
        progress: Draw a bar, on a terminal or in a notebook.

    Raises:
        LoadError: A server or a worker failed.
    """
    bench = _Bench(seconds)
    with contextlib.ExitStack() as running:
        line = running.enter_context(ProgressLine()) if progress else None
        steps = iter(range(_STEPS))

        def show(text: str) -> None:
            if line is not None:
                line.draw(next(steps) / (_STEPS), text)

        show("a publication that nobody gets")
        publish_us = bench.publish_us()
        transports: dict[str, TransportCosts] = {}
        for transport in SOCKETS:
            show(f"deliveries over {transport}")
            written = bench.deliver(transport, "write")
            show(f"sweeps over {transport}")
            swept = bench.deliver(transport, "read")
            transports[transport] = _transport_costs(written, swept, publish_us)
        show("large payloads")
        large = bench.deliver("ws", "write", payload=_LARGE)
        small_us = transports["ws"].delivery_us
        large_us = (large.server_us / large.publish.count - publish_us) / _CONNECTIONS
        show("inboxes")
        inboxes = bench.inboxes()
        sweep_us = bench.sweep_us(publish_us, transports["ws"])
    return Costs(
        publish_us=_rounded(publish_us),
        inbox_entry_us=_rounded(inboxes.entry_us),
        sweep_us=_rounded(sweep_us),
        inbox_read_us=_rounded(inboxes.read_us),
        inbox_item_us=_rounded(inboxes.item_us),
        merge_us=_rounded(inboxes.merge_us),
        kib_us=_rounded(max(0.0, large_us - small_us) / ((_LARGE - PAYLOAD_BYTES) / 1024)),
        inbox_entry_bytes=_rounded(inboxes.entry_bytes),
        transports=MappingProxyType(transports),
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {platform.machine()}",
    )


@dataclass(frozen=True)
class _Inboxes:
    entry_us: float
    entry_bytes: float
    read_us: float
    item_us: float
    merge_us: float


class _Bench:
    """The measurements."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def publish_us(self) -> float:
        """CPU time of a publication to nobody, its reply included."""
        with _server("write") as server:
            result = self._load(server, connections=0)
        return result.server_us / result.publish.count

    def deliver(self, transport: Socket, strategy: str, payload: int = PAYLOAD_BYTES) -> LoadResult:
        """Publications to all connections, each in a write of its own, or in sweeps."""
        with _server(strategy, sweep_ms=round(_BATCH / _RATES[transport] * 1e3)) as server:
            return self._load(server, transport=transport, connections=_CONNECTIONS, payload_bytes=payload)

    def sweep_us(self, publish_us: float, costs: TransportCosts) -> float:
        """What a sweep costs beside its writes: to one connection, each publication in a sweep of its own."""
        with _server("read", sweep_ms=1) as server:
            result = self._load(server, connections=1)
        per_publication = result.server_us / result.publish.count
        return max(0.0, per_publication - publish_us - costs.delivery_us)

    def inboxes(self) -> _Inboxes:
        """Entering at publish, and reading with and without merging."""
        with _server("write") as server, ServerApi(server.host, server.port) as api:
            # Two channels in turn, so that no entry joins the one before it.
            channels = [f"{CHANNEL}-{i}" for i in range(2)]
            plain_us = _cpu_us(server, lambda: _publish(api, channels, _ENTERED)) / _ENTERED
            for channel in channels:
                api.add_members(channel, [f"{MEMBER}{i}" for i in range(_MEMBERS)])
            before = api.stats()
            filled_us = _cpu_us(server, lambda: _publish(api, channels, _ENTERED)) / _ENTERED
            after = api.stats()
            entries = after["inbox_entries"] - before["inbox_entries"]
            entry_us = max(0.0, filled_us - plain_us) * _ENTERED / entries
            grown = max(0, after["resident_bytes"] - before["resident_bytes"])

            nothing_us = _read(server, api, "nobody", 1)
            merged = [f"{CHANNEL}-merged-{i}" for i in range(_CHANNELS)]
            written = [f"{CHANNEL}-written-{i}" for i in range(_CHANNELS)]
            for channel in (*merged, *written):
                api.add_members(channel, ["reader" if channel in merged else "written"])
            for channel in merged:
                api.call("set_fanout", channel=channel, strategy="read")
            _publish(api, [*merged, *written], 2 * _CHANNELS)
            written_us = _read(server, api, "written", _ITEMS)
            merged_us = _read(server, api, "reader", _ITEMS)
        item_us = max(0.0, written_us - nothing_us) / _CHANNELS
        return _Inboxes(
            entry_us=entry_us,
            entry_bytes=grown / entries,
            read_us=nothing_us,
            item_us=item_us,
            merge_us=max(0.0, merged_us - written_us) / _CHANNELS,
        )

    def _load(
        self,
        server: RunningServer,
        *,
        transport: Socket = "ws",
        connections: int,
        payload_bytes: int = PAYLOAD_BYTES,
    ) -> LoadResult:
        placement = place(connections)
        load = Load(
            host=server.host,
            port=server.port,
            transport=transport,
            channel=CHANNEL,
            connections=connections,
            payload_bytes=payload_bytes,
            rate_per_s=_RATES[transport],
            seconds=self._seconds,
            warmup=2 * _BATCH,
            awaits_replies=True,
            is_spinning=placement.has_own_cores,
            server_pids=(server.pid,),
        )
        result = run_load(load, cores=placement.generator_cores)
        if not result.is_clean:
            raise LabError(f"{transport}: {result.first_fault} (in all {result.faults})")
        return result


def _server(strategy: str, sweep_ms: int = 100) -> contextlib.AbstractContextManager[RunningServer]:
    options = {
        "history_size": 1_000,
        "history_ttl": "1h",
        "fanout": strategy,
        "sweep_interval": f"{sweep_ms}ms",
    }
    return serving(place(_CONNECTIONS), {**HEARTBEATS, "channels": {f"{CHANNEL}*": options}})


def _transport_costs(written: LoadResult, swept: LoadResult, publish_us: float) -> TransportCosts:
    alone_us = (written.server_us / written.publish.count - publish_us) / _CONNECTIONS
    alone_bytes = (written.received_bytes + written.sent_bytes) / written.deliveries - PAYLOAD_BYTES
    # One publication of a sweep pays for the write, all others are further ones.
    share = 1 / _BATCH
    swept_us = (swept.server_us / swept.publish.count - publish_us) / _CONNECTIONS
    swept_bytes = (swept.received_bytes + swept.sent_bytes) / swept.deliveries - PAYLOAD_BYTES
    return TransportCosts(
        delivery_us=_rounded(alone_us),
        further_us=_rounded(max(0.0, (swept_us - share * alone_us) / (1 - share))),
        envelope_bytes=_rounded(alone_bytes),
        further_bytes=_rounded(max(0.0, (swept_bytes - share * alone_bytes) / (1 - share))),
        connection_bytes=_rounded(max(0.0, written.memory_bytes_per_connection or 0.0)),
    )


def _publish(api: ServerApi, channels: list[str], publications: int) -> None:
    data = "x" * (PAYLOAD_BYTES - 2)
    for number in range(publications):
        api.call("publish", channel=channels[number % len(channels)], data=data)


def _read(server: RunningServer, api: ServerApi, user: str, limit: int) -> float:
    """CPU time of an inbox read, microseconds."""

    def read() -> None:
        for _ in range(_READS):
            api.call("inbox", user=user, limit=limit)

    return _cpu_us(server, read) / _READS


def _cpu_us(server: RunningServer, work: Callable[[], None]) -> float:
    """CPU time of the server while `work` is done, microseconds."""
    clock = (~server.pid << 3) | 2  # the CPU clock of another process, as clock_getcpuclockid(3) makes it
    before_ns = time.clock_gettime_ns(clock)
    work()
    return (time.clock_gettime_ns(clock) - before_ns) / 1e3


def _rounded(value: float) -> float:
    """Three digits: more are noise."""
    return float(f"{value:.3g}")
