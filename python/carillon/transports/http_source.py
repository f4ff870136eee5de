"""What SSE and long-poll subscriptions share: the HTTP client, the attempts, waiting for the reader."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import httpx

from ..address import endpoint_hint
from ..errors import ConnectDenied, ConnectError, SubscribeDenied
from ..position import Position
from .base import NetworkSource
from .reconnect import Reconnect, Refused, Unreadable, refusal_of, retry_after_s
from .token import TOKEN_EXPIRED, Token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from ..lifetime import Lifetime
    from ..start import Start
    from .settings import Settings
    from .token import Credentials

NO_POSITION = "-"  # in place of a position, where a channel has no log


def http_client(settings: Settings) -> httpx.AsyncClient:
    """A client for one server. TLS and proxy are those of the settings, whatever httpx would choose.

    It has a time-out for connecting alone. What follows is bounded by a `Bound`.

    Raises:
        ConnectError: The proxy needs a package that is not installed.
    """
    try:
        return httpx.AsyncClient(
            verify=settings.tls or not settings.base_url.startswith("http:"),  # else it reads them in vain
            proxy=httpx.Proxy(settings.proxy, ssl_context=settings.proxy_tls) if settings.proxy else None,
            headers=settings.headers,
            timeout=httpx.Timeout(None, connect=settings.connect_timeout),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
    except ImportError as error:
        raise ConnectError(f"cannot reach {settings.base_url} by way of a SOCKS proxy: {error}") from None


class HttpClients:
    """A client for each server: certificates and proxy depend on the address.

    Raises:
        ConnectError: The proxy needs a package that is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._clients = {server.base_url: http_client(server) for server in settings.servers}

    def of(self, server: Settings) -> httpx.AsyncClient:
        """The client for one server."""
        return self._clients[server.base_url]

    async def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            await client.aclose()


class Bound:
    """Bounds a whole exchange. The time-outs of httpx would start anew with each byte of the answer.

    The time begins when the request is being sent. Until then httpx bounds each step of connecting, and gives
    the socket back.

    Args:
        patience_s: Time for the exchange, seconds.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._limit = asyncio.timeout(None)
        self._has_begun = False

    @property
    def extensions(self) -> dict[str, Any]:
        """Extensions of the request, by which the bound hears of its progress."""
        return {"trace": self._on_progress}

    def lift(self) -> None:
        """Takes the bound away."""
        self._limit.reschedule(None)

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise TimeoutError(f"no whole answer within {self._patience_s:g} s") from None

    async def _on_progress(self, event: str, _: Mapping[str, Any]) -> None:
        if not self._has_begun and ".send_request_" in event:
            self._has_begun = True
            self._limit.reschedule(asyncio.get_running_loop().time() + self._patience_s)


async def _refusal_of(response: httpx.Response) -> tuple[int, str]:
    """Returns the code and the reason that the server gives; a page of something in between has neither."""
    if len(response.headers.get("Content-Length", "none")) <= 3:  # a short answer
        await response.aread()
        return refusal_of(response.status_code, response.headers, response.content, response.reason_phrase)
    return response.status_code, response.reason_phrase or "refused"


class HttpTransport:
    """See `Transport`. Each subscription makes requests of its own.

    Args:
        kind: How it makes them.
    """

    def __init__(self, kind: type[HttpSource], settings: Settings, lifetime: Lifetime) -> None:
        self._kind = kind
        self._settings = settings
        self._lifetime = lifetime
        self._http = HttpClients(settings)
        self._token = Token(settings.credentials, settings)

    async def open(self) -> None:
        """Nothing to do."""
        self._lifetime.check()

    async def close(self) -> None:
        """Closes the pools of connections."""
        await self._http.close()

    def source(self, channel: str, start: Start, credentials: Credentials) -> HttpSource:
        """A subscription, not yet started. Its own token stands in the place of the client's."""
        token = Token(credentials, self._settings) if credentials.are_given else self._token
        return self._kind(self._settings, self._lifetime, self._http, channel, start, token)


