"""Subscriptions over plain long-polling (`GET /poll`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..position import Position
from . import raw_json
from .http_source import NO_POSITION, Bound, HttpSource
from .reconnect import Unreadable

if TYPE_CHECKING:
    import httpx


class PollSource(HttpSource):
    """Polls in a row. The first does not wait: it asks for the position, and its answer begins delivery."""

    _content_type = "application/json"
    _token: str | None = None
    _has_begun = False

    async def _attempt(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self._has_room()
            wait_s = self._settings.poll_timeout if self._has_begun else 0.0
            began = clock()
            response = await self._poll(wait_s)
            try:
                has_news = await self._on_answer(response.text)
            except (ValueError, KeyError, TypeError) as error:
                raise Unreadable(f"the answer to a poll cannot be read: {error!r}") from error
            if not has_news and clock() - began < wait_s / 2:
                return  # its polls do not wait: asking again at once would be a storm

    async def _poll(self, wait_s: float) -> httpx.Response:
        since = self._token or (str(self.feed.received) if self.feed.received else None)
        query = {"channel": self.feed.channel, "timeout": f"{wait_s:g}"}
        if since is not None:
            query["since"] = since
        async with Bound(wait_s + self._settings.open_timeout) as bound:
            response = await self._http.get(self._settings.url("/poll", **query), extensions=bound.extensions)
        await self._check(response)
        return response

    async def _on_answer(self, text: str) -> bool:
        """Takes what it brings. False: nothing."""
        reply: dict[str, tuple[Any, int]] = {}
        for name, value, start, _ in raw_json.members(text):
            reply[name] = value, start
        token = str(reply["since"][0])
        self._reconnect.served()
        for status in reply["status"][0] if "status" in reply else []:
            self._on_status(status, token)
        if not self._has_begun:
            self._has_begun = True
            if not reply.get("status", ([], 0))[0]:
                self._begin_at(token)
        if "publications" in reply:
            for _, start, _ in raw_json.elements(text, reply["publications"][1]):
                await self._has_room()
                self.feed.push(raw_json.message(text, start, self.feed.channel, self._epoch))
        self._token = token if token != NO_POSITION else None
        return any(reply.get(name, ((), 0))[0] for name in ("publications", "status"))

    def _begin_at(self, token: str) -> None:
        """No status came: nothing was asked for, or all of it is there."""
        was_asked = self.feed.received is not None
        position = Position.parse(token) if token not in ("", NO_POSITION) else None
        self._epoch = position.epoch if position else ""
        self.feed.begin(self.feed.received or position, True if was_asked else None)
