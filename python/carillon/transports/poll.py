"""Subscriptions over plain long-polling (`GET /poll`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from ..position import Position
from . import raw_json
from .http_source import NO_POSITION, HttpSource, http_client

if TYPE_CHECKING:
    from .settings import Settings


class PollTransport:
    """See `Transport`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = http_client(settings)

    async def open(self) -> None:
        """Nothing to do: each poll is a request of its own."""

    async def close(self) -> None:
        """Closes the pool of connections."""
        await self._http.aclose()

    def source(self, channel: str, since: Position | None) -> PollSource:
        """A subscription, not yet started."""
        return PollSource(self._settings, self._http, channel, since)


class PollSource(HttpSource):
    """Polls in a row. The first is not held: it asks where we are, and delivery has begun when it returns."""

    _token: str | None = None
    _has_begun = False

    async def _attempt(self) -> None:
        while not self.feed.is_over:
            await self._has_room()
            await self._poll()

    async def _poll(self) -> None:
        held_s = self._settings.poll_timeout if self._has_begun else 0.0
        since = self._token or (str(self.feed.received) if self.feed.received else None)
        query = {"channel": self.feed.channel, "timeout": f"{held_s:g}"}
        if since is not None:
            query["since"] = since
        response = await self._http.get(
            self._settings.url("/poll", **query),
            timeout=httpx.Timeout(self._settings.open_timeout, read=held_s + self._settings.open_timeout),
        )
        await self._check(response)
        reply: dict[str, tuple[Any, int]] = {}
        for name, value, start, _ in raw_json.members(response.text):
            reply[name] = value, start
        token = str(reply["since"][0])
        for status in reply["status"][0] if "status" in reply else []:
            self._on_status(status, token)
        if not self._has_begun:
            self._has_begun = True
            if not reply.get("status", ([], 0))[0]:
                self._begin_at(token)
        if "publications" in reply:
            for _, start, _ in raw_json.elements(response.text, reply["publications"][1]):
                await self._has_room()
                self.feed.push(raw_json.message(response.text, start, self.feed.channel, self._epoch))
        self._token = token if token != NO_POSITION else None

    def _begin_at(self, token: str) -> None:
        """No status came: nothing was asked for, or all of it is there."""
        was_asked = self.feed.received is not None
        position = Position.parse(token) if token not in ("", NO_POSITION) else None
        self._epoch = position.epoch if position else ""
        self.feed.begin(self.feed.received or position, True if was_asked else None)
