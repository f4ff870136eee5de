"""Subscriptions over plain server-sent events (`GET /sse`), one stream each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx

from . import raw_json
from .http_source import HttpSource, Refused, http_client
from .sse_parser import Event, EventParser

if TYPE_CHECKING:
    from ..position import Position
    from .settings import Settings


class SseTransport:
    """See `Transport`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = http_client(settings)

    async def open(self) -> None:
        """Nothing to do: each subscription has its own stream."""

    async def close(self) -> None:
        """Closes the pool of connections."""
        await self._http.aclose()

    def source(self, channel: str, since: Position | None) -> SseSource:
        """A subscription, not yet started."""
        return SseSource(self._settings, self._http, channel, since)


class SseSource(HttpSource):
    """One event stream; each attempt asks to go on behind the last publication that came in."""

    async def _attempt(self) -> None:
        query = {"channel": self.feed.channel}
        if self.feed.received is not None:
            query["since"] = str(self.feed.received)
        patience = httpx.Timeout(self._settings.open_timeout, read=self._settings.idle_timeout)
        parser = EventParser()
        was_served = False
        usual_retry_ms: int | None = None
        async with self._http.stream(
            "GET",
            self._settings.url("/sse", **query),
            headers={"Accept": "text/event-stream", "Cache-Control": "no-store"},
            timeout=patience,
        ) as response:
            await self._check(response)
            async for chunk in response.aiter_bytes():
                for event in parser.feed(chunk):
                    if not was_served:
                        was_served, usual_retry_ms = True, parser.retry_ms
                    await self._has_room()
                    self._on_event(event)
        # A server that refuses for now, or drains, ends the stream by saying when to come back.
        if not was_served or parser.retry_ms != usual_retry_ms:
            raise Refused((parser.retry_ms or 0) / 1000)

    def _on_event(self, event: Event) -> None:
        if event.kind == "status":
            self._on_status(json.loads(event.data), event.last_id)
        elif event.kind == "message":
            self.feed.push(raw_json.message(event.data, 0, self.feed.channel, self._epoch))
