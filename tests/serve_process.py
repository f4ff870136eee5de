"""`carillon serve` in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from carillon.testing import wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Process:
    """A `carillon serve` that has started, or that starts while the test `waits` for something else."""

    def __init__(self, port: int, runtime: Path, *arguments: str, waits: bool = True, **popen: Any) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "carillon", "serve", "--port", str(port), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
            **popen,
        )
        self.log: list[str] = []
        assert self.child.stderr
        self._logging = threading.Thread(target=self.log.extend, args=(self.child.stderr,), daemon=True)
        self._logging.start()
        self.port = self.started() if waits else port

    def started(self) -> int:
        """The port at which it listens, 0 if it ends without."""
        assert self.child.stdout
        line = self.child.stdout.readline()
        found = re.search(r"running on http://127\.0\.0\.1:(\d+)", line)
        return int(found[1]) if found else 0

    def wait_for(self, text: str) -> None:
        """Waits until it has logged a line with this text."""
        wait_until(lambda: any(text in line for line in self.log))

    def ended(self) -> int:
        """Its exit code."""
        return self.child.wait(15)

    def stop(self) -> None:
        """Ends it as an operator does."""
        if self.child.poll() is None:
            self.child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(15)
        if self.child.poll() is None:
            self.child.kill()
        self._logging.join()
        for pipe in (self.child.stdout, self.child.stderr):
            assert pipe
            pipe.close()
