"""What all suites share: outside programs, and servers with one and with four shard threads."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from serve_process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server


# Each client would read all certificates of the system anew: 40 ms, and 110 ms under AddressSanitizer.
httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)  # type: ignore[attr-defined]


def require(is_there: object, what: str) -> None:
    """Skips the test if `what` is missing on a user's machine; fails it where CI=true."""
    if is_there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true: install it", pytrace=False)
    pytest.skip(f"{what} is missing on this machine")


def require_tool(*names: str) -> str:
    """Path of the first of these programs that is installed; skips or fails as `require` does."""
    path = next((found for name in names if (found := shutil.which(name))), None)
    require(path, " or ".join(names))
    assert path is not None
    return path


def require_path(path: Path, remedy: str) -> Path:
    """The path, if it exists; skips or fails as `require` does."""
    require(path.exists(), f"{path.name} ({remedy})")
    return path


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --share, a part of the tests, where all of them take too long, and how much chaos there is."""
    parser.addoption(
        "--share", metavar="K/N", help="run only every Nth test, by a hash of its name: the Kth share of N"
    )
    parser.addoption(
        "--chaos-rounds", type=int, default=1, metavar="N", help="let each crowd meet its fault N times"
    )
    parser.addoption(
        "--chaos-clients", type=int, default=1, metavar="N", help="make each crowd N times as large"
    )
    parser.addoption("--chaos-table", metavar="FILE", help="append a row for each fault to this file")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the other shares out."""
    if not config.getoption("--share"):
        return
    share, shares = (int(number) for number in config.getoption("--share").split("/"))
    others = [item for item in items if zlib.crc32(item.nodeid.encode()) % shares != share % shares]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


def pytest_configure() -> None:
    """Gives children the signals that they have on a terminal.

    A background job of a shell ignores SIGINT, one under nohup SIGHUP, and children inherit that. A handler
    is not inherited by what is executed.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(autouse=True)
def _children_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kills the processes that a test has started and, as it failed, not ended, and their children."""
    started: list[subprocess.Popen[Any]] = []
    begin = subprocess.Popen.__init__

    def begin_and_note(process: subprocess.Popen[Any], *arguments: Any, **options: Any) -> None:
        begin(process, *arguments, **options)
        started.append(process)

    monkeypatch.setattr(subprocess.Popen, "__init__", begin_and_note)
    yield
    for process in started:
        if process.poll() is None:
            left = _descendants_of(process.pid)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):  # or a later test hears of them
                if pipe is not None:
                    pipe.close()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _descendants_of(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found[1:]


@pytest.fixture(name="require_tool", scope="session")
def _require_tool() -> Callable[..., str]:
    """`require_tool`, for tests that cannot import this file."""
    return require_tool


SHARDS = os.environ.get("WIRE_SHARDS", "1,4").split(",")


@pytest.fixture(params=SHARDS, ids=lambda number: f"{number} shard{'s' if number != '1' else ''}")
def threads(request: pytest.FixtureRequest) -> int:
    """How many shard threads the server of a wire test has: both numbers, but one under sanitizers."""
    return int(request.param)


@pytest.fixture
def serve(threads: int, carillon_server_factory: Callable[..., Server]) -> Callable[..., Server]:
    """Starts servers with `threads` shards on a free port; the ledger must balance at the end of the test.

    One shard sends with a call per connection, four send with io_uring where there is one: so every wire test
    runs over both.
    """

    def start(**settings: Any) -> Server:
        flush = "send" if threads == 1 else "auto"
        return carillon_server_factory(**{"threads": threads, "port": 0, "flush": flush, **settings})

    return start


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A server from `serve` with the default settings: everybody may do everything."""
    return serve()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `carillon serve`, and ends what is left of it."""
    processes: list[Process] = []

    def start(port: int = 0, *arguments: str, **popen: Any) -> Process:
        processes.append(Process(port, tmp_path, *arguments, **popen))
        return processes[-1]

    yield start
    for process in processes:
        process.stop()
