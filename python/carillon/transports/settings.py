"""The settings that all transports of one client share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .backoff import Backoff
from .token import Credentials

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Settings:
    """Address of the server, identity of the client, and its timeouts.

    Attributes:
        base_url: `http://host:port`, without a slash at the end.
        user: Name of the user that the client claims to be. Only a server in insecure mode believes it.
        name: Name of the client for the server.
        credentials: Token of the connection, and the function that gives a new one.
        api_key: Key of the HTTP API.
        headers: Headers of every request and handshake.
        tls: TLS context; None where the address is plain HTTP.
        proxy: Address of the proxy; None without one.
        proxy_tls: TLS context for the proxy; None where its address is not https.
        min_delay: First limit of the reconnect delay, seconds.
        max_delay: Last limit of the reconnect delay, seconds.
        open_timeout: Longest time for a handshake, the start of a subscription, or the whole answer to a
            command, seconds.
        idle_timeout: Time without data after which an event stream counts as broken, seconds.
        poll_timeout: Time that one poll waits for publications, seconds.
        capacity: Maximum number of items in the queue of a subscription.
        others: Settings of the same client for its other servers; empty with one address.
    """

    base_url: str
    user: str | None = None
    name: str = "carillon-python"
    credentials: Credentials = field(default_factory=Credentials)
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    proxy: str | None = None
    proxy_tls: ssl.SSLContext | None = None
    min_delay: float = 0.2
    max_delay: float = 20.0
    open_timeout: float = 15.0
    idle_timeout: float = 45.0
    poll_timeout: float = 25.0
    capacity: int = 1024
    others: tuple[Settings, ...] = ()

    @property
    def servers(self) -> tuple[Settings, ...]:
        """The settings for each server, in the order in which the application names them."""
        return (self, *self.others)

    @property
    def names(self) -> str:
        """The addresses of all servers, for messages."""
        return ", ".join(server.base_url for server in self.servers)

    @property
    def connect_timeout(self) -> float:
        """Longest time to connect to one server, seconds: with several each has a share of `open_timeout`.

        So a server that cannot be reached leaves time for the next one. A server that was reached has the
        whole `open_timeout` for its answer, because it may wait for its store.
        """
        return self.open_timeout / len(self.servers)

    def backoff(self) -> Backoff:
        """Returns a new backoff with these delays."""
        return Backoff(self.min_delay, self.max_delay)

    def url(self, path: str, **query: str | int) -> str:
        """Returns an address of this server."""
        if self.user is not None:
            query["user"] = self.user
        return f"{self.base_url}{path}" + (f"?{urlencode(query)}" if query else "")
