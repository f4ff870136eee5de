"""Where a subscription or a history call starts."""

from __future__ import annotations

from dataclasses import dataclass

from .arguments import kind, shown, whole_number
from .errors import PositionError
from .position import Position

_MOST = 2**31 - 1
_USUAL = 100  # messages of a history call that names no number

OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription starts: live, unless one of these is given.

    Attributes:
        position: Behind this position.
        is_oldest: With the oldest message that is kept.
        last: With the newest messages that are kept, this many.
    """

    position: Position | None = None
    is_oldest: bool = False
    last: int | None = None

    @classmethod
    def of(cls, since: Position | str | None, last: int | None = None) -> Start:
        """Reads the arguments `since` and `last`.

        Raises:
            PositionError: No server can have given this position.
            TypeError: An argument has another type.
            ValueError: Both arguments are given, or `last` is out of its range.
        """
        if since is not None and last is not None:
            raise ValueError("since and last: both are given; give one of them")
        if last is not None:
            return cls(last=whole_number("last", last, 0, _MOST))
        if since is None:
            return cls()
        if since == OLDEST:
            return cls(is_oldest=True)
        if not isinstance(since, str | Position):
            raise TypeError(
                f"since: {shown(since)} is {kind(since)}; give a Position, its text (epoch:offset), "
                "'oldest' or None"
            )
        try:
            return cls(since.checked() if isinstance(since, Position) else Position.parse(since))
        except PositionError as error:
            raise PositionError(f"since: {error}, or 'oldest'") from None

    @property
    def since(self) -> str | None:
        """The position or `oldest`, as text; None if neither is given."""
        if self.is_oldest:
            return OLDEST
        return str(self.position) if self.position else None

    def fields(self) -> dict[str, str | int]:
        """The fields of a request: `since`, `last`, or none."""
        fields = {"since": self.since, "last": self.last}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What a history call asks for.

    Attributes:
        start: Where the list starts; with neither position, oldest nor last: at the end that the order says.
        limit: Number of messages at most; -1 for all. Not used with `start.last`.
        is_reverse: Newest message first.
    """

    start: Start
    limit: int
    is_reverse: bool = False

    @classmethod
    def of(
        cls, last: int | None, since: Position | str | None, limit: int | None, reverse: bool
    ) -> HistoryQuery:
        """Reads the arguments of a history call.

        Raises:
            PositionError: `since` is not a position.
            TypeError: An argument has another type.
            ValueError: Arguments contradict each other, or one is out of its range.
        """
        start = Start.of(since, last)
        if last is not None and (limit is not None or reverse):
            raise ValueError("last: is given beside limit or reverse; give it alone")
        if start.is_oldest and reverse:
            raise ValueError("since: 'oldest' has nothing before it; leave it out to read in reverse")
        if last is None and since is None and limit is None and not reverse:
            start = Start(last=_USUAL)
        return cls(start, _USUAL if limit is None else whole_number("limit", limit, -1, _MOST), bool(reverse))
