"""The configuration of a command that uses a store and no server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .. import config

if TYPE_CHECKING:
    from pathlib import Path


def store_config(file: Path | None, url: str | None) -> tuple[str, str]:
    """Returns the address of the store, and the whole configuration as JSON.

    Args:
        file: The file of the configuration, if there is one.
        url: The address of the store; None: that of the file or the environment.

    Raises:
        ConfigError: There are mistakes in it.
    """
    given = {"store": url}
    document = config.merge(config.read(file, {}, given), config.from_arguments(given))
    config.check(document, file)
    return str(config.get(document, "store.url") or "memory"), json.dumps(document, default=str)
