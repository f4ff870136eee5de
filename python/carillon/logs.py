"""The loggers of this package. They are silent unless the application configures `logging`."""

from __future__ import annotations

import logging

logging.getLogger("carillon").addHandler(logging.NullHandler())


def logger(name: str) -> logging.Logger:
    """The logger `carillon.<name>`: `access`, `client` or `server`."""
    return logging.getLogger(f"carillon.{name}")
