"""A server in a process of its own, as a user would start it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .load import LoadError
from .run import workers_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_END_TIMEOUT_S = 30
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Placement:
    """The cores of the server and of the workers of the generator.

    Attributes:
        threads: Shard threads of the server.
        server_cores: Cores of the server; empty: the system chooses.
        generator_cores: Cores of the workers, in turn.
        has_own_cores: Server and workers do not share a core, so the generator may spin.
    """

    threads: int
    server_cores: Sequence[int]
    generator_cores: Sequence[int]
    has_own_cores: bool


def place(connections: int, threads: int | None = None, *, is_own_server: bool = True) -> Placement:
    """Returns a core for each worker and the others for the server; all shared where there are too few."""
    cores = sorted(os.sched_getaffinity(0))
    workers = workers_for(connections)
    if not is_own_server or len(cores) <= workers:
        return Placement(threads or max(1, len(cores) - 1), (), (), has_own_cores=False)
    server_cores = cores[:-workers]
    return Placement(threads or len(server_cores), server_cores, cores[-workers:], has_own_cores=True)


@dataclass(frozen=True)
class RunningServer:
    """A server that accepts connections on this machine."""

    host: str
    port: int
    pid: int


@contextlib.contextmanager
def serving(placement: Placement, config: Mapping[str, Any] | None = None) -> Iterator[RunningServer]:
    """Runs a fresh server for the duration of the block.

    Args:
        placement: Its threads and cores.
        config: Configuration, as in a configuration file; None: the demo server.

    Raises:
        LoadError: The server did not start.
    """
    # The signal comes when the thread that starts the server ends; the main one ends with its process.
    prctl = ctypes.CDLL(None).prctl if threading.current_thread() is threading.main_thread() else None

    def prepare() -> None:
        if placement.server_cores:
            os.sched_setaffinity(0, placement.server_cores)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # also after SIGKILL nothing is left running

    command = [sys.executable, "-m", "carillon", "serve", "--port", "0", "--threads", str(placement.threads)]
    command += ["--no-access-log", "--log-level", "warning", "--shutdown-timeout", "0s"]
    with contextlib.ExitStack() as files:
        if config is not None:
            folder = Path(files.enter_context(tempfile.TemporaryDirectory()))
            (folder / "carillon.json").write_text(json.dumps(config))
            command += ["--config", str(folder / "carillon.json")]
        errors = files.enter_context(tempfile.TemporaryFile("w+"))
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("CARILLON_")},
            preexec_fn=prepare,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = next((word for word in line.split() if word.startswith("http://")), None)
            if url is None:
                errors.seek(0)
                said = errors.read().strip().splitlines()
                raise LoadError(f"the server did not start: {said[-1] if said else 'no output'}")
            parts = urlsplit(url)
            yield RunningServer(parts.hostname or "127.0.0.1", parts.port or 80, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
