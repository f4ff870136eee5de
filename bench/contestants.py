"""Builds the native programs of this folder, starts servers, and runs the load generator against them."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
BUILD = BENCH.parent / "build" / "bench"

LOADS: dict[str, tuple[str, ...]] = {
    "A": ("--subscribers", "1000", "--in-flight", "1"),
    "E": ("--subscribers", "1000", "--in-flight", "16"),
    "B": ("--subscribers", "1000", "--in-flight", "64"),
    "C": ("--subscribers", "10000", "--in-flight", "8"),
    "D": ("--subscribers", "1000", "--rate", "20", "--warmup", "20"),
}
"""The loads by name: options of the generator."""


class LoadFailedError(Exception):
    """A run in which something was lost, repeated, reordered, changed or refused, or that never started."""


@dataclass(frozen=True)
class Contestant:
    """A server to be measured.

    Attributes:
        name: What the tables call it.
        command: How it is started; `{port}` and `{python}` (this interpreter) are filled in. The process
            itself must be the server, not a shell that starts it: its process id is what is measured.
    """

    name: str
    command: str


@dataclass(frozen=True)
class Running:
    """A server that accepts connections on 127.0.0.1."""

    pid: int
    port: int


def parse_loads(text: str) -> list[str]:
    """Reads `A,E,B`; raises ValueError for a name that is none."""
    names = text.split(",")
    if unknown := [name for name in names if name not in LOADS]:
        raise ValueError(f"no such load: {', '.join(unknown)} (there are {', '.join(LOADS)})")
    return names


def build(directory: Path = BUILD) -> tuple[Path, Path]:
    """Compiles generator and bare loop where they are older than their sources; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for pattern in ("*.cpp", "*.hpp") for path in BENCH.glob(pattern))
    built = []
    for name, libraries in (("load", []), ("bare_loop", ["-lcrypto"])):
        program = directory / name
        if not program.exists() or program.stat().st_mtime < newest:
            compiler = os.environ.get("CXX", "c++")
            source = str(BENCH / f"{name}.cpp")
            subprocess.run(
                [compiler, "-O2", "-std=c++20", source, "-o", str(program), *libraries], check=True
            )
        built.append(program)
    return built[0], built[1]


def yardsticks(bare_loop: Path) -> list[Contestant]:
    """The bare loop under two names (what lies between them is noise), and the gathered loop."""
    command = f"{shlex.quote(str(bare_loop))} --port {{port}}"
    return [
        Contestant("bare", command),
        Contestant("bare again", command),
        Contestant("gathered", f"{command} --gather"),
    ]


def pinned(core: int | None) -> list[str]:
    """The prefix that pins a command to a core; empty for None."""
    return [] if core is None else ["taskset", "-c", str(core)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_accepting(port: int, process: subprocess.Popen[bytes], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LoadFailedError(f"server ended with exit code {process.returncode} before it accepted")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise LoadFailedError(f"server did not accept connections within {timeout_s:g} s")


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextmanager
def serving(
    contestant: Contestant, *, prefix: Sequence[str] = (), is_child: bool = False, timeout_s: float = 60
) -> Iterator[Running]:
    """Runs a server for the duration of the block, then ends it with SIGTERM and waits for it.

    Args:
        contestant: What to start.
        prefix: Words before its command, such as those of `pinned`.
        is_child: The prefix stays as the server's parent (strace) instead of becoming it (taskset, valgrind).
        timeout_s: How long it may take to accept connections, and to end.

    Raises:
        LoadFailedError: It did not start, or did not end on SIGTERM (it is killed then).
    """
    port = _free_port()
    command = shlex.split(contestant.command.format(port=port, python=sys.executable))
    process = subprocess.Popen(
        [*prefix, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_accepting(port, process, timeout_s)
        pid = _only_child(process.pid) if is_child else process.pid
        yield Running(pid, port)
        os.kill(pid, signal.SIGTERM)
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise LoadFailedError(f"{contestant.name} did not end within {timeout_s:g} s of SIGTERM") from None
    finally:
        if process.poll() is None:
            if is_child:
                os.kill(_only_child(process.pid), signal.SIGKILL)
            process.kill()
            process.wait()


def run_load(
    load: Path, server: Running, options: Sequence[str], *, core: int | None, limit_s: float = 600
) -> dict[str, Any]:
    """Runs the generator once and returns its report, the JSON object of `load --json`.

    Raises:
        LoadFailedError: Its exit code was not 0, or it took longer than `limit_s`.
    """
    url = f"127.0.0.1:{server.port}"
    command = [str(load), "--url", url, "--server-pid", str(server.pid), "--json", *options]
    try:
        done = subprocess.run([*pinned(core), *command], capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise LoadFailedError(f"{shlex.join(command)} took longer than {limit_s:g} s") from None
    if done.returncode != 0:
        raise LoadFailedError(f"{shlex.join(command)}\n{done.stderr}{done.stdout}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def machine() -> dict[str, str]:
    """What a figure must be quoted with: processor, cores, kernel, compiler, commit."""

    def first_line(*command: str) -> str:
        try:
            lines = subprocess.run(command, capture_output=True, text=True, cwd=BENCH).stdout.splitlines()
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
