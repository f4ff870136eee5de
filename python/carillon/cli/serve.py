"""`carillon serve`: a server in the foreground."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._version import __version__
from .failure import told_in_a_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from ..server import Server

_SLICE_S = 0.1


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="CARILLON_CONFIG",
    help="TOML or JSON. Without one: the demo page, on this machine only.",
)
@click.option("--host", envvar="CARILLON_HOST", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), envvar="CARILLON_PORT", help="Port, 0 for any.")
@click.option(
    "--threads", type=click.IntRange(0), envvar="CARILLON_THREADS", help="Shard threads, 0 for one per core."
)
@click.option("--store", envvar="CARILLON_STORE", help="Where logs are kept: memory.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    envvar="CARILLON_DRAIN_TIMEOUT",
    help="Seconds that clients have to leave at the end.",
)
def serve(
    file: Path | None,
    host: str | None,
    port: int | None,
    threads: int | None,
    store: str | None,
    drain_timeout: float,
) -> None:
    """Runs a server until Ctrl-C or SIGTERM, which asks clients to leave; a second one stops at once."""
    from ..demo.machine import MachineFeed
    from ..server import Server

    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    given: dict[str, Any] = {"host": host, "port": port, "threads": threads, "store": store}
    given = {name: value for name, value in given.items() if value is not None}
    if file is None:
        given = {"port": 8000, "demo": True, "insecure": True} | given
    _raise_descriptor_limit()
    with told_in_a_sentence(), _signals() as stop_requests:
        server = Server(config=file, **given).start()
        is_demo = bool(server.settings.get("demo"))
        with contextlib.ExitStack() as running:
            running.callback(server.stop)
            if is_demo:
                running.enter_context(MachineFeed(server))
            _greet(server)
            _wait_for(stop_requests, 1)
            click.echo("Asking clients to leave (press CTRL+C to stop at once)", err=True)
            _drain(server, drain_timeout, stop_requests)


def _greet(server: Server) -> None:
    if server.settings.get("insecure"):
        click.secho(
            "INSECURE DEMO: everybody who reaches this server may publish, read and ask anything. "
            "Give a configuration before others can reach it.",
            fg="yellow",
            bold=True,
            err=True,
        )
    click.echo(f"Carillon {__version__} running on {server.url} (Press CTRL+C to quit)")


class _StopRequests:
    """Counts the signals that ask us to stop."""

    def __init__(self) -> None:
        self.count = 0

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


@contextlib.contextmanager
def _signals() -> Iterator[_StopRequests]:
    requests = _StopRequests()
    before = {number: signal.signal(number, requests.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for(requests: _StopRequests, count: int) -> None:
    never = threading.Event()
    while requests.count < count:
        never.wait(_SLICE_S)


def _drain(server: Server, timeout: float, requests: _StopRequests) -> None:
    """Drains on another thread, so that a second signal is seen here."""
    draining = threading.Thread(
        target=lambda: _drain_quietly(server, timeout), name="carillon-drain", daemon=True
    )
    draining.start()
    while draining.is_alive() and requests.count < 2:
        draining.join(_SLICE_S)


def _drain_quietly(server: Server, timeout: float) -> None:
    from ..errors import CarillonError

    with contextlib.suppress(CarillonError):  # stopped in the meantime, by the second signal
        if not server.drain(timeout):
            click.echo("Some clients did not leave in time: their connections are closed", err=True)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
