"""`carillon serve --takeover --background`: the command ends once a new process has taken over.

It is made for ExecReload of systemd, which waits for the end of the command and takes its exit code for the
result. systemd does not accept the command itself as the main process of the unit, but a child of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..logs import logger
from .failure import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

_log = logger("server")

OPTION = "--background"
READY_OPTION = "--ready-fd"


def start_in_background() -> int:
    """Starts this command again without `--background`, and waits until it serves.

    Returns:
        Exit code: 0, or that of the new process if it has ended without serving.
    """
    reading, writing = os.pipe()
    arguments = [f"{READY_OPTION}={writing}" if each == OPTION else each for each in sys.orig_argv[1:]]
    child = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        env=_environment(os.environ),
        pass_fds=[writing],
        start_new_session=True,
    )
    os.close(writing)

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)  # a command that is given up leaves nothing behind

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    if os.read(reading, 1):
        return 0
    code = child.wait()
    if code < 0:
        raise Failure(f"the new process was ended by {signal.Signals(-code).name}")
    return code


def say_ready(descriptor: int | None) -> None:
    """Lets the command that has started this process end."""
    if descriptor is not None:
        os.write(descriptor, b"\n")
        os.close(descriptor)


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of the new process.

    To ExecReload systemd gives NOTIFY_SOCKET and the MAINPID, but not the WATCHDOG_USEC of the main process,
    though it expects as many signs of life from the next one.
    """
    found = dict(environment)
    main = found.pop("MAINPID", "")
    found.pop("WATCHDOG_PID", None)
    if "NOTIFY_SOCKET" in found and "WATCHDOG_USEC" not in found and main.isdecimal():
        try:
            lines = Path(f"/proc/{main}/environ").read_bytes().split(b"\0")
        except OSError as error:
            _log.warning(
                "MAINPID: the environment of process %s cannot be read (%s), so the new process sends no "
                "WATCHDOG=1; give WATCHDOG_USEC in ExecReload",
                main,
                error.strerror,
                extra={"event": "no_watchdog"},
            )
        else:
            prefix = b"WATCHDOG_USEC="
            usec = next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), b"")
            if usec:
                found["WATCHDOG_USEC"] = usec.decode()
    return found
