"""The loop that all transports share: one attempt after another, with growing delays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
from websockets.exceptions import WebSocketException

from ..errors import CarillonError, ConnectDenied, ConnectError
from ..logs import logger
from .token import TokenFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .settings import Settings

_log = logger("client")


class Refused(Exception):  # noqa: N818
    """The server refuses for now, and the client tries again.

    Attributes:
        reason: Reason that the server gives.
        retry_after: Time to wait that the server asks for, seconds.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Unreadable(Exception):  # noqa: N818
    """An answer is not that of a Carillon server."""


# Errors after which a connection that was served before is tried again.
_PASSING = (OSError, WebSocketException, httpx.HTTPError, Unreadable)


def is_temporary(error: Mapping[str, Any]) -> bool:
    """Returns whether an error in an answer of the server passes by itself."""
    return bool(error.get("temporary")) or int(error.get("code", 0)) < 100


def retry_after_s(value: str | None) -> float:
    """Returns the seconds of a `Retry-After` header; 0 if there is none or it is a date."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else 0.0


def refusal_of(status: int, headers: Mapping[str, str], body: bytes, phrase: str) -> tuple[int, str]:
    """Returns the code and the reason that a server gives in an HTTP answer.

    Args:
        status: HTTP status, which is the code if the body has none.
        headers: Headers of the answer.
        body: `{"error":{"code":…,"message":…}}`, or one line of text. A page of something in between is
            ignored.
        phrase: Reason phrase of the answer, for a body without a reason.
    """
    kind, text = headers.get("Content-Type", ""), body.decode(errors="replace").strip()
    if kind.startswith("application/json"):
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            error = json.loads(text)["error"]
            return int(error.get("code") or status), str(error["message"])
    if kind.startswith("text/plain") and text and "\n" not in text:
        return status, text
    return status, phrase or "refused"


class Reconnect:
    """Makes attempts until one fails for good, with several servers at one after another.

    The order of the servers is random, so that clients spread, also those that one server has lost. A client
    tries the next server at once. When each server has failed once since a connection was stable, the usual
    delay comes before the next round.

    Attributes:
        server: Settings for the server of the current attempt.
        reason: Reason for the end of the newest attempt that has ended.
    """

    def __init__(self, settings: Settings, rng: random.Random | None = None) -> None:
        self.reason: str = "no answer yet"
        self._names = settings.names
        self._servers = [*settings.servers]
        (rng or random.Random()).shuffle(self._servers)
        self._retry_after: dict[str, float] = {}  # by address: what a server has asked for
        self.server: Settings = self._servers[0]
        self._failed: list[str] = []  # reasons of this round, one for each server that was tried
        self._backoff = settings.backoff()
        self._was_reached = False
        self._is_away = False

    @property
    def away(self) -> str:
        """Why the client is disconnected; empty while it is served, or has not tried yet."""
        return self.reason if self._is_away else ""

    @property
    def url(self) -> str:
        """Address of the server of the current attempt."""
        return self.server.base_url

    def served(self) -> None:
        """Notes that the server serves the current attempt."""
        self._backoff.connected()
        if self._is_away:
            _log.info("%s: connected again", self.url)
        self._is_away, self._was_reached = False, True

    async def run(self, attempt: Callable[[], Awaitable[None]]) -> NoReturn:
        """Makes one attempt after another, as long as they end or are refused for now.

        Raises:
            ConnectError: No server was ever reached, or there was no token for it.
            CarillonError: The attempt failed for good.
        """
        while True:
            at_least, reason = 0.0, "the server ended the connection"
            failure: Exception | None = None  # that ends all, unless another server is left in this round
            try:
                await attempt()
            except Refused as refused:
                at_least, reason = refused.retry_after, refused.reason
                self._was_reached = True
            except ConnectDenied:  # the client, whichever server it asks
                raise
            except ConnectError as error:
                failure, reason = error, str(error).removeprefix(f"{self.url} ")
            except CarillonError:
                raise
            except TokenFailed as failed:
                reason = str(failed)
                if not self._was_reached:
                    raise ConnectError(f"cannot connect to {self.url}: {reason}") from failed.__cause__
                await self._pause(reason, 0.0)
                continue
            except Exception as error:
                reason = str(error) or type(error).__name__
                if not self._was_reached:
                    failure = ConnectError(f"cannot reach {self.url}: {reason}")
                    failure.__cause__ = error
                elif not isinstance(error, _PASSING):
                    raise
            await self._go_on(reason, at_least, failure)

    async def _go_on(self, reason: str, at_least: float, failure: Exception | None) -> None:
        """Goes to the next server, after a delay if all have failed."""
        if len(self._servers) == 1:
            if failure is not None:
                raise failure
            return await self._pause(reason, at_least)
        last = self.url
        if self._backoff.ended():
            self._failed.clear()
        self._failed.append(f"{last}: {reason}")
        self._retry_after[last] = at_least
        self.server = self._servers[(self._servers.index(self.server) + 1) % len(self._servers)]
        if len(self._failed) < len(self._servers):
            self._is_away, self.reason = True, self._failed[-1]
            _log.info("%s: %s; trying %s", last, reason, self.url)
            return None
        reasons = "; ".join(self._failed)
        self._failed.clear()
        if failure is not None and not self._was_reached:
            raise ConnectError(f"cannot reach any of {self._names}: {reasons}") from failure.__cause__
        return await self._pause(reasons, self._retry_after.get(self.url, 0.0), last)

    async def _pause(self, reason: str, at_least: float, last: str = "") -> None:
        self._is_away, self.reason = True, reason
        delay_s = self._backoff.next_delay(at_least)
        if last:
            _log.info("%s; trying again in %.1f s", reason, delay_s)
        else:
            _log.info("%s: %s; trying again in %.1f s", self.url, reason, delay_s)
        await asyncio.sleep(delay_s)
