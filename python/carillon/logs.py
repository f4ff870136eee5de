"""The loggers of this package. They are silent unless the application configures `logging`.

What clients, tokens and backends say stands in records. So every record of these loggers is made one line
here, whoever writes it: a name with a newline begins no record of its own.
"""

from __future__ import annotations

import json
import logging

logging.getLogger("carillon").addHandler(logging.NullHandler())


def logger(name: str) -> logging.Logger:
    """The logger `carillon.<name>`: `access`, `client` or `server`."""
    made = logging.getLogger(f"carillon.{name}")
    made.addFilter(_to_one_line)  # the same one: it is added once
    return made


def one_line(text: str) -> str:
    r"""Returns `text` with every character that is not shown escaped as in JSON: a newline is `\n`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _to_one_line(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    if not text.isprintable():
        record.msg, record.args = one_line(text), None
    return True
