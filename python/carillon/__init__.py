"""Carillon: a real-time messaging server. Clients that reconnect get exactly what they missed, in order.

    import asyncio, carillon

    async def main():
        async with carillon.Server() as server, carillon.connect(server.url) as client:
            async with client.subscribe("news") as news:
                server.publish("news", {"text": "hello"})
                async for message in news:
                    print(message.offset, message.json())
                    break

    asyncio.run(main())

- `Server`: a server inside this process, with `Channel` settings, `Listener` addresses, `FanOut` and `Inbox`;
  its subscriptions are `Cursor`.
- `connect` returns a `Client`, whose subscriptions are `Subscription`. `carillon.sync` has the same for code
  without an event loop.
- Subscriptions yield `Message`, and raise `GapError` or yield `Gap` where publications are lost. A `Position`
  is where to continue. `History`, `ClientInfo`, `PresenceStats` and `Node` are what `history`, `presence` and
  `nodes` return.
- Hooks get a `ConnectContext`, `RefreshContext`, `SubscribeContext`, `SubRefreshContext`, `PublishContext`,
  `RpcContext` or `DisconnectContext`, and return `User` (with each `Grant`), `Grant`, `Deny`, or a bool.
- `token` makes a token that proves who a client is.
- `carillon.errors`: every exception; all of them are `CarillonError` and are names of this package, too.
- `carillon.testing`: for test suites, with pytest fixtures (`pytest --fixtures`).
- `carillon.fanout`: strategies of fan-out. `carillon.lab`: measure, model and choose one.

Names and modules that are not listed here are internal.
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
        ConnectDenied,
        ConnectError,
        ConnectionClosed,
        ForkedError,
        GapError,
        HookError,
        LoopError,
        PayloadTooLarge,
        PositionError,
        ReloadError,
        ServerFailed,
        ServerStopped,
        StoreConflict,
        StoreError,
        StoreOutcomeUnknown,
        StoreUnavailable,
        SubscribeDenied,
        TakeoverError,
    )
    from .fanout import FanOut, Inbox
    from .hook_answers import Deny, Grant, User
    from .hook_contexts import (
        ConnectContext,
        DisconnectContext,
        PublishContext,
        RefreshContext,
        RpcContext,
        SubRefreshContext,
        SubscribeContext,
    )
    from .items import ClientInfo, Gap, History, Message, Node, PresenceStats
    from .listener import Listener
    from .position import Position
    from .server import Server
    from .tokens import token

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
        "ConnectDenied",
        "ConnectError",
        "ConnectionClosed",
        "ForkedError",
        "GapError",
        "HookError",
        "LoopError",
        "PayloadTooLarge",
        "PositionError",
        "ReloadError",
        "ServerFailed",
        "ServerStopped",
        "StoreConflict",
        "StoreError",
        "StoreOutcomeUnknown",
        "StoreUnavailable",
        "SubscribeDenied",
        "TakeoverError",
    ),
    "fanout": ("FanOut", "Inbox"),
    "hook_answers": ("Deny", "Grant", "User"),
    "hook_contexts": (
        "ConnectContext",
        "DisconnectContext",
        "PublishContext",
        "RefreshContext",
        "RpcContext",
        "SubRefreshContext",
        "SubscribeContext",
    ),
    "items": ("ClientInfo", "Gap", "History", "Message", "Node", "PresenceStats"),
    "listener": ("Listener",),
    "position": ("Position",),
    "server": ("Server",),
    "tokens": ("token",),
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
    "ConnectDenied",
    "ConnectError",
    "ConnectionClosed",
    "Cursor",
    "Deny",
    "DisconnectContext",
    "FanOut",
    "ForkedError",
    "Gap",
    "GapError",
    "Grant",
    "History",
    "HookError",
    "Inbox",
    "Listener",
    "LoopError",
    "Message",
    "Node",
    "PayloadTooLarge",
    "Position",
    "PositionError",
    "PresenceStats",
    "PublishContext",
    "RefreshContext",
    "ReloadError",
    "RpcContext",
    "Server",
    "ServerFailed",
    "ServerStopped",
    "StoreConflict",
    "StoreError",
    "StoreOutcomeUnknown",
    "StoreUnavailable",
    "SubRefreshContext",
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
    "token",
]

if sys.version_info < (3, 12):  # where importing the core in a subinterpreter hangs; later versions refuse it
    _interpreters = importlib.import_module("_xxsubinterpreters")
    if _interpreters.get_current() != _interpreters.get_main():
        raise ImportError("carillon cannot be used in a subinterpreter: import it in the main interpreter")


if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that exists

    def __getattr__(name: str) -> Any:
        """Loads a name when it is first used: importing the package costs next to nothing."""
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{home}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
