"""Reads the configuration of a server again, and puts it in place while the server runs."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import config as configuration
from .errors import ConfigError, ReloadError, ServerStopped, from_core
from .logs import logger

if TYPE_CHECKING:
    from . import _core
    from .remote_keys import RemoteKeys

_log = logger("server")

Source = str | Path | Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None
"""Where a configuration comes from: a file, a dict, or a function that returns the dict at each reload."""


class Reloads:
    """The settings of a server, and what they are read from.

    Args:
        arguments: Arguments of `Server` by name; None where one is not given.
        source: What the argument `config` names.

    Attributes:
        settings: Settings that are in place, as `config.normalise` returns them.
        around: Function that returns a context manager, which each reload is done in.
    """

    def __init__(self, arguments: Mapping[str, Any], source: Source) -> None:
        self._arguments = dict(arguments)
        self._source = source
        # Without a configuration the system picks the port; a dict that comes later need not repeat that.
        self._base: dict[str, Any] = {"http_server": {"port": 0}} if source is None else {}
        self.around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        self._lock = threading.Lock()
        self._core: _core.Server | None = None
        self._keys: RemoteKeys | None = None
        self.settings: dict[str, Any] = configuration.settings_of_server(arguments, _read(source))
        # Kept: a file that a warning is about may be another one by the next reload.
        self._warned = set(configuration.warnings(self.settings))

    def attach(self, core: _core.Server, keys: RemoteKeys) -> None:
        """Sets the server that the settings are put in place of. Before it starts."""
        self._core, self._keys = core, keys

    def reload(
        self, source: Source = None, arguments: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Reads everything again and puts it in place: all of it, or nothing.

        Args:
            source: What to read from now on; None for the same as before.
            arguments: Arguments of `Server` that take the place of earlier ones.

        Returns:
            The changes, as `Server.reload` describes them.

        Raises:
            ConfigError: The configuration has mistakes.
            ReloadError: It cannot be put in place while the server runs.
            ServerStopped: The server does not run.
        """
        with self._lock, self.around():
            try:
                return self._reload(source, arguments or {})
            except (ConfigError, ReloadError) as error:
                _log.warning(
                    "not reloaded, nothing has changed: %s",
                    "; ".join(str(error).splitlines()),
                    extra={"event": "reload_refused"},
                )
                raise

    def _reload(self, source: Source, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        core, keys = self._core, self._keys
        if core is None or keys is None:
            raise ServerStopped("reload: the server is not started: call start() first")
        source = self._source if source is None else source
        given = self._arguments | {name: value for name, value in arguments.items() if value is not None}
        document = _read(source)
        if document is not None:
            document = configuration.merge(self._base, document)
        if isinstance(source, (str, Path)):
            configuration.check(
                configuration.merge(document or {}, configuration.from_arguments(given)), source
            )
        settings = configuration.settings_of_server(given, document)
        fetched = keys.fetch_new(settings)
        with keys.exchanging():
            try:
                changes: list[dict[str, Any]] = json.loads(core.reload(json.dumps(settings), fetched))
            except Exception as error:
                raise from_core(error) from None
            # At once: whatever fails from here on, both halves go on with one configuration.
            self._source, self._arguments, self.settings = source, given, settings
            keys.configure(settings)
        _log.info(
            "reloaded: %s",
            "; ".join(_told(change) for change in changes) or "nothing differs",
            extra={"event": "reload", "changes": changes},
        )
        known, self._warned = self._warned, set(configuration.warnings(settings))
        for event, text in sorted(self._warned - known):
            _log.warning("%s", text, extra={"event": event})
        return changes

    def on_request(self, number: int) -> None:
        """Carries out a reload that the HTTP API has asked for, on a thread of its own: it may take long."""
        threading.Thread(target=self._answer, args=(number,), name="carillon-reload", daemon=True).start()

    def _answer(self, number: int) -> None:
        core = self._core
        if core is None:
            return
        try:
            core.answer_reload(number, json.dumps(self.reload()))
        except ConfigError as error:
            core.refuse_reload(number, 400, _mistakes(error))
        except ReloadError as error:
            core.refuse_reload(number, 409, str(error).split("\n"))
        except ServerStopped as error:
            core.refuse_reload(number, 503, [str(error)])
        except Exception:
            _log.exception("the configuration could not be read again", extra={"event": "reload_failed"})
            core.refuse_reload(number, 500, ["the configuration could not be read; the log says why"])


def _read(source: Source) -> dict[str, Any] | None:
    if callable(source):
        source = source()
    if source is None or isinstance(source, Mapping):
        return None if source is None else dict(source)
    return configuration.load(source)


def _mistakes(error: ConfigError) -> list[str]:
    """Returns the lines of the message without the one that counts them."""
    lines = str(error).split("\n")
    return lines[1:] if len(lines) > 1 and lines[0].endswith(" mistakes:") else lines


def _told(change: Mapping[str, Any]) -> str:
    old, new = (json.dumps(change[name], ensure_ascii=False) for name in ("old", "new"))
    return f"{change['option']}: {old} -> {new}"