class HttpSource(NetworkSource):
    """Fills a feed by HTTP requests that repeat; each names the position to go on from."""

    _content_type: str  # of its answers

    def __init__(
        self,
        settings: Settings,
        lifetime: Lifetime,
        http: HttpClients,
        channel: str,
        start: Start,
        token: Token,
    ) -> None:
        super().__init__(settings, lifetime, Reconnect(settings), channel, start, token)
        self._clients = http
        self._epoch = start.position.epoch if start.position else ""
        self._room = asyncio.Event()
        self._presented: str | None = None  # token of the newest request
        self._task: asyncio.Task[None] | None = None

    @property
    def _server(self) -> Settings:
        return self._reconnect.server

    @property
    def _http(self) -> httpx.AsyncClient:
        return self._clients.of(self._server)

    def _begin(self) -> None:
        self.feed.on_room = self._room.set
        self._task = self._lifetime.start(
            self._run(), f"the subscription to {self.feed.channel!r}", self.feed
        )

    async def close(self) -> None:
        """Ends delivery. Idempotent."""
        self.feed.end()
        if self._task is not None:
            await self._lifetime.stop(self._task)

    def abandon(self) -> None:
        """Ends delivery without waiting; may be called from any thread."""
        if self._task is not None:
            self.home.post(self._task.cancel)

    async def _run(self) -> None:
        await self._reconnect.run(self._attempt)

    @abstractmethod
    async def _attempt(self) -> None:
        """One connection, from request to end. Returns when another may follow after a delay."""

    async def _authorization(self) -> dict[str, str]:
        """Returns the header that proves who the client is; none without a token."""
        self._presented = await self.token.current()
        return {"Authorization": f"Bearer {self._presented}"} if self._presented is not None else {}

    def _expire(self, reason: str) -> None:
        """The token that was presented is over.

        Raises:
            Refused: Another one will be presented.
        """
        if self.token.expired(self._presented):
            raise Refused(reason)

    async def _check(self, response: httpx.Response) -> None:
        """Checks the head of an answer.

        Raises:
            Refused: The server is not available now, or wants another token.
            ConnectDenied: The server refuses the client.
            SubscribeDenied: The server refuses the subscription.
            ConnectError: This is not the address of the server.
            Unreadable: It is not the answer of a Carillon server.
        """
        status = response.status_code
        if status == 429 or status >= 500:
            raise Refused(f"HTTP status {status}", retry_after_s(response.headers.get("Retry-After")))
        if response.is_redirect:
            place = response.headers["Location"]
            raise ConnectError(f"{self._server.base_url} redirects to {place}: give the address of a server")
        if status == 404 and (hint := endpoint_hint(self._server.base_url)):
            raise ConnectError(f"{self._server.base_url} answers with HTTP status 404{hint}")
        if status == 401:  # who the client is; 403 is about the channel
            code, reason = await _refusal_of(response)
            if code == TOKEN_EXPIRED:
                self._expire(reason)
            raise ConnectDenied(code, reason, self.token.remedy(code))
        if status != 200:
            raise SubscribeDenied(*await _refusal_of(response))
        kind = response.headers.get("Content-Type", "nothing").partition(";")[0]
        if kind != self._content_type:
            raise Unreadable(f"the answer is {kind}, not {self._content_type}: is this a Carillon server?")

    async def _has_room(self) -> None:
        """Waits until the reader has caught up. Meanwhile the server keeps our position, not our backlog."""
        while self.feed.is_paused:
            self._room.clear()
            await self._room.wait()

    def _on_status(self, status: dict[str, Any], behind: str) -> None:
        """Delivery starts here. `behind` is the text of the position; without a log there is none."""
        self._epoch = (status.get("epoch") or "") if behind != NO_POSITION else ""
        position = Position(int(status.get("offset", 0)), self._epoch) if self._epoch else None
        self.feed.is_conflated = bool(status.get("conflated"))
        self.feed.begin(position, status.get("recovered"))
