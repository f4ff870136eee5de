"""Reads the page of metrics of a server, and says why it cannot."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..address import base_url
from ..metrics_page import MalformedPage, parse
from ..server_figures import Figures, Reading, figures_of
from ..transports.reconnect import refusal_of
from .exchange import Answer, Exchange, Unanswered

if TYPE_CHECKING:
    from ..transports.route import Verify


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
        self._reading: Reading | None = None
        self._exchange = Exchange(url, key, timeout_s, verify)

    async def close(self) -> None:
        """Closes the connection."""
        await self._exchange.close()

    async def read(self) -> Figures:
        """Reads the page, and returns the figures since the last page that was read.

        Raises:
            Unanswered: There is no answer, or none with metrics.
        """
        answer = await self._exchange.ask("GET", self.url)
        if answer.status != HTTPStatus.OK:
            raise Unanswered(self._refusal(answer))
        try:
            reading = Reading(parse(answer.body.decode(errors="replace")), answer.at_s)
            figures = figures_of(reading, self._reading)
        except MalformedPage as error:
            raise Unanswered(f"not a page of Carillon's metrics: {error}") from None
        self.interval_s = answer.at_s - self._reading.at_s if self._reading else 0.0
        self._reading = reading
        return figures

    def _refusal(self, answer: Answer) -> str:
        status = answer.status
        _, reason = refusal_of(status, answer.headers, answer.body, answer.phrase)
        if status == HTTPStatus.UNAUTHORIZED:
            if not self._has_key:
                return "401: the page needs the key of the HTTP API: give --api-key"
            return "401: the key is wrong: give the http_api.key of the server by --api-key"
        if status == HTTPStatus.NOT_FOUND:
            if "prometheus.enabled" in reason or "internal_port" in reason:
                return f"404: {reason}"
            return f"404: there are no metrics at {urlsplit(self.url).path}"
        return f"{status}: {reason}"
