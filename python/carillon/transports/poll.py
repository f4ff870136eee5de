"""Subscriptions over plain long-polling (`GET /poll`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import raw_json
from .http_source import NO_POSITION, Bound, HttpSource
from .reconnect import Unreadable

if TYPE_CHECKING:
    import httpx


class PollSource(HttpSource):
    """Polls in a row. The first does not wait: it asks for the position, and its answer begins delivery."""

    _content_type = "application/json"
    _behind: str | None = None  # text of the position; none before the first answer
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
        query: dict[str, str | int] = {"channel": self.feed.channel, "timeout": f"{wait_s:g}"}
        query |= {"since": self._behind} if self._behind else self.feed.start.fields()
        authorization = await self._authorization()
        async with Bound(wait_s + self._settings.open_timeout) as bound:
            response = await self._http.get(
                self._server.url("/poll", **query), headers=authorization, extensions=bound.extensions
            )
        await self._check(response)
        return response

    async def _on_answer(self, text: str) -> bool:
        """Takes what it brings. False: nothing."""
        reply: dict[str, tuple[Any, int]] = {}
        for name, value, start, _ in raw_json.members(text):
            reply[name] = value, start
        behind = str(reply["since"][0])
        self._reconnect.served()
        statuses = reply["status"][0]
        if self._has_begun:  # a poll without a position continues what an earlier one began
            statuses = [status for status in statuses if status.get("recovered") is not None]
        for status in statuses:
            self._on_status(status, behind)
        self._has_begun = True
        if "publications" in reply:
            for _, start, _ in raw_json.elements(text, reply["publications"][1]):
                await self._has_room()
                self.feed.push(raw_json.message(text, start, self.feed.channel, self._epoch))
        self._behind = behind if behind != NO_POSITION else None
        return bool(statuses or reply.get("publications", ((), 0))[0])
