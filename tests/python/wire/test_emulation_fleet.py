"""Commands of SDKs over HTTP that reach another gateway than the one that has the client."""

from __future__ import annotations

import contextlib
import json
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon.testing import wait_until
from redis_fleet import a_stranger, on_redis, serve_on_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server
    from carillon.testing import RedisServer
    from serve_process import Process

pytestmark = pytest.mark.wire

ROOM = "room"


class Streaming:
    """A client over http_stream at a gateway. Its commands go wherever the test says."""

    def __init__(self, url: str, lines: Iterator[str]) -> None:
        self.url = url
        self._lines = lines
        self._hello = json.loads(next(lines))["connect"]

    def post(self, url: str, commands: str, **changes: str) -> int:
        """Sends commands by the gateway at `url`, and returns the status of the answer."""
        body = {name: self._hello[name] for name in ("session", "node")}
        answer = httpx.post(f"{url}/emulation", json={**body, "data": commands, **changes}, timeout=30)
        return answer.status_code

    def reply(self) -> dict[str, Any]:
        """The next line that is no ping."""
        return next(reply for reply in map(json.loads, self._lines) if reply)


@contextlib.contextmanager
def streaming(url: str) -> Iterator[Streaming]:
    start = httpx.stream(
        "POST", f"{url}/connection/http_stream", content='{"id":1,"connect":{}}', timeout=30, trust_env=False
    )
    with start as response:
        yield Streaming(url, response.iter_lines())


def publish_of(number: int) -> str:
    return json.dumps({"id": number + 2, "publish": {"channel": ROOM, "data": number}})


