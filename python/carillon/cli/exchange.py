"""One request to a server, bounded in time and size, and why it had no answer."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from ..address import base_url, credentials
from ..transports.http_source import Bound, http_client
from ..transports.route import proxy_url, tls_context
from ..transports.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..transports.route import Verify

NOTHING_LISTENS = "refused: nothing listens at this port"
_ANSWER_BYTES = 8 * 1024 * 1024  # the page of metrics of a server has 20 kB


class Unanswered(Exception):  # noqa: N818
    """A server has not given what was asked for. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a server.

    Attributes:
        status: HTTP status.
        headers: Headers.
        body: Body.
        phrase: Reason phrase.
        at_s: Monotonic time at which its head came, seconds.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    phrase: str
    at_s: float


class Exchange:
    """Makes requests to one server, over one connection unless a request closes it.

    Args:
        url: Address of the server.
        key: Key of the HTTP API; None without one.
        timeout_s: Maximum time for a connect, and then for an answer, seconds.
        verify: Certificates to trust over https, as in `carillon.connect`.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float, verify: Verify) -> None:
        self._timeout_s = timeout_s
        self._auth = credentials(url)
        self._key = {b"X-API-Key": key.encode()} if key is not None else {}
        address = base_url(url)
        way = proxy_url(address, True)
        self._http = http_client(
            Settings(
                base_url=address,
                tls=tls_context(address, verify),
                proxy=way,
                proxy_tls=tls_context(way or "", verify),
                open_timeout=timeout_s,
            )
        )

    async def close(self) -> None:
        """Closes the connection."""
        await self._http.aclose()

    async def ask(self, method: str, url: str, body: bytes | None = None, *, is_last: bool = False) -> Answer:
        """Makes a request, and returns the whole answer whatever its status.

        Args:
            method: HTTP method.
            url: Address, with the path.
            body: JSON to send; by default none.
            is_last: Whether the connection is closed behind the answer: the server may end before the next.

        Raises:
            Unanswered: There is no answer in time, or it is too long.
        """
        headers = dict(self._key)
        if body is not None:
            headers[b"Content-Type"] = b"application/json"
        if is_last:
            headers[b"Connection"] = b"close"
        received = bytearray()
        try:
            async with Bound(self._timeout_s) as bound:
                request = self._http.build_request(
                    method, url, content=body, headers=headers, extensions=bound.extensions
                )
                response = await self._http.send(request, auth=self._auth, stream=True)
                at_s = time.monotonic()
                try:
                    async for chunk in response.aiter_bytes():
                        received += chunk
                        if len(received) > _ANSWER_BYTES:
                            raise Unanswered(f"the page has more than {_ANSWER_BYTES >> 20} MiB")
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise Unanswered(f"timeout: no answer within {self._timeout_s:g} s (--timeout)") from None
        except httpx.HTTPError as error:
            raise Unanswered(_reason_of(error)) from None
        return Answer(response.status_code, response.headers, bytes(received), response.reason_phrase, at_s)


def _reason_of(error: httpx.HTTPError) -> str:
    """Returns why an exchange failed; a refused connection by its number, which httpx hides."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return NOTHING_LISTENS
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
