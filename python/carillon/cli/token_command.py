"""`carillon token`: make a token for development."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .failure import Failure, told_in_a_sentence


def _duration(_: click.Context, __: click.Parameter, value: str) -> float | None:
    if value == "never":
        return None
    number = value.rstrip("smhd")
    try:
        return float(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[value[len(number) :]]
    except (KeyError, ValueError):
        raise click.BadParameter(
            f"{value!r} is not a duration; write it as 30s, 5m, 1h, 7d or never"
        ) from None


def _json(_: click.Context, __: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    try:
        return json.loads(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not JSON; put texts in quotes, as '\"Ann\"'") from None


@click.command("token")
@click.option("--user", default="", metavar="ID", help="Id of the user; by default the client is anonymous.")
@click.option("--channel", metavar="NAME", help="Make the token of a subscription to this channel.")
@click.option(
    "--subscribe",
    "channels",
    multiple=True,
    metavar="NAME",
    help="Channel to which the server subscribes the client. Give it once for each.",
)
@click.option("--info", callback=_json, metavar="JSON", help="Value that other clients see.")
@click.option(
    "--expires",
    default="1h",
    show_default=True,
    callback=_duration,
    metavar="DURATION",
    help="Time until it expires: 30s, 5m, 1h, 7d or never.",
)
@click.option(
    "--secret",
    envvar="CARILLON_CLIENT_TOKEN_HMAC_SECRET_KEY",
    metavar="TEXT",
    help="Secret of the server, client.token.hmac_secret_key. By default that of the configuration.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="CARILLON_CONFIG",
    help="Configuration file of the server, which has the secret.",
)
def token_command(
    user: str,
    channel: str | None,
    channels: tuple[str, ...],
    info: Any,
    expires: float | None,
    secret: str | None,
    file: Path | None,
) -> None:
    """Prints a token for development.

    It is that of a connection, or with --channel that of a subscription.
    """
    from .. import config
    from ..tokens import token

    with told_in_a_sentence():
        if not secret and file:
            client = config.normalise(config.load(file))["client"]
            own = (
                client["subscription_token"] if channel and client["subscription_token"]["enabled"] else None
            )
            secret = (own or client["token"])["hmac_secret_key"]
        if not secret:
            raise Failure(
                "no secret: give --secret, or --config FILE with client.token.hmac_secret_key. Tokens for "
                "public keys are made by whoever has the private key"
            )
        try:
            click.echo(token(secret, user, channel=channel, channels=channels, info=info, expires=expires))
        except (TypeError, ValueError) as error:
            raise click.UsageError(str(error)) from None
