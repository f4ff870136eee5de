"""`carillon serve`: a server in the foreground."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from .._version import __version__
from ..access_log import set_level, set_up
from ..address import is_address
from ..descriptors import raise_limit
from ..errors import AddressInUse, TakeoverError
from ..logs import logger
from .background import OPTION, READY_OPTION, say_ready, start_in_background
from .config_file import config_file
from .failure import ADDRESS_IN_USE, Failure, told_in_a_sentence
from .streams import drop_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from ..access_log import Format
    from ..server import Server
    from ..service_notify import DrainProgress

_log = logger("server")

_SLICE_S = 0.1
_LOOPBACK_6 = "::1"

_DEMO_IS_PRIVATE = (
    "host: without a configuration any client may do anything, so the demo listens on this machine only. "
    "To let others connect, give a key of the HTTP API and permissions of clients: --config FILE with "
    "http_api.key and [channels], or at least CARILLON_HTTP_API_KEY"
)
_NO_ADDRESS = "host: '{}' is not an IP address; give one of this machine, such as 127.0.0.1"
_TAKEN = (
    "{} is taken by another process; give another --port (0 for any), end that process, or use --takeover if "
    "it is a carillon serve"
)
_TAKEN_TOO = (
    "another process listens there, and clients of 'localhost' may get to it; end it, or give another --port"
)


@click.command()
@config_file()
@click.option("--host", help="Address to listen on (http_server.address).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port, 0 for any (http_server.port).")
@click.option("--threads", type=click.IntRange(0), help="Number of shard threads, 0 for one per core.")
@click.option("--store", help="Where publications are kept: memory, sqlite:PATH or redis://host.")
@click.option(
    "--shutdown-timeout",
    metavar="DURATION",
    help="Longest time that clients have to disconnect at the end, as 10s (shutdown.timeout).",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    help="Lowest level that is logged (log.level).",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="CARILLON_LOG_FORMAT",
    help="One line of text per record, or one JSON object.",
)
@click.option(
    "--access-log/--no-access-log",
    default=True,
    envvar="CARILLON_ACCESS_LOG",
    help="One record per connect, close and refusal, with its reason.",
)
@click.option(
    "--takeover",
    is_flag=True,
    help="Take over the connections of the server that runs at this address, and end it.",
)
@click.option(
    OPTION,
    "in_background",
    is_flag=True,
    help="With --takeover: return when the new process serves, and leave it running, as ExecReload needs it.",
)
@click.option(READY_OPTION, type=int, hidden=True)
def serve(
    file: Path | None,
    host: str | None,
    port: int | None,
    threads: int | None,
    store: str | None,
    shutdown_timeout: str | None,
    log_level: str | None,
    log_format: Format,
    access_log: bool,
    takeover: bool,
    in_background: bool,
    ready_fd: int | None,
) -> None:
    """Runs a server until Ctrl-C, SIGTERM, SIGHUP or POST /api/drain.

    FILE is its configuration, TOML or JSON. Without one it serves the demo page, on this machine only.

    At the end it asks its clients to disconnect. A second signal stops it at once (but not SIGHUP, which a
    closed terminal sends twice). With nohup, SIGHUP is ignored.

    Environment variables such as CARILLON_HTTP_SERVER_PORT set options of the configuration; 'carillon config
    schema' lists them.
    """
    from .. import config
    from ..demo.machine import MachineFeed
    from ..errors import ConfigError, ServerFailed
    from ..server import Server
    from ..service_notify import DrainProgress, ServiceNotifier, Watchdog, answers, status_of

    set_up(log_format, log_level or "info", access_log)
    if in_background:
        if not takeover:
            raise click.UsageError(f"{OPTION} is given without --takeover; give both, or neither")
        with told_in_a_sentence():
            raise click.exceptions.Exit(start_in_background())
    if ready_fd is not None:
        os.set_inheritable(ready_fd, False)
    notifier = ServiceNotifier.from_environment(os.environ)
    given: dict[str, Any] = {"host": host, "port": port, "threads": threads, "store": store}
    raise_limit()  # only here: an embedded server asks for it
    with told_in_a_sentence(), _signals() as stop_requests:
        options: dict[str, Any] = {}
        if shutdown_timeout is not None:
            config.put(options, "shutdown.timeout", shutdown_timeout)

        def read() -> dict[str, Any]:
            """Returns the configuration as it is now; a reload calls this again."""
            return _with_demo(config.read(file, options, given, offers_takeover=True), file)

        try:
            server = Server(config=read, **given)
        except ConfigError as error:
            if file is None and str(error).startswith("client.insecure: ") and _has_no_rules(read(), file):
                document = read()
                address = str(config.get(document, "http_server.address") if host is None else host)
                if not is_address(address):
                    raise ConfigError(_NO_ADDRESS.format(address)) from None
                raise ConfigError(_DEMO_IS_PRIVATE) from None
            raise
        server._reloads.around = notifier.reloading  # before anybody can ask for a reload
        if log_level is None:
            set_level(server.settings["log"]["level"])
        try:
            server.take_over() if takeover else server.start()
        except AddressInUse as error:
            address = f"{server.host}:{server.settings['http_server']['port']}"
            is_internal = "http_server.internal_port" in str(error)
            told = str(error.strerror) if is_internal else _TAKEN.format(address)
            raise Failure(told, ADDRESS_IN_USE) from None
        if takeover:
            notifier.become_main()
        is_demo = bool(server.settings["demo"])
        watchdog = Watchdog(notifier, lambda timeout_s: answers(server, timeout_s))
        with contextlib.ExitStack() as running:
            running.callback(watchdog.close)  # after the stop, which ends a check that waits
            running.callback(server.stop)
            is_default = config.get(read(), "http_server.address") is None
            if host is None and is_default:
                _listen_on_ipv6(server)
            _offer_takeover(server)
            if is_demo:
                running.enter_context(MachineFeed(server))
            _greet(server, log_format)
            for event, warning in config.warnings(server.settings):
                _log.warning("%s", warning, extra={"event": event})
            notifier.ready(status_of(server))
            say_ready(ready_fd)
            watchdog.start()
            _wait_for(stop_requests, server)
            timeout_s = config.seconds(server.settings["shutdown"]["timeout"])
            progress = DrainProgress(server, notifier, timeout_s)
            if server.is_given_away:
                notifier.close()  # the new process speaks for the unit
                if server.stats()["connections"]:  # those that waited for an answer of a hook
                    _drain(server, stop_requests, progress)
            elif server.is_running:
                if stop_requests.count:
                    _note("signal", "%s: draining (press CTRL+C to stop at once)", stop_requests.first)
                _drain(server, stop_requests, progress)
        _note("stop", "stopped")
        if server.failure:
            raise ServerFailed(server.failure)


def _with_demo(document: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    from .. import config

    is_demo = _has_no_rules(document, file)
    return config.merge({"demo": True, "client": {"insecure": True}} if is_demo else {}, document)


def _has_no_rules(document: Mapping[str, Any], file: Path | None) -> bool:
    from .. import config

    return file is None and config.get(document, "http_api.key") is None


def _listen_on_ipv6(server: Server) -> None:
    """Without an address the server is to be found at localhost, which stands for ::1 as well."""
    if any(listener.host == _LOOPBACK_6 for listener in server.listeners):
        return  # it came with a takeover
    try:
        server.listen(_LOOPBACK_6, server.port)
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # there is no IPv6
            why = _TAKEN_TOO if error.errno == errno.EADDRINUSE else str(error)
            _log.warning(
                "no listener at [%s]:%d: %s", _LOOPBACK_6, server.port, why, extra={"event": "no_ipv6"}
            )


def _offer_takeover(server: Server) -> None:
    try:
        server.offer_takeover()
    except TakeoverError as error:
        if server.settings["takeover"]["socket"]:
            raise
        _log.warning("no process can take over from this server: %s", error, extra={"event": "no_takeover"})


def _greet(server: Server, log_format: Format) -> None:
    if server.settings["client"]["insecure"]:
        warning = (
            "INSECURE: any client of this server may publish, subscribe and ask anything. "
            "Give a configuration without client.insecure before others can reach it."
        )
        if log_format == "json":  # standard error holds nothing but records then
            _log.warning(warning, extra={"event": "insecure"})
        else:
            click.secho(warning, fg="yellow", bold=True, err=True)
    is_shown = sys.stdout is not None
    try:
        click.echo(f"Carillon {__version__} running on {server.url} (Press CTRL+C to quit)")
    except OSError:  # nobody can read it there; the server runs all the same
        drop_output()
        is_shown = False
    place = f" at {server.url}"
    if server.host in ("0.0.0.0", "::"):
        place += f" and every other address of this machine ({server.host})"
    elif is_shown and log_format == "text":
        place = ""  # it has just been said
    _note("start", "started%s, with room for %d connections", place, server.stats()["connections_max"])


def _note(event: str, text: str, *arguments: object) -> None:
    _log.info(text, *arguments, extra={"event": event})


class _StopRequests:
    """Counts the signals that ask us to stop."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.count > 0 and number == signal.SIGHUP:
            return  # a closed terminal sends it twice, of itself and by its shell
        self.first = self.first or signal.Signals(number).name
        self.count += 1


@contextlib.contextmanager
def _signals() -> Iterator[_StopRequests]:
    requests = _StopRequests()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, requests.on_signal)
    try:
        yield requests
    finally:
        for number in numbers:  # the process ends now: one more signal must not change its exit code
            signal.signal(number, signal.SIG_IGN)


def _wait_for(requests: _StopRequests, server: Server) -> None:
    never = threading.Event()
    while requests.count < 1 and server.is_running and not server.is_given_away and not server.is_draining:
        never.wait(_SLICE_S)


def _drain(server: Server, requests: _StopRequests, progress: DrainProgress) -> None:
    """Drains on another thread, so that this one can react to a second signal."""
    draining = threading.Thread(target=lambda: _drain_quietly(server), name="carillon-drain", daemon=True)
    draining.start()
    while draining.is_alive() and requests.count < 2:
        progress.report()
        draining.join(_SLICE_S)
    progress.report()  # of a drain that was over at once
    server.stop()  # which ends a drain that still waits
    draining.join()  # no thread may be in the native code when the interpreter ends


def _drain_quietly(server: Server) -> None:
    from ..errors import CarillonError

    with contextlib.suppress(CarillonError):  # stopped in the meantime, by the second signal
        server.drain()  # which logs how many have left
