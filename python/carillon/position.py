"""A place in the log of a channel."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import PositionError


@dataclass(frozen=True, slots=True)
class Position:
    """The place right after a publication; any transport can resume from it.

    Attributes:
        offset: Offset of the publication it stands behind, 0 for the start of the log.
        epoch: Name of the log. Offsets of different epochs have nothing to do with each other.
    """

    offset: int
    epoch: str

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Reads `epoch:offset`, the form that the wire and the command line use.

        Raises:
            PositionError: The text has another form.
        """
        epoch, colon, offset = text.rpartition(":")
        if not colon or not epoch or "," in epoch or not (offset.isascii() and offset.isdigit()):
            raise PositionError(
                f"{text!r} is not a position: write it as epoch:offset, for example kQwZabcd:12"
            )
        return cls(int(offset), epoch)

    @classmethod
    def of(cls, since: Position | str | None) -> Position | None:
        """What a `since` argument means: a position, its text, or None for "live from now"."""
        return cls.parse(since) if isinstance(since, str) else since
