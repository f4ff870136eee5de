"""The interface between the client and its transports."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from ..errors import ConnectError
from ..feed import Feed

if TYPE_CHECKING:
    from ..items import ClientInfo, History, PresenceStats
    from ..lifetime import Home, Lifetime
    from ..payload import Publication
    from ..position import Position
    from ..start import HistoryQuery, Start
    from ..stream import Source
    from .reconnect import Reconnect
    from .settings import Settings
    from .token import Credentials, Token


class Transport(Protocol):
    """A transport of one client. The end of the client's lifetime ends its tasks and waits."""

    async def open(self) -> None:
        """Connects to the server for the first time.

        Raises:
            ConnectError: The server cannot be reached, or refuses.
        """

    async def close(self) -> None:
        """Releases what is left after the end of the lifetime. Idempotent."""

    def source(self, channel: str, start: Start, credentials: Credentials) -> Source:
        """Returns a subscription that is not started yet."""


class Commands(Protocol):
    """The commands of a client, over a connection or over the HTTP API."""

    async def publish(self, channel: str, publication: Publication) -> Position | None:
        """Publishes, and returns the position; None if the protocol does not have it."""

    async def history(self, channel: str, query: HistoryQuery) -> History:
        """Reads the history of a channel."""

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Returns the clients on a channel, by connection id."""

    async def presence_stats(self, channel: str) -> PresenceStats:
        """Returns the numbers of clients and users on a channel."""


class NetworkSource(ABC):
    """Fills a feed over a network. See `Source`.

    Attributes:
        feed: The feed that it fills.
        token: The token that it presents.
    """

    def __init__(
        self,
        settings: Settings,
        lifetime: Lifetime,
        reconnect: Reconnect,
        channel: str,
        start: Start,
        token: Token,
    ) -> None:
        self.token: Token = token
        self.feed: Feed = Feed(channel, start, settings.capacity)
        self._settings = settings
        self._lifetime = lifetime
        self._reconnect = reconnect

    @property
    def home(self) -> Home:
        """See `Source`."""
        return self._lifetime.home

    @property
    def away(self) -> str:
        """See `Source`."""
        return self._reconnect.away

    def start(self) -> None:
        """Starts delivery and does not wait for it."""
        self._lifetime.check()
        self._lifetime.adopt(self.feed)
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Starts the work."""

    async def begun(self) -> None:
        """Waits until delivery has begun, at most for the open timeout."""
        patience_s = self._settings.open_timeout
        try:
            async with asyncio.timeout(patience_s):
                await self.feed.begun()
        except TimeoutError:
            raise ConnectError(
                f"{self._settings.names} did not begin the subscription to {self.feed.channel!r} within "
                f"{patience_s:g} s: {self.token.trouble or self._reconnect.reason}"
            ) from None
