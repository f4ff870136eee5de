"""`carillon top`: live figures of servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from .failure import Failure, told_in_a_sentence
from .interrupts import interruptible
from .options import CA_FILE, INSECURE_TLS, duration, stripped, verify
from .streams import print_json, require_output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from ..server_figures import Figures
    from .metrics_reader import MetricsReader
    from .top_screen import Row, Terminal


def _addresses(_: click.Context, __: click.Parameter, urls: tuple[str, ...]) -> tuple[str, ...]:
    from .metrics_reader import page_url

    pages = set()
    for url in urls:
        try:
            page = page_url(url)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if page in pages:
            raise click.BadParameter(f"{url!r} is there twice; give each server once")
        pages.add(page)
    return urls


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...", callback=_addresses)
@click.option(
    "--api-key",
    "key",
    envvar="CARILLON_HTTP_API_KEY",
    callback=stripped,
    metavar="TEXT",
    help="Key of the HTTP API. It is sent to every URL; an http_server.internal_port needs none.",
)
@click.option(
    "--interval",
    "interval_s",
    default="1s",
    show_default=True,
    callback=duration,
    metavar="DURATION",
    help="Time between two readings.",
)
@click.option(
    "--timeout",
    "timeout_s",
    default="5s",
    show_default=True,
    callback=duration,
    metavar="DURATION",
    help="Maximum time for a connect, and then for an answer.",
)
@click.option("--once", is_flag=True, help="Print the figures of one interval as plain text, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per interval and server.")
@CA_FILE
@INSECURE_TLS
def top(
    urls: tuple[str, ...],
    key: str | None,
    interval_s: float,
    timeout_s: float,
    once: bool,
    as_json: bool,
    ca_file: str | None,
    insecure_tls: bool,
) -> None:
    """Shows live figures of servers in a terminal, until Ctrl-C.

    URL is the address of a server, or of its http_server.internal_port. The figures are those of /metrics,
    which is added unless URL has a path. Rates and percentiles are of one interval.

    With several servers the last row is their sum. "behind" and "lag" of that row are those of the slowest
    subscription of all, and its burn rates and budgets are the worst.

    Without a terminal the command prints one screen as --once does, unless --json is given.
    """
    from .metrics_reader import MetricsReader
    from .top_screen import Terminal

    require_output()
    with interruptible(), told_in_a_sentence():
        trusted = verify(ca_file, insecure_tls)
        servers = [_Watched(url, MetricsReader(url, key, timeout_s, trusted)) for url in urls]

        is_live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        showing: Coroutine[Any, Any, None]
        with Terminal() as terminal:
            if as_json:
                showing = _print_objects(servers, interval_s, once)
            elif once or not is_live:
                showing = _print_once(servers, interval_s)
            else:
                showing = _draw(servers, interval_s, terminal)
            try:
                asyncio.run(_until_sigterm(showing, servers))
            except asyncio.CancelledError:  # by SIGTERM
                raise KeyboardInterrupt from None


class _Watched:
    """A server, and the newest that is known of it."""

    def __init__(self, url: str, reader: MetricsReader) -> None:
        self.url = url
        self.reader = reader
        self.name = reader.url.split("://", 1)[1].removesuffix("/metrics")
        self.figures: Figures | None = None
        self.failure = ""
        self.task: asyncio.Task[None] | None = None

    def row(self) -> Row:
        """What a screen shows of it."""
        from .top_screen import Row

        return Row(self.name, self.figures, self.failure)

    def to_dict(self) -> dict[str, Any]:
        """What --json prints of it."""
        head: dict[str, Any] = {"time": round(time.time(), 3), "url": self.url}
        if self.figures is None:
            return {**head, "error": self.failure}
        return {**head, "interval_seconds": self.reader.interval_s, **self.figures.to_dict()}

    def begin(self) -> asyncio.Task[None]:
        """Begins to read, unless a reading is under way."""
        if self.task is None:
            self.task = asyncio.create_task(self._read())
        return self.task

    def has_ended(self) -> bool:
        """Whether a reading has ended. The next one may begin then."""
        if self.task is None or not self.task.done():
            return False
        self.task.result()  # raises what is not a failure of the server
        self.task = None
        return True

    async def close(self) -> None:
        """Ends what is under way, and closes the connection."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait((self.task,))
        await self.reader.close()

    async def _read(self) -> None:
        from .exchange import Unanswered

        try:
            self.figures, self.failure = await self.reader.read(), ""
        except Unanswered as error:
            self.figures, self.failure = None, str(error)


async def _until_sigterm(showing: Coroutine[Any, Any, None], servers: Sequence[_Watched]) -> None:
    """Shows until SIGTERM cancels it, and closes all connections."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await showing
    finally:
        for each in servers:
            await each.close()


async def _rounds(
    servers: Sequence[_Watched], interval_s: float, *, is_patient: bool = False
) -> AsyncIterator[Sequence[_Watched]]:
    """Reads all servers at once in each interval, and yields those whose reading has ended.

    The first reading begins the first interval. A server that needs longer than the interval is among a later
    round, while the others go on.

    Args:
        servers: The servers.
        interval_s: Time between two readings, seconds.
        is_patient: Whether every round waits for all servers, and not only the first one.

    Raises:
        Failure: No server answered the first reading.
    """
    loop = asyncio.get_running_loop()
    tick_s, is_first = loop.time(), True
    while True:
        tasks = [each.begin() for each in servers]
        tick_s = max(tick_s + interval_s, loop.time())
        waits_s = None if is_first or is_patient else tick_s - loop.time()
        await asyncio.wait(tasks, timeout=waits_s)
        ended = [each for each in servers if each.has_ended()]
        if is_first:
            _require_one(servers)
        yield ended
        is_first = False
        await asyncio.sleep(tick_s - loop.time())


def _require_one(servers: Sequence[_Watched]) -> None:
    if all(each.failure for each in servers):
        raise Failure("\n".join(f"{each.url}: {each.failure}" for each in servers))


async def _draw(servers: Sequence[_Watched], interval_s: float, terminal: Terminal) -> None:
    """Draws a screen in each interval. Ctrl-Z gives the terminal back until the command continues."""

    def stop() -> None:
        terminal.leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, stop)
    async for _ in _rounds(servers, interval_s):
        answered = sum(each.figures is not None for each in servers)
        clock = time.strftime("%X")
        foot = f"{clock}  {answered} of {len(servers)} answered, every {interval_s:g} s; Ctrl-C ends"
        terminal.draw([each.row() for each in servers], foot)


async def _print_once(servers: Sequence[_Watched], interval_s: float) -> None:
    from .top_screen import print_screen

    rounds = _rounds(servers, interval_s, is_patient=True)
    await anext(rounds)
    await anext(rounds)
    _require_one(servers)
    print_screen([each.row() for each in servers])


async def _print_objects(servers: Sequence[_Watched], interval_s: float, is_once: bool) -> None:
    rounds = _rounds(servers, interval_s, is_patient=is_once)
    await anext(rounds)
    async for ended in rounds:
        if is_once:
            _require_one(servers)
        for each in ended:
            print_json(json.dumps(each.to_dict()))
        sys.stdout.flush()
        if is_once:
            return
