"""Commands over the server's HTTP API (`POST /api/<method>`)."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from ..errors import (
    CarillonError,
    CommandError,
    CommandTimeout,
    ConnectError,
    ConnectionClosed,
    PositionError,
    StoreConflict,
)
from ..items import ClientInfo, History, Node, PresenceStats
from ..position import Position
from . import raw_json
from .http_source import Bound, HttpClients
from .reconnect import refusal_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..lifetime import Lifetime
    from ..payload import Publication
    from ..start import HistoryQuery
    from .settings import Settings


T = TypeVar("T")

_EPOCH_DIFFERS, _CONFLICT = 112, 113  # codes of errors


class HttpApi:
    """Publishes and reads with the key of the API.

    With several servers it begins with any of them. One that cannot be reached has done nothing, so the next
    one is asked; the one that answered is asked first from then on.
    """

    def __init__(self, settings: Settings, lifetime: Lifetime) -> None:
        self._settings = settings
        self._lifetime = lifetime
        self._http = HttpClients(settings)
        self._servers = [*settings.servers]
        random.shuffle(self._servers)

    async def close(self) -> None:
        """Closes the pools of connections."""
        await self._http.close()

    @property
    def url(self) -> str:
        """Address of the server that is asked first."""
        return self._servers[0].base_url

    async def publish(self, channel: str, publication: Publication) -> Position:
        """Publishes. JSON text is sent byte for byte."""
        payload, is_json, *_ = publication
        fields: dict[str, Any] = {"channel": channel}
        fields |= {
            name: value
            for name, value in publication._asdict().items()
            if name not in ("payload", "is_json")
            and (value or (name == "expected_offset" and value is not None))
        }
        head = json.dumps(fields)[:-1].encode()
        body = b',"data":' + bytes(payload) if is_json else b',"b64data":"' + base64.b64encode(payload) + b'"'
        return await self._call("publish", head + body + b"}", _position_result)

    async def history(self, channel: str, query: HistoryQuery) -> History:
        """Reads the history of a channel."""
        body = history_request(channel, query).encode()
        return await self._call("history", body, lambda text, at: history_result(text, at, channel, query))

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Returns the clients on a channel, by connection id."""

        async def ask(request: str) -> PresencePage:
            return await self._call(
                "presence", request.encode(), lambda text, start: presence_page(_fields(text, start))
            )

        return await presence_pages(channel, ask)

    async def presence_stats(self, channel: str) -> PresenceStats:
        """Returns the numbers of clients and users on a channel."""
        body = json.dumps({"channel": channel}).encode()
        return await self._call("presence_stats", body, lambda text, at: presence_stats(_fields(text, at)))

    async def nodes(self) -> list[Node]:
        """Returns the servers that share the store."""
        return await self._call(
            "info", b"{}", lambda text, at: [_node(each) for each in _fields(text, at)["nodes"]]
        )

    async def _call(self, method: str, body: bytes, read: Callable[[str, int], T]) -> T:
        headers = {"Content-Type": "application/json"}
        if self._settings.api_key:
            headers["X-API-Key"] = self._settings.api_key
        failures: list[ConnectError] = []
        for server in [*self._servers]:
            try:
                response = await self._post(server, method, body, headers)
                break
            except ConnectError as error:
                failures.append(error)
                if self._servers[0] is server:  # else another call has seen it, too
                    self._servers.append(self._servers.pop(0))
        else:
            if len(failures) == 1:
                raise failures[0]
            raise ConnectError("; ".join(map(str, failures))) from failures[-1].__cause__
        return _result_of(response, read)

    async def _post(
        self, server: Settings, method: str, body: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        url, patience_s = server.base_url, self._settings.open_timeout
        try:
            async with Bound(patience_s) as bound:
                return await self._lifetime.run(
                    self._http.of(server).post(
                        f"{url}/api/{method}", content=body, headers=headers, extensions=bound.extensions
                    )
                )
        except TimeoutError:
            raise CommandTimeout(
                f"{url} did not answer the {method} within {patience_s:g} s: it may be done, or not"
            ) from None
        except (httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError):
            raise ConnectionClosed(
                0, f"the connection to {url} was cut before the answer came: the command may be done, or not"
            ) from None
        except CarillonError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise ConnectError(f"cannot reach {url}: {reason}") from error


def _result_of(response: httpx.Response, read: Callable[[str, int], T]) -> T:
    if response.status_code == 401:
        raise CommandError(401, "the HTTP API requires its key: give api_key")
    if response.status_code != 200:
        if refused := _error_that_is_the_body(response.content):
            raise command_error(refused)
        refusal = refusal_of(response.status_code, response.headers, response.content, response.reason_phrase)
        raise CommandError(*refusal)
    try:
        for name, value, start, _ in raw_json.members(response.text):
            if name == "error":
                raise command_error(value)
            if name == "result":
                return read(response.text, start)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CarillonError):
            raise
        raise CommandError(
            200, f"the answer cannot be read ({error!r}): is this a Carillon server?"
        ) from error
    raise CommandError(200, "the answer holds neither a result nor an error")


