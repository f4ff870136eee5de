"""`watch_switch`: a live channel whose strategy, or whose size, changes while it is published to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..load import Load, run_load
from ..load.serving import place, serving
from ..progress_line import ProgressLine
from .capacity import LabError, check
from .cell import CHANNEL, MEMBER, Cell, Strategy
from .server_api import ServerApi
from .table import Row, Table, table_of

if TYPE_CHECKING:
    from ..load import LoadResult, Progress

_WARMUP = 5


@dataclass(frozen=True)
class _State:
    """The channel from a moment on."""

    time_s: float
    strategy: Strategy
    mode: str
    members: int


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
    """Publishes to one channel, changes it meanwhile, and tells its times slice by slice.

    Every delivery is checked for what is missing, repeated or out of order; with any of that there is no
    table but an error.

    Args:
        strategy: One, or (second, strategy) pairs: changed at those moments.
        members: A number, or (second, number) pairs: members join or leave at those moments, and a hybrid
            channel changes its mode when the threshold (less the hysteresis, downwards) is passed.
        online: Connections; they are the first members, and stay.
        publish_rate: Publications per second.
        payload: Bytes of a publication.
        seconds: How long is published.
        transport: How subscribers connect.
        threshold: Members above which `hybrid` reads.
        sweep_interval_ms: Read mode: subscribers are served at most so often.
        slice_s: Length of a slice, seconds. A publication belongs to the slice in which it was due.
        progress: Draw a bar, on a terminal or in a notebook.

    Returns:
        A row per slice: `time_s` (its start), `strategy`, `mode` and `members` at that moment, `online`,
        `publications`, `deliveries`, and p50 and p99 in milliseconds: `publish_p50_ms`, `publish_p99_ms`,
        `delivery_p50_ms`, `delivery_p99_ms`.

    Raises:
        LabError: A value is wrong, the machine cannot hold it, or a delivery was wrong.
        LoadError: The server or a worker failed.
    """
    strategies = _schedule("strategy", strategy)
    sizes = _schedule("members", members)
    most = max(size for _, size in sizes)
    if min(size for _, size in sizes) < online:
        raise LabError(f"online: {online:,}; give no more than the fewest members: those online stay")
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
        states = [channel.state(0.0)]

        def on_progress(progress_: Progress) -> None:
            if not progress_.is_measuring:
                return
            now_s = (time.monotonic_ns() - progress_.measuring_since_ns) / 1e9
            if progress:
                line.draw(now_s / seconds, f"{states[-1].mode}, {progress_.deliveries:,} delivered")
            while steps and steps[0][0] <= now_s:
                channel.change(steps.pop(0)[1])
                states.append(channel.state((time.monotonic_ns() - progress_.measuring_since_ns) / 1e9))

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
    return table_of(_rows(result, states, online))


class _LiveChannel:
    def __init__(self, api: ServerApi, cell: Cell, members: int) -> None:
        self._api = api
        self._cell = cell
        self._strategy = cell.strategy
        self._members = 0
        self.change(members)

    def change(self, to: Strategy | int) -> None:
        """Another strategy, or another number of members."""
        if isinstance(to, int):
            if to > self._members:
                self._api.add_members(CHANNEL, self._cell.member_names(self._members, to))
            elif to < self._members:
                self._api.remove_members(CHANNEL, self._cell.member_names(to, self._members))
            self._members = to
        else:
            self._api.call("set_fanout", channel=CHANNEL, strategy=to)
            self._strategy = to

    def state(self, time_s: float) -> _State:
        """As the server sees it."""
        mode = str(self._api.call("fanout", channel=CHANNEL)["mode"])
        return _State(time_s, self._strategy, mode, self._members)


def _schedule(field: str, value: Any) -> list[tuple[float, Any]]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [(0.0, value)]
    steps = sorted(((float(at), each) for at, each in value), key=lambda step: step[0])
    if not steps or steps[0][0] > 0:
        raise LabError(f"{field}: {value!r}; begin with what holds from second 0 on")
    return steps


def _rows(result: LoadResult, states: list[_State], online: int) -> list[Row]:
    rows = []
    for each in result.slices:
        state = next(state for state in reversed(states) if state.time_s <= each.start_s)
        row: Row = {
            "time_s": each.start_s,
            "strategy": state.strategy,
            "mode": state.mode,
            "members": state.members,
            "online": online,
            "publications": each.publish.count,
            "deliveries": each.latency.count,
        }
        for name, histogram in (("publish", each.publish), ("delivery", each.latency)):
            for key, share in (("p50", 0.5), ("p99", 0.99)):
                has_any = histogram.count > 0
                row[f"{name}_{key}_ms"] = histogram.percentile_ns(share) / 1e6 if has_any else None
        rows.append(row)
    return rows
