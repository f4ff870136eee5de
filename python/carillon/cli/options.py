"""Options that several commands share."""

from __future__ import annotations

import click


def _address(_: click.Context, __: click.Parameter, url: str) -> str:
    from ..address import base_url

    try:
        base_url(url)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return url


def _name(_: click.Context, __: click.Parameter, channel: str) -> str:
    if not channel:
        raise click.BadParameter("'' is no channel name (an empty variable of the shell?)")
    return channel


CHANNEL = click.argument("channel", callback=_name)
URL = click.option(
    "--url",
    default="http://127.0.0.1:8000",
    show_default=True,
    envvar="CARILLON_URL",
    callback=_address,
    help="The server's address.",
)
API_KEY = click.option("--api-key", envvar="CARILLON_HTTP_API_KEY", help="Key of the server's HTTP API.")