def _fields(text: str, start: int) -> dict[str, Any]:
    return {name: value for name, value, _, _ in raw_json.members(text, start)}


def _node(fields: Mapping[str, Any]) -> Node:
    return Node(
        address=str(fields.get("address", "")),
        uid=str(fields["uid"]),
        version=str(fields.get("version", "")),
        clients=int(fields.get("num_clients", 0)),
        users=int(fields.get("num_users", 0)),
        subscriptions=int(fields.get("num_subs", 0)),
        channels=int(fields.get("num_channels", 0)),
        uptime_s=int(fields.get("uptime", 0)),
        is_draining=bool(fields.get("draining", False)),
    )


def _position_result(text: str, start: int) -> Position:
    result = _fields(text, start)
    position = _position(result)
    if result.get("skipped"):
        raise StoreConflict(
            "version: is not above the last version of the channel, so nothing was stored; read what is new "
            "before you publish again",
            position,
        )
    return position


def _position(fields: Mapping[str, Any]) -> Position:
    return Position(int(fields.get("offset", 0)), str(fields.get("epoch", "")))


def _error_that_is_the_body(body: bytes) -> dict[str, Any] | None:
    """Returns the error of an answer with `http_api.error_mode = "transport"`; None of any other answer."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    is_error = isinstance(document, dict) and isinstance(document.get("code"), int) and "message" in document
    return document if is_error else None


def command_error(error: Mapping[str, Any]) -> CarillonError:
    """Returns the exception for an error in an answer of the server."""
    code, reason = int(error.get("code", 0)), str(error.get("message", "unknown error"))
    if code == _EPOCH_DIFFERS:
        return PositionError("the position belongs to an earlier epoch: its log is gone")
    if code == _CONFLICT:
        return StoreConflict(reason, _position(error))
    return CommandError(code, reason)


def history_request(channel: str, query: HistoryQuery) -> str:
    """Returns the JSON text of a history request, the same over every connection."""
    last, since = query.start.last, query.start.position
    fields: dict[str, Any] = {"channel": channel, "limit": query.limit if last is None else last}
    if since is not None:
        fields["since"] = {"offset": since.offset, "epoch": since.epoch}
    if query.is_reverse or last is not None:
        fields["reverse"] = True
    return json.dumps(fields)


def history_result(text: str, start: int, channel: str, query: HistoryQuery) -> History:
    """Reads the result of `query` that begins at `start`."""
    fields = {name: (value, at) for name, value, at, _ in raw_json.members(text, start)}
    epoch = str(fields["epoch"][0]) if "epoch" in fields else ""
    at = fields["publications"][1] if "publications" in fields and fields["publications"][0] else None
    messages = (
        [raw_json.message(text, begin, channel, epoch) for _, begin, _ in raw_json.elements(text, at)]
        if at is not None
        else []
    )
    if query.start.last is not None:
        messages.reverse()
    top = Position(int(fields["offset"][0]) if "offset" in fields else 0, epoch)
    return History.of(messages, top, is_reverse=query.is_reverse)


PresencePage = tuple[dict[str, ClientInfo], bool]  # and whether there is more


def presence_page(result: Mapping[str, Any]) -> PresencePage:
    """Reads a presence result."""
    clients = {
        client: ClientInfo(client, info.get("user", ""), info.get("conn_info"), info.get("chan_info"))
        for client, info in (result.get("presence") or {}).items()
    }
    return clients, bool(clients and result.get("has_more"))


def presence_stats(result: Mapping[str, Any]) -> PresenceStats:
    """Reads a result of presence_stats."""
    return PresenceStats(int(result.get("num_clients", 0)), int(result.get("num_users", 0)))


async def presence_pages(
    channel: str, ask: Callable[[str], Awaitable[PresencePage]]
) -> dict[str, ClientInfo]:
    """Asks for one page after another, and returns all of them by client id."""
    request = {"channel": channel}
    found, has_more = await ask(json.dumps(request))
    while has_more:
        request["after"] = max(found)
        page, has_more = await ask(json.dumps(request))
        found |= page
    return found
