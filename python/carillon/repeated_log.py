"""Log records that may come by the thousand: one per kind and second, with their number."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

_INTERVAL_S = 1.0


@dataclass
class _Repeated:
    """The newest of the repeated records of one kind, and their number."""

    level: int = 0
    message: str = ""
    error: BaseException | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    count: int = 0


class RepeatedLog:
    """Logs the first record of a kind at once, and further ones once a second, with their number.

    Belongs to a running event loop.

    Args:
        logger: Logger that gets the records.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._repeated: dict[str, _Repeated] = {}

    def write(
        self, kind: str, level: int, message: str, error: BaseException | None = None, **fields: Any
    ) -> None:
        """Logs a record, now or with the next one of its kind.

        Args:
            kind: Name of the kind; records of one kind are counted together.
            level: Level, as in `logging`.
            message: Text of the record.
            error: Exception whose traceback is logged, too; by default none.
            fields: Fields of the record, with its `event`. A record for several has their number as `count`.
        """
        repeated = self._repeated.get(kind)
        if repeated is None:
            self._logger.log(level, "%s", message, exc_info=error, extra=fields)
            self._begin(kind)
        else:
            self._repeated[kind] = _Repeated(level, message, error, fields, repeated.count + 1)

    def flush(self) -> None:
        """Logs the repeated records now."""
        repeated, self._repeated = self._repeated, {}
        for each in repeated.values():
            self._write_repeated(each)

    def _begin(self, kind: str) -> None:
        self._repeated[kind] = _Repeated()
        asyncio.get_running_loop().call_later(_INTERVAL_S, self._end, kind)

    def _end(self, kind: str) -> None:
        repeated = self._repeated.pop(kind, None)
        if repeated is not None and repeated.count:
            self._write_repeated(repeated)
            self._begin(kind)

    def _write_repeated(self, repeated: _Repeated) -> None:
        if repeated.count:
            message, fields = repeated.message, repeated.fields
            if repeated.count > 1:
                fields = {**fields, "count": repeated.count}
                message += f" ({repeated.count:,} times since the last such record)"
            self._logger.log(repeated.level, "%s", message, exc_info=repeated.error, extra=fields)
