"""TLS and proxies on the way to a server, the same for every transport."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..address import is_loopback
from ..errors import ConfigError

if TYPE_CHECKING:
    Verify = bool | str | os.PathLike[str] | ssl.SSLContext
    Proxy = str | Literal[True] | None

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def tls_context(url: str, verify: Verify) -> ssl.SSLContext | None:
    """Returns the TLS context for an address; None for plain HTTP, without reading certificates.

    Args:
        url: Address of the server.
        verify: Certificates to trust. True: those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR. A
            path: those of this file or directory. False: every certificate.

    Raises:
        ConfigError: The certificates cannot be read.
    """
    if not url.startswith("https:"):
        return None
    if isinstance(verify, ssl.SSLContext):
        return verify
    if not isinstance(verify, bool):
        return _trusting("verify", os.fspath(verify))
    if verify:
        return _system_context()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _system_context() -> ssl.SSLContext:
    # OpenSSL reads both variables by itself, and says nothing if they name what is not there.
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if path := os.environ.get(variable):
            return _trusting(variable, path)
    context = ssl.create_default_context()
    known = ssl.get_default_verify_paths()
    if not (known.cafile or known.capath):  # a system without certificates of its own
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _trusting(name: str, path: str) -> ssl.SSLContext:
    try:
        if os.path.isdir(path):
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{name}: no certificates of authorities can be read from {path!r} ({error}); "
            "give a file in PEM form, or a directory of such files"
        ) from None


def proxy_url(url: str, proxy: Proxy) -> str | None:
    """Returns the address of the proxy on the way to a server; None if there is none.

    Args:
        url: Address of the server.
        proxy: Address of the proxy. True: that of the environment, as in curl: HTTP_PROXY or HTTPS_PROXY by
            the scheme of the server's address, else ALL_PROXY; none for the hosts in NO_PROXY and for this
            machine. None: no proxy.

    Raises:
        ConfigError: The address of the proxy has another form.
    """
    name = "proxy"
    if proxy is True:
        parts = urlsplit(url)
        if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
            return None
        found = getproxies()
        scheme = parts.scheme if parts.scheme in found else "all"
        name, proxy = f"{scheme.upper()}_PROXY", found.get(scheme)
    if not proxy:
        return None
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigError(f"{name}: {proxy!r} is not the address of a proxy: write it as http://host:port")
    return address
