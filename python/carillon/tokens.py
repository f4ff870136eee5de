"""Tokens (JWT) that prove to a server who a client is, and what it may subscribe to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import time
from typing import TYPE_CHECKING, Any, Literal

from .arguments import kind, one_of, seconds, shown, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Algorithm = Literal["HS256", "HS384", "HS512"]

_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_OWN = ("sub", "exp", "iat", "channel", "channels", "client", "info", "data")


def token(
    secret: str | bytes,
    user: str = "",
    *,
    channel: str | None = None,
    channels: Sequence[str] = (),
    client: str | None = None,
    info: Any = None,
    data: Any = None,
    expires: float | None = 3600.0,
    algorithm: Algorithm = "HS256",
    claims: Mapping[str, Any] | None = None,
) -> str:
    """Returns a token that is signed with a secret: that of a connection, or of a subscription.

    The server has the same secret in `client.token.hmac_secret_key`. Tokens that are signed with a private
    key are made by a JWT library, such as PyJWT.

    Example:
        token = carillon.token("secret", "ann", expires=300)
        async with carillon.connect(url, token=token) as client: ...

    Args:
        secret: The secret.
        user: Id of the user; empty for an anonymous client.
        channel: Name of the channel to which this token allows a subscription. By default the token is one
            for a connection.
        channels: Names of channels to which the server subscribes the client (connection tokens).
        client: Id of the only client that may use it (subscription tokens).
        info: JSON value that other clients see in presence, in joins and in publications.
        data: JSON value for the client, in the answer to its subscribe (subscription tokens).
        expires: Time until the token expires, seconds; None makes one that never expires.
        algorithm: "HS256", "HS384" or "HS512".
        claims: Further claims, such as `iss` or `aud`.

    Raises:
        TypeError: An argument is of another type, or a value has no JSON form.
        ValueError: The secret is empty, a name or the time is not valid, or the arguments contradict each
            other.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    if not isinstance(key, bytes):
        raise TypeError(f"secret: {kind(secret)} is not a secret; give a str or bytes")
    if not key:
        raise ValueError("secret: is empty; give that of client.token.hmac_secret_key")
    one_of("algorithm", algorithm, tuple(_DIGESTS))
    if channel is None and (client is not None or data is not None):
        name = "client" if client is not None else "data"
        raise ValueError(f"{name}: belongs to the token of a subscription; give channel, too")
    if channel is not None and channels:
        raise ValueError("channels: belong to the token of a connection; leave channel out")
    if isinstance(channels, str):
        raise TypeError(f"channels: {shown(channels)} is a str; give a list of names")
    now = time.time()
    payload: dict[str, Any] = {"iat": int(now)}
    if text("user", user, may_be_empty=True):
        payload["sub"] = user
    if expires is not None:
        payload["exp"] = math.ceil(now + seconds("expires", expires, may_be_zero=False))
    if channel is not None:
        payload["channel"] = text("channel", channel)
    if channels:
        payload["channels"] = [text("channels", name) for name in channels]
    if client is not None:
        payload["client"] = text("client", client)
    payload |= {name: value for name, value in (("info", info), ("data", data)) if value is not None}
    for name, value in (claims or {}).items():
        if name in _OWN:
            raise ValueError(f"claims: {name!r} has an argument of its own; give that")
        payload[name] = value
    head = _part(json.dumps({"alg": algorithm, "typ": "JWT"}, separators=(",", ":")))
    signed = f"{head}.{_part(json.dumps(payload, separators=(',', ':'), allow_nan=False))}"
    return f"{signed}.{_part(hmac.digest(key, signed.encode(), _DIGESTS[algorithm]))}"


def _part(value: str | bytes) -> str:
    """One of the three parts of a token: base64 for URLs, without padding."""
    whole = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(whole).rstrip(b"=").decode()
