"""Log records of the core, handed to `logging`; and the two forms in which the command line prints them.

Loggers: `carillon.access` has one record per connect and one per close, with its reason, and one (`refuse`)
per client, request or command that was refused: denied, over a limit, not valid, or during a drain. Of the
refused commands of one connection the first ten have a record. Polls have records only if they were refused
or failed; others would flood the log. `carillon.server` has records for the operator.

A record is one line: what is no printable character is escaped in its text. It carries these attributes, so
that a filter or a formatter need not read its text: `client`, `user`, `claimed_user` (of a refusal: the user
that the client claims to be, unproved), `peer` (its address, `ip:port`), `transport`, `channel` (of a
refusal: the refused channel), `event`, `code`, `reason`, `duration_ms` and other numbers. Those are as they
came: a formatter that writes them escapes them. What is not known, such as the user of an anonymous client,
is empty in a record, so that a formatter may name it. A JSON line lacks it.
"""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any, Literal

from .logs import logger, one_line

Format = Literal["text", "json"]

_LOGGERS = {name: logger(name) for name in ("access", "server")}
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FIELDS = (
    *("client", "user", "claimed_user", "peer", "transport", "channel", "event", "code", "reason"),
    "duration_ms",
    *("connections", "limit", "turned_away", "backlog", "handshakes"),
    *("asked", "left", "cut_off", "pace_ms", "deadline_ms"),
    *("other_process", "left_behind", "pause_ms"),
    "count",
    "changes",
)


_LOG_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}


def emit(event: tuple[Any, ...]) -> None:
    """Logs a `("log", logger, level, message, fields)` of the core."""
    _, logger, level, message, fields = event
    target, number = _LOGGERS[logger], _LEVELS[level]
    if target.isEnabledFor(number):
        target.log(number, "%s", message, extra={name: fields[name] for name in _FIELDS if name in fields})


def set_up(form: Format, level: str, has_access: bool) -> None:
    """Prints the records of this package, and warnings of others, to standard error. For the command line.

    Args:
        form: Format of a record: one line of text, or one JSON object.
        level: Name of the least level.
        has_access: Whether connects and closes are printed.
    """
    handler = logging.StreamHandler()
    text = LineFormatter("%(asctime)s %(name)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    set_level(level)
    _LOGGERS["access"].disabled = not has_access


def set_level(level: str) -> None:
    """Sets the lowest level that is printed, by its name in the option `log.level`."""
    logging.getLogger("carillon").setLevel(_LOG_LEVELS[level.lower()])


class LineFormatter(logging.Formatter):
    """One line of text per record, also with a traceback, whose line ends are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as one line."""
        return one_line(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object per record: `time` (UTC), `level`, `logger`, `message`, and its fields with a value."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as one line."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in _FIELDS if (value := getattr(record, name, "")) != ""}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return one_line(json.dumps(line, ensure_ascii=False, default=str))
