"""The gateways of a fleet, and what they and their Redis say about themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carillon.lab.server_api import ServerApi
from carillon.metrics_page import Family, parse
from carillon.testing import RedisServer

from ..loads import NamedLoad
from ..serving import CARILLON, Contestant, bare_loops, serving
from ..stores.running import cpu_of, redis_cpu_s

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
NOTHING = NamedLoad("fleet", "")  # `serving` asks for a load, and does nothing with it here
CONFIG = """\
[store]
url = "{store}"
[client]
insecure = true
[http_api]
insecure = true
[limits]
inbox_items = 1000
[channels."*"]
history_size = 1000
[channels."strategy-write*"]
history_size = 1000
fanout = "write"
[channels."strategy-read*"]
history_size = 1000
fanout = "read"
[channels."strategy-hybrid*"]
history_size = 1000
fanout = "hybrid"
fanout_threshold = {threshold}
[channels."strategy-adaptive*"]
history_size = 1000
fanout = "adaptive"
fanout_threshold = {threshold}
[channels."strategy-conflate*"]
history_size = 1000
fanout = "read"
conflate = true
"""


@dataclass
class Gateway:
    """A `carillon serve` with one thread.

    Attributes:
        port: Where it listens.
        pid: Its process.
        is_dead: It was killed.
    """

    port: int
    pid: int
    is_dead: bool = False

    def kill(self) -> None:
        """Ends it as a crash does."""
        self.is_dead = True
        os.kill(self.pid, signal.SIGKILL)

    def api(self) -> ServerApi:
        """Returns a connection to its HTTP API."""
        return ServerApi(HOST, self.port)

    def metrics(self) -> dict[str, Family]:
        """Returns its page of metrics."""
        return parse(self.page())

    def page(self) -> str:
        """Returns the text of the page."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{HOST}:{self.port}/metrics", timeout=60) as answer:
            return bytes(answer.read()).decode()


@dataclass
class Fleet:
    """Gateways that share a Redis."""

    redis: RedisServer
    gateways: list[Gateway]

    @property
    def live(self) -> list[Gateway]:
        """Those that were not killed."""
        return [each for each in self.gateways if not each.is_dead]

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports of those."""
        return tuple(each.port for each in self.live)

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes of those."""
        return tuple(each.pid for each in self.live)

    def cpu_s(self) -> float:
        """Returns the CPU time that they have taken."""
        return sum(map(cpu_of, self.pids))

    def redis_cpu_s(self) -> float:
        """Returns the CPU time that Redis has taken."""
        return redis_cpu_s(self.redis)

    def sum_of(self, name: str) -> float:
        """Returns the sum of a metric over all of them."""
        family = name.removesuffix("_sum").removesuffix("_count")
        pages = [each.metrics() for each in self.live]
        return sum(s.value for page in pages for s in page[family].samples if s.name == name)


@contextlib.contextmanager
def fleet(count: int, threshold: int = 10_000) -> Iterator[Fleet]:
    """Runs a Redis and gateways on it, for the duration of the block."""
    with contextlib.ExitStack() as running:
        redis = RedisServer(running.enter_context(tempfile.TemporaryDirectory()))
        running.enter_context(redis)
        config = CONFIG.format(store=redis.url, threshold=threshold)
        contestant = Contestant("carillon", CARILLON, files={"carillon.toml": config})
        started = [running.enter_context(serving(contestant, NOTHING)) for _ in range(count)]
        yield Fleet(redis, [Gateway(each.port, each.pid) for each in started])


@contextlib.contextmanager
def bare_loops_of(count: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Runs bare loops; gives their ports and processes."""
    bare = bare_loops()[0]
    with contextlib.ExitStack() as running:
        started = [running.enter_context(serving(bare, NOTHING)) for _ in range(count)]
        yield tuple(each.port for each in started), tuple(each.pid for each in started)
