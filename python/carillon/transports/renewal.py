"""A token that expires is renewed over its WebSocket before that, with `refresh` or `sub_refresh`."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from .reconnect import is_temporary
from .token import TOKEN_EXPIRED, TokenFailed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from ..errors import ConnectDenied, SubscribeDenied
    from ..lifetime import Lifetime, Served
    from .backoff import Backoff
    from .outbox import Outbox, Reply
    from .token import Token

_MARGIN = 0.2  # of the time that a token has, but at most:
_MARGIN_S = 30.0
_ROUNDED_S = 1.0  # a server counts in whole seconds, so less may be left than it says, by this
_LEAST_S = 0.5  # between two renewals
_EXPIRED = 110  # the new one is over, too


class Renewal:
    """Asks for a new token in time, and sends it. What fails is tried again while the old one is in use.

    Args:
        lifetime: Lifetime of the client.
        token: The token.
        outbox: Where commands go.
        backoff: Delays before it is tried again.
        command: `refresh` or `sub_refresh`.
        fields: Members of the command beside the token.
        serves: What ends if the server refuses the new token, or the application has none.
        denied: The error of that end.
    """

    def __init__(
        self,
        lifetime: Lifetime,
        token: Token,
        outbox: Outbox,
        backoff: Backoff,
        command: str,
        fields: Mapping[str, str],
        serves: Served,
        denied: type[ConnectDenied | SubscribeDenied],
    ) -> None:
        self._lifetime = lifetime
        self._token = token
        self._outbox = outbox
        self._backoff = backoff
        self._command = command
        self._fields = fields
        self._serves = serves
        self._denied = denied
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0  # what was begun in an earlier one is of no interest

    def schedule(self, terms: Mapping[str, Any]) -> None:
        """Begins a turn: `expires` and `ttl` are members of an answer of the server."""
        self.stop()
        if self._token.can_be_renewed and terms.get("expires"):
            left_s = max(0.0, float(terms.get("ttl", 0)) - _ROUNDED_S)
            margin_s = min(left_s * _MARGIN, _MARGIN_S)  # or half of it, so that not all come at once
            self._begin_in(max(_LEAST_S, left_s - margin_s * random.uniform(0.5, 1.0)))

    def stop(self) -> None:
        """Ends the turn: there is nothing to renew."""
        self._turn += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_in(self, delay_s: float) -> None:
        self._timer = self._lifetime.check().call_later(delay_s, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._lifetime.error is None:
            self._lifetime.start(self._renew(self._turn), f"the {self._command} of a token", self._serves)

    async def _renew(self, turn: int) -> None:
        try:
            token = await self._token.renewed()
        except TokenFailed:
            if turn == self._turn:
                self._begin_in(self._backoff.next_delay())
            return
        if turn == self._turn:
            body = json.dumps({**self._fields, "token": token})
            self._outbox.add(f'"{self._command}":{body}', lambda _, reply: self._on_reply(turn, reply))

    def _on_reply(self, turn: int, reply: Reply) -> None:
        if turn != self._turn:
            return
        if "error" not in reply:
            self._backoff.connected()
            self.schedule(reply[self._command][0])
            return
        error = reply["error"][0]
        code = int(error.get("code", 0))
        if is_temporary(error) or code in (TOKEN_EXPIRED, _EXPIRED):
            self._begin_in(self._backoff.next_delay())
        else:
            self._serves.fail(self._denied(code, str(error.get("message", ""))))
