"""The exceptions of Carillon. All of them are `CarillonError`, and names of the package `carillon`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .position import Position


class CarillonError(Exception):
    """Base class of all errors of this package. They can be copied and pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by calling the class: an __init__ that makes the message out of other arguments would fail.
        return _restored, (type(self), self.args, self.__dict__)


def _remedy(text: str) -> str:
    return f"; {text}" if text else ""


def _restored(kind: type[CarillonError], args: tuple[Any, ...], state: dict[str, Any]) -> CarillonError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(CarillonError, ValueError):
    """A configuration is not valid. The message names the option, its value and the remedy."""


class AddressInUse(CarillonError, OSError):  # noqa: N818
    """Another server listens at the address. `errno` is set."""


class ConnectError(CarillonError, ConnectionError):
    """A server cannot be reached. A command that raises this was not sent."""


class ConnectDenied(ConnectError):  # noqa: N818
    """The server refuses to let the client connect, over any transport: who it is, or what it presents.

    Attributes:
        code: Close or error code of the server, or an HTTP status.
        reason: Reason that the server gives.
    """

    def __init__(self, code: int, reason: str, remedy: str = "") -> None:
        super().__init__(f"the server refuses the connection: {reason} (code {code}){_remedy(remedy)}")
        self.code = code
        self.reason = reason


class ConnectionClosed(CarillonError):  # noqa: N818
    """The connection has ended, and the client does not reconnect.

    Attributes:
        code: Close code (3000 to 4999), or 0 if this side closed it.
        reason: Reason that the server gives.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"connection closed: {reason} (code {code})" if code else reason)
        self.code = code
        self.reason = reason


class CommandTimeout(CarillonError, TimeoutError):  # noqa: N818
    """The server did not answer a command in time. It may have carried it out, or not."""


class SubscribeDenied(CarillonError):  # noqa: N818
    """The server refused a subscription, or ended it.

    Attributes:
        code: Error or unsubscribe code of the server, or an HTTP status.
        reason: Reason that the server gives.
    """

    def __init__(self, code: int, reason: str, remedy: str = "") -> None:
        super().__init__(f"subscription refused: {reason} (code {code}){_remedy(remedy)}")
        self.code = code
        self.reason = reason


class CommandError(CarillonError):
    """The server answered a command (publish, history, presence, rpc) with an error.

    Attributes:
        code: Error code of the server, or an HTTP status.
        reason: Reason that the server gives.
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
    """A publication is larger than the server accepts."""


class PositionError(CarillonError, ValueError):
    """A position is not valid, or belongs to another epoch than the log has now."""


class StoreError(CarillonError, RuntimeError):
    """The store could not write or read."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store did not do it: it is away, or too much waits for it. Try again later.

    Every method of a `Server` that writes to its store or reads from it can raise it.
    """


class StoreOutcomeUnknown(StoreError):  # noqa: N818
    """The store may have done it, or not.

    A publication with an `idempotency_key` can be published again without being doubled. Changes of members
    and read positions can be repeated as they are.
    """


class StoreConflict(StoreError):  # noqa: N818
    """A publication was not stored: the channel has another top or a newer version than it expects.

    Attributes:
        top: Position of the channel's newest publication.
    """

    def __init__(self, reason: str, top: Position) -> None:
        super().__init__(reason)
        self.top = top


class ServerStopped(CarillonError, RuntimeError):  # noqa: N818
    """A server, or an object of it, is used before the server was started or after it was stopped."""


class ServerFailed(ServerStopped):
    """A thread of a server has died, possibly because memory ran out. Stop the server and make a new one."""


class TakeoverError(CarillonError, RuntimeError):
    """A takeover failed, or no server offers one. The message says why, and names the remedy."""


class ReloadError(CarillonError, RuntimeError):
    """A configuration cannot be put in place while the server runs; nothing has changed.

    The message has a line for each reason: an option that needs a new process, or a drain or a takeover that
    is under way.
    """


class HookError(CarillonError, RuntimeError):
    """A hook was registered after `start()`, or twice for the same pattern."""


class ForkedError(CarillonError, RuntimeError):
    """A server or a client of the parent process is used in a forked child.

    Its threads and its event loop are not in the child. Make a new one there.
    """


class LoopError(CarillonError, RuntimeError):
    """A client or a subscription is used on another event loop than its own, or its own has ended."""


_BY_CORE_NAME: dict[str, type[CarillonError]] = {
    "ConfigError": ConfigError,
    "PayloadTooLarge": PayloadTooLarge,
    "PositionError": PositionError,
    "StoreError": StoreError,
    "StoreUnavailable": StoreUnavailable,
    "StoreOutcomeUnknown": StoreOutcomeUnknown,
    "ServerStopped": ServerStopped,
    "TakeoverError": TakeoverError,
    "ReloadError": ReloadError,
}


def append_error(kind: str, reason: str, offset: int, epoch: str) -> StoreError:
    """Returns the exception of an append that failed, from what the native module says of it."""
    from .position import Position  # it needs the exceptions of this module

    if kind == "conflict":
        return StoreConflict(reason, Position(offset, epoch))
    return StoreOutcomeUnknown(reason) if kind == "unknown" else StoreUnavailable(reason)


def from_core(error: Exception) -> Exception:
    """Returns the public form of an exception of the native module; others are returned unchanged."""
    if isinstance(error, CarillonError):
        return error
    if type(error).__name__ == "AppendError":
        return append_error(*error.args)
    public = _BY_CORE_NAME.get(type(error).__name__)
    return public(str(error)) if public else error
