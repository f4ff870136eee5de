"""The simulator: a fleet of gateways, its Redis and its clients under virtual time, and what happens to them.

What runs is what ships: the hub, the sessions, the transports, the store and its scripts in Redis.
Simulated are time, threads, sockets and Redis itself, with replication, failovers and lost messages. A
world follows from its seed alone: the same seed makes the same trace, byte for byte. Afterwards the
promises are checked: nothing acknowledged is lost, all clients have one order, nothing is delivered twice,
every gap is told.

    report = carillon.sim.run(seed=17)
    assert report.is_ok, report

`python -m carillon.sim` plays many seeds; `docs/simulator.md` says what can happen in a world.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

try:
    from carillon import _sim
except ImportError as _missing:  # built without Lua
    raise ImportError(
        "carillon.sim: this build has no simulator, because Lua 5.1 was not found when it was built; "
        "install liblua5.1-0-dev (Debian, Ubuntu) or compat-lua-devel (Fedora), and build the package again"
    ) from _missing

__all__ = ["Report", "World", "hunt", "planted_bugs", "run", "shrink"]


Durability = Literal["full", "normal", "async"]


@dataclass(frozen=True)
class Report:
    """What became of a world."""

    seed: int
    complaints: list[str]
    """The promises that were not kept; none: all is well."""
    acts: list[str]
    """What happened to it, in order, beside what clients and gateways do by themselves."""
    replay: str
    """The command line that plays the world again."""
    trace_hash: int
    """Equal for equal traces."""
    acknowledged: int
    """Publications."""
    delivered: int
    """Deliveries of publications to clients."""
    recoveries: int
    gaps: int
    """Told to clients."""
    lost: int
    """Publications that the simulated Redis has lost."""
    events: int
    """Of the simulated world: what its duration costs depends on them."""
    simulated_s: float
    trace: list[str] = field(default_factory=list, repr=False)
    """The lines, if they are kept."""

    @property
    def is_ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.complaints

    def __str__(self) -> str:
        if self.is_ok:
            return f"seed {self.seed}: all is well"
        lines = [f"seed {self.seed}: {self.complaints[0]}", *(f"  {act}" for act in self.acts)]
        return "\n".join([*lines, f"replay: {self.replay}"])


class World(TypedDict, total=False):
    """A world and what happens in it: the options of `run`, all with defaults."""

    gateways: int
    """Processes that share one Redis. Default 3; without Redis 1."""
    clients: int
    """A third each over WebSocket, event streams and polls. They resume by themselves. Default 9."""
    channels: int
    """Default 2."""
    publications: int
    """In all channels together. Default 40."""
    faults: int
    """Things that happen to clients, gateways and Redis. Default 10."""
    members: int
    """Users, of whom each is a member of some channels and has an inbox. Default 0: there are no members."""
    history_size: int
    """Publications that a channel keeps. Default 1,000."""
    duration_ms: int
    """The simulated time in which all of this happens. Default 20,000."""
    redis: bool
    """False: one gateway, with its log in memory."""
    sqlite: Durability
    """One gateway, with its log in an SQLite file of this durability, on a simulated disk."""
    losses: bool
    """Whether Redis may lose what it has acknowledged, in a failover or a restart. Default True."""
    bug: str
    """The name of one that is planted (see `planted_bugs`)."""
    only: Sequence[int]
    """Numbers of the acts that happen; the others are left out. Empty: all happen."""
    trace: bool
    """Whether the report has the lines of the trace."""


_NUMBERS = (
    "gateways",
    "clients",
    "channels",
    "publications",
    "faults",
    "members",
    "history_size",
    "duration_ms",
)
_NATIVE_NAMES = {"redis": "has_redis", "losses": "may_lose", "trace": "keeps_trace"}


def _options(seed: int, world: World) -> _sim.WorldOptions:
    options = _sim.WorldOptions()
    options.seed = seed
    if not world.get("redis", True):
        options.gateways = 1
    if "sqlite" in world:
        options.has_redis = False
        options.gateways = 1
    for name, value in world.items():
        if name not in World.__annotations__:
            raise TypeError(f"{name}: a world has no such option; it has {', '.join(World.__annotations__)}")
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{name}: {value} is negative")
        setattr(options, _NATIVE_NAMES.get(name, name), list(value) if name == "only" else value)  # type: ignore[call-overload]
    return options


def _report(options: _sim.WorldOptions) -> Report:
    found = _sim.run_world(options)
    return Report(
        seed=found.seed,
        complaints=found.complaints,
        acts=found.acts,
        replay=_sim.replay_command(options),
        trace_hash=found.trace_hash,
        acknowledged=found.acknowledged,
        delivered=found.delivered,
        recoveries=found.recoveries,
        gaps=found.gaps,
        lost=found.lost,
        events=found.events,
        simulated_s=found.simulated_ms / 1_000,
        trace=found.trace,
    )


def run(seed: int = 1, **world: Unpack[World]) -> Report:
    """Plays one world, on this thread, without the GIL.

    Args:
        seed: All that is left to chance follows from it.
        world: See `World`.

    Raises:
        ValueError: The options make no world; the message names the option.
        TypeError: A world has no such option.
    """
    return _report(_options(seed, world))


def shrink(report: Report, *, runs: int = 400) -> Report:
    """Leaves out as many acts of a failing world as possible, and returns the report of what is left.

    Args:
        report: Of a world that failed.
        runs: Worlds that are played for it at most.

    Raises:
        ValueError: The world did not fail.
    """
    if report.is_ok:
        raise ValueError(f"report: the world of seed {report.seed} did not fail; there is nothing to shrink")
    arguments = _parser().parse_args(report.replay.split()[3:])
    return _report(_sim.shrink_world(_options_of(arguments, report.seed), runs))


def hunt(seeds: Iterable[int], **world: Unpack[World]) -> Report | None:
    """Plays one seed after another. Returns the report of the first that fails, made small; None: none does.

    Args:
        seeds: For example `range(1, 1001)`.
        world: See `World`.
    """
    for seed in seeds:
        report = run(seed, **world)
        if not report.is_ok:
            return shrink(report)
    return None


def planted_bugs() -> dict[str, str]:
    """The bugs that can be planted, to see that the simulator notices them: names, and what each does."""
    return dict(_sim.planted_bugs())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m carillon.sim",
        description="Plays simulated worlds, and says which promises were not kept.",
    )
    parser.add_argument("--seed", type=int, help="play this seed alone, and print its trace")
    parser.add_argument("--first", type=int, default=1, help="the first of many seeds (default 1)")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many are played (default 1,000)")
    for name in _NUMBERS:
        parser.add_argument("--" + name.replace("_", "-"), type=int)
    parser.add_argument("--no-redis", action="store_true", help="one gateway, with its log in memory")
    parser.add_argument(
        "--sqlite", choices=get_args(Durability), help="one gateway, with an SQLite file of this durability"
    )
    parser.add_argument("--no-loss", action="store_true", help="Redis loses nothing that it has acknowledged")
    parser.add_argument("--bug", default="", help="plant this one; 'list' lists them")
    parser.add_argument("--only", default="", help="numbers of the acts that happen, such as 4,9,12")
    return parser


def _options_of(arguments: argparse.Namespace, seed: int, *, trace: bool = False) -> _sim.WorldOptions:
    given = {name: getattr(arguments, name) for name in _NUMBERS}
    world: World = {
        "redis": not (arguments.no_redis or arguments.sqlite),
        "losses": not arguments.no_loss,
        "bug": arguments.bug,
        "only": [int(number) for number in arguments.only.split(",") if number],
        "trace": trace,
    }
    if arguments.sqlite:
        world["sqlite"] = arguments.sqlite
    world.update({name: value for name, value in given.items() if value is not None})  # type: ignore[typeddict-item]
    return _options(seed, world)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns 1 if a promise was not kept."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.bug == "list":
        for name, what in planted_bugs().items():
            print(f"{name:<30} {what}")
        return 0
    try:
        if arguments.seed is not None:
            report = _report(_options_of(arguments, arguments.seed, trace=True))
            print("\n".join([*report.trace, str(report)]))
            return 0 if report.is_ok else 1
        began = time.monotonic()
        for number in range(arguments.seeds):
            report = _report(_options_of(arguments, arguments.first + number))
            if not report.is_ok:
                print(shrink(report))
                return 1
    except ValueError as refused:
        parser.error(str(refused))
    took = max(time.monotonic() - began, 0.001)
    print(f"{arguments.seeds} worlds, all is well; {arguments.seeds * 60 / took:,.0f} a minute")
    return 0


if __name__ == "__main__":
    sys.exit(main())
