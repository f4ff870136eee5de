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
    metavar="TEXT",
    help="Secret of the server, client.token.hmac_secret_key. By default that of the configuration.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="CARILLON_CONFIG",
    help="Configuration file of the server. It has the secret, and says what must stand in a token.",
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

    It is that of a connection, or with --channel that of a subscription. A server with the same configuration
    file and environment accepts it: it has the issuer, the audience and the claim of the user that they name.
    """
    from .. import config
    from ..tokens import token

    with told_in_a_sentence():
        settings = config.normalise(config.read(file))
        client = settings["client"]
        is_apart = channel is not None and client["subscription_token"]["enabled"]
        options = client["subscription_token" if is_apart else "token"]
        secret = secret or options["hmac_secret_key"]
        if not secret:
            raise Failure(
                "no secret: give --secret, or --config FILE with client.token.hmac_secret_key. Tokens for "
                "public keys are made by whoever has the private key"
            )
        if channel is None and not user and client["disallow_anonymous_connection_tokens"]:
            raise Failure("client.disallow_anonymous_connection_tokens: give the token a --user")
        claims = {"iss": options["issuer"], "aud": options["audience"]}
        if options["user_id_claim"] not in ("", "sub"):
            claims[options["user_id_claim"]], user = user, ""
        claims = {name: value for name, value in claims.items() if value}
        try:
            made = token(
                secret, user, channel=channel, channels=channels, info=info, expires=expires, claims=claims
            )
        except (TypeError, ValueError) as error:
            raise click.UsageError(str(error)) from None
        if len(made) > (longest := settings["limits"]["token_bytes"]):
            raise Failure(
                f"limits.token_bytes: the server takes {longest} bytes, and the token has {len(made)}; raise "
                "it, or give less --info and --subscribe"
            )
        click.echo(made)
