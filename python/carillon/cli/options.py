"""Options that several commands share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..transports.route import Verify


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
