"""`carillon sub`: follow a channel in the shell."""

from __future__ import annotations

import base64
import json
import logging
import signal
from typing import TYPE_CHECKING

import click

from .failure import told_in_a_sentence
from .interrupts import interruptible
from .options import CA_FILE, CHANNEL, INSECURE_TLS, TOKEN, URL, verify
from .streams import drop_output, print_json, require_output

if TYPE_CHECKING:
    from ..client import TransportName
    from ..items import Gap, Message


@click.command()
@CHANNEL
@click.option(
    "--since",
    metavar="POSITION",
    help="Start behind this position (EPOCH:OFFSET), or with the oldest message that is kept (oldest).",
)
@click.option("--last", type=click.IntRange(0), metavar="N", help="Start with the newest N messages.")
@click.option(
    "--transport",
    type=click.Choice(["ws", "sse", "poll"]),
    default="ws",
    show_default=True,
    help="Transport of the connection.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per message.")
@click.option("--count", type=click.IntRange(1), help="Exit after this many messages.")
@URL
@TOKEN
@CA_FILE
@INSECURE_TLS
def sub(
    channel: str,
    since: str | None,
    last: int | None,
    transport: TransportName,
    as_json: bool,
    count: int | None,
    url: list[str],
    token: str | None,
    ca_file: str | None,
    insecure_tls: bool,
) -> None:
    """Prints the messages of CHANNEL, until Ctrl-C or SIGTERM. Reconnects by itself after a cut.

    Standard error has the cuts, the gaps and, at the end, the position to continue from.
    """
    from .. import sync
    from ..items import Gap
    from ..start import Start

    require_output()
    if since is not None and last is not None:
        raise click.UsageError("--since and --last are both given; give one of them")
    try:
        Start.of(since)
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("since: "), param_hint="--since") from None
    logging.basicConfig(format="%(message)s")
    logging.getLogger("carillon.client").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    trusted = verify(ca_file, insecure_tls)
    with (
        interruptible(),
        told_in_a_sentence(),
        sync.connect(url, transport=transport, token=token, verify=trusted) as client,
    ):
        subscription = client.subscribe(channel, since, last, on_gap="yield")
        seen = 0
        try:
            for item in subscription.open():
                if isinstance(item, Gap):
                    click.echo(_in_words(item), err=True)
                    continue
                print_json(line_of(item, as_json))
                seen += 1
                if seen == count:
                    break
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:
            drop_output()
        if subscription.position is not None:
            click.echo(f"position {subscription.position}", err=True)


def line_of(message: Message, as_json: bool) -> str:
    """One line of output."""
    if not as_json:
        return message.data.decode() if message.is_json else base64.b64encode(message.data).decode()
    fields: dict[str, object] = {"channel": message.channel, "offset": message.offset, "epoch": message.epoch}
    if message.tags:
        fields["tags"] = dict(message.tags)
    head = json.dumps(fields)[:-1]
    if message.is_json:
        return f'{head}, "data": {message.data.decode()}}}'
    return f'{head}, "b64": "{base64.b64encode(message.data).decode()}"}}'


def _in_words(gap: Gap) -> str:
    if gap.lost_from is not None:
        return f"gap: messages {gap.lost_from} to {gap.lost_to} are lost: the history no longer has them"
    if gap.epoch:
        return "gap: the position belongs to another log (was the server restarted?); messages are lost"
    return "gap: the channel keeps no history; messages are lost"
