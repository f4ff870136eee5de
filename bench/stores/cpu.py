"""CPU of Redis per append: of a gateway, of a bare socket that says the same, and of a plain script."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from .recording import Recorder, Replay, append_script, appends_of, commands_of, pipelined
from .running import PAYLOAD, PUBLICATION, gateways, own_cpu_s, redis_cpu_s, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon.testing import RedisServer

    Turns = list[list[list[bytes]]]

DEPTHS = (1, 16, 64, 512)
CHANNELS = (1, 100)
LEAST = 20_000  # appends of a figure, at depth 1
# An offset, an entry, an announcement: what nobody can do without.
PLAIN = (
    "local n = redis.call('INCR', KEYS[1]) "
    "redis.call('XADD', KEYS[2], 'MAXLEN', '1000', n .. '-1', 'd', ARGV[1]) "
    "redis.call('PUBLISH', KEYS[3], ARGV[1]) return n"
)


def batches(appends: int, depth: int, channels: int) -> list[list[tuple[str, object]]]:
    """Returns what is published, `depth` at a time."""
    return [
        [(f"c{i % channels}", PUBLICATION) for i in range(n, n + depth)] for n in range(0, appends, depth)
    ]


def record(redis: RedisServer, appends: int, depth: int, channels: int) -> tuple[bytes, Turns]:
    """Returns the script and the commands by which a gateway has appended all that."""
    redis.cli("flushall")
    with Recorder(redis.port) as recorder, gateways(f"redis://127.0.0.1:{recorder.port}", 1) as (server,):
        for batch in batches(appends, depth, channels):
            server.publish_many(batch)
        turns = commands_of(recorder.sent)
    script = append_script(turns)
    return script, appends_of(turns, script)


def measured(redis: RedisServer, appends: int, work: Callable[[], object]) -> float:
    """Returns the CPU time of Redis per append, in microseconds."""
    before = redis_cpu_s(redis)
    work()
    return (redis_cpu_s(redis) - before) / appends * 1e6


def by_gateway(redis: RedisServer, appends: int, depth: int, channels: int) -> tuple[float, float, float]:
    """Returns CPU of Redis and of the gateway per append, in microseconds, and appends per second."""
    redis.cli("flushall")
    with gateways(redis.url, 1) as (server,):
        prepared = batches(appends, depth, channels)
        own, began = own_cpu_s(), time.perf_counter()

        def publish() -> None:
            nonlocal own, began
            own, began = own_cpu_s(), time.perf_counter()
            for batch in prepared:
                server.publish_many(batch)
            own, began = own_cpu_s() - own, time.perf_counter() - began

        redis_us = measured(redis, appends, publish)
        return redis_us, own / appends * 1e6, appends / began


def by_replay(redis: RedisServer, appends: int, turns: list[tuple[bytes, int]]) -> float:
    """Returns the CPU of Redis per append when a bare socket says the same."""
    redis.cli("flushall")
    replay = Replay(redis.port)
    accepted = 0

    def run() -> None:
        nonlocal accepted
        accepted = replay.run(turns)

    redis_us = measured(redis, appends, run)
    replay.close()
    if accepted != sum(number for _, number in turns):
        raise RuntimeError("redis did not carry out what was recorded")
    return redis_us


def by_benchmark(redis: RedisServer, appends: int, depth: int, *words: str) -> float:
    """Returns the CPU of Redis per command of `redis-benchmark`."""
    redis.cli("flushall")
    command = [
        "redis-benchmark",
        "-p",
        str(redis.port),
        "-c",
        "1",
        "-P",
        str(depth),
        "-n",
        str(appends),
        "-q",
    ]
    run = lambda: subprocess.run([*command, *words], capture_output=True, check=True)  # noqa: E731
    return measured(redis, appends, run)


def refused_of_benchmark(redis: RedisServer, script: bytes, turns: Turns, appends: int) -> None:
    """Says what becomes of our script when `redis-benchmark` gives it random numbers for the group."""
    words = [word.decode("latin-1") for word in turns[0][0]]
    words[9] = "__rand_int__"
    words[-1] = PAYLOAD  # an argument of a command line holds no zero byte
    redis.cli("flushall")
    command = ["redis-benchmark", "-p", str(redis.port), "-c", "1", "-P", "16", "-n", str(appends), "-q"]
    done = subprocess.run(
        [*command, "-r", "1000000000000", *words], capture_output=True, text=True, check=False
    )
    taken = redis.cli("hget", words[3], "o")
    print(
        f"\nredis-benchmark with the same script ({script.decode()[:8]}…) and a random number of the group: "
        f"{taken or 0} of {appends:,} appends are carried out, all others are refused as late, because the "
        f"number must ascend. {done.stderr.strip()[:200]}"
    )


def cpu(redis: RedisServer, appends: int, rounds: int) -> None:
    """Prints CPU per append at several depths, in rounds that measure each way one after another."""
    print(f"\n## CPU per append, 128 bytes: median (min-max) of {rounds} rounds, microseconds")
    print("replayed: a bare socket says what the gateway said, in the same turns")
    print(
        "one by one: the same script with one append in each command, as many commands at once as `together`"
    )
    print("plain: redis-benchmark with a script of INCR, XADD, PUBLISH, pipelined")
    print(
        "| together | channels | appends | Redis | replayed | ratio | one by one | ratio | plain | ratio "
        "| gateway | appends/s |"
    )
    print("| --- " * 12 + "|")
    for depth in DEPTHS:
        number = min(appends, LEAST * depth) // depth * depth
        for channels in CHANNELS:
            _, turns = record(redis, number, depth, channels)
            _, single = record(redis, min(number, LEAST), 1, channels)
            same, one_by_one = pipelined(turns, 0), pipelined(single, depth)
            rows = []
            for _ in range(rounds):
                gateway_us, own_us, per_s = by_gateway(redis, number, depth, channels)
                replayed_us = by_replay(redis, number, same)
                single_us = by_replay(redis, min(number, LEAST), one_by_one)
                plain_us = by_benchmark(
                    redis, number, depth, "eval", PLAIN, "3", "{a}n", "{a}s", "{a}c", PAYLOAD
                )
                rows.append((gateway_us, replayed_us, single_us, plain_us, own_us, per_s))
            gateway, replayed, ones, plain, own, rate = zip(*rows, strict=True)
            ratios = [
                spread([a / b for a, b in zip(gateway, way, strict=True)]) for way in (replayed, ones, plain)
            ]
            print(
                f"| {depth} | {channels} | {number:,} | {spread(gateway, 1)} | {spread(replayed, 1)} | "
                f"{ratios[0]} | {spread(ones, 1)} | {ratios[1]} | {spread(plain, 1)} | {ratios[2]} | "
                f"{spread(own, 1)} | {spread(rate, 0)} |",
                flush=True,
            )
    script, single = record(redis, 1, 1, 1)
    refused_of_benchmark(redis, script, single, LEAST)
