"""What SSE and long-poll subscriptions share: the HTTP client, the attempts, waiting for the reader."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from ..errors import CarillonError, ConnectError, SubscribeDenied
from ..feed import Feed
from ..position import Position

if TYPE_CHECKING:
    from .settings import Settings

_log = logging.getLogger("carillon.client")

NO_POSITION = "-"  # in place of a position token, where a channel has no log


def http_client(settings: Settings) -> httpx.AsyncClient:
    """A client for one server. A proxy from the environment is not used for this machine itself."""
    url = urlsplit(settings.base_url)
    host = url.hostname or ""
    return httpx.AsyncClient(
        verify=url.scheme != "http",  # where there is no TLS, reading the certificates costs 95 ms in vain
        headers=settings.headers,
        timeout=httpx.Timeout(settings.open_timeout),
        limits=httpx.Limits(max_connections=None),
        trust_env=not is_loopback(host),
    )


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after_s(value: str | None) -> float:
    """Seconds of a `Retry-After` header; 0 if there is none or it is a date."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else 0.0


class Refused(Exception):  # noqa: N818
    """The server refuses for now.

    Attributes:
        retry_after: Seconds that it asks us to wait.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"refused for now, retry after {retry_after} s")
        self.retry_after = retry_after


async def _reason_of(response: httpx.Response) -> str:
    """Why the server refuses, in its words; a page of something in between is none."""
    is_short = len(response.headers.get("Content-Length", "none")) <= 3
    if is_short and response.headers.get("Content-Type", "").startswith("text/plain"):
        text = (await response.aread()).decode(errors="replace").strip()
        if text and "\n" not in text:
            return text
    return response.reason_phrase or "refused"


class HttpSource(ABC):
    """Fills a feed by HTTP requests that repeat; each names the position to go on from."""

    def __init__(
        self, settings: Settings, http: httpx.AsyncClient, channel: str, since: Position | None
    ) -> None:
        self.feed = Feed(channel, since, settings.capacity)
        self._settings = settings
        self._http = http
        self._epoch = since.epoch if since else ""
        self._backoff = settings.backoff()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_reached = False
        self._is_away = False

    async def open(self) -> None:
        """Starts delivery and waits until it has begun."""
        self._loop = asyncio.get_running_loop()
        self.feed.on_room = self._room.set
        self._task = asyncio.create_task(self._run(), name=f"carillon {self.feed.channel}")
        await self.feed.begun()

    async def close(self) -> None:
        """Ends delivery. Idempotent."""
        self.feed.end()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def abandon(self) -> None:
        """Ends delivery without waiting; may be called from any thread."""
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._task.cancel)

    @abstractmethod
    async def _attempt(self) -> None:
        """One connection, from request to end. Returns when another may follow at once or after a delay."""

    async def _run(self) -> None:
        while not self.feed.is_over:
            at_least, reason = 0.0, "the stream ended"
            try:
                await self._attempt()
            except Refused as refused:
                at_least, reason = refused.retry_after, "refused for now"
            except CarillonError as error:
                self.feed.fail(error)
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                reason = str(error) or type(error).__name__
                if not self._was_reached:
                    self.feed.fail(ConnectError(f"cannot reach {self._settings.base_url}: {reason}"))
            if not self.feed.is_over:
                self._is_away = True
                delay_s = self._backoff.next_delay(at_least)
                _log.info("%s: %s; trying again in %.1f s", self._settings.base_url, reason, delay_s)
                await asyncio.sleep(delay_s)

    async def _check(self, response: httpx.Response) -> None:
        """Tells what a status means for us.

        Raises:
            Refused: Come back later.
            SubscribeDenied: Do not come back.
        """
        self._was_reached = True
        status = response.status_code
        if status == 200:
            self._backoff.reset()
            if self._is_away:
                _log.info("%s: connected again", self._settings.base_url)
            self._is_away = False
        elif status == 429 or status >= 500:
            raise Refused(retry_after_s(response.headers.get("Retry-After")))
        else:
            raise SubscribeDenied(status, await _reason_of(response))

    async def _has_room(self) -> None:
        """Waits until the reader has caught up. Meanwhile the server keeps our position, not our backlog."""
        while self.feed.is_paused and not self.feed.is_over:
            self._room.clear()
            await self._room.wait()

    def _on_status(self, status: dict[str, Any], token: str) -> None:
        """Delivery starts here; `token` is the server's position token, which a channel without log lacks."""
        self._epoch = (status.get("epoch") or "") if token != NO_POSITION else ""
        was_asked = self.feed.received is not None
        position = Position(int(status.get("offset", 0)), self._epoch) if self._epoch else None
        self.feed.is_conflated = bool(status.get("conflated"))
        self.feed.begin(position, bool(status.get("recovered")) if was_asked else None)
