"""What hooks are asked: the contexts of their questions."""

from __future__ import annotations

import json as _json
from collections.abc import Mapping  # noqa: TC003 - get_type_hints() of an application reads it
from dataclasses import dataclass, field
from typing import Any, Literal

Operation = Literal["connect", "subscribe", "publish", "refresh", "sub_refresh", "rpc", "disconnect"]
TransportKind = Literal[
    "websocket",
    "sse",
    "poll",
    "http_stream",
    "emulated_sse",
    "uni_websocket",
    "uni_sse",
    "uni_http_stream",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the contexts of all questions have."""

    client: str = ""
    user: str = ""
    transport: TransportKind = "websocket"
    data: bytes = b""
    token: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    address: str = ""

    @property
    def claimed_user(self) -> str:
        """The user id in the client's `?user=`. The client can write anything there: it proves nothing."""
        return self.query.get("user", "")

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of the `Cookie` header, by name."""
        pairs = (part.partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name.strip(): value.strip().strip('"') for name, found, value in pairs if found}

    def json(self) -> Any:
        """Decodes `data` and returns the value; None if there is none.

        Raises:
            ValueError: It is not JSON.
        """
        return _json.loads(self.data) if self.data else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectContext(Context):
    """A client connects: the argument of an `on_connect` hook.

    Attributes:
        client: Id that the connection will have; empty on SSE and polls.
        user: Empty. Only a server in insecure mode takes the client for its `claimed_user`.
        transport: `websocket`, `sse`, `poll`, `http_stream`, `emulated_sse`, `uni_websocket`, `uni_sse` or
            `uni_http_stream`.
        data: JSON text that the client sent along, or empty: the `data` of a WebSocket's connect command,
            else the query parameter `data`.
        token: Token of the client, or empty: the `token` of a WebSocket's connect command, else the header
            `Authorization: Bearer ...`, else the query parameter `token`.
        headers: Headers of the HTTP request (upgrade, stream or poll), with lower-case names. Values of
            repeated headers are joined by commas.
        query: Parameters of its URL. The first of several with one name counts.
        address: IP address of the other end of the connection. Behind a proxy that is the proxy's address.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeContext(Context):
    """A client subscribes to a channel: the argument of an `on_subscribe` hook.

    Attributes:
        client: Id of the connection; empty on SSE and polls.
        user: User id that `on_connect` answered; empty for an anonymous client.
        transport: `websocket`, `sse`, `poll`, `http_stream`, `emulated_sse`, `uni_websocket`, `uni_sse` or
            `uni_http_stream`.
        data: JSON text that a WebSocket's subscribe command has, or empty. On SSE and polls as at connect.
        channel: Name of the channel.
        token: Token that a WebSocket's subscribe command has, or empty. On SSE and polls as at connect.
        headers: As at connect.
        query: As at connect.
        address: As at connect.
    """

    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishContext(Context):
    """A client publishes to a channel: the argument of an `on_publish` hook.

    Publishing by the server itself, from Python or by the HTTP API, does not ask hooks.

    Attributes:
        client: Id of the connection.
        user: User id that `on_connect` answered; empty for an anonymous client.
        transport: `websocket`.
        data: Payload, as the client sent it: JSON text, or any bytes from a client that speaks Protobuf.
            Catch the `ValueError` of `json()` and deny, where those are not wanted.
        channel: Name of the channel.
        token: Empty.
        headers: As at connect.
        query: As at connect.
        address: As at connect.
    """

    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshContext(Context):
    """A connection has expired: the argument of an `on_refresh` hook.

    Attributes:
        client: Id of the connection.
        user: User id that `on_connect` answered; empty for an anonymous client.
        transport: As at connect; never `sse` or `poll`, which end when they expire.
        data: Empty.
        token: Empty.
        headers: As at connect.
        query: As at connect.
        address: As at connect.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SubRefreshContext(Context):
    """A subscription has expired: the argument of an `on_sub_refresh` hook.

    Attributes:
        client: Id of the connection.
        user: User id that `on_connect` answered; empty for an anonymous client.
        transport: As at refresh.
        data: Empty.
        channel: Name of the channel.
        token: Empty.
        headers: As at connect.
        query: As at connect.
        address: As at connect.
    """

    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcContext(Context):
    """A client calls a method: the argument of an `on_rpc` hook.

    Attributes:
        client: Id of the connection.
        user: User id that `on_connect` answered; empty for an anonymous client.
        transport: As at connect; never `sse` or `poll`, which send no commands.
        data: Argument of the call, as the client sent it: JSON text or nothing, or any bytes from a client
            that speaks Protobuf. Catch the `ValueError` of `json()` and deny, where those are not wanted.
        method: Name of the method.
        token: Empty.
        headers: As at connect.
        query: As at connect.
        address: As at connect.
    """

    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectContext:
    """A client has gone: the argument of an `on_disconnect` hook.

    Attributes:
        client: Id of the connection; of an event stream the id that presence shows.
        user: User id that `on_connect` answered; empty for an anonymous client.
        transport: As at connect; never `poll`, whose requests come and go.
        code: Code with which the server has closed the connection; 0 if the client left, or its connection
            broke.
        reason: The same as a text.
    """

    client: str = ""
    user: str = ""
    transport: TransportKind = "websocket"
    code: int = 0
    reason: str = ""
