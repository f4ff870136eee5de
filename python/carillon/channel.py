"""Names of channels, and settings of the channels that a pattern covers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


def channel_name(name: str) -> str:
    """The name itself, if a server can take it. How long one may be is up to the server.

    Raises:
        TypeError: It is not a str.
        ValueError: It is empty, or holds a control character or half of a surrogate pair.
    """
    if not isinstance(name, str):
        raise TypeError(f"channel: {name!r} is a {type(name).__name__}; a channel name is a str")
    is_text = bool(name) and not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in name)
    if not is_text:
        raise ValueError(
            f"channel: {name!r} is not a channel name; give at least one character, and no control "
            "characters or lone surrogates"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Settings for the channels of one pattern; what is None keeps the server's default.

    Named as in a configuration file, where `history_ttl = "300s"` is the same as `history_ttl_ms = 300_000`.

    Attributes:
        history_size: Publications kept; 0 keeps none, and publications then have no offset.
        history_ttl_ms: How long they are kept, milliseconds.
        history_bytes: Memory of those that are kept, some 320 bytes for each beside its payload.
        presence: Whether the server knows who is on the channel.
        join_leave: Whether subscribers are told who comes and goes.
        live_window_entries: Entries kept for delivery even where `history_size` is 0.
        live_window_bytes: The same in bytes.
        slow_consumer: What becomes of a live subscriber that takes too little and falls behind. "wait": it
            catches up from the log. "skip": it is told a gap and goes on with the newest. "disconnect": it is
            sent away and comes back by itself.
        slow_consumer_entries: How far behind it may be when it can take again.
        fanout: Who does the work of a publication, and when. "write": the server, at publish, into every
            member's inbox and to subscribers at once. "read": whoever reads; subscribers are served by a
            sweep. "hybrid": write up to a threshold, read above it. "adaptive": the same, with a
            threshold that is moved by what both have cost.
        fanout_threshold: Members, or subscribers if there are more, above which "hybrid" reads.
        fanout_hysteresis: So many percent below it, it writes again; 0 to 100.
        sweep_interval: In read mode subscribers are served at the multiples of this duration, as "100ms".
        batch_interval: In write mode a subscriber gets one write per duration at most, as "50ms"; "0s" sets
            no pace.
        conflate: Of publications with the same `key` in one write only the newest is delivered.
        allow_subscribe_for_client: Clients may subscribe.
        allow_publish_for_client: Clients may publish.
        allow_presence_for_client: Clients may ask who is there.
        allow_history_for_client: Clients may read the history and resume.
    """

    history_size: int | None = None
    history_ttl_ms: int | None = None
    history_bytes: int | None = None
    presence: bool | None = None
    join_leave: bool | None = None
    live_window_entries: int | None = None
    live_window_bytes: int | None = None
    slow_consumer: Literal["wait", "skip", "disconnect"] | None = None
    slow_consumer_entries: int | None = None
    fanout: Literal["write", "read", "hybrid", "adaptive"] | None = None
    fanout_threshold: int | None = None
    fanout_hysteresis: int | None = None
    sweep_interval: str | None = None
    batch_interval: str | None = None
    conflate: bool | None = None
    allow_subscribe_for_client: bool | None = None
    allow_publish_for_client: bool | None = None
    allow_presence_for_client: bool | None = None
    allow_history_for_client: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, named as in the configuration file."""
        return {name: value for name, value in asdict(self).items() if value is not None}
