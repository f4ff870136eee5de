"""Options that several commands share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..transports.route import Verify

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60}
_SHORTEST, _LONGEST_S = "100ms", 3600


# A comma, or white space in the environment variable, where another address follows.
_BETWEEN = re.compile(r"[,\s]+(?=\w+://)|\s+")


def _addresses(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[str]:
    from ..address import base_url

    urls = [url for text in given for url in _BETWEEN.split(text.strip(", \t\n"))]
    try:
        for url in urls:
            base_url(url)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return urls


def _name(_: click.Context, __: click.Parameter, channel: str) -> str:
    if not channel:
        raise click.BadParameter("'' is not a channel name (is a shell variable empty?)")
    return channel


def _token(_: click.Context, __: click.Parameter, token: str | None) -> str | None:
    return token.strip() or None if token else None  # as a file or a shell has it


def stripped(_: click.Context, __: click.Parameter, key: str | None) -> str | None:
    """Reads a key as a file or a shell has it; None if it is empty."""
    return key.strip() or None if key else None


def duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Reads a duration such as 500ms, 1s or 5m into seconds."""
    return None if value is None else _seconds(value, _SHORTEST)


def duration_or_none(_: click.Context, __: click.Parameter, value: str) -> float:
    """Reads a duration that may be 0s into seconds."""
    return _seconds(value, "0s")


def _seconds(text: str, shortest: str) -> float:
    try:
        seconds = _plain_seconds(text)
    except (KeyError, ValueError):
        raise click.BadParameter(f"{text!r} is not a duration; write it as 500ms, 1s or 5m") from None
    if not _plain_seconds(shortest) <= seconds <= _LONGEST_S:
        raise click.BadParameter(f"{text!r} is out of range; give {shortest} to 60m")
    return seconds


def _plain_seconds(text: str) -> float:
    number = text.rstrip("ms")
    return float(number) * _UNITS_S[text[len(number) :] or "s"]


CHANNEL = click.argument("channel", callback=_name)
URL = click.option(
    "--url",
    default=["http://127.0.0.1:8000"],
    show_default=True,
    multiple=True,
    envvar="CARILLON_URL",
    callback=_addresses,
    metavar="URL",
    help="Address of the server. For servers that share a store, repeat the option, or write commas between "
    "addresses: the command uses one that answers.",
)
CA_FILE = click.option(
    "--ca-file",
    type=click.Path(exists=True),
    metavar="PATH",
    help="File or directory with the CA certificates to trust over https, instead of those of the system.",
)
INSECURE_TLS = click.option(
    "--insecure-tls", is_flag=True, help="Accept any certificate over https. For tests only."
)
TOKEN = click.option(
    "--token",
    envvar="CARILLON_TOKEN",
    callback=_token,
    metavar="TEXT",
    help="Token of the connection. In CARILLON_TOKEN other users of this machine do not see it.",
)
API_KEY = click.option("--api-key", envvar="CARILLON_HTTP_API_KEY", help="Key of the HTTP API.")


def verify(ca_file: str | None, insecure_tls: bool) -> Verify:
    """The argument `verify` of `carillon.connect` for these two options."""
    if ca_file is not None and insecure_tls:
        raise click.UsageError("give --ca-file or --insecure-tls, not both")
    return not insecure_tls if ca_file is None else ca_file
