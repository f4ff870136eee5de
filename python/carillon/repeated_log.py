"""Log records that would come by the thousand: one per kind and second, with their number."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

_INTERVAL_S = 1.0


@dataclass
class _Held:
    """The newest of the records that were held back, and how many there were."""

    level: int = 0
    message: str = ""
    error: BaseException | None = None
    count: int = 0


class RepeatedLog:
    """Logs the first record of a kind at once, and further ones once a second, with how many they were.

    Belongs to a running event loop.

    Args:
        logger: Where the records go.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._held: dict[str, _Held] = {}

    def write(self, kind: str, level: int, message: str, error: BaseException | None = None) -> None:
        """Logs a record, now or with the next one of its kind.

        Args:
            kind: Records of the same kind are counted together.
            level: As in `logging`.
            message: The text.
            error: Its traceback is logged too.
        """
        held = self._held.get(kind)
        if held is None:
            self._logger.log(level, "%s", message, exc_info=error)
            self._hold(kind)
        else:
            self._held[kind] = _Held(level, message, error, held.count + 1)

    def flush(self) -> None:
        """Logs what was held back."""
        held, self._held = self._held, {}
        for each in held.values():
            self._write_held(each)

    def _hold(self, kind: str) -> None:
        self._held[kind] = _Held()
        asyncio.get_running_loop().call_later(_INTERVAL_S, self._release, kind)

    def _release(self, kind: str) -> None:
        held = self._held.pop(kind, None)
        if held is not None and held.count:
            self._write_held(held)
            self._hold(kind)

    def _write_held(self, held: _Held) -> None:
        if held.count:
            message = f"{held.message} ({held.count:,} times since the last such record)"
            self._logger.log(held.level, "%s", message, exc_info=held.error)
