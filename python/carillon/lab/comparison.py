"""`compare`: strategies on real servers with real sockets."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import _core
from ..load import Load, run_load
from ..load.serving import place, serving
from ..progress_line import ProgressLine
from .capacity import LabError, check
from .cell import CHANNEL, MEMBER, Cell, Transport
from .options import names_its_options
from .percentiles import columns, inbox_columns
from .server_api import ServerApi
from .sinks import measure_sinks
from .table import Row, Table, table_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..fanout import Strategy
    from ..load import LoadResult, Progress
    from ..load.serving import Placement

_READERS = 40  # offline members whose inboxes are read


@names_its_options
def compare(
    strategies: Iterable[Strategy] | Strategy = ("write", "read", "hybrid"),
    members: Iterable[int] | int = (10, 100, 1_000),
    online: Iterable[float] | float = 0.1,
    publish_rate: float = 23.0,
    payload: int = 128,
    seconds: float = 3.0,
    transports: Iterable[Transport] | Transport = "ws",
    *,
    channels: Iterable[int] | int = 1,
    threshold: int = 10_000,
    sweep_interval_ms: int = 100,
    progress: bool = True,
) -> Table:
    """Measures strategies on this machine: a fresh server in a process of its own for each row.

    Publications come at a fixed rate from one WebSocket. Latency counts from the moment at which a
    publication was due, so a delayed publisher does not hide its own waiting time. The first `online` members
    are connections of the native load generator, which checks every delivery. Where the machine has a core
    for each, server and generator do not share one.

    Args:
        strategies: One or several of `write`, `read`, `hybrid`, `adaptive`.
        members: Members of each channel; several numbers make a grid.
        online: Share of the members that have a connection, 0 to 1; several shares make a grid.
        publish_rate: Publications per second, all channels together. Choose a rate that is not a divisor of
            the number of sweeps per second; otherwise all publications meet the sweep at the same phase.
        payload: Size of a publication, bytes: a JSON string with its quotes; at least 20.
        seconds: Length of the measurement of a row.
        transports: One or several of `ws`, `sse`, `poll` and `memory`. The last one has sinks in the process
            of the hub: the same fan-out without sockets, for more members than a process has descriptors.
        channels: Number of channels. Every member belongs to each, and publications go to them in turn;
            several numbers make a grid.
        threshold: Number of members above which `hybrid` reads, and where `adaptive` begins.
        sweep_interval_ms: Interval between sweeps in read mode, ms.
        progress: Draw a progress bar, on a terminal or in a notebook.

    Returns:
        A `pandas.DataFrame` where pandas is installed, else a list of dicts; `summary` picks the columns that
        answer most questions. The columns are:

        - what was measured: `strategy`, `transport`, `channels`, `members`, `online` (connections),
        `publish_rate`, `payload`, `threshold`, `sweep_interval_ms`, `threads` (of the server),
        `publications`, `deliveries`; - times in milliseconds, each as p10, p50, p90, p99, p999 and max:
        `publish_…_ms` (until the publisher has its reply), `delivery_…_ms` (of every delivery), `last_…_ms`
        (until the last subscriber has it); - CPU time of the server in microseconds: `publish_us` (per
        publication, with all its deliveries) and `delivery_us` (the same divided by the deliveries); -
        `wire_bytes` per delivery, above TCP, in both directions; `memory_mib`, resident, with all connections
        and inboxes; `store_writes`, inbox entries per publication; - `inbox_read_ms` (median) and
        `inbox_read_max_ms`: offline members ask for the first 100 items over the HTTP API.

        A value that a row does not have is None (NaN in pandas). That includes percentiles with fewer than
        ten publications beyond them, except the median: if one is late, so are all its deliveries.

    Raises:
        LabError: A value is wrong, or this machine cannot hold it. It is raised before anything is started.
        LoadError: A server or a worker failed.
    """
    cells = [
        Cell(
            strategy=a_strategy,
            transport=a_transport,
            members=some_members,
            online=float(a_share),
            publish_rate=publish_rate,
            payload=payload,
            seconds=seconds,
            channels=some_channels,
            threshold=threshold,
            sweep_interval_ms=sweep_interval_ms,
        )
        for a_transport, some_channels, some_members, a_share, a_strategy in itertools.product(
            _listed(transports), _listed(channels), _listed(members), _listed(online), _listed(strategies)
        )
    ]
    if not cells:
        raise LabError("strategies, members, online, channels, transports: one of them is empty")
    for cell in cells:
        check(cell)
    with contextlib.ExitStack() as running:
        line = running.enter_context(ProgressLine()) if progress else None
        rows = []
        for number, cell in enumerate(cells):

            def show(share: float, text: str, done: int = number, cell: Cell = cell) -> None:
                if line is not None:
                    line.draw((done + share) / len(cells), f"{done + 1}/{len(cells)} {cell}: {text}")

            rows.append(measure(cell, show))
    return table_of(rows)


def measure(cell: Cell, show: Callable[[float, str], None] = lambda share, text: None) -> Row:
    """Measures one cell. Calls `show` with the share that is done, and a text about the current step."""
    show(0.0, "starting")
    if not cell.has_sockets:
        return measure_sinks(cell)
    placement = place(cell.connections)
    with serving(placement, cell.config()) as server, ServerApi(server.host, server.port) as api:
        for channel in cell.channel_names:
            api.add_members(channel, cell.member_names())
        load = Load(
            host=server.host,
            port=server.port,
            transport=cell.transport if cell.transport != "memory" else "ws",
            channel=CHANNEL,
            user=MEMBER,
            connections=cell.connections,
            channels=cell.channels,
            channels_per_connection=cell.channels,
            payload_bytes=cell.payload,
            rate_per_s=cell.publish_rate,
            seconds=0.0,
            messages=cell.publications,
            warmup=cell.warmup,
            awaits_replies=True,
            is_spinning=placement.has_own_cores,
            server_pids=(server.pid,),
        )
        result = _run(cell, load, placement, show)
        show(1.0, "reading inboxes")
        stats = api.stats()
        return {
            **cell.to_row(),
            "threads": placement.threads,
            **_loaded(result),
            "memory_mib": stats["resident_bytes"] / 2**20,
            "store_writes": stats["inbox_entries"] / (cell.warmup + cell.publications),
            **inbox_columns(_read_inboxes(cell, api)),
        }


def _run(cell: Cell, load: Load, placement: Placement, show: Callable[[float, str], None]) -> LoadResult:
    total = load.warmup + load.messages
    give_up_s = time.monotonic() + cell.give_up_s

    def on_progress(progress: Progress) -> None:
        if progress.live < cell.connections:
            show(0.0, f"{progress.live:,} connected")
        else:
            show(progress.completed / total, f"{progress.deliveries:,} delivered")
        if time.monotonic() > give_up_s:
            raise LabError(cell.too_fast(f"{progress.completed:,} of {total:,} publications were through"))

    result = run_load(load, cores=placement.generator_cores, on_progress=on_progress)
    if not result.is_clean:
        raise LabError(f"{cell}: {result.first_fault} (in all {result.faults})")
    return result


def _loaded(result: LoadResult) -> Row:
    publications = result.publish.count
    wire_bytes = result.received_bytes + result.sent_bytes
    return {
        "publications": publications,
        "deliveries": result.deliveries,
        **columns("publish", result.publish),
        **columns("delivery", result.latency, publications),
        **columns("last", result.last_subscriber),
        "publish_us": result.server_us / publications,
        "delivery_us": result.server_us_per_delivery,
        "wire_bytes": wire_bytes / result.deliveries if result.deliveries else None,
    }


def _read_inboxes(cell: Cell, api: ServerApi) -> _core.LoadHistogram:
    """Times of inbox reads of offline members, spread over all of them."""
    offline = cell.members - cell.connections
    times_ns = _core.LoadHistogram()
    for name in cell.member_names(cell.connections)[:: max(1, offline // _READERS)][:_READERS]:
        start_ns = time.perf_counter_ns()
        api.call("inbox", user=name, limit=100)
        times_ns.record(time.perf_counter_ns() - start_ns)
    return times_ns


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
