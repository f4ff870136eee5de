"""What an operator reads on a bad day: stats, access records with addresses, the record of a drain."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from carillon import ConfigError, Server, config
from carillon.testing import wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

Records = list[Any]


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Callable[[str], Records]:
    """The records so far that carry this event. Typed loosely: their fields are attributes of ours."""
    caplog.set_level(logging.INFO, "carillon")
    return lambda event: [one for one in list(caplog.records) if getattr(one, "event", "") == event]


def websocket_url(server: Server) -> str:
    return f"{server.url.replace('http', 'ws', 1)}/connection/websocket"


# Access records.


def test_records_carry_the_address_even_of_a_client_that_was_lost(
    carillon_server: Server, records: Callable[[str], Records]
) -> None:
    with connect(websocket_url(carillon_server)) as client:
        client.send('{"id":1,"connect":{}}')
        client.recv(timeout=5)
        host, port = client.local_address[:2]
        # Closed with a reset, as by a machine that crashed and came back.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close_socket()
    wait_until(lambda: records("close"))
    (came,), (went,) = records("connect"), records("close")
    assert came.peer == went.peer == f"{host}:{port}"
    assert came.peer in came.getMessage()


def test_a_denied_client_leaves_a_record(records: Callable[[str], Records]) -> None:
    server = Server(insecure=False)
    server.on_connect(
        lambda context: carillon.Deny(4503, "banned") if context.claimed_user == "eve" else False
    )
    with server, connect(f"{websocket_url(server)}?user=eve") as client:
        host, port = client.local_address[:2]
        client.send('{"id":1,"connect":{}}')
        for path in ("/sse", "/poll"):
            assert httpx.get(f"{server.url}{path}?channel=c&timeout=0").status_code == 401
        wait_until(lambda: len(records("refuse")) == 3)
    by_transport = {one.transport: one for one in records("refuse")}
    assert set(by_transport) == {"websocket", "sse", "poll"}
    assert (by_transport["websocket"].code, by_transport["websocket"].reason) == (4503, "banned")
    assert by_transport["websocket"].peer == f"{host}:{port}"
    assert (by_transport["websocket"].user, by_transport["websocket"].claimed_user) == ("", "eve")
    assert by_transport["poll"].code == 401
    assert not records("connect")


def test_a_client_for_whom_there_is_no_place_leaves_a_record(records: Callable[[str], Records]) -> None:
    with Server(limits={"connections": 1}) as server, connect(websocket_url(server)):
        for path in ("/sse", "/poll"):
            httpx.get(f"{server.url}{path}?channel=c&user=eve")
        with pytest.raises(InvalidStatus):
            connect(websocket_url(server))
        httpx.get(f"{server.url}/health")
        wait_until(lambda: len(records("refuse")) == 3)
    by_transport = {one.transport: one for one in records("refuse")}
    assert {transport: one.code for transport, one in by_transport.items()} == {
        "sse": 200,
        "poll": 503,
        "websocket": 503,
    }
    assert {one.reason for one in by_transport.values()} == {
        "over the limit of connections: client.connection_limit, or that of descriptors (ulimit -n)"
    }
    assert (by_transport["sse"].user, by_transport["sse"].claimed_user) == ("", "eve")
    assert all(one.peer.startswith("127.0.0.1:") for one in by_transport.values())


def test_who_is_closed_unheard_takes_no_slot_of_the_handshakes() -> None:
    with Server(limits={"connections": 1}) as server, contextlib.ExitStack() as stack:
        for _ in range(1 + 32 + 20):  # they say nothing; 32 could be refused in their own protocol
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        wait_until(lambda: server.stats()["turned_away"] == 20)
        stack.close()
        wait_until(lambda: server.stats()["connections"] == 0)
        assert server.stats()["handshakes"] == 0


def test_who_comes_during_a_drain_leaves_a_record(records: Callable[[str], Records]) -> None:
    with Server() as server, connect(websocket_url(server)) as client:
        client.send('{"id":1,"connect":{}}')
        client.recv(timeout=5)
        draining = threading.Thread(target=server.drain, args=(5, 5))
        draining.start()
        # Who comes at the moment when it begins may still be served.
        wait_until(lambda: httpx.get(f"{server.url}/poll?channel=c&timeout=0").status_code == 503)
        wait_until(lambda: records("refuse"))
        client.close()
        draining.join()
    (refused,) = records("refuse")
    assert (refused.transport, refused.code, refused.reason) == ("poll", 503, "shutdown")
    (draining_record,) = records("draining")
    assert (draining_record.asked, draining_record.deadline_ms) == (1, 5000)


# Stats.


def test_the_api_gives_the_stats_to_whoever_has_the_key() -> None:
    with Server(api_key="k") as server:
        url = f"{server.url}/api/stats"
        assert httpx.post(url).status_code == 401
        answer = httpx.post(url, headers={"X-API-Key": "k"})
        assert answer.headers["content-type"] == "application/json"
        (document,) = answer.json().values()
        assert set(document) == set(server.stats())
        assert document["connections"] in (1, 2)  # the first one may not have gone yet
        assert document["is_running"] is True
        assert httpx.get(url, headers={"X-API-Key": "k"}).status_code == 405
        assert server.stats()["accepted"] == 3
        assert server.stats()["bad_requests"] == 1


def test_clogged_and_lagging_say_how_many_are_behind_now() -> None:
    with Server(threads=1, limits={"kernel_backlog_bytes": 4096}) as server:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        with reader:
            reader.sendall(b"GET /sse?channel=c HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: server.stats()["sse"] == 1)
            assert (server.stats()["clogged"], server.stats()["lagging"]) == (0, 0)
            for _ in range(100):
                server.publish("c", "x" * 10_000)
            wait_until(lambda: server.stats()["clogged"] == 1 and server.stats()["lagging"] == 1)
            last = b""
            while b'"the last"' not in last:
                if not last:
                    server.publish("c", "the last")
                last = last[-100:] + reader.recv(1 << 20)
            wait_until(lambda: server.stats()["clogged"] == 0 and server.stats()["lagging"] == 0)
            for _ in range(100):
                server.publish("c", "x" * 10_000)
            wait_until(lambda: server.stats()["clogged"] == 1)
        wait_until(lambda: server.stats()["clogged"] == 0 and server.stats()["lagging"] == 0)


def test_recoveries_are_counted_both_ways(carillon_server: Server) -> None:
    position = carillon_server.publish("c", 1)
    url = f"{carillon_server.url}/poll"
    for since in (str(position), "unknown:1"):
        httpx.get(url, params={"channel": "c", "timeout": "0", "since": since})
    stats = carillon_server.stats()
    assert (stats["recovered"], stats["not_recovered"]) == (1, 1)


# A drain.


def read_to_the_end(client: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            client.recv(timeout=5)


def test_a_drain_tells_how_many_left_and_who_was_not_reached(records: Callable[[str], Records]) -> None:
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with Server(threads=1, limits={"kernel_backlog_bytes": 4096}) as server, stuck:
        stuck.connect(("127.0.0.1", server.port))
        stuck.sendall(b"GET /sse?channel=c HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: server.stats()["sse"] == 1)
        for _ in range(100):
            server.publish("c", "x" * 10_000)
        wait_until(lambda: server.stats()["clogged"] == 1)
        with connect(websocket_url(server)) as polite:
            polite.send('{"id":1,"connect":{}}')
            polite.recv(timeout=5)
            reading = threading.Thread(target=read_to_the_end, args=(polite,))  # and so hears the goodbye
            reading.start()
            assert not server.drain(0.4)
            reading.join()
        server.stop()
    (drain,) = records("drain")
    assert drain.levelname == "WARNING"
    assert (drain.asked, drain.left, drain.cut_off) == (2, 1, 1)
    ends = {one.transport: (one.code, one.reason) for one in records("close")}
    assert ends["websocket"] == (3001, "shutdown")
    assert ends["sse"][0] == 0
    assert "not delivered" in ends["sse"][1]


def test_a_drain_takes_its_time_from_the_configuration() -> None:
    brief = {"http_server": {"port": 0}, "client": {"insecure": True}, "shutdown": {"timeout": "1s"}}
    with Server(config=brief) as server, socket.create_connection(("127.0.0.1", server.port)) as stuck:
        stuck.sendall(b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n")
        stuck.sendall(
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        wait_until(lambda: server.stats()["websocket"] == 1)
        began = time.monotonic()
        assert not server.drain()  # it does not answer the close
        assert 0.9 < time.monotonic() - began < 8  # the default would be 10 s


# `carillon serve`.


def test_all_that_serve_writes_to_standard_error_is_json_where_that_is_wanted() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "carillon", "serve", "--port", "0", "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    tasks = Path(f"/proc/{process.pid}/task")
    wait_until(
        lambda: (
            {"carillon-s0", "carillon-accept", "carillon-house"}
            <= {(task / "comm").read_text().strip() for task in tasks.iterdir()}
        )
    )
    with carillon.sync.connect(url) as client, client.subscribe("c"):
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    events = [line["event"] for line in lines if line["logger"] == "carillon.server"]
    events = [event for event in events if event != "stood_still"]  # what a busy machine adds
    assert events == ["store", "insecure", "start", "signal", "draining", "drain", "stop"]
    assert "SIGTERM" in next(line for line in lines if line.get("event") == "signal")["message"]
    (drain,) = [line for line in lines if line.get("event") == "drain"]
    assert (drain["asked"], drain["left"], drain["cut_off"]) == (1, 1, 0)
    assert url in next(line for line in lines if line.get("event") == "start")["message"]


def test_a_process_that_was_stopped_says_so_afterwards() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "carillon", "serve", "--port", "0", "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    lines: list[dict[str, Any]] = []

    def read(errors: IO[str]) -> None:
        for line in errors:
            lines.append(json.loads(line))

    def told() -> list[dict[str, Any]]:
        return [line for line in lines if line["event"] == "stood_still"]

    reader = threading.Thread(target=read, args=(process.stderr,))
    reader.start()
    for _ in range(5):  # a stop before the upkeep has looked at the clock once is not noticed
        process.send_signal(signal.SIGSTOP)
        time.sleep(1)  # what it is to notice
        process.send_signal(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            wait_until(told, 5)
            break
    assert told()[0]["level"] == "warning"
    assert 500 <= told()[0]["pause_ms"] < 10_000
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    reader.join()
    process.stdout.close()
    process.stderr.close()


# The environment.


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("CARILLON_HTTP_SERVR_PORT", "CARILLON_HTTP_SERVER_PORT"),
        ("CARILLON_HTTP_APIKEY", "CARILLON_HTTP_API_KEY"),
        ("CARILLON_LOG_LEVL", "CARILLON_LOG_LEVEL"),
    ],
)
def test_a_misspelt_variable_is_an_error(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError, match=f"{wrong}: unknown.*did you mean '{right}'"):
        config.from_environment({wrong: "1"})


def test_a_variable_that_resembles_none_is_only_told(caplog: pytest.LogCaptureFixture) -> None:
    service = {  # what Kubernetes sets in every container beside a service of our name
        "CARILLON_PORT": "tcp://10.0.0.1:8000",
        "CARILLON_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "CARILLON_PORT_8000_TCP_ADDR": "10.0.0.1",
        "CARILLON_PORT_8000_TCP_PORT": "8000",
        "CARILLON_PORT_8000_TCP_PROTO": "tcp",
        "CARILLON_SERVICE_HOST": "10.0.0.1",
        "CARILLON_SERVICE_PORT": "8000",
    }
    others = {"CARILLON_BELLS_OF_BRUGES": "47"}
    assert config.from_environment({**service, **others, "CARILLON_SHUTDOWN_TIMEOUT": "3s"}) == {
        "shutdown": {"timeout": "3s"}
    }
    (told,) = caplog.records
    assert told.levelname == "WARNING"
    assert "CARILLON_BELLS_OF_BRUGES" in told.getMessage()
    assert not any(name in told.getMessage() for name in service)


ANYBODY = {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}


@pytest.mark.parametrize(
    ("host", "allowed", "is_told"),
    [
        ("0.0.0.0", {}, True),
        ("127.0.0.1", {"insecure": False}, False),
        ("0.0.0.0", {"channels": {"news:*": ANYBODY}}, False),
        ("0.0.0.0", {"channels": {"news:*": {"allow_subscribe_for_client": True}}}, True),
        ("0.0.0.0", {"channels": {"news:*": {"allow_subscribe_for_client": False}}}, True),
        ("0.0.0.0", {"hook": True}, False),
    ],
)
def test_a_server_that_allows_nothing_says_so_where_others_can_reach_it(
    records: Callable[[str], Records], host: str, allowed: dict[str, Any], is_told: bool
) -> None:
    options = dict(allowed)
    has_hook = options.pop("hook", False)
    server = Server(host=host, port=0, **options)
    if has_hook:
        server.on_subscribe("*")(lambda _: True)
    with server:
        assert [one.levelname for one in records("nothing_allowed")] == ["WARNING"] * is_told


def test_a_further_listener_that_allows_nothing_says_so(records: Callable[[str], Records]) -> None:
    with Server(port=0, insecure=False) as server:
        assert not records("nothing_allowed")
        server.listen("0.0.0.0")
        assert [one.levelname for one in records("nothing_allowed")] == ["WARNING"]


def test_a_drain_by_the_api_ends_the_command_with_code_0() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "carillon", "serve", "--port", "0", "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    with carillon.sync.connect(url) as client, client.subscribe("c"):
        answer = httpx.post(f"{url}/api/drain", json={"deadline_ms": 5000, "pace_ms": 100})
        assert answer.json() == {"result": {"connections": 2}}  # the client, and who asks
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    events = [line["event"] for line in lines if line["logger"] == "carillon.server"]
    assert events == ["store", "insecure", "start", "draining", "drain", "stop"]
    (draining,) = [line for line in lines if line.get("event") == "draining"]
    assert (draining["asked"], draining["pace_ms"], draining["deadline_ms"]) == (1, 100, 5000)
    (drain,) = [line for line in lines if line.get("event") == "drain"]
    assert (drain["left"], drain["cut_off"]) == (1, 0)
    (start,) = [line for line in lines if line.get("event") == "start"]
    assert "room for" in start["message"]