@pytest.fixture
def gateways(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> Callable[..., list[Server]]:
    """Starts that many servers on one Redis."""

    def start(count: int, **options: Any) -> list[Server]:
        return [carillon_server_factory(**on_redis(carillon_redis.url) | options) for _ in range(count)]

    return start


@pytest.mark.parametrize("threads", [1, 4])
def test_each_gateway_takes_commands_and_all_stay_in_order(
    gateways: Callable[..., list[Server]], threads: int
) -> None:
    """A command is sent as soon as the one before it was taken, whichever gateway took that."""
    servers = gateways(3, threads=threads)
    count = 150
    with streaming(servers[0].url) as client:
        for number in range(count):
            assert client.post(servers[number % 3].url, publish_of(number)) == 204
        assert [client.reply()["id"] for _ in range(count)] == list(range(2, count + 2))
    messages = servers[1].history(ROOM, last=1_000).messages
    assert [message.json() for message in messages] == list(range(count))


def test_what_cannot_be_delivered_is_never_204(gateways: Callable[..., list[Server]]) -> None:
    here, there = gateways(2)
    with streaming(here.url) as client:
        assert client.post(there.url, publish_of(0), node=str(uuid.uuid4())) == 404, "no such gateway"
        assert client.post(there.url, publish_of(0), node="") == 404
        assert client.post(there.url, publish_of(0), session=str(uuid.uuid4())) == 404, "no such client"
        assert client.post(there.url, publish_of(0)) == 204
        assert client.reply()["id"] == 2
        page = there.metrics()
        for result, count in (("taken", 1), ("unknown", 3), ("late", 0)):
            assert f'carillon_forwarded_commands_total{{result="{result}"}} {count}\n' in page
    wait_until(lambda: here.stats()["emulated"] == 0)
    assert client.post(there.url, publish_of(1)) == 404, "the client has gone"
    assert [message.json() for message in here.history(ROOM, last=10).messages] == [0]


def test_the_gateway_that_has_the_client_has_the_last_word_on_length(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    longest = 2_000
    here = carillon_server_factory(**on_redis(carillon_redis.url), limits={"message_bytes": longest})
    there = carillon_server_factory(**on_redis(carillon_redis.url))
    with streaming(here.url) as client:
        assert client.post(there.url, publish_of(0).ljust(longest)) == 204
        assert client.post(there.url, publish_of(1).ljust(longest + 1)) == 413
        assert client.reply()["id"] == 2


def test_a_gateway_that_died_is_404_and_one_that_hangs_504(
    carillon_redis: RedisServer,
    carillon_server_factory: Callable[..., Server],
    launch: Callable[..., Process],
    tmp_path: Path,
) -> None:
    there = carillon_server_factory(**on_redis(carillon_redis.url))
    process = serve_on_redis(launch, tmp_path, carillon_redis.url)
    with streaming(f"http://127.0.0.1:{process.port}") as client:
        assert client.post(there.url, publish_of(0)) == 204
        process.child.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{process.child.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(") ")[2][0] == "T")
        assert client.post(there.url, publish_of(1)) == 504
        process.child.send_signal(signal.SIGCONT)
        wait_until(lambda: client.post(there.url, publish_of(2)) == 204)
        assert [client.reply()["id"] for _ in range(2)] == [2, 4], (
            "what had got a 504 is not carried out later"
        )
        process.child.kill()
        process.child.wait()
        wait_until(lambda: client.post(there.url, publish_of(3)) == 404)


def test_a_store_that_is_away_is_no_204(
    carillon_redis: RedisServer, gateways: Callable[..., list[Server]]
) -> None:
    here, there = gateways(2)
    with streaming(here.url) as client:
        carillon_redis.kill()
        wait_until(lambda: "store" in httpx.get(f"{there.url}/health").json())
        assert client.post(there.url, publish_of(0)) == 503
        assert client.post(here.url, '{"id":9,"ping":{}}') == 204, "this gateway has the client"


def test_a_takeover_keeps_the_name_under_which_others_find_it(
    carillon_redis: RedisServer,
    carillon_server_factory: Callable[..., Server],
    launch: Callable[..., Process],
    tmp_path: Path,
) -> None:
    there = carillon_server_factory(**on_redis(carillon_redis.url))
    old = serve_on_redis(launch, tmp_path, carillon_redis.url)
    with streaming(f"http://127.0.0.1:{old.port}") as client:
        assert client.post(there.url, publish_of(0)) == 204
        assert client.reply()["id"] == 2
        launch(old.port, "--config", str(tmp_path / "carillon.toml"), "--takeover")
        assert old.ended() == 0, old.log
        assert client.post(there.url, publish_of(1)) == 204
        assert client.reply()["id"] == 3
    assert [message.json() for message in there.history(ROOM, last=10).messages] == [0, 1]


def test_health_counts_the_fleet_only_if_it_is_asked_to(gateways: Callable[..., list[Server]]) -> None:
    here, there = gateways(2)
    asked = f"{here.url}/health"
    assert httpx.get(asked).json() == {}
    whole = {"gateways": 2, "draining": 0, "silent": 0}
    assert httpx.get(asked, params={"fleet": "true"}).json() == {"fleet": whole}
    there.drain(20)
    drained = {**whole, "draining": 1}  # the answer is kept for a second
    wait_until(lambda: httpx.get(asked, params={"fleet": "true"}).json()["fleet"] == drained)
    there.stop()
    wait_until(lambda: httpx.get(asked, params={"fleet": "true"}).json()["fleet"]["gateways"] == 1)


async def test_health_says_that_a_gateway_is_silent(
    carillon_redis: RedisServer, gateways: Callable[..., list[Server]]
) -> None:
    (here,) = gateways(1)
    async with a_stranger(carillon_redis), httpx.AsyncClient(timeout=30) as client:
        assert (await client.get(f"{here.url}/health")).json() == {}
        answer = await client.get(f"{here.url}/health", params={"fleet": "true"})
        assert (answer.status_code, answer.json()) == (
            200,
            {"fleet": {"gateways": 2, "draining": 0, "silent": 1}},
        )


def test_without_other_gateways_a_foreign_node_is_refused_at_once(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory()
    with streaming(server.url) as client:
        assert client.post(server.url, publish_of(0), node=str(uuid.uuid4())) == 404
        assert client.post(server.url, publish_of(0), session=str(uuid.uuid4())) == 404
