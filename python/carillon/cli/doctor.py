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
from .config_file import config_file
from .failure import RUNTIME, told_in_a_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

_WANTED_DESCRIPTORS = 65536


@click.command()
@config_file()
@click.option("--store", metavar="URL", help="The store to look at, instead of the one of FILE.")
def doctor(file: Path | None, store: str | None) -> None:
    """Prints versions and limits for bug reports, and looks at a Redis.

    With FILE or --store it connects to Redis as a server would: with user, password, TLS and Sentinels of the
    configuration and the environment. It says which rights are missing, whether Redis may evict keys, and
    what is lost when it ends. What must be mended is marked, and the exit code is 1 then.

    The configuration is printed by 'carillon config show FILE'; it hides the API key.
    """
    for name, value in _facts():
        click.echo(f"{name:<24}{value}")
    if (file is not None or store is not None) and not _is_store_sound(file, store):
        sys.exit(RUNTIME)


def _is_store_sound(file: Path | None, store: str | None) -> bool:
    """Prints what is to be said of the store, and returns whether nothing must be mended."""
    from .. import _core
    from ..errors import from_core
    from .store_config import store_config

    with told_in_a_sentence():
        url, document = store_config(file, store)
        if not _core.is_redis_url(url):
            advice = " ('carillon store check' reads the file)" if url.lower().startswith("sqlite:") else ""
            click.echo(f"{'store':<24}{url}{advice}")
            return True
        try:
            lines = _core.check_redis_store(document)
        except Exception as error:
            raise from_core(error) from None
    for name, text, must_be_mended in lines:
        click.echo(f"{name:<24}{'MEND: ' if must_be_mended else ''}{text}")
    return not any(must_be_mended for _, _, must_be_mended in lines)


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
