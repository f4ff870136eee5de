"""An address at which a server listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Server


class Listener:
    """One of the addresses of a server, from `Server.listen` or `Server.listeners`.

    Attributes:
        host: Where it listens.
        port: The port, the one that was picked if 0 was asked for.
        number: Which of the server's it is; 0 is the address of the configuration.
    """

    def __init__(self, server: Server, number: int, host: str, port: int) -> None:
        self._server = server
        self.number = number
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """Where clients reach it, `http://host:port`."""
        return url_of(self.host, self.port)

    def drain(self, deadline: float | None = None, pace: float | None = None) -> bool:
        """Asks the clients that came in here to go, and closes; the server's other listeners go on.

        Clients come back by position, and so lose nothing, at another listener of the same hub. `/health`
        here is not ready meanwhile. Who is still there at the end is cut off.

        Args:
            deadline: Seconds to wait at most, by default `shutdown.timeout` of the configuration.
            pace: Seconds within which they are asked, by default `shutdown.pace`, else 1 ms per client, half
                of the deadline at most.

        Returns:
            Whether all left in time.

        Raises:
            ValueError: It is closed already.
        """
        core = self._server._running()
        try:
            return core.drain_listener(self.number, *self._server._drain_ms(deadline, pace))
        except IndexError:
            raise ValueError(f"{self!r} is closed already") from None

    def __repr__(self) -> str:
        return f"<carillon.Listener at {self.url}>"


def url_of(host: str, port: int) -> str:
    """The URL of an address; one that stands for all is reached on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
