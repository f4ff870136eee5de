"""Every exception that Carillon raises on purpose. All of them are `CarillonError`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .position import Position


class CarillonError(Exception):
    """Base of all errors of this package. All of them can be copied and pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by calling the class: an __init__ that makes the message out of other arguments would fail.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[CarillonError], args: tuple[Any, ...], state: dict[str, Any]) -> CarillonError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(CarillonError, ValueError):
    """A configuration is refused. The message names the field, its value and the remedy."""


class AddressInUse(CarillonError, OSError):  # noqa: N818
    """The address a server should listen on is taken. `errno` is set."""


class ConnectError(CarillonError, ConnectionError):
    """A server cannot be reached, or it refuses the client for good.

    A command that raises this was not sent.
    """


class ConnectionClosed(CarillonError):  # noqa: N818
    """The connection has ended and will not come back by itself.

    Attributes:
        code: Close code (protocol range 3000-4999), or 0 if this side closed it.
        reason: What the server said.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"connection closed: {reason} (code {code})" if code else reason)
        self.code = code
        self.reason = reason


class CommandTimeout(CarillonError, TimeoutError):  # noqa: N818
    """The server did not answer a command in time. Whether it did what the command asked is not known."""


class SubscribeDenied(CarillonError):  # noqa: N818
    """A subscription was refused, or ended by the server.

    Attributes:
        code: Error or unsubscribe code of the server, or an HTTP status.
        reason: What the server said.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"subscription refused: {reason} (code {code})")
        self.code = code
        self.reason = reason


class CommandError(CarillonError):
    """The server answered a command (publish, history, presence) with an error.

    Attributes:
        code: Error code of the server, or an HTTP status.
        reason: What the server said.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server refused the command: {reason} (code {code})")
        self.code = code
        self.reason = reason


class GapError(CarillonError):
    """Publications are lost to a subscription or an inbox: the log no longer holds them.

    A subscription has not ended. Iterate it again, or call `next` again, to continue behind the gap. To get
    a `Gap` in the stream instead of this exception, subscribe with `on_gap="yield"`.

    Attributes:
        channel: Name of the channel.
        lost_from: First lost offset; None if it is not known, because the channel has another log now.
        lost_to: Last lost offset.
        position: Position behind the gap, where delivery continues; None if the channel keeps no log.
    """

    def __init__(
        self, channel: str, lost_from: int | None, lost_to: int, position: Position | None, remedy: str = ""
    ) -> None:
        if lost_from is not None:
            lost = f"offsets {lost_from} to {lost_to} are lost"
        elif position is not None:
            lost = "the channel has another log now (was the server restarted?): what was missed is lost"
        else:
            lost = "the channel keeps no log: what was missed is lost"
        where = f" Delivery continues behind {position}." if position is not None else ""
        super().__init__(f"{channel!r}: {lost}.{where} {remedy}".rstrip())
        self.channel = channel
        self.lost_from = lost_from
        self.lost_to = lost_to
        self.position = position


class PayloadTooLarge(CarillonError, ValueError):  # noqa: N818
    """A publication is larger than the limit of the server."""


class PositionError(CarillonError, ValueError):
    """A position cannot be read, or belongs to another epoch than the log has now."""


class StoreError(CarillonError, RuntimeError):
    """The store could not take or give what was asked."""


class ServerStopped(CarillonError, RuntimeError):  # noqa: N818
    """A server, or something that belongs to it, is used before it was started or after it was stopped."""


class ServerFailed(ServerStopped):
    """A thread of a server has died, for want of memory perhaps. Stop it and make a new one."""


class TakeoverError(CarillonError, RuntimeError):
    """A running server cannot be taken over, or does not hand over. The message says why, and the remedy."""


class HookError(CarillonError, RuntimeError):
    """A hook comes too late, or is the second one for the same thing."""


class ForkedError(CarillonError, RuntimeError):
    """A server or a client is used in a child process that was forked after the server or client was made.

    Its threads and its event loop are not in the child. Make a new one there.
    """


class LoopError(CarillonError, RuntimeError):
    """A client or a subscription is used on another event loop than its own, or its own loop has ended."""


_BY_CORE_NAME: dict[str, type[CarillonError]] = {
    "ConfigError": ConfigError,
    "PayloadTooLarge": PayloadTooLarge,
    "PositionError": PositionError,
    "StoreError": StoreError,
    "ServerStopped": ServerStopped,
    "TakeoverError": TakeoverError,
}


# What pybind11 says of an argument that does not fit: the method, and what it takes.
_UNFIT = re.compile(
    r"(\w+)\(\): incompatible function arguments\..*?\n +1\. \(self: [\w.]+, ([^\n]*)\) ->", re.DOTALL
)


def from_core(error: Exception) -> Exception:
    """The public form of an exception that came out of the native module; others pass unchanged."""
    if isinstance(error, CarillonError):
        return error
    if isinstance(error, TypeError) and (unfit := _UNFIT.match(str(error))):
        # Without the arguments, which pybind11 prints whole: a payload can be a megabyte.
        return TypeError(
            f"{unfit[1]}: an argument has the wrong type, is out of its range, or is no text that UTF-8 can "
            f"express; it takes {unfit[2]}"
        )
    public = _BY_CORE_NAME.get(type(error).__name__)
    return public(str(error)) if public else error
