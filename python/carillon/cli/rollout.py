"""`carillon rollout`: replaces the gateways of a fleet one after another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from .failure import Failure, told_in_a_sentence
from .interrupts import INTERRUPTED, interruptible
from .options import CA_FILE, INSECURE_TLS, duration, duration_or_none, stripped, verify
from .streams import require_output

if TYPE_CHECKING:
    from ..transports.route import Verify
    from .gateway import Place
    from .rollout_lines import Lines
    from .rollout_run import Rollout, Settings


def _places(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[Place]:
    from .gateway import place

    found: list[Place] = []
    for text in texts:
        try:
            found.append(place(text))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return found


def _command(_: click.Context, __: click.Parameter, command: str | None) -> str | None:
    from .rollout_run import unknown_placeholder

    if command is not None and not command.strip():
        raise click.BadParameter("the command is empty (is a shell variable empty?)")
    if command is not None and (unknown := unknown_placeholder(command)):
        raise click.BadParameter(f"{{{unknown}}} has no value; write {{node}}, {{url}}, {{host}} or {{port}}")
    return command


@click.command()
@click.argument("nodes", nargs=-1, required=True, metavar="NODES...", callback=_places)
@click.option(
    "--watch",
    multiple=True,
    metavar="NODE",
    callback=_places,
    help="Gateway of the fleet that is not replaced. May be given several times.",
)
@click.option(
    "--restart",
    metavar="COMMAND",
    callback=_command,
    help="Shell command that starts the replacement, with {node}, {url}, {host} and {port} of the gateway. "
    "Without it a supervisor does.",
)
@click.option(
    "--api-key",
    "key",
    envvar="CARILLON_HTTP_API_KEY",
    callback=stripped,
    metavar="TEXT",
    help="Key of the HTTP API of all gateways.",
)
@click.option(
    "--pace",
    "pace_s",
    callback=duration,
    metavar="DURATION",
    help="Time over which clients are asked to leave (default: shutdown.pace of the gateway).",
)
@click.option(
    "--deadline",
    "deadline_s",
    callback=duration,
    metavar="DURATION",
    help="Time that clients have to leave (default: shutdown.timeout of the gateway).",
)
@click.option(
    "--drain-timeout",
    "drain_timeout_s",
    default="2m",
    show_default=True,
    callback=duration,
    metavar="DURATION",
    help="Maximum time until a gateway that drains has left. It must be above --deadline.",
)
@click.option(
    "--expect",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of its clients by which the others must have grown. Below 1 it allows for clients that leave "
    "by themselves.",
)
@click.option(
    "--return-timeout",
    "return_timeout_s",
    default="1m",
    show_default=True,
    callback=duration,
    metavar="DURATION",
    help="Maximum time for that, after the gateway has left.",
)
@click.option(
    "--restart-timeout",
    "restart_timeout_s",
    default="2m",
    show_default=True,
    callback=duration,
    metavar="DURATION",
    help="Maximum time of the command.",
)
@click.option(
    "--start-timeout",
    "start_timeout_s",
    default="2m",
    show_default=True,
    callback=duration,
    metavar="DURATION",
    help="Maximum time until the replacement is healthy, after the command.",
)
@click.option(
    "--checks",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    metavar="COUNT",
    help="Number of checks in a row after which a gateway counts as healthy, or as ill.",
)
@click.option(
    "--interval",
    "interval_s",
    default="1s",
    show_default=True,
    callback=duration,
    metavar="DURATION",
    help="Time between two checks.",
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
@click.option(
    "--pause",
    "pause_s",
    default="5s",
    show_default=True,
    callback=duration_or_none,
    metavar="DURATION",
    help="Time between two gateways.",
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Check the fleet and print the plan only.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per step and line.")
@CA_FILE
@INSECURE_TLS
def rollout(
    nodes: list[Place],
    watch: list[Place],
    key: str | None,
    timeout_s: float,
    is_dry: bool,
    as_json: bool,
    ca_file: str | None,
    insecure_tls: bool,
    **settings: object,
) -> None:
    """Replaces the gateways of a fleet one after another.

    Clients stay served meanwhile: those of a gateway that drains reconnect to the others.

    NODES are addresses of the gateways themselves, not of a proxy in front of them: http://host:port,
    host:port as carillon nodes shows it, or NAME=URL if the two differ.

    For each of them: the whole fleet must be healthy; the gateway drains; its clients must be at the others;
    --restart, or a supervisor, starts the replacement; it must be healthy, and a new process in the registry.

    The command stops with exit code 1 and a sentence if any of that does not happen in time, if another
    gateway falls ill, or if one refuses publications. What was not begun then stays as it is.
    """
    from .rollout_lines import Lines
    from .rollout_run import Settings, Stopped

    how = Settings(**settings)  # type: ignore[arg-type]  # click has checked them
    if how.deadline_s is not None and how.deadline_s >= how.drain_timeout_s:
        raise click.UsageError("--drain-timeout must be above --deadline: a drain may take all of that")
    require_output()
    lines = Lines(as_json)
    begun: list[Rollout] = []
    with interruptible(), told_in_a_sentence():
        try:
            asyncio.run(
                _run(nodes, watch, key, timeout_s, verify(ca_file, insecure_tls), how, lines, is_dry, begun)
            )
        except Stopped as stopped:
            reason, code = str(stopped), 1
        except KeyboardInterrupt:
            reason, code = "interrupted", INTERRUPTED
        else:
            return
        where = begun[0].whereabouts() if begun else ""
        text = f"{reason}. {where}" if where else reason
        lines.say("stopped", reason=text)
        raise Failure(text, code)


async def _run(
    nodes: list[Place],
    watch: list[Place],
    key: str | None,
    timeout_s: float,
    trusted: Verify,
    settings: Settings,
    lines: Lines,
    is_dry: bool,
    begun: list[Rollout],
) -> None:
    from .fleet_watch import FleetWatch
    from .gateway import Gateway
    from .rollout_run import Rollout

    gateways = [Gateway(each, key, timeout_s, trusted) for each in [*nodes, *watch]]
    begun.append(Rollout(FleetWatch(gateways), gateways[: len(nodes)], settings, lines))
    try:
        await begun[0].run(is_dry=is_dry)
    finally:
        for each in gateways:
            await each.close()
