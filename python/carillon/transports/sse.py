"""Subscriptions over plain server-sent events (`GET /sse`), one stream each."""

from __future__ import annotations

import json
from typing import NoReturn

import httpx

from . import raw_json
from .http_source import Bound, HttpSource
from .reconnect import Refused, Unreadable
from .sse_parser import Event, EventParser
from .token import CONNECTION_EXPIRED


class SseSource(HttpSource):
    """One event stream; each attempt asks to go on behind the last publication that came in.

    An attempt has the open timeout for its first event. From then on only silence ends it.
    """

    _content_type = "text/event-stream"

    async def _attempt(self) -> None:
        query = {"channel": self.feed.channel, **self.feed.start.fields()}
        parser = EventParser()
        was_served = False
        usual_retry_ms: int | None = None
        authorization = await self._authorization()
        async with (
            Bound(self._settings.open_timeout) as start,
            self._http.stream(
                "GET",
                self._server.url("/sse", **query),
                headers={"Accept": "text/event-stream", "Cache-Control": "no-store", **authorization},
                timeout=httpx.Timeout(
                    None, connect=self._settings.connect_timeout, read=self._settings.idle_timeout
                ),
                extensions=start.extensions,
            ) as response,
        ):
            await self._check(response)
            async for chunk in response.aiter_bytes():
                try:
                    for event in parser.feed(chunk):
                        start.lift()
                        await self._has_room()
                        self._on_event(event)
                        if not was_served:
                            was_served, usual_retry_ms = True, parser.retry_ms
                            self._reconnect.served()
                except (ValueError, KeyError, TypeError) as error:
                    raise Unreadable(f"an event cannot be read: {error!r}") from error
        # A server that refuses for now, or drains, ends the stream by saying when to come back.
        if not was_served or parser.retry_ms != usual_retry_ms:
            raise Refused("refused for now", (parser.retry_ms or 0) / 1000)

    def _on_end(self, code: int, reason: str) -> NoReturn:
        if code == CONNECTION_EXPIRED:
            self.token.expired(self._presented)
        raise Refused(f"{reason} (code {code})")

    def _on_event(self, event: Event) -> None:
        if event.kind == "status":
            status = json.loads(event.data)
            if status.get("code"):  # the last event of a stream that the server ends
                self._on_end(int(status["code"]), str(status.get("reason", "")))
            self._on_status(status, event.last_id)
        elif event.kind == "message":
            self.feed.push(raw_json.message(event.data, 0, self.feed.channel, self._epoch))
