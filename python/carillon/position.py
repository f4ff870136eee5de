"""Positions in the logs of channels."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import PositionError

OFFSET_MAX = 2**64 - 1


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
        return cls(int(offset), epoch).checked()

    def checked(self) -> Position:
        """Returns the position itself if a server can have given it.

        Raises:
            PositionError: No server can have given it.
        """
        is_offset = isinstance(self.offset, int) and 0 <= self.offset <= OFFSET_MAX
        is_epoch = isinstance(self.epoch, str) and self.epoch.isascii() and "," not in self.epoch
        if not (is_offset and is_epoch and self.epoch and self.epoch.isprintable()):
            raise PositionError(
                f"{str(self)!r} is not a position: the offset is a whole number from 0 to {OFFSET_MAX}, and "
                "the epoch is a text that a server gave"
            )
        return self
