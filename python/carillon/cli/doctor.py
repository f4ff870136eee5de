"""`carillon doctor`: what to paste into a bug report."""

from __future__ import annotations

import asyncio
import platform
import resource
import select
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

_WANTED_DESCRIPTORS = 65536


@click.command()
def doctor() -> None:
    """Prints versions and limits of this machine, for bug reports.

    The configuration is printed by 'carillon config show FILE'; it hides the API key.
    """
    for name, value in _facts():
        click.echo(f"{name:<24}{value}")


def _facts() -> Iterator[tuple[str, str]]:
    from .. import _core

    yield "carillon", f"{__version__} (core {_core.version()})"
    yield from sorted(_core.build_info().items())
    yield "python", f"{platform.python_version()} ({sys.implementation.name})"
    for package in ("click", "httpx", "websockets"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "missing: install it"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    advice = (
        "" if hard >= _WANTED_DESCRIPTORS else f" (raise the hard limit for more than {hard - 100} clients)"
    )
    yield "open files", f"{soft} soft, {hard} hard{advice}"
    yield "listen backlog", _read("/proc/sys/net/core/somaxconn")
    yield "epoll", "yes" if hasattr(select, "epoll") else "no: Carillon needs Linux"
    policy = type(asyncio.get_event_loop_policy()).__name__
    yield "event loop policy", policy


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"
