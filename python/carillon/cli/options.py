"""Options that several commands share."""

from __future__ import annotations

import click

URL = click.option(
    "--url",
    default="http://127.0.0.1:8000",
    show_default=True,
    envvar="CARILLON_URL",
    help="The server's address.",
)
API_KEY = click.option("--api-key", envvar="CARILLON_HTTP_API_KEY", help="Key of the server's HTTP API.")
