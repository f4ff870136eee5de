"""Ctrl-C ends a command with code 130 and without a traceback, whenever it comes."""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False  # `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 128 + signal.SIGINT


def leave_at_once() -> None:
    """From now on Ctrl-C ends the process on the spot, as long as there is nothing to close.

    An exception would not do during imports: where it meets a callback of the import system, Python prints
    it and goes on.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job ignores it
        signal.signal(signal.SIGINT, _leave)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """In this block Ctrl-C raises KeyboardInterrupt, so that what is open is closed."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        leave_at_once()


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)
