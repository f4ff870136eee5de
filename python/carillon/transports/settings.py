"""What all transports of one client share."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from .backoff import Backoff


def base_url(url: str) -> str:
    """A server's address as requests are made to it: http or https, and no slash at the end.

    Raises:
        ValueError: It is no address of a server.
    """
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{url!r} is not an address of a server: write it as http://host:port")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the server is, who we are, how patient we are.

    Attributes:
        base_url: `http://host:port`, without a slash at the end.
        user: Who we say we are (only believed by a server in insecure mode).
        name: Name of this client, for the server's statistics.
        api_key: Key of the HTTP API.
        headers: Sent with every request and handshake.
        min_delay: First limit of the reconnect delay, seconds.
        max_delay: Last limit of the reconnect delay, seconds.
        open_timeout: Seconds for a handshake or the answer to a command.
        idle_timeout: Seconds of silence after which an event stream counts as dead.
        poll_timeout: Seconds that one poll is held.
        capacity: Items queued per subscription.
    """

    base_url: str
    user: str | None = None
    name: str = "carillon-python"
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
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
