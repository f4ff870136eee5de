"""Starts servers that are to be measured, and puts the load generator on them."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carillon.load import Load, LoadResult, Protocol, run_load

from .loads import PAYLOAD_BYTES, NamedLoad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
CARILLON = (
    "{python} -m carillon serve --config {folder}/carillon.toml --threads 1 --port {port}"
    " --no-access-log --log-level warning"
)
# Everybody may do everything, and no demo page publishes beside the load.
CARILLON_FILES = {"carillon.toml": "[client]\ninsecure = true\n"}


class ServingError(Exception):
    """A server did not start, or did not end."""


def nothing(port: int, load: NamedLoad) -> None:
    """What most servers need before a load."""


@dataclass(frozen=True)
class Contestant:
    """A server to be measured.

    Attributes:
        name: What the tables call it.
        command: How it is started. `{port}`, `{python}` (this interpreter), `{folder}` (a scratch folder) and
            `{transport}` are filled in. The process itself must be the server, not a shell that starts it.
        protocol: What it speaks.
        publish_by: How messages are published to it.
        transports: How its subscribers can connect.
        version: For the table.
        environment: Beside that of this process.
        prepare: Called with port and load once the server accepts connections.
        files: Written into the scratch folder first; `{port}` and the like are filled in.
    """

    name: str
    command: str
    protocol: Protocol = "centrifuge"
    publish_by: str = "ws"
    transports: frozenset[str] = frozenset({"ws", "sse", "poll"})
    version: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[int, NamedLoad], None] = nothing
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that accepts connections on 127.0.0.1."""

    contestant: Contestant
    pid: int
    port: int


def cores() -> tuple[int | None, int | None]:
    """Where server and generator run: a core each, or None where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else (None, None)


def pinned(core: int | None) -> list[str]:
    """The prefix that pins a command to a core; empty for None."""
    return [] if core is None else ["taskset", "-c", str(core)]


def build_bare_loop() -> Path:
    """Compiles the bare loop where it is older than its sources."""
    folder = ROOT / "bench" / "bare_loop"
    sources = [*folder.glob("*pp"), ROOT / "cpp" / "load" / "web_frame.hpp"]
    program = BUILD / "bare_loop"
    if not program.exists() or program.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        BUILD.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CXX", "c++")
        options = ["-O2", "-std=c++20", f"-I{ROOT / 'cpp'}", str(folder / "main.cpp"), "-lcrypto"]
        subprocess.run([compiler, *options, "-o", str(program)], check=True)
    return program


def build_program(name: str) -> Path:
    """Builds a program that links to what it measures, without assertions: `sinks` or `sqlite_groups`."""
    folder = ROOT / "build" / "programs"
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "CARILLON_PYTHON": "OFF",
        "CARILLON_BENCH": "ON",
        "Python_EXECUTABLE": sys.executable,
    }
    definitions = [f"-D{key}={value}" for key, value in settings.items()]
    _run_quietly("cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", *definitions)
    _run_quietly("cmake", "--build", str(folder), "--target", name)
    return folder / "bench" / name / name


def _run_quietly(*command: str) -> None:
    """Runs a command; what it says is shown only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ServingError(f"{' '.join(command[:3])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def bare_loops() -> list[Contestant]:
    """The yardstick under two names (what lies between them is noise), and what it can be made to save."""
    command = f"{shlex.quote(str(build_bare_loop()))} --port {{port}}"
    return [
        Contestant("bare", command),
        Contestant("bare again", command),
        Contestant("gathered", f"{command} --gather"),
        Contestant("io_uring", f"{command} --io-uring"),
        Contestant("gathered io_uring", f"{command} --gather --io-uring"),
    ]


def carillon(name_and_command: str = "") -> Contestant:
    """Reads `NAME=COMMAND`; nothing: Carillon as it is in this tree."""
    name, _, command = name_and_command.partition("=")
    return Contestant(name or "carillon", command or CARILLON, files=CARILLON_FILES)


@contextmanager
def serving(
    contestant: Contestant,
    load: NamedLoad,
    *,
    prefix: Sequence[str] = (),
    is_child: bool = False,
    timeout_s: float = 60,
) -> Iterator[Running]:
    """Runs a server for the duration of the block, then ends it with SIGTERM and waits for it.

    Args:
        contestant: What to start.
        load: What is to come.
        prefix: Words before its command, such as those of `pinned`.
        is_child: The prefix stays as the server's parent (strace) instead of becoming it (taskset, valgrind).
        timeout_s: How long it may take to accept connections, and to end.

    Raises:
        ServingError: It did not start, or did not end on SIGTERM (it is killed then).
    """
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = {"port": port, "python": sys.executable, "folder": folder, "transport": load.transport}
        for name, text in contestant.files.items():
            for word, value in words.items():
                text = text.replace(f"{{{word}}}", str(value))
            (Path(folder) / name).write_text(text)
        errors = Path(folder) / "stderr"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*prefix, *shlex.split(contestant.command.format(**words))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **contestant.environment},
            )
        try:
            _wait_until_accepting(port, process, timeout_s, errors)
            contestant.prepare(port, load)
            pid = _only_child(process.pid) if is_child else process.pid
            yield Running(contestant, pid, port)
            os.kill(pid, signal.SIGTERM)
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ServingError(f"{contestant.name} did not end within {timeout_s:g} s of SIGTERM") from None
        finally:
            if process.poll() is None:
                if is_child:
                    with contextlib.suppress(OSError, IndexError):
                        os.kill(_only_child(process.pid), signal.SIGKILL)
                process.kill()
                process.wait()


def put_load(server: Running, load: NamedLoad, *, core: int | None, **settings: Any) -> LoadResult:
    """Runs a load against the server; `settings` are further ones of `carillon.load.Load`."""
    contestant = server.contestant
    everything = {
        "port": server.port,
        "protocol": contestant.protocol,
        "publish_by": contestant.publish_by,
        "payload_bytes": PAYLOAD_BYTES,
        "server_pids": (server.pid,),
        **load.settings,
        **settings,
    }
    return run_load(Load(**everything), cores=() if core is None else (core,))


def end_on_sigterm() -> None:
    """Makes SIGTERM unwind this process as Ctrl-C does, so that no server stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def machine() -> dict[str, str]:
    """What a figure must be quoted with: processor, cores, kernel, compiler, commit."""

    def first_line(*command: str) -> str:
        try:
            lines = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
        except OSError:
            return "unknown"
        return lines[0] if lines else "unknown"

    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "cpu": models[0] if models else os.uname().machine,
        "cores": str(os.cpu_count()),
        "kernel": os.uname().release,
        "compiler": first_line(os.environ.get("CXX", "c++"), "--version"),
        "python": sys.version.split()[0],
        "commit": first_line("git", "describe", "--always", "--dirty"),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_accepting(
    port: int, process: subprocess.Popen[bytes], timeout_s: float, errors: Path
) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = errors.read_text(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "it said nothing"
            raise ServingError(f"the server ended with exit code {process.returncode}: {last}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise ServingError(f"the server did not accept connections within {timeout_s:g} s")


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
