"""One gateway of a fleet, as an operator's command sees it: its health, its registry, its drain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..address import base_url
from ..errors import ConfigError
from ..metrics_page import MalformedPage, parse
from ..transports.reconnect import refusal_of
from .exchange import Answer, Exchange, Unanswered

if TYPE_CHECKING:
    from ..transports.route import Verify

DRAINS = "it drains"

_PORTS = {"http": 80, "https": 443}
# Not among them: a conflict, and a position that is not kept any more.
_STORE_FAILURES = ("unavailable", "overloaded", "outcome_unknown", "full")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway is.

    Attributes:
        text: What the operator has written.
        url: Address of its HTTP API.
        listed: Its address in the registry, `host:port`, as `carillon nodes` shows it.
    """

    text: str
    url: str
    listed: str

    @property
    def host(self) -> str:
        """Host of the address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port of the address."""
        parts = urlsplit(self.url)
        return parts.port or _PORTS[urlsplit(base_url(self.url)).scheme]

    def with_words(self) -> dict[str, str]:
        """Values of the placeholders of a command."""
        return {"node": self.listed, "url": base_url(self.url), "host": self.host, "port": str(self.port)}


def place(text: str) -> Place:
    """Reads the address of a gateway: a URL, host:port, or host:port=URL.

    Raises:
        ConfigError: The text is none of these.
    """
    name, has_name, url = text.partition("=")
    if not has_name or "://" in name:
        name, url = "", text
    if "://" not in url:
        url = f"http://{url}"
    try:
        base_url(url)
    except ConfigError:
        raise ConfigError(
            f"{text!r} is not the address of a gateway: write it as http://host:port, as host:port, or as "
            "NAME=URL with a NAME of carillon nodes"
        ) from None
    found = Place(text, url, name)
    if name:
        return found
    host = f"[{found.host}]" if ":" in found.host else found.host
    return Place(text, url, f"{host}:{found.port}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A gateway in the registry of its fleet.

    Attributes:
        uid: Its name for as long as its process runs.
        address: Where it listens, `host:port`.
        version: Its version.
        clients: Number of its clients.
        is_draining: Whether it asks its clients to reconnect elsewhere.
    """

    uid: str
    address: str
    version: str
    clients: int
    is_draining: bool


class Refused(Unanswered):
    """A gateway has answered that it does not do what it was asked."""


class Gateway:
    """A gateway that is asked over its HTTP API.

    Args:
        place: Where it is.
        key: Key of the HTTP API; None without one.
        timeout_s: Maximum time for a connect, and then for an answer, seconds.
        verify: Certificates to trust over https.
    """

    def __init__(self, place: Place, key: str | None, timeout_s: float, verify: Verify) -> None:
        self.place = place
        self._url = base_url(place.url)
        self._has_key = key is not None
        self._exchange = Exchange(place.url, key, timeout_s, verify)

    async def close(self) -> None:
        """Closes the connection."""
        await self._exchange.close()

    async def trouble(self) -> str:
        """Returns why the gateway cannot serve clients; empty if it can."""
        try:
            answer = await self._exchange.ask("GET", f"{self._url}/health", is_last=True)
        except Unanswered as error:
            return str(error)
        health = _object(answer.body)
        if health.get("draining"):
            return DRAINS
        if answer.status != HTTPStatus.OK:
            return f"/health answers {answer.status}"
        if "keys" in health:
            return f"no client with a token can connect: its keys are {health['keys']}"
        if "store" in health:
            return f"publications fail: its store is {health['store']}"
        return ""

    async def fleet(self) -> list[Listed]:
        """Returns the registry of the fleet, as this gateway sees it.

        Raises:
            Unanswered: It does not give it.
        """
        result = await self._call("info", {})
        return [
            Listed(
                uid=str(node["uid"]),
                address=str(node.get("address") or node["uid"]),
                version=str(node.get("version", "")),
                clients=int(node["num_clients"]),
                is_draining=bool(node.get("draining")),
            )
            for node in result["nodes"]
        ]

    async def drain(self, pace_s: float | None, deadline_s: float | None) -> int:
        """Begins a drain, and returns the number of connections that are asked to leave.

        Args:
            pace_s: Time over which they are asked, seconds; None: `shutdown.pace` of the gateway.
            deadline_s: Time that they have, seconds; None: `shutdown.timeout` of the gateway.

        Raises:
            Refused: It does not drain.
            Unanswered: It may drain, or not.
        """
        times = {"pace_ms": pace_s, "deadline_ms": deadline_s}
        result = await self._call("drain", {k: round(v * 1000) for k, v in times.items() if v is not None})
        return int(result["connections"])

    async def refused(self) -> float | None:
        """Returns the number of connections, and calls of its store, that failed; None if it does not say.

        They count since the start of its process. What a publisher or a position has wrong is not in it.

        Raises:
            Unanswered: There is no answer.
        """
        answer = await self._exchange.ask("GET", f"{self._url}/metrics", is_last=True)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise Unanswered(f"/metrics answers {answer.status}")
        try:
            page = parse(answer.body.decode(errors="replace"))
        except MalformedPage:
            return None
        refused, failed, waited = (
            page.get(f"carillon_{each}_total")
            for each in ("refused_connections", "store_errors", "inbox_timeouts")
        )
        if refused is None:
            return None
        samples = [each for each in failed.samples if _is_failure(dict(each.labels))] if failed else []
        samples += waited.samples if waited else []
        return sum(each.value for each in [*refused.samples, *samples])

    async def _call(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer = await self._exchange.ask(
            "POST", f"{self._url}/api/{method}", json.dumps(fields).encode(), is_last=True
        )
        result = _object(answer.body).get("result")
        if answer.status != HTTPStatus.OK or not isinstance(result, dict):
            raise Refused(self._refusal(answer, method))
        return result

    def _refusal(self, answer: Answer, method: str) -> str:
        if answer.status == HTTPStatus.UNAUTHORIZED:
            text = "the key is wrong" if self._has_key else "its HTTP API requires a key"
            return f"401: {text}: give the http_api.key of the gateways by --api-key"
        _, reason = refusal_of(answer.status, answer.headers, answer.body, answer.phrase)
        return f"{answer.status} to POST /api/{method}: {reason}"


def _is_failure(labels: dict[str, str]) -> bool:
    return labels.get("error") in _STORE_FAILURES


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
