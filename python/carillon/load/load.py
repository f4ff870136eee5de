"""The load that the generator makes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from .. import _core
from ..errors import CarillonError

Transport = Literal["ws", "sse", "poll"]
Protocol = Literal["centrifuge", "raw", "socketio", "nchan"]
PublishBy = Literal["ws", "post"]


class LoadError(CarillonError):
    """A load cannot be run, or one of its workers failed. Faults of the server are in the result."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One load against one server.

    Connection i subscribes to the channels i*k, i*k + 1, ... (modulo `channels`), k being
    `channels_per_connection`. Message n is published to channel n modulo `channels`.

    Attributes:
        host: Address of the server.
        port: Port of the server.
        ports: Ports of several servers instead, each with an equal part of the connections. Every message is
            published to all of them at the same moment.
        gateways: Ports of gateways that share a store instead, each with an equal part of the connections.
            Every message is published to the first one only.
        transport: Transport of the subscribers.
        protocol: Protocol of the server. Carillon speaks `centrifuge`; the others are for comparisons.
        publish_by: Way of publishing: a WebSocket of the same protocol, or POST requests to the HTTP API.
        api_key: Key of the HTTP API.
        channel: Name of the channel, or the beginning of the names of several.
        user: Connection i claims the user of this name and i, which insecure servers accept; empty: no user.
        connections: Number of subscribers. It may be 0 with `awaits_replies`.
        channels: Number of channels.
        channels_per_connection: Channels of each subscriber.
        payload_bytes: Size of a message, bytes: a JSON string with its quotes.
        has_records: The data hold records of names and numbers, which compress as JSON mostly does,
            instead of one letter again and again.
        is_deflated: Subscribers get compressed frames (permessage-deflate). With WebSockets and the
            Centrifuge protocol only.
        is_idle: Publish nothing, only hold the connections for `seconds`.
        in_flight: Largest number of messages that are published and not yet with every subscriber of their
            channel.
        rate_per_s: Messages per second instead of `in_flight`; 0: as fast as `in_flight` allows.
        seconds: Length of the measured window, seconds.
        messages: Messages of the measured window; 0: only `seconds` bounds it.
        warmup: Messages before the measured window.
        timeout_s: Time without progress after which a run is given up, seconds.
        awaits_replies: Measure the time until the publisher has its reply. A message without a reply counts
            as in flight.
        slice_s: Length of a slice, seconds: the times are also kept for each slice of the measured window; 0:
            no slices.
        cuts: Number of times that the connections of all subscribers but the first `staying` are cut. They
            reconnect and resume from their positions.
        cut_every_s: Time from one cut to the next, seconds.
        cut_s: Time that the network is away after a cut, seconds.
        return_s: Time over which the subscribers reconnect, seconds.
        staying: Subscribers whose connections are not cut.
        return_port: Port to which subscribers reconnect once the server has asked them to, and to which the
            publisher connects; 0: none.
        is_spinning: The generator never sleeps. A sleeping receiver makes the server pay for its wake-up.
        server_pids: Processes of the server, whose CPU time and memory are measured.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    ports: tuple[int, ...] = ()
    gateways: tuple[int, ...] = ()
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
    has_records: bool = False
    is_deflated: bool = False
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
        """Raises LoadError for a value that is not possible."""
        if self.ports and self.gateways:
            raise LoadError("ports, gateways: both are given; give the ports of one of them")
        try:
            self.native(0, self.servers).check()
        except (TypeError, ValueError) as error:
            raise LoadError(str(error)) from None

    @property
    def servers(self) -> int:
        """Number of servers that share the connections."""
        return max(1, len(self.ports), len(self.gateways))

    def native(self, worker: int = 0, workers: int = 1) -> _core.LoadSettings:
        """Returns the settings of one worker, in the form of the native generator."""
        settings = _core.LoadSettings()
        for name, value in asdict(self).items():
            if name != "gateways":
                setattr(settings, name, list(value) if isinstance(value, tuple) else value)
        if self.gateways:  # the native generator sees one server: that of its worker
            settings.port = self.gateways[worker % len(self.gateways)]
        settings.worker = worker
        settings.workers = workers
        return settings
