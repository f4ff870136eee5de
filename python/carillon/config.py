"""From keyword arguments and a file to the one JSON document that the core validates.

The core is the only schema: this module reads and merges, it never decides what is valid.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _core
from .channel import Channel
from .errors import ConfigError, from_core


def load(path: str | Path) -> dict[str, Any]:
    """Reads a configuration file: TOML, or JSON if its name ends so.

    Raises:
        ConfigError: It cannot be read, or is not what its name says.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path} is not valid {kind}: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold an object at the top, not a {type(document).__name__}")
    return document


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`: tables are merged, everything else is replaced."""
    merged = dict(base)
    for name, value in over.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def normalise(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with all defaults, checked by the core.

    Raises:
        ConfigError: A field is unknown or wrong; the message names it, its value and the remedy.
    """
    try:
        checked = _core.config_check(json.dumps(document))
    except Exception as error:
        raise from_core(error) from None
    result: dict[str, Any] = json.loads(checked)
    return result


def channel_table(channels: Mapping[str, Channel | Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The `channels` section of a configuration."""
    return {
        pattern: settings.to_dict() if isinstance(settings, Channel) else dict(settings)
        for pattern, settings in channels.items()
    }


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
