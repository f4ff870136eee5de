"""What `carillon rollout` prints: a line, or a JSON object, for each step."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from .streams import print_json

_TEXTS = {
    "fleet": "{gateways} gateways are healthy, with {clients:,} clients; {to_replace} of them are to be "
    "replaced",
    "uncounted": "refused publications are not counted here: its /metrics is not at this address "
    "(http_server.internal_port), or prometheus.enabled is false",
    "plan": "version {version}, {clients:,} clients: would drain it, wait for {clients_expected:,} of them "
    "elsewhere, and {then}",
    "drain": "asked {connections:,} connections to leave, of {clients:,} clients",
    "waits": "waits: {state}; {seconds:.0f} s of {limit_s:g} s",
    "left": "has left after {seconds:.1f} s",
    "back": "the others have {clients_back:,} clients more, {seconds:.1f} s after the beginning; it had "
    "{clients:,}",
    "restart": "the command has ended after {seconds:.1f} s: {command}",
    "healthy": "healthy {seconds:.1f} s later: version {version}, before {version_before}",
    "replaced": "replaced in {seconds:.1f} s, {number} of {to_replace}",
    "pause": "pause of {seconds:g} s",
    "done": "{replaced} gateways are replaced, in {seconds:.1f} s",
}


class Lines:
    """Prints the steps of a rollout.

    Args:
        as_json: Whether each is a JSON object.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, event: str, node: str = "", **fields: Any) -> None:
        """Prints one step.

        Args:
            event: Name of the step.
            node: Gateway that it is about; empty: the fleet.
            **fields: Counts, and times in seconds.
        """
        if self._as_json:
            head = {"time": round(time.time(), 3), "event": event} | ({"node": node} if node else {})
            body = {
                key: round(value, 3) if isinstance(value, float) else value for key, value in fields.items()
            }
            print_json(json.dumps(head | body))
        elif event != "stopped":  # it is the error of the command
            who = f"{node}: " if node else ""
            click.echo(f"{time.strftime('%X')}  {who}{_TEXTS[event].format(**fields)}")
        sys.stdout.flush()
