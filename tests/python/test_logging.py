"""Log records: one per connect, one per close with its reason, and what `carillon serve` makes of them."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from carillon import Server
from carillon.access_log import JsonFormatter, LineFormatter, emit
from carillon.repeated_log import RepeatedLog
from carillon.testing import cut, wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Records = list[Any]


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> Callable[[], Records]:
    """The access records so far. Typed loosely: their fields are attributes that logging does not know."""
    caplog.set_level(logging.INFO, "carillon.access")
    return lambda: [record for record in list(caplog.records) if record.name == "carillon.access"]


@contextlib.contextmanager
def client_of(server: Server, user: str = "") -> Iterator[tuple[ClientConnection, str]]:
    """A connected WebSocket and the id that the server gave it."""
    with connect(f"{server.url.replace('http', 'ws', 1)}/connection/websocket?user={user}") as socket:
        socket.send('{"id":1,"connect":{}}')
        yield socket, json.loads(socket.recv(timeout=5))["connect"]["client"]


def read_to_the_end(socket: ClientConnection) -> int:
    """The code that the connection was closed with; 1006 if it was not closed but lost."""
    try:
        while True:
            socket.recv(timeout=5)
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else 1006


def test_a_connect_and_a_close_have_a_record_each(
    carillon_server: Server, access: Callable[[], Records]
) -> None:
    with client_of(carillon_server, "ann") as (_, client):
        wait_until(lambda: len(access()) == 1)
        (came,) = access()
        assert (came.event, came.client, came.user, came.transport) == ("connect", client, "ann", "websocket")
        assert came.levelname == "INFO"
        assert client in came.getMessage()
        assert "ann" in came.getMessage()
        time.sleep(0.1)  # what the duration is measured by
    wait_until(lambda: len(access()) == 2)
    went = access()[1]
    assert (went.event, went.client, went.user, went.transport) == ("close", client, "ann", "websocket")
    assert went.reason
    assert went.reason in went.getMessage()
    assert 50 <= went.duration_ms < 60_000


def test_no_json_line_has_an_empty_name(
    carillon_server: Server, access: Callable[[], Records], caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(carillon_server):  # anonymous
        httpx.get(f"{carillon_server.url}/nowhere")  # a refusal before there is a client
        httpx.get(f"{carillon_server.url}/poll?channel=")
    wait_until(lambda: len(access()) == 4)
    for record in caplog.records:
        line = json.loads(JsonFormatter().format(record))
        assert "" not in line.values(), line
    came = next(record for record in access() if record.event == "connect")
    assert came.user == "", "a formatter may name it"


def test_a_close_says_why(carillon_server: Server, access: Callable[[], Records]) -> None:
    ends: dict[str, Callable[[ClientConnection, str], object]] = {
        "left": lambda socket, client: socket.close(),
        "told to go": lambda socket, client: carillon_server.disconnect(client, 4500, "enough"),
        "cut": lambda socket, client: cut(carillon_server, client),
        "broke the protocol": lambda socket, client: socket.send("nonsense"),
    }
    reasons: dict[str, tuple[int, str]] = {}
    for name, end in ends.items():
        seen = len(access())
        with client_of(carillon_server) as (socket, client):
            end(socket, client)
            read_to_the_end(socket)
        wait_until(lambda seen=seen: len(access()) == seen + 2)  # type: ignore[misc]
        reasons[name] = access()[-1].code, access()[-1].reason
    assert reasons["told to go"] == (4500, "enough")
    assert reasons["broke the protocol"] == (3501, "bad request: a command is not valid JSON")
    assert "cut" in reasons["cut"][1]
    assert "left" in reasons["left"][1]


def test_a_stop_is_a_reason_too(carillon_server: Server, access: Callable[[], Records]) -> None:
    with client_of(carillon_server) as (socket, client):
        wait_until(lambda: access())
        carillon_server.stop()
        assert [record.client for record in access()] == [client, client], "nothing comes behind a stop"
        assert access()[-1].reason == "the server stopped"
        read_to_the_end(socket)


def test_a_stream_has_records_too(carillon_server: Server, access: Callable[[], Records]) -> None:
    with httpx.stream("GET", f"{carillon_server.url}/sse", params={"channel": "c", "user": "bob"}):
        pass
    wait_until(lambda: len(access()) == 2)
    came, went = access()
    assert (came.event, came.user, came.transport) == ("connect", "bob", "sse")
    assert (went.event, went.client, went.transport) == ("close", came.client, "sse")


def test_at_the_end_every_connect_has_its_close(access: Callable[[], Records]) -> None:
    server = Server(threads=2).start()
    with contextlib.ExitStack() as stack:
        clients = {stack.enter_context(client_of(server))[1] for _ in range(20)}
        server.stop()
        events = [(record.event, record.client) for record in access()]
    assert sorted(events) == sorted((event, one) for event in ("connect", "close") for one in clients)
    assert all(record.reason for record in access() if record.event == "close")


def test_a_cut_is_no_close(carillon_server: Server) -> None:
    with client_of(carillon_server) as (socket, client):
        assert carillon_server.cut(client)
        assert read_to_the_end(socket) == 1006
        wait_until(lambda: not carillon_server.connections())
        assert not carillon_server.cut(client)
        with pytest.raises(ValueError, match="no such connection"):
            cut(carillon_server, client)


async def test_a_client_that_was_cut_goes_on_where_it_was(
    carillon_server: Server, carillon_client: Callable[..., carillon.Client]
) -> None:
    async with carillon_client() as client, client.subscribe("c") as subscription:
        for n in range(10):
            carillon_server.publish("c", n)
            if n == 5:
                (connection,) = carillon_server.connections()
                cut(carillon_server, connection)
        items = [await subscription.next(5) for _ in range(10)]
        assert [item.json() for item in items if isinstance(item, carillon.Message)] == list(range(10))


def test_the_thread_of_the_log_ends_with_the_server() -> None:
    def threads() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name.startswith("carillon-events")]

    others = len(threads())
    server = Server(threads=1).start()
    assert len(threads()) == others + 1
    server.stop()
    assert len(threads()) == others


def test_a_library_prints_nothing_by_itself() -> None:
    code = (
        "import carillon\n"
        "with carillon.Server() as server, carillon.sync.connect(server.url) as client:\n"
        "    client.publish('c', 1)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_record_as_json() -> None:
    record = logging.makeLogRecord(
        {
            "name": "carillon.access",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": "%s",
            "args": ("Grüße\n",),
            "created": 1.5,
            "client": "c1",
            "code": 0,
        }
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "logger": "carillon.access",
        "message": "Grüße\n",
        "client": "c1",
        "code": 0,
    }
    try:
        raise RuntimeError("why")
    except RuntimeError:
        record.exc_info = sys.exc_info()
    assert "RuntimeError: why" in json.loads(JsonFormatter().format(record))["exception"]


FORGED = "ann\n2026-01-01 carillon.access INFO forged\r\x1b[2J\x85\u2028\u202e"


def test_what_a_client_says_begins_no_line_of_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "carillon")
    emit(("log", "access", "info", f"websocket connect c1 ({FORGED})", {"user": FORGED}))
    logging.getLogger("carillon.server").warning("a backend answered %s", FORGED)
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert (
            r"ann\n2026-01-01 carillon.access INFO forged\r\u001b[2J\u0085\u2028\u202e" in record.getMessage()
        )
    assert caplog.records[0].user == FORGED, "a field is as it came"  # type: ignore[attr-defined]
    line = JsonFormatter().format(caplog.records[0])
    assert len(line.splitlines()) == 1
    assert json.loads(line)["user"] == FORGED


def test_a_traceback_is_one_line_too() -> None:
    try:
        raise RuntimeError(FORGED)
    except RuntimeError:
        record = logging.LogRecord("carillon.server", logging.ERROR, "", 0, "%s", ("why",), sys.exc_info())
    for formatter in (LineFormatter("%(message)s"), JsonFormatter()):
        line = formatter.format(record)
        assert len(line.splitlines()) == 1
        assert "RuntimeError: ann" in line


async def test_a_record_of_mistakes_is_one_line(
    carillon_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(carillon.ConfigError, match="\n"):
        carillon_server.reload({"limits": {"body_bytes": -1, "backlog_bytes": -1}})
    (record,) = [one for one in caplog.records if getattr(one, "event", "") == "reload_refused"]
    assert record.getMessage().isprintable()
    assert r"\n" not in record.getMessage(), "they are set apart by words"


# The command line.


def logged_by_serve(*options: str, **client_options: Any) -> list[str]:
    """What `carillon serve` writes to standard error while one client comes and goes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "carillon", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    with carillon.sync.connect(url, **{"user": "ann", **client_options}) as client, client.subscribe("c"):
        pass
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    return errors.splitlines()


