"""How many files a process may have open, which bounds how many connections it can hold."""

from __future__ import annotations

import contextlib
import resource

RESERVED = 100
"""Descriptors that a process needs beside its connections."""


def raise_limit() -> int:
    """Raises the soft limit of this process to the hard one; returns what is in force then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_max() -> int:
    """How many connections one process of this machine can hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard - RESERVED
