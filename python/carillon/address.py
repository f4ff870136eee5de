"""Addresses of servers and hosts."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote, urlsplit

from .arguments import kind, shown, text
from .errors import ConfigError

_ENDPOINTS = (
    "/connection/websocket",
    "/connection/http_stream",
    "/connection/sse",
    "/connection/uni_websocket",
    "/connection/uni_sse",
    "/connection/uni_http_stream",
    "/sse",
    "/poll",
    "/api",
)


def is_loopback(host: str) -> bool:
    """Returns whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Returns whether a text is an IP address."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def base_url(url: str) -> str:
    """Returns the address that requests start with: http or https, without credentials or a slash at the end.

    Raises:
        ConfigError: The text is not the address of a server.
    """
    text("url", url, may_be_empty=True)
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname)
        is_server = is_server and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # of a port, or of brackets
        is_server = False
    if not is_server:
        raise ConfigError(f"{url!r} is not the address of a server: write it as http://host:port")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def server_urls(url: object) -> list[str]:
    """Returns the addresses in the argument `url` of `connect`: one, or a list or tuple of them.

    Raises:
        ConfigError: The list is empty.
        TypeError: It is something else.
    """
    if isinstance(url, str):
        return [text("url", url, may_be_empty=True)]
    if not isinstance(url, (list, tuple)):
        raise TypeError(f"url: {shown(url)} is {kind(url)}; give a str, or a list of them")
    if not url:
        raise ConfigError("url: the list is empty; give at least one address, as http://host:port")
    return [text(f"url[{place}]", each, may_be_empty=True) for place, each in enumerate(url)]


def endpoint_hint(url: str) -> str:
    """Returns the remedy for an address that answers 404 and ends as an endpoint does; else an empty text.

    It is not refused earlier: a proxy may serve the endpoints below a path of such a name.
    """
    endpoint = next((each for each in _ENDPOINTS if url.endswith(each)), None)
    return f": give the address without {endpoint}" if endpoint else ""


def credentials(url: str) -> tuple[str, str] | None:
    """Returns the user and the password in front of the host of an address; None without them."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")
