"""The keys of an identity provider, for the tokens that it signs."""

from __future__ import annotations

import logging
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import config as configuration
from .errors import ConfigError, from_core
from .logs import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from . import _core

_log = logger("server")

_TABLES = ("token", "subscription_token")
_LOOK_S = 0.5  # how often the core is asked whether it has met a token of a key that it does not know
_PATIENCE_S = 5.0  # for one answer
_BYTES = 1024 * 1024  # of one answer
_FIRST_S = 3.0  # how long a start waits for the first keys


class RemoteKeys:
    """Fetches sets of keys (JWKS) on a thread of its own: at the start, from time to time, and when needed.

    Args:
        core: The server that gets them.
        settings: Its settings, as `config.normalise` returns them.
    """

    def __init__(self, core: _core.Server, settings: Mapping[str, Any]) -> None:
        self._core = core
        self._exchange = threading.Lock()  # held while the core gets keys of an endpoint, or other endpoints
        self._is_closed = threading.Event()
        self._is_due = threading.Event()
        self._has_tried = threading.Event()
        self._thread: threading.Thread | None = None
        self._set(settings)

    def _set(self, settings: Mapping[str, Any]) -> None:
        token = settings["client"]["token"]
        self._urls = _urls_of(settings)
        self._interval_s = configuration.seconds(token["jwks_refresh_interval"])
        self._pause_s = configuration.seconds(token["jwks_retry_pause"])

    def start(self) -> None:
        """Starts, and waits a moment for the first keys. No effect where no endpoint is configured."""
        self._start_thread()
        if self._thread is not None:
            self._has_tried.wait(_FIRST_S)

    def _start_thread(self) -> None:
        if self._urls and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="carillon-keys", daemon=True)
            self._thread.start()

    def fetch_new(self, settings: Mapping[str, Any]) -> dict[str, bytes]:
        """Returns what the endpoints answer that only these settings have, by table.

        Raises:
            ConfigError: One does not answer. The message names its option and the reason.
        """
        fetched = {}
        for table, url in _urls_of(settings).items():
            if url != self._urls.get(table):
                try:
                    fetched[table] = _fetched(url)
                except Exception as error:
                    raise ConfigError(
                        f"client.{table}.jwks_public_endpoint: {_refusal(url, error)}"
                    ) from None
        return fetched

    def exchanging(self) -> threading.Lock:
        """Returns the lock under which the core gets other settings, and `configure` is called.

        No keys that were fetched by the earlier settings come in between.
        """
        return self._exchange

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Sets other endpoints and intervals, and fetches all keys soon."""
        self._set(settings)
        self._is_due.set()
        self._start_thread()

    def close(self) -> None:
        """Ends the thread. Idempotent."""
        self._is_closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        while True:
            known = self._core.unknown_token_keys()
            self._is_due.clear()
            outcomes = {table: self._fetch(table, url) for table, url in self._urls.items()}
            self._has_tried.set()
            fetched = time.monotonic()
            while True:
                if self._is_closed.wait(_LOOK_S):
                    return
                waited_s = time.monotonic() - fetched
                is_wanted = not all(outcomes.values()) or self._core.unknown_token_keys() != known
                if (
                    self._is_due.is_set()
                    or waited_s >= self._interval_s
                    or (is_wanted and waited_s >= self._pause_s)
                ):
                    break

    def _fetch(self, table: str, url: str) -> bool:
        """Returns whether the server has new keys. The earlier ones stay where it has not."""
        try:
            body = _fetched(url)
            with self._exchange:
                if self._urls.get(table) == url:
                    self._core.set_token_keys(table, body)
        except Exception as error:
            stay = (
                "until it does, or a takeover brings them, tokens that need them are refused for now, and "
                "clients try again"
                if self._core.awaits_token_keys(table)
                else "the earlier ones stay"
            )
            text = "client.%s.jwks_public_endpoint: %s; %s"
            refusal = _refusal(url, from_core(error))
            _log.log(logging.WARNING, text, table, refusal, stay, extra={"event": "token_keys"})
            return False
        return True


def _urls_of(settings: Mapping[str, Any]) -> dict[str, str]:
    client = settings["client"]
    return {
        table: url for table in _TABLES if (url := configuration.get(client, f"{table}.jwks_public_endpoint"))
    }


def _refusal(url: str, error: Exception) -> str:
    """Says why an endpoint gives no keys, without the secrets that its address may have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its address is not a URL"
    shown = parts._replace(
        netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else "", fragment=""
    ).geturl()
    reason = str(error) or type(error).__name__
    if "://" in reason.replace(url, ""):  # the address once more, written in another way
        reason = type(error).__name__
    return f"{shown} gives no keys: {reason.replace(url, shown)}"


def _fetched(url: str) -> bytes:
    """Returns what the endpoint answers, within the limits of time and size."""
    import httpx  # it takes longer to import than all of this

    with (
        httpx.Client(timeout=_PATIENCE_S) as http,
        http.stream("GET", url) as answer,
    ):
        if answer.status_code != HTTPStatus.OK:
            raise ValueError(f"it answers with status {answer.status_code}")
        body = b""
        begun = time.monotonic()
        for chunk in answer.iter_bytes():
            body += chunk
            if time.monotonic() - begun > _PATIENCE_S:
                raise TimeoutError(f"no whole answer within {_PATIENCE_S:g} s")
            if len(body) > _BYTES:
                raise ValueError(f"the answer is longer than {_BYTES} bytes")
    return body
