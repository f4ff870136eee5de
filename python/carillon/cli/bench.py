"""`carillon bench`: load on a server, with every delivery checked."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from .bench_report import ProgressBar, print_table
from .failure import Failure, told_in_a_sentence
from .interrupts import interruptible
from .options import API_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..load import PublishBy, Transport
    from ..load.serving import Placement

_NO_RESULT = "the run had not finished, so there is no result"


@click.command()
@click.argument("url", required=False)
@click.option(
    "--transport",
    type=click.Choice(["ws", "sse", "poll"]),
    default="ws",
    show_default=True,
    help="Transport of the subscribers.",
)
@click.option(
    "--connections", type=click.IntRange(1), default=1000, show_default=True, help="Number of subscribers."
)
@click.option(
    "--channels",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of channels; messages are published to them in turn.",
)
@click.option(
    "--channels-per-connection",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of channels that each subscriber subscribes to.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Messages to publish per second. Excludes --in-flight.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 65536),
    metavar="N",
    help="Publish as fast as possible, with at most N messages not yet delivered to every subscriber "
    "(default 1). Excludes --rate.",
)
@click.option(
    "--idle",
    is_flag=True,
    help="Publish nothing: measure the cost of idle connections.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Duration of the measurement.",
)
@click.option(
    "--payload",
    type=click.IntRange(20, 60_000),
    default=128,
    show_default=True,
    help="Size of a message, bytes.",
)
@click.option(
    "--cuts",
    type=click.IntRange(1),
    help="Number of times to cut the subscribers' connections. They reconnect and resume from their "
    "positions.",
)
@click.option(
    "--cut-every",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Interval between cuts, seconds.",
)
@click.option(
    "--cut-seconds",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="Duration of a cut, seconds.",
)
@click.option(
    "--return-seconds",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Time within which the subscribers reconnect after a cut, seconds.",
)
@click.option(
    "--staying",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Number of subscribers whose connections are not cut, to measure their latency during a storm.",
)
@click.option(
    "--publish-by",
    type=click.Choice(["ws", "post"]),
    help="How to publish: over a WebSocket, or by POST /api/publish (the default with --api-key).",
)
@click.option("--threads", type=click.IntRange(1), help="Number of shard threads, if no URL is given.")
@click.option(
    "--server-pid",
    "server_pids",
    type=click.IntRange(1),
    multiple=True,
    help="Process id of the server at URL, to measure its CPU time and memory. May be repeated.",
)
@click.option(
    "--spin/--sleep",
    "is_spinning",
    default=None,
    help="Whether the load generator spins while it waits. The default is to spin if it has cores of its "
    "own: waking a sleeping receiver costs the server CPU time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a table.")
@API_KEY
def bench(
    url: str | None,
    transport: Transport,
    connections: int,
    channels: int,
    channels_per_connection: int,
    rate: float | None,
    in_flight: int | None,
    idle: bool,
    seconds: float,
    payload: int,
    cuts: int | None,
    cut_every: float,
    cut_seconds: float,
    return_seconds: float,
    staying: int,
    publish_by: PublishBy | None,
    threads: int | None,
    server_pids: tuple[int, ...],
    is_spinning: bool | None,
    as_json: bool,
    api_key: str | None,
) -> None:
    """Puts load on the server at URL and checks every delivery. Without URL it starts a server of its own.

    The load consists of subscribers and one publisher, in as many processes as the connections need. The
    command prints deliveries per second, CPU time per delivery, latencies and faults. The exit code is 1 if
    a message was missing, repeated, reordered or changed, or a connection refused or lost.
    """
    if rate is not None and in_flight is not None:
        raise click.UsageError("give --rate or --in-flight, not both")
    if idle and (rate is not None or in_flight is not None):
        raise click.UsageError("--idle publishes nothing: give it without --rate and --in-flight")
    if cuts is not None and rate is None:
        raise click.UsageError("--cuts needs --rate: publishing continues while subscribers are disconnected")
    if channels_per_connection > channels:
        raise click.BadParameter(
            f"{channels_per_connection} is more than the number of channels, {channels} (--channels)",
            param_hint="--channels-per-connection",
        )
    if channels > connections * channels_per_connection:
        raise click.BadParameter(
            f"{channels} is more than {connections} connections with {channels_per_connection} channels each "
            f"can subscribe to: {connections * channels_per_connection}",
            param_hint="--channels",
        )
    signal.signal(signal.SIGTERM, _on_sigterm)
    placement = _place(connections, threads, is_own_server=url is None)
    from .. import _core
    from ..load import Load, run_load
    from ..load.serving import serving

    with (
        interruptible(),
        told_in_a_sentence(),
        _no_result_if_interrupted(),
        contextlib.ExitStack() as running,
    ):
        if url is None:
            server = running.enter_context(serving(placement))
            address, server_pids = (server.host, server.port), (server.pid,)
        else:
            address = _address(url)

        load = Load(
            host=address[0],
            port=address[1],
            transport=transport,
            publish_by=publish_by or ("post" if api_key else "ws"),
            api_key=api_key or "",
            channel=f"bench-{uuid.uuid4().hex[:8]}",
            connections=connections,
            channels=channels,
            channels_per_connection=channels_per_connection,
            payload_bytes=payload,
            is_idle=idle,
            in_flight=in_flight or 1,
            rate_per_s=rate or 0.0,
            seconds=seconds,
            cuts=cuts or 0,
            cut_every_s=cut_every,
            cut_s=cut_seconds,
            return_s=return_seconds,
            staying=staying,
            warmup=min(100, max(1, int(rate))) if rate else 100,
            is_spinning=placement.has_own_cores if is_spinning is None else is_spinning,
            server_pids=server_pids,
        )
        bar = running.enter_context(ProgressBar(load)) if sys.stderr.isatty() else None
        result = run_load(load, cores=placement.generator_cores, on_progress=bar.show if bar else None)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
    elif result.window_s:  # else the run never came to its measured window
        print_table(result)
        if url is None and _core.build_info()["assertions"] == "on":
            click.echo(f"{'build':<25}assertions on: a release build uses less CPU time")
    if not result.is_clean:
        raise Failure(f"{result.first_fault} (faults of the run: {result.faults})")


def _on_sigterm(*_: object) -> None:
    """Ends the run, its server and its workers, as Ctrl-C does."""
    raise Failure(f"ended by SIGTERM: {_NO_RESULT}")


@contextlib.contextmanager
def _no_result_if_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"Interrupted: {_NO_RESULT}", err=True)
        raise


def _place(connections: int, threads: int | None, *, is_own_server: bool) -> Placement:
    from ..descriptors import connections_max
    from ..load.serving import place

    if is_own_server and connections + 1 > connections_max():  # one is the publisher's
        raise click.BadParameter(
            f"{connections} are more than one server can hold on this machine: a process may open at most "
            f"{connections_max()} connections. Give {connections_max() - 1} or fewer, raise the hard "
            "limit (ulimit -Hn), or start several servers and give their URLs",
            param_hint="--connections",
        )
    return place(connections, threads, is_own_server=is_own_server)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "ws") or not parts.hostname:
        raise click.BadParameter(
            f"{url!r}; give http://HOST:PORT (the generator does not speak TLS)", param_hint="URL"
        )
    return parts.hostname, parts.port or 80
