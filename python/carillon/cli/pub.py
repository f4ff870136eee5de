"""`carillon pub`: publish from the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import CommandError
from .failure import Failure, told_in_a_sentence
from .interrupts import interruptible
from .options import API_KEY, CA_FILE, CHANNEL, INSECURE_TLS, TOKEN, URL, verify
from .streams import input_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNAUTHORIZED = 401
_COMMAND_LINE = click.core.ParameterSource.COMMANDLINE


@click.command()
@CHANNEL
@click.argument("data")
@URL
@API_KEY
@TOKEN
@CA_FILE
@INSECURE_TLS
@click.pass_context
def pub(
    context: click.Context,
    channel: str,
    data: str,
    url: list[str],
    api_key: str | None,
    token: str | None,
    ca_file: str | None,
    insecure_tls: bool,
) -> None:
    """Publishes DATA to CHANNEL. With "-", publishes each line of standard input.

    DATA that is valid JSON is sent byte for byte; any other text is sent as a JSON string. The command uses
    the HTTP API, which requires an API key unless the server is insecure. It prints the position of each
    publication, if the channel keeps a history.

    With a token, DATA is published over a WebSocket as the user of the token, if the channel allows that. No
    position is printed then. If the environment has both, the API key is used.
    """
    from .. import sync

    try:
        data.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("is not UTF-8: convert it first, as with iconv", param_hint="DATA") from None
    if api_key and token:
        given = [name for name in ("api_key", "token") if context.get_parameter_source(name) == _COMMAND_LINE]
        if len(given) == 2:
            raise click.UsageError("give --api-key or --token, not both")
        api_key, token = (None, token) if given == ["token"] else (api_key, None)
    # The reply to a publish over a WebSocket has no position.
    with (
        interruptible(),
        told_in_a_sentence(),
        sync.connect(
            url,
            transport="ws" if token else "poll",
            api_key=api_key,
            token=token,
            verify=verify(ca_file, insecure_tls),
        ) as client,
    ):
        lines: Iterable[str] = input_lines() if data == "-" else (data,)
        for line in lines:
            payload, is_json = payload_of(line)
            try:
                position = client.publish(channel, payload, json=is_json)
            except CommandError as error:
                if error.code != _UNAUTHORIZED:
                    raise
                text = "requires an API key: give --api-key, or --token to publish as a user"
                if api_key:
                    text = "refuses this API key: give the http_api.key of the server by --api-key"
                raise Failure(f"the HTTP API of {client.url} {text}") from None
            if position is not None and position.offset:
                click.echo(str(position))


def payload_of(text: str) -> tuple[Any, bool]:
    """The payload for an argument of the shell, and whether it is JSON text (else it is a string)."""
    from ..payload import json_text

    try:
        return json_text(text.encode()), True
    except ValueError as error:
        if "nested" in str(error):  # JSON, but too deep for the hub
            raise Failure(str(error)) from None
        return text, False
