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
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

try:
    from carillon import _sim
except ImportError as _missing:  # built without Lua
    raise ImportError(
        "carillon.sim: this build has no simulator, because Lua 5.1 was not found when it was built; "
        "install liblua5.1-0-dev (Debian, Ubuntu) or compat-lua-devel (Fedora), and build the package again"
    ) from _missing

__all__ = ["Report", "World", "hunt", "planted_bugs", "run", "shrink", "world_of"]


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

    def __repr__(self) -> str:
        # pytest shows this, cut to 240 characters, where a test says `assert report.is_ok, report`.
        if self.is_ok:
            return f"<seed {self.seed}: all is well>"
        complaint = self.complaints[0]
        return f"<{complaint if len(complaint) <= 90 else complaint[:87] + '...'}; replay: {self.replay}>"

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
_MEANINGS = {
    "gateways": "processes that share one Redis",
    "clients": "a third each over WebSocket, event streams and polls",
    "channels": "how many there are",
    "publications": "in all channels together",
    "faults": "things that happen to clients, gateways and Redis",
    "members": "users with an inbox, each a member of some channels",
    "history_size": "publications that a channel keeps",
    "duration_ms": "simulated time in which all of this happens",
}
_SEEDS_MAX = 2**64 - 1
_NATIVE_NAMES = {"redis": "has_redis", "losses": "may_lose", "trace": "keeps_trace"}


def _whole(name: str, value: object, most: int = 2**63 - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: {value!r} is no whole number")
    if not 0 <= value <= most:
        raise ValueError(f"{name}: {value} is not from 0 to {most}")
    return value


def _native(name: str, value: object) -> object:
    """Returns the value of an option as the native module takes it."""
    if name == "only":
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError(f"only: {value!r} is no list of numbers; give one, such as [4, 9, 12]")
        return [_whole("only", number) for number in value]
    if name in _NUMBERS:
        return _whole(name, value)
    kind = str if name in {"bug", "sqlite"} else bool
    if not isinstance(value, kind):
        raise TypeError(f"{name}: {value!r} is no {'text' if kind is str else 'flag; give True or False'}")
    return value


def _options(seed: int, world: World) -> _sim.WorldOptions:
    options = _sim.WorldOptions()
    options.seed = _whole("seed", seed, _SEEDS_MAX)
    if not world.get("redis", True):
        options.gateways = 1
    if "sqlite" in world:
        options.has_redis = False
        options.gateways = 1
    for name, value in world.items():
        if name not in World.__annotations__:
            raise TypeError(f"{name}: a world has no such option; it has {', '.join(World.__annotations__)}")
        setattr(options, _NATIVE_NAMES.get(name, name), _native(name, value))
    return options


def _report(options: _sim.WorldOptions) -> Report:
    found = _sim.run_world(options)
    happened = {int(act.split()[0].removeprefix("#")) for act in found.acts}
    if missing := sorted(set(options.only) - happened):
        raise ValueError(
            f"only: this world has no act {missing[0]}; play it without `only` to see the numbers of its acts"
        )
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
        TypeError: A world has no such option, or its value is of another type.
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

    Raises:
        ValueError: There are no seeds, or the options make no world.
        TypeError: A world has no such option, or its value is of another type.
    """
    report = None
    for seed in seeds:
        report = run(seed, **world)
        if not report.is_ok:
            return shrink(report)
    if report is None:
        raise ValueError("seeds: there are none; give some, such as range(1, 1001)")
    return None


def planted_bugs() -> dict[str, str]:
    """The bugs that can be planted, to see that the simulator notices them: names, and what each does."""
    return dict(_sim.planted_bugs())


def world_of(bug: str) -> World:
    """Returns the options of a world in which a planted bug shows, such as one with members.

    Example:
        report = carillon.sim.hunt(range(1, 200), **carillon.sim.world_of("walk_not_released"))

    Raises:
        ValueError: There is no such bug.
    """
    if bug not in planted_bugs():
        raise ValueError(f"bug: there is none named {bug!r}; planted_bugs() lists them")
    there, usual = _sim.world_of(bug), _sim.WorldOptions()
    world: World = {"bug": bug}
    if there.sqlite:
        world["sqlite"] = there.sqlite  # type: ignore[typeddict-item]
    if there.members != usual.members:
        world["members"] = there.members
    if there.history_size != usual.history_size:
        world["history_size"] = there.history_size
    return world


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers, such as 4,9,12") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m carillon.sim",
        description="Plays simulated worlds, and says which promises were not kept.",
    )
    parser.add_argument("--seed", type=int, help="play this seed alone, and print its trace")
    parser.add_argument("--first", type=int, help="the first of many seeds (default 1)")
    parser.add_argument("--seeds", type=int, help="how many are played (default 1,000)")
    defaults = _sim.WorldOptions()
    for name in _NUMBERS:
        default = f"{getattr(defaults, name):,}"
        if name == "gateways":
            default += "; 1 with --no-redis or --sqlite"
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=int,
            help=f"{_MEANINGS[name]} (default {default})",
        )
    parser.add_argument("--no-redis", action="store_true", help="one gateway, with its log in memory")
    parser.add_argument(
        "--sqlite", choices=get_args(Durability), help="one gateway, with an SQLite file of this durability"
    )
    parser.add_argument(
        "--no-losses", action="store_true", help="Redis loses nothing that it has acknowledged"
    )
    parser.add_argument("--bug", default="", help="plant this one; 'list' lists them")
    parser.add_argument(
        "--only", type=_numbers, default=[], help="numbers of the acts that happen, such as 4,9,12"
    )
    return parser


def _options_of(arguments: argparse.Namespace, seed: int, *, trace: bool = False) -> _sim.WorldOptions:
    given = {name: getattr(arguments, name) for name in _NUMBERS}
    world: World = {
        "redis": not (arguments.no_redis or arguments.sqlite),
        "losses": not arguments.no_losses,
        "bug": arguments.bug,
        "only": arguments.only,
        "trace": trace,
    }
    if arguments.sqlite:
        world["sqlite"] = arguments.sqlite
    world.update({name: value for name, value in given.items() if value is not None})  # type: ignore[typeddict-item]
    return _options(seed, world)


def _play_one(arguments: argparse.Namespace) -> int:
    if arguments.seeds is not None or arguments.first is not None:
        raise ValueError("--seed plays one world; leave --seeds and --first out, or --seed")
    report = _report(_options_of(arguments, arguments.seed, trace=True))
    print("\n".join([*report.trace, str(report)]))
    return 0 if report.is_ok else 1


def _play_many(arguments: argparse.Namespace) -> int:
    first = 1 if arguments.first is None else arguments.first
    seeds = 1_000 if arguments.seeds is None else arguments.seeds
    if seeds < 1:
        raise ValueError(f"--seeds: {seeds} worlds say nothing; give 1 or more")
    began = time.monotonic()
    played = 0
    try:
        for played in range(seeds):
            report = _report(_options_of(arguments, first + played))
            if not report.is_ok:
                print(shrink(report))
                return 1
    except KeyboardInterrupt:
        print(f"stopped: {played} worlds of {seeds}, all is well so far", file=sys.stderr)
        return 130
    took = max(time.monotonic() - began, 0.001)
    print(f"{seeds} worlds, all is well; {seeds * 60 / took:,.0f} a minute")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns 1 if a promise was not kept, and 130 if it was stopped."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.bug == "list":
            for name, what in planted_bugs().items():
                print(f"{name:<30} {what}")
            return 0
        return _play_many(arguments) if arguments.seed is None else _play_one(arguments)
    except ValueError as refused:
        parser.error(str(refused))
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
