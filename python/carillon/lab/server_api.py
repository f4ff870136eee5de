"""The HTTP API (`POST /api/<method>`) on one persistent connection, for measurements."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any, Self

from ..errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_TIMEOUT_S = 60.0
_USERS_AT_ONCE = 2_000  # keeps a request well below limits.body_bytes


class ServerApi:
    """Calls methods of a server without an API key. A refused call raises CommandError."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method and returns its result."""
        body = json.dumps(parameters)
        self._connection.request("POST", f"/api/{method}", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise CommandError(response.status, f"{method}: {text.decode(errors='replace').strip()[:200]}")
        answer = json.loads(text)
        if error := answer.get("error"):
            raise CommandError(int(error.get("code", 0)), f"{method}: {error.get('message')}")
        result: dict[str, Any] = answer.get("result", {})
        return result

    def add_members(self, channel: str, users: Sequence[str]) -> None:
        """Adds members to a channel, in several requests."""
        for first in range(0, len(users), _USERS_AT_ONCE):
            self.call("add_members", channel=channel, users=list(users[first : first + _USERS_AT_ONCE]))

    def remove_members(self, channel: str, users: Sequence[str]) -> None:
        """Removes members from a channel, in several requests."""
        for first in range(0, len(users), _USERS_AT_ONCE):
            self.call("remove_members", channel=channel, users=list(users[first : first + _USERS_AT_ONCE]))

    def stats(self) -> dict[str, Any]:
        """Returns the counters and gauges of the server."""
        return self.call("stats")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
