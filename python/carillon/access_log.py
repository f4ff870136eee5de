"""Log records of the core, handed to `logging`; and the two forms in which the command line prints them.

Loggers: `carillon.access` has the records about clients, `carillon.server` those for the operator.
docs/operations.md lists their events and fields. Of one event there are at most `limits.log_records_per_s`.

A record is one line: what is no printable character is escaped in its text. It carries its fields as
attributes, so that a filter or a formatter need not read its text. Those are as they came: a formatter that
writes them escapes them. What is not known, such as the user of an anonymous client, is empty in a record, so
that a formatter may name it. A JSON line lacks it.
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
_FIRST = ("event", "client", "user", "claimed_user", "peer", "transport", "request", "channel")
_OF_LOGGING = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_IN_THE_TEXT = {"user", "claimed_user", "peer", "transport", "code", "reason"}  # of records about clients


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
        target.log(number, "%s", message, extra=fields)


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


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Returns the fields that have a value: the event and who it is about first, then the others."""
    found = {name: value for name, value in vars(record).items() if name not in _OF_LOGGING}
    return {
        name: found[name]
        for name in (*(name for name in _FIRST if name in found), *sorted(found.keys() - set(_FIRST)))
        if found[name] not in ("", [])
    }


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    is_plain = isinstance(value, (int, float)) or (text.isprintable() and not set(text) & set(" \"'=[]{}"))
    return text if is_plain or not isinstance(value, str) else json.dumps(text, ensure_ascii=False)


class LineFormatter(logging.Formatter):
    """One line of text per record with its fields, also with a traceback, whose line ends are escaped.

    Fields are written as `name=value` behind the text, without those that its text has already.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        """Returns the text of the record, and its fields."""
        if record.name == _LOGGERS["access"].name:  # a client's text shall not look like a field
            record.message = record.message.replace("=", "\\=")
        fields = [
            f"{name}={_shown(value)}"
            for name, value in _fields_of(record).items()
            if name not in _IN_THE_TEXT and not (name == "duration_ms" and value == 0)
        ]
        return " ".join((super().formatMessage(record), *fields))

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
        line |= _fields_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return one_line(json.dumps(line, ensure_ascii=False, default=str))
