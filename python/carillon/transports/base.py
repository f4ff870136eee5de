"""What a transport offers the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..items import ClientInfo, History
    from ..position import Position
    from ..stream import Source


class Transport(Protocol):
    """Belongs to one event loop."""

    async def open(self) -> None:
        """Reaches the server for the first time.

        Raises:
            ConnectError: It cannot be reached, or refuses.
        """

    async def close(self) -> None:
        """Ends everything. Idempotent."""

    def source(self, channel: str, since: Position | None) -> Source:
        """A subscription, not yet started."""


class Commands(Protocol):
    """Publishing and asking, over a connection or over the HTTP API."""

    async def publish(self, channel: str, data: bytes) -> Position | None:
        """Publishes JSON text. None where the protocol does not tell the position."""

    async def history(self, channel: str, limit: int, since: Position | None, reverse: bool) -> History:
        """Reads the log."""

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Asks who is there."""
