"""Reads the page of metrics of a server, and says why it cannot."""

from __future__ import annotations

import errno
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from ..address import base_url, credentials
from ..metrics_page import MalformedPage, parse
from ..server_figures import Figures, Reading, figures_of
from ..transports.http_source import Bound, http_client
from ..transports.reconnect import refusal_of
from ..transports.route import proxy_url, tls_context
from ..transports.settings import Settings

if TYPE_CHECKING:
    from ..transports.route import Verify

_PAGE_BYTES = 8 * 1024 * 1024  # the page of a server has 20 kB


class Unanswered(Exception):  # noqa: N818
    """A server has no figures. The message says why, and what to do."""


def page_url(url: str) -> str:
    """Returns the address of the page of metrics of a server: with /metrics if the path is empty.

    Raises:
        ConfigError: The text is not the address of a server.
    """
    address = base_url(url)
    return address if urlsplit(address).path else f"{address}/metrics"


class MetricsReader:
    """Reads the page of one server again and again, over one connection.

    Attributes:
        url: Address of the page.
        interval_s: Time between the last two readings, seconds; 0 before the second.

    Args:
        url: Address of the server or of the page.
        key: Key of the HTTP API; None without one.
        timeout_s: Maximum time for a connect, and then for an answer, seconds.
        verify: Certificates to trust over https, as in `carillon.connect`.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float, verify: Verify) -> None:
        self.url: str = page_url(url)
        self.interval_s: float = 0.0
        self._has_key = key is not None
        self._timeout_s = timeout_s
        self._reading: Reading | None = None
        self._auth = credentials(url)
        self._headers = {b"X-API-Key": key.encode()} if key is not None else {}
        way = proxy_url(self.url, True)
        self._http = http_client(
            Settings(
                base_url=self.url,
                tls=tls_context(self.url, verify),
                proxy=way,
                proxy_tls=tls_context(way or "", verify),
                open_timeout=timeout_s,
            )
        )

    async def close(self) -> None:
        """Closes the connection."""
        await self._http.aclose()

    async def read(self) -> Figures:
        """Reads the page, and returns the figures since the last page that was read.

        Raises:
            Unanswered: There is no answer, or none with metrics.
        """
        text, at_s = await self._get()
        try:
            reading = Reading(parse(text), at_s)
            figures = figures_of(reading, self._reading)
        except MalformedPage as error:
            raise Unanswered(f"not a page of Carillon's metrics: {error}") from None
        self.interval_s = at_s - self._reading.at_s if self._reading else 0.0
        self._reading = reading
        return figures

    async def _get(self) -> tuple[str, float]:
        body = bytearray()
        try:
            async with Bound(self._timeout_s) as bound:
                request = self._http.build_request(
                    "GET", self.url, headers=self._headers, extensions=bound.extensions
                )
                response = await self._http.send(request, auth=self._auth, stream=True)
                at_s = time.monotonic()
                try:
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > _PAGE_BYTES:
                            raise Unanswered(f"the page has more than {_PAGE_BYTES >> 20} MiB")
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise Unanswered(f"timeout: no answer within {self._timeout_s:g} s (--timeout)") from None
        except httpx.HTTPError as error:
            raise Unanswered(_reason_of(error)) from None
        if response.status_code != HTTPStatus.OK:
            raise Unanswered(self._refusal(response, bytes(body)))
        return body.decode(errors="replace"), at_s

    def _refusal(self, response: httpx.Response, body: bytes) -> str:
        status = response.status_code
        _, reason = refusal_of(status, response.headers, body, response.reason_phrase)
        if status == HTTPStatus.UNAUTHORIZED:
            if not self._has_key:
                return "401: the page needs the key of the HTTP API: give --api-key"
            return "401: the key is wrong: give the http_api.key of the server by --api-key"
        if status == HTTPStatus.NOT_FOUND:
            if "prometheus.enabled" in reason or "internal_port" in reason:
                return f"404: {reason}"
            return f"404: there are no metrics at {urlsplit(self.url).path}"
        return f"{status}: {reason}"


def _reason_of(error: httpx.HTTPError) -> str:
    """Returns why an exchange failed; a refused connection by its number, which httpx hides."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return "refused: nothing listens at this port"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
