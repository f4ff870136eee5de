"""Journals of a simulated world, read from its trace, and their picture."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .capacity import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from .table import Row

PUBLISHER, LOG = "acknowledged", "log at the end"
EPOCHS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
)  # by age of the epoch; a fifth has the first colour again
TOLD, CLASH = "#D55E00", "#D55E00"
_FAILOVER = "#222222"
_LANE = 0.82  # the part of the height of a lane that is used
_LETTERS_SHOWN = 8  # of the name of an epoch

_POSITION = r"(?P<epoch>[^ :]+):(?P<offset>\d+)"
_LINE = re.compile(r"(?P<ms>\d+\.\d+) (?P<what>.*)")
_ACKNOWLEDGED = re.compile(rf"acknowledged (?P<channel>\S+) (?P<data>\S+) at {_POSITION}")
_GETS = re.compile(rf"(?P<client>\S+) gets (?P<channel>\S+) {_POSITION} (?P<data>\S+)")
_STARTS = re.compile(rf"(?P<client>\S+) starts in (?P<channel>\S+) at {_POSITION}, (?P<outcome>.+)")
_LOST = re.compile(r"redis has lost (?P<data>\S+)")
_FAILS_OVER = re.compile(r"redis fails over, ")


@dataclass(frozen=True)
class Place:
    """A publication at a position, at a moment.

    Attributes:
        ms: Simulated time, ms.
        epoch: Epoch of the position.
        offset: Offset of the position.
        data: The publication: the simulator numbers them.
    """

    ms: float
    epoch: str
    offset: int
    data: str


@dataclass
class WorldJournals:
    """What a world has written about one channel.

    Attributes:
        clients: What each client received, by its name.
        gaps: When each client was told that publications were lost, by its name.
        acknowledged: What publishers were told.
        log: Publications that were acknowledged and that Redis has not lost since, at the end of the trace.
            A publication that is stored and never acknowledged is not among them.
        lost: Publications that Redis has lost.
        failovers_ms: Moments of failovers.
        end_ms: Moment of the last event that this holds.
    """

    clients: dict[str, list[Place]] = field(default_factory=dict)
    gaps: dict[str, list[float]] = field(default_factory=dict)
    acknowledged: list[Place] = field(default_factory=list)
    log: list[Place] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    failovers_ms: list[float] = field(default_factory=list)
    end_ms: float = 0.0

    @property
    def epochs(self) -> list[str]:
        """Epochs that acknowledgements and clients have named, in order of their first publication."""
        places = [*self.acknowledged, *(place for places in self.clients.values() for place in places)]
        return list(dict.fromkeys(place.epoch for place in sorted(places, key=lambda place: place.ms)))

    @property
    def named_twice(self) -> dict[tuple[str, int], list[str]]:
        """Epochs and offsets that name more than one publication, and these publications."""
        named: dict[tuple[str, int], dict[str, None]] = {}
        for places in (self.acknowledged, *self.clients.values()):
            for place in places:
                named.setdefault((place.epoch, place.offset), {})[place.data] = None
        return {position: list(found) for position, found in named.items() if len(found) > 1}

    def account(self) -> dict[str, Row]:
        """Returns the counts of each client, by name: received, of these lost, not received, gaps told."""
        return {
            name: {
                "received": len(places),
                "of these, lost by Redis": sum(place.data in self.lost for place in places),
                "in the log, not received": len(
                    {place.data for place in self.log} - {place.data for place in places}
                ),
                "gaps told": len(self.gaps[name]),
            }
            for name, places in self.clients.items()
        }


def read_journals(trace: Sequence[str], channel: str = "c0") -> WorldJournals:
    """Reads the journals of one channel from the trace of a world.

    Args:
        trace: Lines of `carillon.sim.run(..., trace=True).trace`.
        channel: Name of the channel; the simulator calls them c0, c1 and so on.

    Raises:
        LabError: The trace has no client that subscribes to the channel.

    Example:
        >>> read_journals(["1.000 client0 gets c0 abc:1 7"]).clients["client0"][0].offset
        1
    """
    found = WorldJournals()
    kept: dict[str, Place] = {}
    for line in trace:
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise LabError(f"trace: {line!r} is not a line of a trace; give the trace of a report")
        ms, what = float(parts["ms"]), parts["what"]
        if _FAILS_OVER.match(what):
            found.failovers_ms.append(ms)
        elif hit := _LOST.fullmatch(what):
            found.lost.append(hit["data"])
            kept.pop(hit["data"], None)
        elif hit := _ACKNOWLEDGED.fullmatch(what) or _GETS.fullmatch(what) or _STARTS.fullmatch(what):
            if hit["channel"] != channel:
                continue
            names = hit.groupdict()
            if "client" in names:
                places = found.clients.setdefault(names["client"], [])
                gaps = found.gaps.setdefault(names["client"], [])
            if "outcome" in names:
                if names["outcome"] != "not recovered":
                    continue
                gaps.append(ms)
            else:
                place = Place(ms, names["epoch"], int(names["offset"]), names["data"])
                (places if "client" in names else found.acknowledged).append(place)
                if "client" not in names:
                    kept[place.data] = place
            found.end_ms = ms
    if not found.clients:
        raise LabError(
            f"channel: {channel!r}; no client of the trace subscribes to it. "
            "Give a channel of the world, and a trace of run(..., trace=True)"
        )
    found.log = sorted(kept.values(), key=lambda place: place.offset)
    found.clients = dict(sorted(found.clients.items()))
    return found


def draw_world(axes: Axes, world: WorldJournals) -> None:
    """Draws a lane for the acknowledgements, for each client and for the log: a dot for each publication.

    Within a lane, a larger offset is higher. The colour of a dot is its epoch; the number beside it is the
    publication. Dots of publications that Redis has lost are hollow. A ring marks an offset of one epoch that
    names two publications.

    Args:
        axes: Axes of a picture.
        world: The journals.
    """
    start_ms = world.failovers_ms[0] if world.failovers_ms else 0.0
    lanes = {PUBLISHER: world.acknowledged, **world.clients}
    first_ms = min(place.ms for places in lanes.values() for place in places)
    width_ms = max(world.end_ms - first_ms, 1.0)
    log_ms = world.end_ms + 0.1 * width_ms
    lanes[LOG] = [Place(log_ms, place.epoch, place.offset, place.data) for place in world.log]
    top = max(place.offset for places in lanes.values() for place in places)
    twice = world.named_twice
    names = list(reversed(lanes))  # the first lane is the highest

    for number, epoch in enumerate(world.epochs):
        dots = [
            (place.ms - start_ms, _height(names.index(name), place.offset, top))
            for name, places in lanes.items()
            for place in places
            if place.epoch == epoch
        ]
        axes.scatter(
            [x for x, _ in dots],
            [y for _, y in dots],
            s=28,
            color=EPOCHS[number % len(EPOCHS)],
            label=f"epoch {epoch[:_LETTERS_SHOWN]}",
            linewidths=0,
            zorder=3,
        )
    clashes, lost = [], []
    for lane, name in enumerate(names):
        for place in lanes[name]:
            at = (place.ms - start_ms, _height(lane, place.offset, top))
            axes.annotate(
                place.data, at, xytext=(5, 0), textcoords="offset points", fontsize=7, va="center", zorder=4
            )
            if (place.epoch, place.offset) in twice:
                clashes.append(at)
            if place.data in world.lost:
                lost.append(at)
        axes.axhline(lane, color="#BBBBBB", linewidth=0.8, zorder=1)
    if lost:
        x, y = [x for x, _ in lost], [y for _, y in lost]
        axes.scatter(x, y, s=10, color="white", linewidths=0, zorder=4)
        axes.scatter([], [], s=28, facecolors="white", edgecolors=_FAILOVER, label="hollow: lost by Redis")
    told = [(ms - start_ms, names.index(name) + 0.12) for name, gaps in world.gaps.items() for ms in gaps]
    if told:
        x, y = [x for x, _ in told], [y for _, y in told]
        axes.scatter(x, y, s=70, color=TOLD, marker="X", zorder=2, label="gap, reported")
    if clashes:
        x, y = [x for x, _ in clashes], [y for _, y in clashes]
        label = "offset that names two publications"
        axes.scatter(x, y, s=70, facecolors="none", edgecolors=CLASH, linewidths=1.3, zorder=4, label=label)
    for number, ms in enumerate(world.failovers_ms):
        label = "_another" if number else "Redis fails over"
        axes.axvline(ms - start_ms, color=_FAILOVER, linestyle="--", linewidth=1.2, zorder=2, label=label)
    axes.set_yticks([lane + _LANE / 2 for lane in range(len(names))], names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    axes.set_xlim(first_ms - 0.05 * width_ms - start_ms, log_ms + 0.06 * width_ms - start_ms)
    axes.set_ylim(0, len(names))
    since = "the failover" if world.failovers_ms else "the start"
    axes.set_xlabel(f"simulated time since {since}, ms")


def _height(lane: int, offset: int, top: int) -> float:
    return lane + 0.06 + _LANE * (offset - 0.5) / top
