"""The token that a client presents, and the application's function that gives a new one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ..arguments import kind, shown, text
from ..errors import ConfigError, ConnectDenied, SubscribeDenied
from ..logs import logger
from .blocking_call import BlockingCall

if TYPE_CHECKING:
    from .settings import Settings

GetToken: TypeAlias = Callable[[], "str | Awaitable[str]"]

TOKEN_EXPIRED = 109  # error code: a new token is wanted
CONNECTION_EXPIRED = 3005
SUBSCRIPTION_EXPIRED = 2501

_log = logger("client")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client, or a subscription, was given to prove itself with.

    Attributes:
        token: First token; None without one.
        get_token: Function that returns a new one; None without one.
    """

    token: str | None = field(default=None, repr=False)
    get_token: GetToken | None = None

    @classmethod
    def of(cls, token: object, get_token: GetToken | None) -> Credentials:
        """Reads the arguments of these names.

        Raises:
            TypeError: One is of another type.
            ValueError: The token is empty.
        """
        if get_token is not None and not callable(get_token):
            raise TypeError(f"get_token: {shown(get_token)} is {kind(get_token)}; give a function")
        return cls(None if token is None else text("token", token), get_token)

    @property
    def are_given(self) -> bool:
        """Whether there is any."""
        return self.token is not None or self.get_token is not None


class TokenFailed(Exception):  # noqa: N818
    """`get_token` gave no token; it is asked again later. The cause is what it raised."""


class Token:
    """The token of one connection or subscription. Belongs to one event loop.

    `get_token` is asked by one task at a time, and never more often than the backoff allows.

    Attributes:
        trouble: Why there is no token now, for messages; empty if there is no trouble.
    """

    def __init__(self, credentials: Credentials, settings: Settings) -> None:
        self.trouble: str = ""
        self._token = credentials.token
        self._get = credentials.get_token
        self._call = (
            BlockingCall(credentials.get_token, "carillon get_token") if credentials.get_token else None
        )
        self._patience_s = settings.open_timeout
        self._backoff = settings.backoff()
        self._not_before = 0.0  # by the clock of the loop
        self._lock = asyncio.Lock()

    @property
    def is_given(self) -> bool:
        """Whether there is a token, or a function that gives one."""
        return self._token is not None or self._get is not None

    @property
    def can_be_renewed(self) -> bool:
        """Whether there is a function that gives a new one."""
        return self._get is not None

    @property
    def is_missing(self) -> bool:
        """Whether one has to be asked for."""
        return self._token is None and self._get is not None

    @property
    def known(self) -> str | None:
        """The token to present; None if there is none, or one has to be asked for."""
        return self._token

    async def current(self) -> str | None:
        """Returns the token to present, and asks for one if it has to; None if there is none.

        Raises:
            TokenFailed: `get_token` failed.
            ConnectDenied, SubscribeDenied: `get_token` says that there will be none.
            ConfigError: `get_token` returned something else.
        """
        if self.is_missing:
            async with self._lock:
                if self.is_missing:
                    self._token = await self._asked()
        return self._token

    async def renewed(self) -> str:
        """Asks for a new token in time and returns it. Raises what `current` does."""
        async with self._lock:
            token = self._token = await self._asked()
        return token

    def expired(self, token: str | None) -> bool:
        """Notes that the server calls this token expired. Returns whether another one can be asked for."""
        if self._get is not None and self._token == token:  # else it was replaced meanwhile
            self._token = None
            self._pause()
        return self._get is not None

    def remedy(self, code: int) -> str:
        """What to do about a refusal with this code; empty if that is not for us to say."""
        if code != TOKEN_EXPIRED or self._token is None or self._get is not None:
            return ""
        return "give get_token, a function that returns a new token"

    def _pause(self) -> None:
        self._not_before = asyncio.get_running_loop().time() + self._backoff.next_delay()

    async def _asked(self) -> str:
        assert self._get is not None
        await asyncio.sleep(self._not_before - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(self._patience_s) as limit:
                self.trouble = "get_token has not answered yet"
                given = await self._given()
        except (ConnectDenied, SubscribeDenied):
            raise
        except Exception as error:
            self._pause()
            what = f"{type(error).__name__}: {error}"
            if limit.expired():
                what = f"it gave no token within {self._patience_s:g} s"
            self.trouble = f"get_token failed: {what}"
            _log.warning("%s", self.trouble)
            raise TokenFailed(self.trouble) from error
        try:
            token = text("get_token", given)
        except (TypeError, ValueError):
            raise ConfigError(
                f"get_token: returned {shown(given)}, which is not a token; return a str, or raise "
                "carillon.ConnectDenied if there is none"
            ) from None
        self._backoff.connected()
        self.trouble = ""
        return token

    async def _given(self) -> Any:
        assert self._get is not None
        assert self._call is not None
        given = self._get() if inspect.iscoroutinefunction(self._get) else await self._call.run()
        return await given if inspect.isawaitable(given) else given
