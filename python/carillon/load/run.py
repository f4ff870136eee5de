"""Runs a load, in worker processes."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _core
from ..descriptors import connections_max
from .load import Load, LoadError
from .result import LoadResult
from .worker import board_path, report_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORKER_CONNECTIONS = 18_000
"""Largest number of connections of one worker, within its limit of descriptors."""

_POLL_S = 0.05


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        live: Subscribers that are connected and subscribed.
        published: Messages, including the warm-up.
        completed: Messages that every subscriber has, including the warm-up.
        deliveries: Deliveries, including the warm-up.
        measuring_since_ns: Start of the measured window, on the clock `time.monotonic_ns()`; 0: not yet.
        is_measuring: The measured window has begun.
        is_over: It has ended.
    """

    live: int
    published: int
    completed: int
    deliveries: int
    measuring_since_ns: int
    is_measuring: bool
    is_over: bool


def workers_for(connections: int, servers: int = 1) -> int:
    """Returns the number of worker processes for some connections to some servers, on this machine."""
    each = max(1, math.ceil(connections / servers))
    return servers * math.ceil(each / min(WORKER_CONNECTIONS, connections_max()))


def run_load(
    load: Load,
    *,
    cores: Sequence[int] = (),
    niceness: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> LoadResult:
    """Runs a load and returns its result, with the faults of the server.

    Args:
        load: The load.
        cores: Cores to which the workers are pinned, in turn; empty: the system chooses.
        niceness: Niceness of the workers, above that of this process.
        on_progress: Called about 20 times a second. An exception that it raises ends the run.

    Raises:
        LoadError: A worker failed.
    """
    workers = workers_for(load.connections, load.servers)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        board = _core.LoadBoard(board_path(folder), is_new=True)
        with contextlib.ExitStack() as running:
            processes = []
            for worker in range(workers):
                core = cores[worker % len(cores)] if cores else None
                processes.append(_start(folder, load, worker, workers, core, niceness))
                running.callback(_end, processes[-1])
            while _are_running(processes):
                if on_progress is not None:
                    on_progress(Progress(**board.progress()))
                time.sleep(_POLL_S)
            for process in processes:
                if process.returncode:
                    raise LoadError(f"a worker of the load generator failed: {_errors_of(process)}")
        reports = [json.loads(report_path(folder, worker).read_text()) for worker in range(workers)]
    return LoadResult(load, reports)


def _start(
    folder: str, load: Load, worker: int, workers: int, core: int | None, niceness: int
) -> subprocess.Popen[str]:
    nice = ["nice", "-n", str(niceness)] if niceness else []
    command = [*nice, sys.executable, "-m", "carillon.load.worker", folder, str(worker), str(workers)]
    return subprocess.Popen(
        [*command, "" if core is None else str(core), json.dumps(asdict(load))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _are_running(processes: Sequence[subprocess.Popen[str]]) -> bool:
    """Whether to wait: some process runs, and none has failed."""
    codes = [process.poll() for process in processes]
    return None in codes and not any(codes)


def _errors_of(process: subprocess.Popen[str]) -> str:
    """The last line on its standard error, which is the end of a traceback."""
    assert process.stderr is not None
    lines = process.stderr.read().split("\n")
    return next((line for line in reversed(lines) if line), f"exit code {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
