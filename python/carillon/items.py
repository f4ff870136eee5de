"""The items of subscriptions, and the results of history and presence."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from . import _core
from .errors import GapError
from .position import Position

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Message:
    """One publication.

    Attributes:
        channel: Name of the channel.
        offset: Number of the publication in the order of the channel, from 1; 0 if the channel keeps no log.
        epoch: Epoch of the log that the offset counts in; empty if there is none.
        data: Payload, byte for byte as it was published.
        is_json: Whether the payload is JSON text. Otherwise it is binary.
        tags: Tags that were given at publish.
        key: Conflation key that was given at publish, or empty.
        time_ms: Time at which the server accepted it, milliseconds since 1970; 0 if the transport does not
            say.
    """

    channel: str
    offset: int
    epoch: str
    data: bytes
    is_json: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    time_ms: int = 0

    def json(self) -> Any:
        """Returns the payload, decoded from JSON.

        Raises:
            ValueError: The payload is not JSON, or holds an integer of more than 4,300 digits, which Python
                refuses (`sys.set_int_max_str_digits`). `data` has its text.
        """
        return json.loads(self.data)

    @property
    def position(self) -> Position | None:
        """Position behind this message, to resume from; None if it is in no log."""
        return Position(self.offset, self.epoch) if self.offset else None


_core.use_item_classes(Message, Position)


@dataclass(frozen=True, slots=True)
class Gap:
    """Publications that a subscription lost, in their place in the order of the channel.

    A subscription yields it with `on_gap="yield"`; by default it raises `GapError` instead.

    Attributes:
        channel: Name of the channel.
        epoch: Epoch of the log in which delivery continues; empty if the channel keeps no log.
        lost_from: First lost offset; None if it is not known, because the channel has another log now.
        lost_to: Last lost offset. Delivery continues behind it.
    """

    channel: str
    epoch: str
    lost_from: int | None
    lost_to: int

    @property
    def position(self) -> Position | None:
        """Position behind the gap, where delivery continues; None if the channel keeps no log."""
        return Position(self.lost_to, self.epoch) if self.epoch else None

    def raise_(self, remedy: str = "") -> NoReturn:
        """Raises this gap as `GapError`.

        Args:
            remedy: Sentence that ends the message; empty by default.
        """
        raise GapError(self.channel, self.lost_from, self.lost_to, self.position, remedy)


@dataclass(frozen=True, slots=True)
class History:
    """Part of a log.

    Attributes:
        messages: The messages, in the order asked for.
        position: Where to subscribe, or to read on, without losing a message: behind the last of `messages`
            if the limit has cut the list, else behind the newest message of the log.
    """

    messages: list[Message]
    position: Position

    @classmethod
    def of(cls, messages: list[Message], top: Position, *, is_reverse: bool) -> History:
        """A list out of the log whose newest message is at `top`."""
        is_cut = bool(messages) and not is_reverse and messages[-1].offset < top.offset
        return cls(messages, Position(messages[-1].offset, top.epoch) if is_cut else top)


@dataclass(frozen=True, slots=True)
class PresenceStats:
    """How many are subscribed to a channel now.

    Attributes:
        clients: Number of connections.
        users: Number of different users; all that are anonymous count as one.
    """

    clients: int
    users: int


@dataclass(frozen=True, slots=True)
class Node:
    """A server among those that share a store.

    Attributes:
        address: Where it listens, as `host:port`; of one that listens everywhere, the name of its machine.
        uid: Its name for as long as it runs.
        version: Its version.
        clients: Number of its clients.
        users: Number of their different users; all that are anonymous count as one.
        subscriptions: Number of subscriptions.
        channels: Number of channels with subscribers there.
        uptime_s: Time since its start, seconds.
        is_draining: Whether it asks its clients to reconnect elsewhere.
    """

    address: str
    uid: str
    version: str
    clients: int
    users: int
    subscriptions: int
    channels: int
    uptime_s: int
    is_draining: bool


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """A client that is subscribed to a channel now.

    Attributes:
        client: Id of the connection.
        user: Id of the user, empty if anonymous.
        conn_info: Information that the client's token or the connect hook gave, decoded from JSON.
        chan_info: Information that belongs to the subscription, decoded from JSON.
    """

    client: str
    user: str
    conn_info: Any = None
    chan_info: Any = None
