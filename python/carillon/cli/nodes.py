"""`carillon nodes`: the servers that share a store."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ..address import base_url
from ..errors import CommandError
from .exchange import Exchange, Unanswered
from .failure import Failure, told_in_a_sentence
from .interrupts import interruptible
from .options import API_KEY, CA_FILE, INSECURE_TLS, URL, verify

if TYPE_CHECKING:
    from ..items import Node
    from ..transports.route import Verify

_UNAUTHORIZED = 401
_TIMEOUT_S = 5
_SHOWN = 60  # characters of an address or a version
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


@click.command()
@URL
@API_KEY
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per server and line.")
@CA_FILE
@INSECURE_TLS
def nodes(
    url: list[str], api_key: str | None, as_json: bool, ca_file: str | None, insecure_tls: bool
) -> None:
    """Lists the servers that share a store.

    The server at --url asks the others. If one does not answer it in time, or the store is not available, the
    list is not whole: the command says so and ends with exit code 1. It uses the HTTP API, which requires an
    API key unless the server is insecure.
    """
    from .. import sync

    with (
        interruptible(),
        told_in_a_sentence(),
        sync.connect(url, transport="poll", api_key=api_key, verify=verify(ca_file, insecure_tls)) as client,
    ):
        try:
            found = client.nodes()
        except CommandError as error:
            if error.code != _UNAUTHORIZED:
                raise
            text = "refuses this API key" if api_key else "requires an API key"
            raise Failure(
                f"the HTTP API of {client.url} {text}: give the http_api.key of the server by --api-key"
            ) from None
        missing = asyncio.run(_missing(client.url, verify(ca_file, insecure_tls)))
    for line in map(json.dumps, map(asdict, found)) if as_json else table_of(found):
        click.echo(line)
    if missing:
        raise Failure(missing)


async def _missing(url: str, verify_by: Verify) -> str:
    """Why the list may lack servers; empty: it is whole."""
    exchange = Exchange(url, None, _TIMEOUT_S, verify_by)
    try:
        answer = await exchange.ask("GET", f"{base_url(url)}/health?fleet=true", is_last=True)
        health = json.loads(answer.body)
    except (Unanswered, ValueError):
        return ""  # a proxy may not pass it on
    finally:
        await exchange.close()
    if not isinstance(health, dict):
        return ""
    fleet = health.get("fleet")
    if fleet == "unavailable" or "store" in health:
        return f"{url} cannot ask other servers, because its store is not available: they may be missing here"
    silent = fleet.get("silent", 0) if isinstance(fleet, dict) else 0
    limit = "within limits.fleet_answer_timeout_ms"
    if silent == 1:
        return f"1 server has not answered {url} {limit}, and is missing here"
    return f"{silent} servers have not answered {url} {limit}, and are missing here" if silent else ""


def table_of(found: list[Node]) -> list[str]:
    """Lines of a table, with a head, and with a row of sums if there are several servers."""
    rows = [("address", "version", "clients", "subscriptions", "channels", "up", "state")]
    rows += [
        (
            _shown(node.address or node.uid),
            _shown(node.version),
            str(node.clients),
            str(node.subscriptions),
            str(node.channels),
            duration_of(node.uptime_s),
            "draining" if node.is_draining else "up",
        )
        for node in found
    ]
    if len(found) > 1:  # a channel has subscribers at several servers, so channels have no sum
        sums = (str(sum(node.clients for node in found)), str(sum(node.subscriptions for node in found)))
        rows.append((f"{len(found)} servers", "", *sums, "", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if 2 <= place <= 5 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _shown(text: str) -> str:
    """A text of another server, which may have been written by anybody: printable, and short."""
    return "".join(each if each.isprintable() else "?" for each in text)[:_SHOWN]


def duration_of(seconds: int) -> str:
    """A duration in its two largest units, as 3d4h, 2h5m, 7m1s or 12s."""
    if seconds >= _DAY_S:
        return f"{seconds // _DAY_S}d{seconds % _DAY_S // _HOUR_S}h"
    if seconds >= _HOUR_S:
        return f"{seconds // _HOUR_S}h{seconds % _HOUR_S // _MINUTE_S}m"
    if seconds >= _MINUTE_S:
        return f"{seconds // _MINUTE_S}m{seconds % _MINUTE_S}s"
    return f"{seconds}s"
