"""One attempt after the other, with growing delays: the loop that all transports share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import httpx
from websockets.exceptions import WebSocketException

from ..errors import CarillonError, ConnectError
from ..logs import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .settings import Settings

_log = logger("client")


class Refused(Exception):  # noqa: N818
    """The server refuses for now.

    Attributes:
        reason: Why.
        retry_after: Seconds that it asks us to wait.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Unreadable(Exception):  # noqa: N818
    """What came is not what a Carillon server sends."""


# What a network, a proxy or a server can do to a connection that was served before.
_PASSING = (OSError, WebSocketException, httpx.HTTPError, Unreadable)


def retry_after_s(value: str | None) -> float:
    """Seconds of a `Retry-After` header; 0 if there is none or it is a date."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else 0.0


class Reconnect:
    """Makes attempts until one fails for good.

    Attributes:
        reason: Why the newest attempt that is over has ended.
    """

    def __init__(self, settings: Settings) -> None:
        self.reason = "no answer yet"
        self._url = settings.base_url
        self._backoff = settings.backoff()
        self._was_reached = False
        self._is_away = False

    def served(self) -> None:
        """The server serves the attempt under way."""
        self._backoff.connected()
        if self._is_away:
            _log.info("%s: connected again", self._url)
        self._is_away, self._was_reached = False, True

    async def run(self, attempt: Callable[[], Awaitable[None]]) -> NoReturn:
        """Makes an attempt after each that ended, or was refused for now.

        Raises:
            ConnectError: The server was never reached.
            CarillonError: The attempt failed for good.
        """
        while True:
            at_least, reason = 0.0, "the server ended the connection"
            try:
                await attempt()
            except Refused as refused:
                at_least, reason = refused.retry_after, refused.reason
                self._was_reached = True
            except CarillonError:
                raise
            except Exception as error:
                reason = str(error) or type(error).__name__
                if not self._was_reached:
                    raise ConnectError(f"cannot reach {self._url}: {reason}") from error
                if not isinstance(error, _PASSING):
                    raise
            self._is_away, self.reason = True, reason
            delay_s = self._backoff.next_delay(at_least)
            _log.info("%s: %s; trying again in %.1f s", self._url, reason, delay_s)
            await asyncio.sleep(delay_s)