def test_serve_shows_who_comes_and_goes() -> None:
    lines = [line for line in logged_by_serve() if "carillon.access" in line]
    assert len(lines) == 2
    assert "connect" in lines[0]
    assert "close" in lines[1]
    assert all("ann" in line and "INFO" in line for line in lines)


@pytest.mark.parametrize("form", ["text", "json"])
def test_serve_prints_one_line_per_record(form: str, tmp_path: Path) -> None:
    config = tmp_path / "carillon.toml"
    config.write_text('[client]\ninsecure = true\n[client.token]\nhmac_secret_key = "secret"\n')
    lines = logged_by_serve(
        "--config", str(config), "--log-format", form, user="", token=carillon.token("secret", FORGED)
    )
    access = [line for line in lines if "carillon.access" in line]
    assert len(access) == 2
    assert all(line.startswith("{") if form == "json" else line[:4].isdigit() for line in access)
    assert not [line for line in lines if line.startswith("2026-01-01 carillon.access")]


@pytest.mark.parametrize("option", ["--no-access-log", "--log-level=warning"])
def test_serve_can_be_quieter(option: str) -> None:
    assert not [line for line in logged_by_serve(option) if re.search(r"\bann\b", line)]


def test_serve_logs_json_for_machines() -> None:
    records = [json.loads(line) for line in logged_by_serve("--log-format", "json") if line.startswith("{")]
    access = [record for record in records if record["logger"] == "carillon.access"]
    assert [record["event"] for record in access] == ["connect", "close"]
    assert {record["user"] for record in access} == {"ann"}
    assert access[1]["reason"]


async def test_behind_a_record_of_how_many_there_were_the_next_one_waits_as_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = RepeatedLog(logging.getLogger("carillon.server"))
    for _ in range(3):
        log.write("kind", logging.WARNING, "again")
    log._end("kind")  # a second has passed
    log.write("kind", logging.WARNING, "again")
    assert [record.getMessage() for record in caplog.records] == [
        "again",
        "again (2 times since the last such record)",
    ]
