"""`watch_switch`: a live channel whose strategy, or whose size, changes under load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..load import Load, run_load
from ..load.serving import place, serving
from ..progress_line import ProgressLine
from .capacity import LabError, check
from .cell import CHANNEL, MEMBER, Cell
from .options import names_its_options
from .percentiles import percentile_ms
from .server_api import ServerApi
from .table import Row, Table, table_of

if TYPE_CHECKING:
    from ..fanout import Strategy
    from ..load import LoadResult, Progress

_WARMUP = 5


@dataclass(frozen=True)
class _State:
    """The channel after a change, and the moments between which it changed."""

    begin_s: float
    end_s: float
    strategy: Strategy
    mode: str
    members: int


@names_its_options
def watch_switch(
    strategy: Strategy | Sequence[tuple[float, Strategy]] = "hybrid",
    members: int | Sequence[tuple[float, int]] = ((0.0, 7_000), (2.0, 12_000), (4.0, 7_000)),
    *,
    online: int = 1_000,
    publish_rate: float = 47.0,
    payload: int = 128,
    seconds: float = 6.0,
    transport: Literal["ws", "sse", "poll"] = "ws",
    threshold: int = 10_000,
    sweep_interval_ms: int = 100,
    slice_s: float = 0.1,
    progress: bool = True,
) -> Table:
    """Publishes to one channel, changes it meanwhile, and returns its times slice by slice.

    The generator checks every delivery. A delivery that is missing, repeated or out of order raises an error.

    Args:
        strategy: One strategy, or (second, strategy) pairs that change it at those moments.
        members: A number of members, or (second, number) pairs: members join or leave at those moments. A
            hybrid channel changes its mode when the number passes the threshold (less the hysteresis,
            downwards).
        online: Connections. They belong to the first members, and stay connected.
        publish_rate: Publications per second.
        payload: Size of a publication, bytes.
        seconds: Length of the measurement.
        transport: Transport of the subscribers.
        threshold: Number of members above which `hybrid` reads.
        sweep_interval_ms: Interval between sweeps in read mode, ms.
        slice_s: Length of a slice, seconds. A publication belongs to the slice in which it was due.
        progress: Draw a progress bar, on a terminal or in a notebook.

    Returns:
        A row per slice: `time_s` (its start), `strategy`, `mode` and `members` at its start, `online`,
        `is_mixed` (the channel changed within it), `change_begin_s` and `change_end_s` (between these
        moments; None in other slices), `publications`, `deliveries`, and in milliseconds p50, p99 and max of
        `publish_…_ms` and `delivery_…_ms`; None where the slice does not carry a percentile.

    Raises:
        LabError: A value is wrong, the machine cannot hold it, or a delivery was wrong.
        LoadError: The server or a worker failed.
    """
    strategies = _schedule("strategy", strategy)
    sizes = _schedule("members", members)
    most = max(size for _, size in sizes)
    if min(size for _, size in sizes) < online:
        raise LabError(
            f"online: {online:,}; give at most the smallest number of members: connected members stay"
        )
    cell = Cell(
        strategy=strategies[0][1],
        transport=transport,
        members=most,
        online=online / most,
        publish_rate=publish_rate,
        payload=payload,
        seconds=seconds,
        threshold=threshold,
        sweep_interval_ms=sweep_interval_ms,
    )
    check(cell)
    placement = place(online)
    with (
        serving(placement, cell.config()) as server,
        ServerApi(server.host, server.port) as api,
        ProgressLine() as line,
    ):
        channel = _LiveChannel(api, cell, sizes[0][1])
        steps = sorted([*strategies[1:], *sizes[1:]], key=lambda step: step[0])
        states = [channel.state(0.0, 0.0)]

        def on_progress(progress_: Progress) -> None:
            if not progress_.is_measuring:
                return

            def now_s() -> float:
                return (time.monotonic_ns() - progress_.measuring_since_ns) / 1e9

            if progress:
                line.draw(now_s() / seconds, f"{states[-1].mode}, {progress_.deliveries:,} delivered")
            while steps and steps[0][0] <= now_s():
                begin_s = now_s()
                channel.change(steps.pop(0)[1])
                states.append(channel.state(begin_s, now_s()))

        load = Load(
            host=server.host,
            port=server.port,
            transport=transport,
            channel=CHANNEL,
            user=MEMBER,
            connections=online,
            payload_bytes=payload,
            rate_per_s=publish_rate,
            seconds=seconds,
            warmup=_WARMUP,
            awaits_replies=True,
            slice_s=slice_s,
            is_spinning=placement.has_own_cores,
            server_pids=(server.pid,),
        )
        result = run_load(load, cores=placement.generator_cores, on_progress=on_progress)
    if not result.is_clean:
        raise LabError(f"{cell}: {result.first_fault} (in all {result.faults})")
    return table_of(_rows(result, states, online, slice_s))


class _LiveChannel:
    def __init__(self, api: ServerApi, cell: Cell, members: int) -> None:
        self._api = api
        self._cell = cell
        self._strategy = cell.strategy
        self._members = 0
        self.change(members)

    def change(self, to: Strategy | int) -> None:
        """Sets another strategy, or another number of members."""
        if isinstance(to, int):
            if to > self._members:
                self._api.add_members(CHANNEL, self._cell.member_names(self._members, to))
            elif to < self._members:
                self._api.remove_members(CHANNEL, self._cell.member_names(to, self._members))
            self._members = to
        else:
            self._api.call("set_fanout", channel=CHANNEL, strategy=to)
            self._strategy = to

    def state(self, begin_s: float, end_s: float) -> _State:
        """Asks the server for the mode after a change."""
        mode = str(self._api.call("fanout", channel=CHANNEL)["mode"])
        return _State(begin_s, end_s, self._strategy, mode, self._members)


def _schedule(field: str, value: Any) -> list[tuple[float, Any]]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [(0.0, value)]
    steps = sorted(((float(at), each) for at, each in value), key=lambda step: step[0])
    if not steps or steps[0][0] > 0:
        raise LabError(f"{field}: {value!r}; begin with the value from second 0 on")
    return steps


def _rows(result: LoadResult, states: list[_State], online: int, slice_s: float) -> list[Row]:
    rows = []
    for each in result.slices:
        end_s = each.start_s + slice_s
        # The state at the start of the slice: a change that began within it is in the next one.
        state = next((state for state in reversed(states[1:]) if state.begin_s < each.start_s), states[0])
        changes = [state for state in states[1:] if state.begin_s < end_s and state.end_s >= each.start_s]
        row: Row = {
            "time_s": each.start_s,
            "strategy": state.strategy,
            "mode": state.mode,
            "members": state.members,
            "online": online,
            "is_mixed": bool(changes),
            "change_begin_s": changes[0].begin_s if changes else None,
            "change_end_s": changes[-1].end_s if changes else None,
            "publications": each.publish.count,
            "deliveries": each.latency.count,
        }
        for name, histogram in (("publish", each.publish), ("delivery", each.latency)):
            for key, share in (("p50", 0.5), ("p99", 0.99)):
                row[f"{name}_{key}_ms"] = percentile_ms(histogram, share, independent=each.publish.count)
            row[f"{name}_max_ms"] = histogram.max_ns / 1e6 if histogram.count else None
        rows.append(row)
    return rows
