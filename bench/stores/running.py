"""A Redis and gateways that are measured, and the CPU time that they take."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import carillon

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carillon.testing import RedisServer

PAYLOAD = "x" * 118  # 128 bytes as JSON with its key
PUBLICATION = {"d": PAYLOAD}


@contextmanager
def gateways(store: str, number: int, **options: Any) -> Iterator[list[carillon.Server]]:
    """Starts servers in this process that share a store."""
    channel = carillon.Channel(history_size=1_000, allow_publish_for_client=True)
    servers = [
        carillon.Server(port=0, store=store, insecure=True, channels={"*": channel}, **options)
        for _ in range(number)
    ]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


def redis_cpu_s(redis: RedisServer) -> float:
    """Returns the CPU time that Redis has taken, user and system."""
    info = dict(line.split(":", 1) for line in redis.cli("info", "cpu").splitlines() if ":" in line)
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def calls(redis: RedisServer, *commands: str) -> int:
    """Returns how often Redis has carried these commands out since `config resetstat`."""
    starts = tuple(f"cmdstat_{command}:" for command in commands)
    return sum(
        int(line.split("calls=")[1].split(",")[0])
        for line in redis.cli("info", "commandstats").splitlines()
        if line.startswith(starts)
    )


def own_cpu_s() -> float:
    """Returns the CPU time of this process, with its gateways."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Returns the median, and the least and the greatest behind it."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def quantiles(times_s: list[float]) -> tuple[float, float]:
    """Returns p50 and p99 in milliseconds."""
    ordered = sorted(times_s)
    return ordered[len(ordered) // 2] * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3


def cpu_of(pid: int) -> float:
    """Returns the CPU time of a process, all threads, user and system."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # sum_exec_runtime of the scheduler, in nanoseconds: finer than the ticks of /proc/PID/stat.
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
