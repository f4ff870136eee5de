"""`carillon bench` at a tiny load, and a generator that must notice what faulty servers do."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from carillon._core import build_info
from carillon.load import Load, LoadError, Progress, run_load
from carillon.testing import wait_until
from websockets.sync.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server
    from carillon.load import PublishBy
    from websockets.sync.server import ServerConnection


BENCH = (sys.executable, "-m", "carillon", "bench")


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **environment},
    )


TINY = ("--connections", "20", "--seconds", "0.3", "--sleep")


# ---- the command


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_json_on_a_server_of_its_own(transport: str) -> None:
    done = bench(*TINY, "--transport", transport, "--in-flight", "4", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["transport"] == transport
    assert report["deliveries"] == report["messages"] * 20 > 0
    assert report["missing"] == report["repeated"] == report["reordered"] == report["lost"] == 0
    assert 0 < report["latency_p50_ms"] <= report["latency_p99_ms"] <= report["latency_p999_ms"]
    assert report["latency_p999_ms"] <= report["latency_max_ms"] == report["last_subscriber_max_ms"]
    assert report["server_us_per_delivery"] > 0
    assert report["server_private_kib"] > 0


def test_a_table_by_rate_on_many_channels() -> None:
    channels = ("--channels", "10", "--channels-per-connection", "2", "--rate", "100")
    done = bench(*TINY, *channels, "--payload", "500")
    assert done.returncode == 0, done.stderr
    assert "20 ws connections on 2 of 10 channels, 100 messages per second, 500 bytes" in done.stdout
    assert "last subscriber" in done.stdout
    assert ("assertions on" in done.stdout) == (build_info()["assertions"] == "on")
    assert "nothing missing" in done.stdout


def test_idle_connections() -> None:
    report = json.loads(bench(*TINY, "--idle", "--json").stdout)
    assert report["memory_bytes_per_connection"] is not None
    assert "deliveries" not in report


def test_a_running_server(carillon_server: Server) -> None:
    url = carillon_server.url
    done = bench(url, *TINY, "--publish-by", "post", "--server-pid", str(os.getpid()), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["publish_by"] == "post"
    assert report["server_us_per_delivery"] > 0
    assert carillon_server.ledger()["is_balanced"]


def test_a_server_that_is_not_there_or_refuses(carillon_server_factory: Callable[..., Server]) -> None:
    done = bench("http://127.0.0.1:1", *TINY)
    assert done.returncode == 1
    assert "cannot connect: Connection refused" in done.stderr
    server = carillon_server_factory(port=0, config={"http_api": {"key": "k"}})
    done = bench(server.url, *TINY, "--api-key", "wrong")
    assert done.returncode == 1
    assert "Error: refused" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--connections", "1000000000"], "can hold"),
        (["--rate", "1", "--in-flight", "1"], "not both"),
        (["--channels", "2000"], "can subscribe to: 1000"),
        (["--channels-per-connection", "2"], "--channels"),
        (["--idle", "--rate", "5"], "--idle publishes nothing"),
        (["https://example.test"], "does not speak TLS"),
    ],
)
def test_what_it_cannot_do_is_a_usage_error(arguments: list[str], words: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_it_says_how_many_connections_it_can_hold() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = bench("--connections", str(hard))
    assert done.returncode == 2
    assert f"Give {hard - 101} or fewer" in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGTERM, 1, "Error: ended by SIGTERM"), (signal.SIGINT, 130, "Interrupted")],
)
def test_a_signal_ends_its_server_and_workers_too(number: int, code: int, words: str) -> None:
    process = subprocess.Popen([*BENCH, *TINY, "--seconds", "30"], stderr=subprocess.PIPE, text=True)
    children: list[str] = []

    def are_both_there() -> bool:
        children[:] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return len(children) == 2  # the server and a worker

    wait_until(are_both_there, 20)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (
        code,
        f"{words}: the run had not finished, so there is no result\n",
    )
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 10)  # they are told last


def test_nothing_is_left_running_when_it_is_killed() -> None:
    process = subprocess.Popen([*BENCH, *TINY, "--seconds", "30"], stderr=subprocess.DEVNULL)
    children: list[str] = []

    def are_both_there() -> bool:
        children[:] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return len(children) == 2  # the server and a worker

    wait_until(are_both_there, 20)
    process.kill()
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 10)


# ---- the generator


def test_several_workers_share_a_load(carillon_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carillon.load.run.WORKER_CONNECTIONS", 10)
    seen: list[Progress] = []
    load = Load(port=carillon_server.port, connections=25, channels=5, channels_per_connection=2,
                in_flight=8, seconds=0, messages=200, warmup=10)  # fmt: skip
    result = run_load(load, on_progress=seen.append)
    assert result.workers == 3
    assert result.is_clean, result.first_fault
    assert (result.messages, result.deliveries) == (200, 200 * 10)
    assert result.latency.count == 2_000
    assert result.last_subscriber.count == 200
    assert seen
    assert seen[-1].live <= 25


@pytest.mark.parametrize("publish_by", ["ws", "post"])
def test_replies_bytes_and_slices(
    carillon_server: Server, publish_by: PublishBy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carillon.load.run.WORKER_CONNECTIONS", 4)
    load = Load(
        port=carillon_server.port,
        publish_by=publish_by,
        user="member-",
        connections=8,
        payload_bytes=1000,
        rate_per_s=100.0,
        seconds=0.0,
        messages=40,
        warmup=3,
        awaits_replies=True,
        slice_s=0.1,
    )
    result = run_load(load)
    assert result.is_clean
    assert result.workers == 2
    assert result.publish.count == result.messages == 40, "every reply came, and is of the window"
    assert result.received_bytes > result.deliveries * 1000
    assert result.received_bytes < result.deliveries * 1200
    assert [each.start_s for each in result.slices] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [each.publish.count for each in result.slices] == [10] * 4
    assert [each.latency.count for each in result.slices] == [80] * 4
    row = result.to_dict()
    assert row["publishes"] == 40
    assert 0 < row["publish_p50_ms"] <= row["publish_max_ms"]


def test_a_publisher_without_subscribers(carillon_server: Server) -> None:
    load = Load(
        port=carillon_server.port, connections=0, messages=50, seconds=0.0, warmup=2, awaits_replies=True
    )
    result = run_load(load)
    assert result.is_clean
    assert result.publish.count == 50
    assert result.deliveries == 0
    assert carillon_server.stats()["published"] == 52
    with pytest.raises(LoadError, match="awaits_replies"):
        Load(connections=0)


def test_what_cannot_be_is_a_load_error() -> None:
    with pytest.raises(LoadError, match="transport: 'mail' is none of"):
        Load(transport="mail")  # type: ignore[arg-type]
    with pytest.raises(LoadError, match=r"no\.such\.host\.invalid"):
        run_load(Load(host="no.such.host.invalid", connections=1))


class FaultyServer:
    """Speaks the raw protocol; hands every message to one subscriber over to `deliver`.

    Args:
        deliver: Gets the number of the message, its data, and the connection of the second subscriber.
    """

    def __init__(self, deliver: Callable[[int, str, ServerConnection], None]) -> None:
        self._deliver = deliver
        self._subscribers: list[ServerConnection] = []
        self._server = serve(self._handle, "127.0.0.1", 0, compression=None)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()

    def _handle(self, connection: ServerConnection) -> None:
        for text in connection:
            assert isinstance(text, str)
            if text.startswith("s "):
                self._subscribers.append(connection)
            else:
                self._publish(text.split(" ", 2)[2])
            connection.send("ok")

    def _publish(self, data: str) -> None:
        for subscriber in self._subscribers[:1] + self._subscribers[2:]:
            subscriber.send(data)
        self._deliver(int(data[2:18]), data, self._subscribers[1])


def lose(number: int, data: str, subscriber: ServerConnection) -> None:
    if number not in (5, 6):
        subscriber.send(data)


def lose_the_last(number: int, data: str, subscriber: ServerConnection) -> None:
    if number < 19:
        subscriber.send(data)


def repeat(number: int, data: str, subscriber: ServerConnection) -> None:
    for _ in range(3 if number == 7 else 1):
        subscriber.send(data)


def repeat_the_last(number: int, data: str, subscriber: ServerConnection) -> None:
    for _ in range(2 if number == 19 else 1):
        subscriber.send(data)


class Reorder:
    """Sends message 9 behind message 10."""

    def __init__(self) -> None:
        self._held = ""

    def __call__(self, number: int, data: str, subscriber: ServerConnection) -> None:
        if number == 9:
            self._held = data
            return
        subscriber.send(data)
        if number == 10:
            subscriber.send(self._held)


def invent(number: int, data: str, subscriber: ServerConnection) -> None:
    subscriber.send(data)
    if number == 3:
        subscriber.send('"~0000000000001000~"')


def close(number: int, data: str, subscriber: ServerConnection) -> None:
    if number == 12:
        subscriber.close(1001, "enough")
    with contextlib.suppress(Exception):
        subscriber.send(data)


@pytest.mark.parametrize(
    ("deliver", "faults"),
    [
        (lose, {"missing": 2}),
        (lose_the_last, {"missing": 1, "stalled": 1}),
        (repeat, {"repeated": 2}),
        (repeat_the_last, {"repeated": 1}),
        (Reorder(), {"reordered": 1}),
        (invent, {"malformed": 1}),
        (close, {"lost": 1}),
    ],
)
def test_a_fault_of_the_server_is_noticed(deliver: Any, faults: dict[str, int]) -> None:
    with FaultyServer(deliver) as server:
        load = Load(port=server.port, protocol="raw", connections=3, in_flight=4, warmup=4, seconds=0,
                    messages=16, timeout_s=1)  # fmt: skip
        result = run_load(load)
    assert not result.is_clean
    found = {name: count for name, count in vars(result.faults).items() if count}
    assert found == faults, result.first_fault
    assert result.first_fault


def test_changed_data_are_noticed() -> None:
    def nothing(number: int, data: str, subscriber: ServerConnection) -> None:
        subscriber.send(data)

    with FaultyServer(nothing) as server:
        server._publish = lambda data: [  # type: ignore[method-assign]
            subscriber.send(data.replace("xxx", "yyy")) for subscriber in server._subscribers
        ]
        result = run_load(
            Load(port=server.port, protocol="raw", connections=2, seconds=0, messages=3, warmup=1)
        )
    assert result.faults.changed == 4


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_cuts_lose_nothing(transport: str) -> None:
    cuts = ("--cuts", "2", "--cut-every", "0.5", "--cut-seconds", "0.2", "--return-seconds", "0.1")
    done = bench(*TINY, "--transport", transport, "--rate", "200", *cuts, "--staying", "5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["cuts"], report["returns"], report["retries"], report["not_recovered"]) == (2, 30, 0, 0)
    assert report["delivered_share"] == 1.0
    assert len(report["all_live_s"]) == 2
    assert report["server_us_per_return"] > 0
    assert report["staying_storm_p99_ms"] > 0
    assert 0 < report["resume_p99_ms"] < 5000


def test_cuts_without_history_lose_something_and_that_is_seen(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(port=0, channels={"*": {"history_size": 0}})
    cuts = ("--cuts", "1", "--cut-every", "0.5", "--cut-seconds", "0.5", "--return-seconds", "0.1")
    done = bench(server.url, *TINY, "--rate", "100", *cuts, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["missing"] > 0
    assert report["not_recovered"] == 0  # there was no position to come back with
    assert 0 < report["delivered_share"] < 1


def test_cuts_need_a_rate() -> None:
    done = bench("--cuts", "1")
    assert done.returncode == 2
    assert "--cuts needs --rate" in done.stderr
