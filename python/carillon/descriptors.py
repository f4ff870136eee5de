"""The limit of open files of a process, which bounds the number of its connections."""

from __future__ import annotations

import contextlib
import resource

RESERVED = 100
"""Number of descriptors that a process needs beside its connections."""


def raise_limit() -> int:
    """Raises the soft limit of this process to the hard one, and returns the limit that then applies."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_max() -> int:
    """Returns the number of connections that one process of this machine can hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard - RESERVED
