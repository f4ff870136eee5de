"""What systemd learns of `carillon serve`, with a stand-in for NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import Server, config
from carillon.cli.background import _environment
from carillon.service_notify import DrainProgress, ServiceNotifier, Watchdog, answers, status_of
from carillon.testing import wait_until
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serve_process import Process

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "carillon.service"
PATIENCE_S = 20.0
SILENCE_S = 2.0

_numbers = itertools.count(1)

Message = dict[str, str]


class ServiceManager:
    """A stand-in for systemd: the receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[Message] = []
        self.senders: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def receive(self, patience_s: float = PATIENCE_S) -> Message:
        """The next message. The sender is the last of `senders`."""
        self._socket.settimeout(patience_s)
        data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
        message = dict(line.split("=", 1) for line in data.decode().split("\n"))
        self.messages.append(message)
        self.senders.append(int.from_bytes(ancillary[0][2][:4], sys.byteorder))
        return message

    def receive_until(self, name: str) -> Message:
        """The next message with this assignment; the others stay in `messages`."""
        while name not in (message := self.receive()):
            pass
        return message

    def receive_rest(self) -> list[Message]:
        """All that has come by now."""
        rest = []
        with contextlib.suppress(BlockingIOError):
            while True:
                rest.append(self.receive(0))
        return rest

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager]:
    name = f"@carillon-{os.getpid()}-{next(_numbers)}"
    made = ServiceManager(name if request.param == "abstract" else str(tmp_path / "notify"))
    yield made
    made.receive_rest()
    made.close()
    for pid in set(made.senders):  # of a test that has failed: what runs in the background is nobody's child
        with contextlib.suppress(OSError):
            if b"--ready-fd" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def environment(manager: ServiceManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of this test are started as those of a unit."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def is_healthy(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    return False


# ---- start and end


@pytest.mark.usefixtures("environment")
def test_ready_comes_once_clients_are_accepted(
    manager: ServiceManager, launch: Callable[..., Process]
) -> None:
    process = launch(waits=False)
    ready = manager.receive()
    assert manager.senders == [process.child.pid]
    found = re.fullmatch(r"serving at http://127\.0\.0\.1:(\d+), store memory", ready["STATUS"])
    assert found
    assert ready == {"READY": "1", "STATUS": ready["STATUS"]}
    assert is_healthy(int(found[1]))  # at once, without a second try

    process.child.terminate()
    assert process.ended() == 0
    assert manager.receive_rest()[0]["STOPPING"] == "1"


@pytest.mark.usefixtures("environment")
def test_no_ready_if_the_start_fails(manager: ServiceManager, launch: Callable[..., Process]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = launch(taken.getsockname()[1], waits=False)
        assert process.ended() == 98
    assert manager.receive_rest() == []


@pytest.mark.usefixtures("environment")
def test_a_drain_reports_the_clients_that_are_left(
    manager: ServiceManager, launch: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARILLON_SHUTDOWN_PACE", "3600s")  # they leave when the test says so
    process = launch(0, "--shutdown-timeout", "3600s")
    with connected(process.port):
        with connected(process.port):
            began = time.monotonic()
            process.child.terminate()
            stopping = manager.receive_until("STOPPING")
        last = manager.receive()
        while last["STATUS"] != "draining, connections left: 1":
            assert last["STATUS"] == "draining, connections left: 2"
            last = manager.receive()
        of_drain = len([each for each in manager.messages if "EXTEND_TIMEOUT_USEC" in each])
        assert of_drain <= time.monotonic() - began + 1, "more than one message a second"
        process.child.terminate()  # at once, now
        assert process.ended() == 0
    assert stopping["STATUS"] == "draining, connections left: 2"
    assert 3600e6 < int(stopping["EXTEND_TIMEOUT_USEC"]) <= 3610e6  # the drain, and 10 s for the rest
    assert last.keys() == {"STATUS", "EXTEND_TIMEOUT_USEC"}
    assert 10e6 <= int(last["EXTEND_TIMEOUT_USEC"]) < int(stopping["EXTEND_TIMEOUT_USEC"])


@pytest.mark.usefixtures("environment")
def test_a_drain_of_the_http_api_is_one(manager: ServiceManager, launch: Callable[..., Process]) -> None:
    process = launch()
    httpx.post(f"http://127.0.0.1:{process.port}/api/drain", json={}, trust_env=False).raise_for_status()
    assert manager.receive_until("STOPPING")["STATUS"].startswith("draining, connections left: ")
    assert process.ended() == 0


@pytest.mark.usefixtures("environment")
def test_a_reload_is_seen(manager: ServiceManager, launch: Callable[..., Process]) -> None:
    process = launch()
    manager.receive_until("READY")
    httpx.post(f"http://127.0.0.1:{process.port}/api/reload", json={}, trust_env=False).raise_for_status()
    reloading, ready = manager.receive(), manager.receive()
    assert reloading["RELOADING"] == ready["READY"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0


def test_a_reload_during_the_start_does_not_end_the_start(manager: ServiceManager) -> None:
    notifier = ServiceNotifier(manager.address)
    with notifier.reloading():
        pass
    with notifier.reloading():
        notifier.ready("STATUS=now")
    assert manager.receive_rest() == [{"READY": "1", "STATUS": "now"}]
    with notifier.reloading():
        assert "RELOADING" in manager.receive()
    assert manager.receive_rest() == [{"READY": "1"}]


@contextlib.contextmanager
def connected(port: int) -> Iterator[ClientConnection]:
    """A WebSocket client of the server."""
    with connect(f"ws://127.0.0.1:{port}/connection/websocket", proxy=None) as client:
        client.send('{"id":1,"connect":{}}')
        assert "connect" in str(client.recv(PATIENCE_S))
        yield client


# ---- without a service manager


def test_without_the_variable_nothing_is_sent(
    launch: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")  # it would be late at once
    process = launch()
    process.child.terminate()
    assert process.ended() == 0
    assert not any("NOTIFY_SOCKET" in line for line in process.log)


def test_a_socket_that_does_not_exist_is_a_warning(
    launch: Callable[..., Process], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nowhere"))
    process = launch()
    process.wait_for("takes no message")
    assert is_healthy(process.port)
    process.child.terminate()
    assert process.ended() == 0
    process.stop()  # now the log is complete
    (warning,) = [line for line in process.log if "takes no message" in line]  # and none for each message
    assert "WARNING NOTIFY_SOCKET: " in warning


@pytest.mark.parametrize(
    ("variables", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "often"}, 0),
        ({}, 0),
    ],
)
def test_the_variables_are_read_and_removed(variables: dict[str, str], watchdog_s: float) -> None:
    environment = {"NOTIFY_SOCKET": "/nowhere", "HOME": "/", **variables}
    notifier = ServiceNotifier.from_environment(environment)
    assert notifier.is_active
    assert notifier.watchdog_s == watchdog_s
    assert environment == {"HOME": "/"}


def test_the_status_has_no_password() -> None:
    class WithRedis:
        url = "http://127.0.0.1:8000"
        settings: dict[str, Any] = {"store": {"url": "redis://me:secret@[::1]:6379/2"}}  # noqa: RUF012

    text = status_of(WithRedis())  # type: ignore[arg-type]
    assert text == "STATUS=serving at http://127.0.0.1:8000, store redis://[::1]:6379/2"


# ---- the watchdog


def test_a_check_that_blocks_stops_the_signs_of_life(
    manager: ServiceManager, caplog: pytest.LogCaptureFixture
) -> None:
    answer = threading.Event()
    checks = itertools.count(1)

    def check(timeout_s: float) -> bool:
        return next(checks) == 1 or answer.wait(timeout_s)

    watchdog = Watchdog(ServiceNotifier(manager.address, watchdog_s=0.1), check)
    watchdog.start()
    assert manager.receive() == {"WATCHDOG": "1"}
    wait_until(lambda: "has not answered for 0.05 s" in caplog.text)
    with pytest.raises(TimeoutError):
        manager.receive(SILENCE_S)
    wait_until(lambda: next(checks) > 5)
    assert caplog.text.count("has not answered") == 1, "it is said once"
    answer.set()
    assert manager.receive() == {"WATCHDOG": "1"}
    assert "answer again" in caplog.text
    watchdog.close()
    manager.receive_rest()
    assert not any(each.name == "carillon-watchdog" for each in threading.enumerate())


def test_a_check_that_fails_stops_them(manager: ServiceManager, caplog: pytest.LogCaptureFixture) -> None:
    checks: list[None] = []

    def check(_timeout_s: float) -> None:
        checks.append(None)

    watchdog = Watchdog(ServiceNotifier(manager.address, watchdog_s=0.01), check)
    watchdog.start()
    wait_until(lambda: len(checks) > 5)
    watchdog.close()
    assert manager.receive_rest() == []
    assert not caplog.text, "a server that does not run has said so itself"


def test_a_server_that_has_stopped_does_not_answer() -> None:
    with Server(port=0) as server:
        assert answers(server, PATIENCE_S) is True
    assert answers(server, PATIENCE_S) is None


@pytest.mark.usefixtures("environment")
def test_signs_of_life_stop_while_one_shard_stands_still(
    manager: ServiceManager, launch: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    process = launch(0, "--threads", "2")
    for _ in range(3):
        manager.receive_until("WATCHDOG")
    assert all(sender == process.child.pid for sender in manager.senders)
    with _standing_still(process.child.pid, "carillon-s1"):
        process.wait_for("has not answered for 0.2 s")
        manager.receive_rest()
        with pytest.raises(TimeoutError):
            manager.receive(SILENCE_S)
    manager.receive_until("WATCHDOG")
    process.wait_for("answer again")
    process.child.terminate()
    assert process.ended() == 0


@contextlib.contextmanager
def _standing_still(pid: int, name: str) -> Iterator[None]:
    """Stops one thread of a process, as a debugger does: SIGSTOP would stop all of them."""
    seize, interrupt, detach = 0x4206, 0x4207, 17
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    (thread,) = [
        int(each.name)
        for each in Path(f"/proc/{pid}/task").iterdir()
        if (each / "comm").read_text().strip() == name
    ]
    if libc.ptrace(seize, thread, None, None) != 0:
        pytest.skip(f"threads cannot be stopped here (ptrace: {os.strerror(ctypes.get_errno())})")
    assert libc.ptrace(interrupt, thread, None, None) == 0
    os.waitpid(thread, 0x40000000)  # __WALL: a thread is no child
    try:
        yield
    finally:
        assert libc.ptrace(detach, thread, None, None) == 0


# ---- the takeover


class Successor:
    """The new process of a takeover in the background, which is no child of this one."""

    def __init__(self, manager: ServiceManager) -> None:
        self.pid = int(manager.receive_until("MAINPID")["MAINPID"])
        assert manager.senders[-1] == self.pid  # it speaks for itself

    def end(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(self.pid), PATIENCE_S)


def reload_by_takeover(process: Process, runtime: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Does what ExecReload does: MAINPID is set, and no variable of the watchdog."""
    arguments = ["serve", "--port", str(process.port), "--takeover", "--background"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WATCHDOG_")}
    environment |= {"XDG_RUNTIME_DIR": str(runtime), "MAINPID": str(process.child.pid), **variables}
    with (runtime / "reload.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "carillon", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


@pytest.mark.usefixtures("environment")
def test_a_takeover_hands_the_main_process_on(
    manager: ServiceManager, launch: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    process = launch(0, "--threads", "2")
    old = process.child.pid
    manager.receive_until("WATCHDOG")
    with connected(process.port) as client:
        command = reload_by_takeover(process, tmp_path)
        new = Successor(manager)
        try:
            ready = manager.receive_until("READY")
            assert manager.senders[-1] == new.pid
            assert str(process.port) in ready["STATUS"]
            assert command.wait(PATIENCE_S) == 0
            assert process.ended() == 0
            manager.receive_rest()
            for _ in range(2):  # though ExecReload has no WATCHDOG_USEC
                manager.receive_until("WATCHDOG")
                assert manager.senders[-1] == new.pid
            client.send('{"id":2,"rpc":{"method":"x"}}')
            assert '"id":2' in str(client.recv(PATIENCE_S))  # the connection has moved

            said = list(zip(manager.senders, manager.messages, strict=True))
            assert {sender for sender, _ in said} == {old, new.pid}
            assert [message["MAINPID"] for _, message in said if "MAINPID" in message] == [str(new.pid)]
            assert not any("STOPPING" in message for _, message in said)
            handed_on = next(i for i, (_, message) in enumerate(said) if "MAINPID" in message)
            assert not any(sender == new.pid for sender, _ in said[:handed_on])
            assert not any(
                {"READY", "STATUS"} & message.keys() for s, message in said[handed_on:] if s == old
            )
        finally:
            new.end()
    assert manager.receive_until("STOPPING")
    assert manager.senders[-1] == new.pid


@pytest.mark.usefixtures("environment")
def test_a_takeover_that_fails_changes_nothing(
    manager: ServiceManager, launch: Callable[..., Process], tmp_path: Path
) -> None:
    process = launch()
    manager.receive_until("READY")
    command = reload_by_takeover(process, tmp_path, CARILLON_HTTP_SERVER_ADDRESS="127.0.0.2")
    assert command.wait(PATIENCE_S) == 1
    assert "http_server.address: " in (tmp_path / "reload.log").read_text()
    assert process.child.poll() is None
    assert is_healthy(process.port)
    assert manager.receive_rest() == []


@pytest.mark.usefixtures("environment")
def test_a_new_process_that_is_killed_ends_the_command(
    manager: ServiceManager, launch: Callable[..., Process], tmp_path: Path
) -> None:
    process = launch()
    process.child.send_signal(signal.SIGSTOP)  # it answers no takeover
    command = reload_by_takeover(process, tmp_path)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    wait_until(lambda: children.read_text().split(), PATIENCE_S)
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    assert command.wait(PATIENCE_S) == 1
    assert "ended by SIGKILL" in (tmp_path / "reload.log").read_text()
    process.child.send_signal(signal.SIGCONT)


def test_background_needs_a_takeover() -> None:
    command = [sys.executable, "-m", "carillon", "serve", "--background"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert "--takeover" in done.stderr


def test_the_new_process_gets_the_watchdog_of_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"WATCHDOG_USEC": "7", "WATCHDOG_PID": "1"}
    with subprocess.Popen(["sleep", "600"], env={**os.environ, **variables}) as main:
        of_exec_reload = {"NOTIFY_SOCKET": "@s", "MAINPID": str(main.pid)}
        wait_until(lambda: b"WATCHDOG" in Path(f"/proc/{main.pid}/environ").read_bytes())
        assert _environment(of_exec_reload) == {"NOTIFY_SOCKET": "@s", "WATCHDOG_USEC": "7"}
        assert _environment({**of_exec_reload, "WATCHDOG_USEC": "8"})["WATCHDOG_USEC"] == "8"
        assert _environment({"MAINPID": str(main.pid)}) == {}  # no service manager expects anything
        main.kill()


def test_a_drain_says_nothing_of_clients_that_have_another_process(manager: ServiceManager) -> None:
    class GivenAway:
        is_given_away = True

        def stats(self) -> dict[str, Any]:
            return {"connections": 1, "listeners": []}

    class Waiting(GivenAway):
        is_given_away = False

        def stats(self) -> dict[str, Any]:  # a takeover is under way, and the drain waits for its end
            return {"connections": 1, "listeners": [{"is_draining": False}]}

    for server in (Waiting(), GivenAway()):
        notifier = ServiceNotifier(manager.address)
        DrainProgress(server, notifier, 10).report()  # type: ignore[arg-type]
        assert manager.receive_rest() == []
    assert not notifier.is_active


# ---- the unit


def test_the_unit_is_valid(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing on this machine")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/carillon/bin/carillon", sys.executable))
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_gives_options_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    text = UNIT.read_text()
    commands = re.findall(
        r"^Exec\w+=(?:/usr/bin/env \S+ )?/opt/carillon/bin/carillon serve (.*)$", text, re.MULTILINE
    )
    assert len(commands) == 2
    watchdog = re.search(r"^WatchdogSec=(\d+)s$", text, re.MULTILINE)
    assert watchdog, "ExecReload is told the same"
    assert f"WATCHDOG_USEC={watchdog[1]}000000 " in text
    help_text = subprocess.run(
        [sys.executable, "-m", "carillon", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    ).stdout
    for option in re.findall(r"--[\w-]+", " ".join(commands)):
        assert re.search(rf"^ +{option}\b", help_text, re.MULTILINE), option
    (variable,) = re.findall(r"^Environment=(CARILLON_\w+)=", text, re.MULTILINE)
    monkeypatch.setenv(variable, "/run/carillon/takeover.sock")
    document = config.read(None, {}, {}, offers_takeover=True)
    assert config.get(document, "takeover.socket") == "/run/carillon/takeover.sock"
