"""One cell of a comparison: a strategy, a transport, and a load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..fanout import STRATEGIES, Strategy
from .capacity import LabError, inbox_entries_of

if TYPE_CHECKING:
    from .table import Row

Transport = Literal["ws", "sse", "poll", "memory"]

TRANSPORTS: tuple[Transport, ...] = ("ws", "sse", "poll", "memory")
CHANNEL = "lab"
MEMBER = "m"  # and a number: connection i is that of member i
PAYLOAD_BYTES_MIN = 20  # quotes and a number, by which the generator knows each message
HISTORY = 1_000
CHANNELS_PER_CONNECTION = 128  # the default limit of servers
_WARMUP = 5
_SLACK_S = 60.0
HEARTBEATS = {"client": {"insecure": True, "ping_interval": "0s"}, "heartbeat": {"comment_interval_ms": 0}}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The load on one fresh server.

    Attributes:
        strategy: Strategy of the channels.
        transport: Transport of the subscribers; `memory`: sinks in the process of the hub.
        members: Members of each channel.
        online: Share of the members that have a connection, 0 to 1.
        publish_rate: Publications per second, all channels together.
        payload: Size of a publication, bytes: a JSON string with its quotes.
        seconds: Length of the measurement.
        channels: Number of channels. Every member belongs to each; publications go to them in turn.
        threshold: Number of members above which `hybrid` reads, and where `adaptive` begins.
        sweep_interval_ms: Interval between sweeps in read mode, ms.
    """

    strategy: Strategy
    transport: Transport
    members: int
    online: float
    publish_rate: float
    payload: int
    seconds: float
    channels: int = 1
    threshold: int = 10_000
    sweep_interval_ms: int = 100

    def __post_init__(self) -> None:
        """Raises LabError for a value that is not possible."""
        _one_of("strategies", self.strategy, STRATEGIES)
        _one_of("transports", self.transport, TRANSPORTS)
        _at_least("members", self.members, 1)
        _at_least("channels", self.channels, 1)
        _at_least("threshold", self.threshold, 1)
        _at_least("sweep_interval_ms", self.sweep_interval_ms, 1)
        _at_least("payload", self.payload, PAYLOAD_BYTES_MIN)
        if not 0 <= self.online <= 1:
            raise LabError(f"online: {self.online!r}; give the share of members that are online, 0 to 1")
        _above_0("publish_rate", self.publish_rate)
        _above_0("seconds", self.seconds)

    @property
    def connections(self) -> int:
        """Number of members that have a connection."""
        return round(self.members * self.online)

    @property
    def publications(self) -> int:
        """Publications of the measured window."""
        return publications_of(self.publish_rate, self.seconds)

    @property
    def warmup(self) -> int:
        """Publications before the measured window, some to each channel."""
        return _WARMUP * self.channels

    @property
    def give_up_s(self) -> float:
        """Time after which a cell is given up: the load is more than the machine can do."""
        return 10 * self.seconds + _SLACK_S

    def too_fast(self, so_far: str) -> str:
        """The error message for a cell that was given up, with the remedy."""
        return (
            f"publish_rate: {self.publish_rate:g} per second is more than this machine can do ({self}): "
            f"{so_far} after {self.give_up_s:.0f} s. Give a lower rate"
        )

    @property
    def inbox_entries(self) -> int:
        """Largest number of entries that the inboxes can hold at the end."""
        return inbox_entries_of(self.members, self.publications)

    @property
    def has_sockets(self) -> bool:
        """Whether the subscribers are connections."""
        return self.transport != "memory"

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels, as the generator builds them."""
        return [CHANNEL] if self.channels == 1 else [f"{CHANNEL}-{i}" for i in range(self.channels)]

    def member_names(self, first: int = 0, last: int | None = None) -> list[str]:
        """Names of the members; connected members come first."""
        return [f"{MEMBER}{i}" for i in range(first, self.members if last is None else last)]

    def config(self) -> dict[str, Any]:
        """Configuration of the server. It has no heartbeats, so that every byte belongs to a publication."""
        options = {
            "history_size": HISTORY,
            "history_ttl": "1h",
            "fanout": self.strategy,
            "fanout_threshold": self.threshold,
            "sweep_interval": f"{self.sweep_interval_ms}ms",
        }
        limits = {"channels_per_connection": max(CHANNELS_PER_CONNECTION, self.channels)}
        return {**HEARTBEATS, "limits": limits, "channels": {f"{CHANNEL}*": options}}

    def to_row(self) -> Row:
        """The columns that describe the load."""
        return {
            "strategy": self.strategy,
            "transport": self.transport,
            "channels": self.channels,
            "members": self.members,
            "online": self.connections,
            "publish_rate": self.publish_rate,
            "payload": self.payload,
            "threshold": self.threshold,
            "sweep_interval_ms": self.sweep_interval_ms,
        }

    def __str__(self) -> str:
        """Describes the cell, for a progress bar."""
        return f"{self.strategy} over {self.transport}, {self.members:,} members, {self.connections:,} online"


def publications_of(publish_rate: float, seconds: float) -> int:
    """Returns the number of publications that are due within some seconds; the first one is due at once."""
    return max(1, math.ceil(publish_rate * seconds - 1e-9))


def _one_of(field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise LabError(f"{field}: {value!r} is not one of {', '.join(choices)}")


def _at_least(field: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise LabError(f"{field}: {value!r}; give a whole number of at least {least}")


def _above_0(field: str, value: float) -> None:
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise LabError(f"{field}: {value!r}; give a number above 0")
