"""What all transports of one client share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .backoff import Backoff

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the server is, who we are, how patient we are.

    Attributes:
        base_url: `http://host:port`, without a slash at the end.
        user: Who we say we are (only believed by a server in insecure mode).
        name: Name of this client, for the server's statistics.
        api_key: Key of the HTTP API.
        headers: Sent with every request and handshake.
        tls: TLS context; None where the address is plain HTTP.
        proxy: Address of the proxy on the way; None goes there directly.
        proxy_tls: TLS context for the proxy; None where its address is not https.
        min_delay: First limit of the reconnect delay, seconds.
        max_delay: Last limit of the reconnect delay, seconds.
        open_timeout: Seconds for a handshake, the start of a subscription, or the whole answer to a command.
        idle_timeout: Seconds of silence after which an event stream counts as dead.
        poll_timeout: Seconds that one poll waits for something new.
        capacity: Items queued per subscription.
    """

    base_url: str
    user: str | None = None
    name: str = "carillon-python"
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    proxy: str | None = None
    proxy_tls: ssl.SSLContext | None = None
    min_delay: float = 0.2
    max_delay: float = 20.0
    open_timeout: float = 10.0
    idle_timeout: float = 45.0
    poll_timeout: float = 25.0
    capacity: int = 1024

    def backoff(self) -> Backoff:
        """A fresh one with these delays."""
        return Backoff(self.min_delay, self.max_delay)

    def url(self, path: str, **query: str) -> str:
        """An address of this server."""
        if self.user is not None:
            query["user"] = self.user
        return f"{self.base_url}{path}" + (f"?{urlencode(query)}" if query else "")
