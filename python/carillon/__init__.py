"""Carillon: a real-time messaging hub with a C++ core, driven from Python.

Names are loaded when they are first used, so that importing the package (as the pytest plugin does in every
run) costs next to nothing.
"""

from __future__ import annotations

import importlib
import sys

from ._version import __version__

TYPE_CHECKING = False  # `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

    from . import errors, fanout, lab, sync, testing
    from .channel import Channel
    from .client import Client, Subscription, connect
    from .cursor import Cursor
    from .errors import (
        AddressInUse,
        CarillonError,
        CommandError,
        CommandTimeout,
        ConfigError,
        ConnectError,
        ConnectionClosed,
        ForkedError,
        GapError,
        HookError,
        LoopError,
        PayloadTooLarge,
        PositionError,
        ServerFailed,
        ServerStopped,
        StoreError,
        SubscribeDenied,
        TakeoverError,
    )
    from .fanout import FanOut, Inbox
    from .hooks import ConnectContext, Deny, PublishContext, SubscribeContext, User
    from .items import ClientInfo, Gap, History, Message
    from .listener import Listener
    from .position import Position
    from .server import Server

_HOMES = {
    "channel": ("Channel",),
    "client": ("Client", "Subscription", "connect"),
    "cursor": ("Cursor",),
    "errors": (
        "AddressInUse",
        "CarillonError",
        "CommandError",
        "CommandTimeout",
        "ConfigError",
        "ConnectError",
        "ConnectionClosed",
        "ForkedError",
        "GapError",
        "HookError",
        "LoopError",
        "PayloadTooLarge",
        "PositionError",
        "ServerFailed",
        "ServerStopped",
        "StoreError",
        "SubscribeDenied",
        "TakeoverError",
    ),
    "fanout": ("FanOut", "Inbox"),
    "hooks": ("ConnectContext", "Deny", "PublishContext", "SubscribeContext", "User"),
    "items": ("ClientInfo", "Gap", "History", "Message"),
    "listener": ("Listener",),
    "position": ("Position",),
    "server": ("Server",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ("errors", "fanout", "lab", "sync", "testing")

__all__ = [
    "AddressInUse",
    "CarillonError",
    "Channel",
    "Client",
    "ClientInfo",
    "CommandError",
    "CommandTimeout",
    "ConfigError",
    "ConnectContext",
    "ConnectError",
    "ConnectionClosed",
    "Cursor",
    "Deny",
    "FanOut",
    "ForkedError",
    "Gap",
    "GapError",
    "History",
    "HookError",
    "Inbox",
    "Listener",
    "LoopError",
    "Message",
    "PayloadTooLarge",
    "Position",
    "PositionError",
    "PublishContext",
    "Server",
    "ServerFailed",
    "ServerStopped",
    "StoreError",
    "SubscribeContext",
    "SubscribeDenied",
    "Subscription",
    "TakeoverError",
    "User",
    "__version__",
    "connect",
    "errors",
    "fanout",
    "lab",
    "sync",
    "testing",
]

if sys.version_info < (3, 12):  # where importing the core in a subinterpreter hangs; later versions refuse it
    _interpreters = importlib.import_module("_xxsubinterpreters")
    if _interpreters.get_current() != _interpreters.get_main():
        raise ImportError("carillon cannot be used in a subinterpreter: import it in the main interpreter")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
