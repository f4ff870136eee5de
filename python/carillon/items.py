"""What a subscription yields, and what history and presence return."""

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
        channel: Where it was published.
        offset: Its place in the order of the channel, from 1; 0 if the channel keeps no history.
        epoch: The log that the offset counts in, empty if there is none.
        data: The payload, byte for byte as it was published.
        is_json: Whether the payload is JSON text (otherwise it is binary).
        tags: Tags given at publish.
        key: Conflation key given at publish, or empty.
        time_ms: When the server took it, milliseconds since 1970; 0 where the transport does not tell.
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
        """The payload, decoded.

        Raises:
            ValueError: It is not JSON, or holds an integer of more than 4,300 digits, which Python refuses
                (`sys.set_int_max_str_digits`). Only this message is concerned; `data` has its text.
        """
        return json.loads(self.data)

    @property
    def position(self) -> Position | None:
        """Where to resume after this message; None if it has no place in a log."""
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
        messages: What was asked for, in the order asked for.
        position: The top of the log at that moment.
    """

    messages: list[Message]
    position: Position


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Somebody who is on a channel now.

    Attributes:
        client: Id of the connection.
        user: Who it is, empty if anonymous.
        conn_info: What the server knows of the connection, decoded from JSON.
    """

    client: str
    user: str
    conn_info: Any = None
