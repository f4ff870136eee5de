"""What a subscription yields, and what history and presence return."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    """Publications are lost to this subscription; what follows is in order again.

    Attributes:
        channel: Where.
        epoch: The log that delivery goes on in.
        lost_from: First lost offset; None if it cannot be said (the log is another one now).
        lost_to: Last lost offset: delivery goes on behind it.
    """

    channel: str
    epoch: str
    lost_from: int | None
    lost_to: int

    @property
    def position(self) -> Position | None:
        """Where delivery goes on; None if the channel has no log."""
        return Position(self.lost_to, self.epoch) if self.epoch else None

    def raise_(self) -> None:
        """Raises this gap as `GapError`."""
        raise GapError(self.lost_from, self.lost_to)


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
