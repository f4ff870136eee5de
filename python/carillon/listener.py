"""An address at which a server listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Server


class Listener:
    """One address of a server, from `Server.listen` or `Server.listeners`.

    Attributes:
        host: Address that it listens on.
        port: Port that it listens on.
        number: Number of the listener in its server; 0 is the address of the configuration.
    """

    def __init__(self, server: Server, number: int, host: str, port: int) -> None:
        self._server = server
        self.number = number
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """Address for clients, `http://host:port`."""
        return url_of(self.host, self.port)

    def drain(self, deadline: float | None = None, pace: float | None = None) -> bool:
        """Asks the clients of this address to reconnect, waits until they have left, and closes the listener.

        The other listeners of the server are not affected. Clients resume by position at another address of
        the same server, and so lose nothing. Meanwhile `/health` answers 503 here. Clients that remain at the
        end are disconnected.

        Args:
            deadline: Longest time to wait, seconds; by default `shutdown.timeout` of the configuration.
            pace: Time within which the clients are asked, seconds; by default `shutdown.pace`, else 1 ms per
                client, at most half of the deadline.

        Returns:
            Whether all clients left in time.

        Raises:
            ValueError: The listener is closed already.
        """
        core = self._server._running()
        try:
            return core.drain_listener(self.number, *self._server._drain_ms(deadline, pace))
        except IndexError:
            raise ValueError(f"{self!r} is closed already") from None

    def __repr__(self) -> str:
        return f"<carillon.Listener at {self.url}>"


def url_of(host: str, port: int) -> str:
    """Returns the URL of an address. An address that stands for all is reached on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
