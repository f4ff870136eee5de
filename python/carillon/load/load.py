"""What is asked of the generator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from .. import _core
from ..errors import CarillonError

Transport = Literal["ws", "sse", "poll"]
Protocol = Literal["centrifuge", "raw", "socketio", "nchan"]
PublishBy = Literal["ws", "post"]


class LoadError(CarillonError):
    """A load cannot be run as asked, or a worker of it failed. What a server did wrong is in the result."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One load against one server.

    Connection i subscribes to the channels i*k, i*k + 1, ... (modulo `channels`), k being
    `channels_per_connection`; message n goes to channel n modulo `channels`.

    Attributes:
        host: The server's address.
        port: The server's port.
        ports: Several servers instead, each with an equal part of the connections; every message is published
            to all of them at the same moment.
        transport: How subscribers connect.
        protocol: What the server speaks. Carillon: centrifuge; the others are for comparisons.
        publish_by: A WebSocket of the same protocol, or POST requests to the server's API.
        api_key: Key of that API.
        channel: Name of the channel, or what the names of several begin with.
        user: Connection i says that it is this and i, which insecure servers believe; empty: nobody.
        connections: Subscribers.
        channels: Channels in all.
        channels_per_connection: Channels of each subscriber.
        payload_bytes: Bytes of a message: a JSON string with its quotes.
        is_idle: Publish nothing, only hold the connections for `seconds`.
        in_flight: Messages published and not yet with every subscriber of their channel.
        rate_per_s: Messages per second instead; 0: as fast as `in_flight` lets.
        seconds: Length of the measured window.
        messages: Messages of the measured window; 0: `seconds` bounds it alone.
        warmup: Messages before the measured window.
        timeout_s: A run without progress for so long is given up.
        awaits_replies: In flight is also what the publisher has no reply to, and the time until the reply is
            measured. `connections` may then be 0.
        slice_s: The times are also kept for each slice of the measured window, of so many seconds; 0: not.
        cuts: So many times, once every `cut_every_s`, the links of all subscribers but the first `staying`
            are cut. They come back with the position that they had.
        cut_every_s: From one cut to the next.
        cut_s: How long the link is away.
        return_s: Over which time they come back.
        staying: Subscribers whose links are not cut.
        return_port: Where subscribers come back once the server has asked them to go, and where the publisher
            is; 0: nowhere else.
        is_spinning: The generator never sleeps: a sleeping receiver makes the server pay for its wake-up.
        server_pids: Processes whose CPU time and memory are the server's.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    ports: tuple[int, ...] = ()
    transport: Transport = "ws"
    protocol: Protocol = "centrifuge"
    publish_by: PublishBy = "ws"
    api_key: str = ""
    channel: str = "bench"
    user: str = ""
    connections: int = 1000
    channels: int = 1
    channels_per_connection: int = 1
    payload_bytes: int = 128
    is_idle: bool = False
    in_flight: int = 1
    rate_per_s: float = 0.0
    seconds: float = 5.0
    messages: int = 0
    warmup: int = 100
    timeout_s: float = 30.0
    awaits_replies: bool = False
    slice_s: float = 0.0
    cuts: int = 0
    cut_every_s: float = 5.0
    cut_s: float = 2.0
    return_s: float = 1.0
    staying: int = 0
    return_port: int = 0
    is_spinning: bool = False
    server_pids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises LoadError for what cannot be."""
        try:
            self.native(0, max(1, len(self.ports))).check()
        except (TypeError, ValueError) as error:
            raise LoadError(str(error)) from None

    def native(self, worker: int = 0, workers: int = 1) -> _core.LoadSettings:
        """The settings of one worker, as the core takes them."""
        settings = _core.LoadSettings()
        for name, value in asdict(self).items():
            setattr(settings, name, list(value) if isinstance(value, tuple) else value)
        settings.worker = worker
        settings.workers = workers
        return settings
