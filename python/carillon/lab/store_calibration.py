"""`calibrate_store`: what a publication costs Redis and the gateways that share it, on this machine."""

from __future__ import annotations

import contextlib
import tempfile
import time
from datetime import UTC, datetime
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..load import Load, LoadError, run_load
from ..load.serving import Placement, serving
from ..redis_server import RedisServer
from .calibration import cpu_clock_us, machine_now
from .capacity import LabError
from .cell import CHANNEL, HEARTBEATS, MEMBER
from .server_api import ServerApi
from .store_costs import StoreCosts
from .verdict import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..load import Progress
    from ..load.serving import RunningServer

_GATEWAYS = 6
_MEMBERS = 5_000
_ENTERED = 4  # publications of a round, to all of these members
_WALK_S = 30.0
_ONE_THREAD = Placement(1, (), (), has_own_cores=False)


def calibrate_store(*, seconds: float = 2.0, rounds: int = 3, gateways: int = _GATEWAYS) -> StoreCosts:
    """Measures what gateways on a Redis pay, with a `redis-server` and gateways that it starts and ends.

    The CPU time of each process is read, which other programs disturb less than times of the day. Each cost
    is measured in several rounds; `StoreCosts.spread` holds its least and largest value.

    Example:
        costs = lab.calibrate_store()
        fleet = lab.Fleet(gateways=6).with_store(costs)

    Args:
        seconds: Length of each load, seconds: one with one gateway that hears it, one with all, per round.
        rounds: Number of rounds.
        gateways: Number of gateways, at least 2.

    Returns:
        The constants, with date and machine. Times have two significant digits.

    Raises:
        LabError: There is no redis-server, a value is wrong, or a delivery was wrong.
        LoadError: A gateway or a worker failed.
    """
    if missing := RedisServer.missing():
        raise LabError(f"calibrate_store: {missing}")
    if gateways < 2 or rounds < 1 or seconds <= 0:
        raise LabError(
            f"calibrate_store: gateways={gateways!r}, rounds={rounds!r}, seconds={seconds!r}; give at least "
            "2, at least 1, and more than 0"
        )
    found: dict[str, list[float]] = {}
    with contextlib.ExitStack() as running:
        redis = running.enter_context(RedisServer(running.enter_context(tempfile.TemporaryDirectory())))
        options = {"history_size": 1_000, "history_ttl": "1h", "presence": False}
        config = {**HEARTBEATS, "store": {"url": redis.url}, "channels": {f"{CHANNEL}*": options}}
        memory_config = {name: value for name, value in config.items() if name != "store"}
        servers = [running.enter_context(serving(_ONE_THREAD, config)) for _ in range(gateways)]
        memory = running.enter_context(serving(_ONE_THREAD, memory_config))
        redis_pid = _pid_of(redis)
        with ServerApi(servers[0].host, servers[0].port) as api:
            api.add_members(f"{CHANNEL}-members", [f"{MEMBER}{number}" for number in range(_MEMBERS)])
        for _ in range(rounds):
            alone = _load(redis_pid, servers[:1], seconds)
            spread = _load(redis_pid, servers, seconds)
            in_memory = _load(None, [memory], seconds)
            others = gateways - 1
            entered = _enter(redis_pid, servers[0], redis)
            figures = {
                "append_us": alone.redis_us,
                "gateway_us": (spread.redis_us - alone.redis_us) / others,
                "gateway_heard_us": (spread.gateways_us - alone.gateways_us) / others,
                "entry_us": entered[0],
                "gateway_entry_us": entered[1],
                "way_ms": (alone.reply_ms - in_memory.reply_ms - alone.redis_us / 1e3) / 2,
            }
            for name, value in figures.items():
                found.setdefault(name, []).append(max(0.0, value))
    values = {name: rounded(median(each)) for name, each in found.items()}
    return StoreCosts(
        append_us=values["append_us"],
        gateway_us=values["gateway_us"],
        entry_us=values["entry_us"],
        gateway_heard_us=values["gateway_heard_us"],
        gateway_entry_us=values["gateway_entry_us"],
        way_ms=values["way_ms"],
        spread=MappingProxyType({name: (rounded(min(v)), rounded(max(v))) for name, v in found.items()}),
        machine=machine_now(),
        measured_on=datetime.now(tz=UTC).strftime("%Y-%m-%d"),
    )


def _pid_of(redis: RedisServer) -> int:
    lines = redis.cli("info", "server").splitlines()
    return int(next(line.split(":")[1] for line in lines if line.startswith("process_id:")))


class _Cost:
    """What a publication has cost, and how long its publisher has waited."""

    def __init__(self, redis_us: float, gateways_us: float, reply_ms: float) -> None:
        self.redis_us = redis_us
        self.gateways_us = gateways_us
        self.reply_ms = reply_ms


def _load(redis_pid: int | None, servers: Sequence[RunningServer], seconds: float) -> _Cost:
    """One subscriber at each gateway; publications at the first one, each as soon as the one before is there.

    So each is appended alone, and neither Redis nor a gateway sleeps for long.
    """
    quiet_s = 0.5
    quiet_us = -cpu_clock_us(redis_pid) if redis_pid else 0.0
    time.sleep(quiet_s)
    quiet_us += cpu_clock_us(redis_pid) if redis_pid else 0.0
    load = Load(
        gateways=tuple(each.port for each in servers),
        channel=f"{CHANNEL}-heard",
        connections=len(servers),
        in_flight=1,
        seconds=seconds,
        warmup=10,
        awaits_replies=True,
        server_pids=tuple(each.pid for each in servers),
    )

    counts: list[tuple[int, float, float]] = []

    def watch(progress: Progress) -> None:
        if redis_pid and progress.is_measuring and not progress.is_over:
            counts.append((progress.published, cpu_clock_us(redis_pid), time.monotonic()))

    result = run_load(load, on_progress=watch)
    if not result.is_clean:
        raise LabError(f"calibrate_store: {result.first_fault} (in all {result.faults})")
    redis_us = 0.0
    if redis_pid:
        if len(counts) < 2 or counts[-1][0] == counts[0][0]:
            raise LabError("calibrate_store: too few publications; give more seconds")
        (n0, us0, s0), (n1, us1, s1) = counts[0], counts[-1]
        redis_us = (us1 - us0 - quiet_us * (s1 - s0) / quiet_s) / (n1 - n0)
    return _Cost(redis_us, result.server_us / result.publish.count, result.publish.percentile_ns(0.5) / 1e6)


def _enter(redis_pid: int, server: RunningServer, redis: RedisServer) -> tuple[float, float]:
    """CPU time of Redis and of the gateway for an inbox entry, microseconds."""
    with ServerApi(server.host, server.port) as api:
        before = cpu_clock_us(redis_pid), cpu_clock_us(server.pid), api.stats()["inbox_entries"]
        for _ in range(_ENTERED):
            api.call("publish", channel=f"{CHANNEL}-members", data="x" * 126)
        deadline = time.monotonic() + _WALK_S
        while redis.cli("--raw", "keys", f"*cw:{CHANNEL}-members"):
            if time.monotonic() > deadline:
                raise LoadError(f"a walk over {_MEMBERS:,} members was not over within {_WALK_S:g} s")
            time.sleep(0.02)
        entries = api.stats()["inbox_entries"] - before[2]
        after = cpu_clock_us(redis_pid), cpu_clock_us(server.pid)
    if not entries:
        raise LabError("calibrate_store: no inbox was written to")
    return (after[0] - before[0]) / entries, (after[1] - before[1]) / entries
