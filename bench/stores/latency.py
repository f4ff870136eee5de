"""From a publish at one gateway to a socket of another, beside a bare chain of the same hops."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.loads import LOADS
from bench.serving import BUILD, CARILLON, ROOT, Contestant, serving

from .recording import Recorder, append_script, appends_of, commands_of
from .running import gateways, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carillon.testing import RedisServer

CONFIG = """\
[client]
insecure = true
[store]
url = "STORE"
[channel.without_namespace]
history_size = 1000
allow_publish_for_client = true
"""
NUMBER, GATEWAY = 9, 17  # where these words stand in the command that appends
NONE = LOADS["A"]  # serving() asks for one; its prepare() does nothing with it


def build(program: str) -> Path:
    """Compiles a program of the bare chain where it is older than its sources."""
    folder = ROOT / "bench" / "bare_chain"
    built = BUILD / program
    sources = [
        *folder.glob("*pp"),
        *(ROOT / "bench" / "bare_loop").glob("*.hpp"),
        ROOT / "cpp/load/web_frame.hpp",
    ]
    if not built.exists() or built.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        BUILD.mkdir(parents=True, exist_ok=True)
        options = ["-O2", "-std=c++20", f"-I{ROOT / 'cpp'}", str(folder / f"{program}.cpp"), "-lcrypto"]
        subprocess.run([os.environ.get("CXX", "c++"), *options, "-o", str(built)], check=True)
    return built


@contextmanager
def carillon_at(store: str) -> Iterator[tuple[int, int]]:
    """Runs a gateway, a process with one thread for its sockets; gives its port and process."""
    contestant = Contestant("carillon", CARILLON, files={"carillon.toml": CONFIG.replace("STORE", store)})
    with serving(contestant, NONE) as running:
        yield running.port, running.pid


def words_of(redis: RedisServer) -> tuple[list[str], str]:
    """Returns the command by which a gateway appends to the channel, and where it is announced."""
    with Recorder(redis.port) as recorder, gateways(f"redis://127.0.0.1:{recorder.port}", 1) as (server,):
        server.publish("room", {"n": 1})
        turns = commands_of(recorder.sent)
    words = [word.decode("latin-1") for word in appends_of(turns, append_script(turns))[0][0]]
    # Not that of the gateways: they would read in it what they have not written.
    words = [word.replace(":room", ":bare") for word in words]
    words[NUMBER], words[-1] = "%number", "%data"
    return words, words[11]


@contextmanager
def bare_chain_at(redis: RedisServer, folder: str, name: str) -> Iterator[int]:
    """Runs one process of the bare chain; gives its port."""
    words, announced = words_of(redis)
    words[GATEWAY] = name
    path = Path(folder) / name
    path.write_text("\n".join(words))
    options = ["--redis", str(redis.port), "--announcements", announced, "--words", str(path)]
    with subprocess.Popen([str(build("bare_chain")), *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rsplit(":", 1)[1])
        finally:
            process.terminate()


def pace(publish: int, subscribe: int, rate: int, seconds: int) -> dict[str, Any]:
    """Returns what the client that paces says: microseconds from socket to socket."""
    options = {"publish": publish, "subscribe": subscribe, "rate": rate, "seconds": seconds}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([str(build("pace")), *words], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def latency(redis: RedisServer, seconds: int, rounds: int, rate: int) -> None:
    """Prints latencies of each way, measured one after another in each round."""
    redis.cli("flushall")
    with (
        tempfile.TemporaryDirectory() as folder,
        bare_chain_at(redis, folder, "bareA") as bare_a,
        bare_chain_at(redis, folder, "bareB") as bare_b,
        carillon_at("memory") as (memory, _),
        carillon_at(redis.url) as (a, _),
        carillon_at(redis.url) as (b, _),
    ):
        ways = {
            "bare chain, two processes": (bare_a, bare_b),
            "Redis, another gateway": (a, b),
            "bare chain, one process": (bare_a, bare_a),
            "Redis, the same gateway": (a, a),
            "memory, one process": (memory, memory),
        }
        times: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (publish, subscribe) in ways.items():
                times[name].append(pace(publish, subscribe, rate, seconds))
    print(f"\n## Socket to socket at {rate:,}/s, rounds of {seconds} s, us: median (min-max) of {rounds}")
    print("| way | p50 | / bare | p99 | / bare |\n| --- | --- | --- | --- | --- |")
    for name, results in times.items():
        bare = times["bare chain, one process" if name == "Redis, the same gateway" else next(iter(ways))]
        cells = []
        for part in ("p50_us", "p99_us"):
            ratios = [mine[part] / its[part] for mine, its in zip(results, bare, strict=True)]
            cells += [spread([each[part] for each in results], 0), spread(ratios)]
        print(f"| {name} | {' | '.join(cells)} |")
