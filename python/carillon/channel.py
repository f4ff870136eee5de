"""Names of channels, and settings of the channels that match a pattern."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from .arguments import kind, shown


def channel_name(name: str) -> str:
    """Returns the name if a server can accept it. The server limits its length.

    Raises:
        TypeError: It is not a str.
        ValueError: It is empty, or holds a control character or half of a surrogate pair.
    """
    if not isinstance(name, str):
        raise TypeError(f"channel: {shown(name)} is {kind(name)}; give a str")
    is_text = bool(name) and not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in name)
    if not is_text:
        raise ValueError(
            f"channel: {shown(name)} is not a channel name; give at least one character, and no control "
            "characters or lone surrogates"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Settings for the channels that match one pattern. A setting that is None keeps the server's default.

    The names are those of a configuration file. A duration is a text ("300s", "100ms", "2h"), or under its
    second name, with `_ms`, a number of milliseconds; give one of the two.

    Example:
        carillon.Server(channels={"ticker:*": carillon.Channel(history_size=10, slow_consumer="skip")})

    Attributes:
        history_size: Maximum number of publications kept. With 0 none are kept, and publications have no
            offset.
        history_ttl: Time that publications are kept, as "300s".
        history_ttl_ms: The same, in milliseconds.
        history_bytes: Maximum memory of the publications kept, bytes: about 320 for each, and its payload.
        presence: Whether the server can list the clients on the channel.
        join_leave: Whether it is announced that clients over WebSocket and SSE subscribe and unsubscribe. See
            `force_push_join_leave`. Clients that poll neither get nor cause these notices.
        live_window_entries: Number of publications kept for delivery even if `history_size` is 0.
        live_window_bytes: Memory of the publications kept for delivery, bytes.
        slow_consumer: Policy for a live subscriber that is too far behind. "wait": it catches up from the
            log. "skip": it gets a gap up to the newest publication, and continues with the next one that is
            published; the newest one is in the history. "disconnect": its connection is closed, and it
            reconnects and resumes.
        slow_consumer_entries: Maximum number of publications that a subscriber may be behind, checked when
            its socket becomes writable again.
        fanout: Strategy, one of `carillon.fanout.STRATEGIES`: "write", "read", "hybrid" or "adaptive".
        fanout_threshold: Number of members, or of subscribers if there are more, above which "hybrid" uses
            read mode.
        fanout_hysteresis: Percentage below the threshold at which write mode returns, 0 to 100.
        sweep_interval: Interval at which subscribers are served in read mode, as "100ms".
        sweep_interval_ms: The same, in milliseconds.
        batch_interval: Shortest interval between two writes to a subscriber in write mode, as "50ms"; "0s"
            sets none.
        batch_interval_ms: The same, in milliseconds.
        conflate: Whether of the publications with the same `key` in one write only the newest is delivered.
        publication_data_format: What may be published: "json", "json_object", "binary" (anything, also an
            empty payload) or "" (anything that is not empty).
        subscription_type: What subscribers get: "stream". The other types of Centrifugo are known, so that
            its configurations can be used, but subscriptions of them are refused.
        allowed_delta_types: Formats of deltas that subscribers may ask for: ["fossil"]. They then get the
            difference to the publication before, where it is shorter. See `delta_publish`.
        delta_publish: Whether every publication may be sent as a delta. If False, only those that are
            published with `delta=True`.
        allow_tags_filter: Whether subscribers may give a filter, and get only the publications whose tags
            match.
        force_push_join_leave: Whether every subscriber gets the notices of `join_leave`. Otherwise those get
            them that ask for them and may list the clients on the channel; over SSE all ask.
        force_recovery: Whether every subscriber can recover, and may start with `since` or `last`. If False,
            only those that ask can, with `allow_recovery` or permission to request the history.
        force_recovery_mode: What a subscriber that recovers gets: "stream" (every publication that it has
            missed) or "cache" (the newest publication alone, unless it has it already).
        auto_cache_recover: With `force_recovery_mode="cache"`: whether each subscription of an SDK starts
            with the newest publication, also the first one of a client.
        force_positioning: Whether every subscriber knows its position, also without recovery.
        allow_recovery: With `force_recovery=False`: whether subscribers that ask for it can recover.
        allow_positioning: With `force_positioning=False`: whether subscribers that ask know their position.
        allow_subscribe_for_client: Whether clients that have a user may subscribe.
        allow_subscribe_for_anonymous: With `allow_subscribe_for_client`: whether clients without a user may,
            too. They are all clients if neither a hook nor a token says who they are.
        allow_publish_for_client: Whether clients that have a user may publish.
        allow_publish_for_subscriber: Whether subscribers that have a user may publish.
        allow_publish_for_anonymous: With one of these two: whether clients without a user may, too.
        allow_presence_for_client: Whether clients that have a user may list the clients on the channel.
        allow_presence_for_subscriber: Whether subscribers that have a user may list them.
        allow_presence_for_anonymous: With one of these two: whether clients without a user may, too.
        allow_history_for_client: Whether clients that have a user may request the history.
        allow_history_for_subscriber: Whether subscribers that have a user may request the history.
        allow_history_for_anonymous: With one of these two: whether clients without a user may, too.
        subscribe_proxy_enabled: Whether the backend of `channel.proxy.subscribe` decides who may subscribe.
        publish_proxy_enabled: Whether that of `channel.proxy.publish` decides what clients may publish.
        sub_refresh_proxy_enabled: Whether that of `channel.proxy.sub_refresh` decides whether subscriptions
            that have expired go on.
        allow_user_limited_channels: Whether a name that lists users behind its last `#`, such as
            `dm:talk#42,43`, is for these users: they may subscribe, and nobody else may.
    """

    history_size: int | None = None
    history_ttl: str | None = None
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
    sweep_interval_ms: int | None = None
    batch_interval: str | None = None
    batch_interval_ms: int | None = None
    conflate: bool | None = None
    publication_data_format: Literal["", "json", "json_object", "binary"] | None = None
    subscription_type: Literal["stream", "map", "map_clients", "map_users", "shared_poll"] | None = None
    allowed_delta_types: list[Literal["fossil"]] | None = None
    delta_publish: bool | None = None
    allow_tags_filter: bool | None = None
    force_push_join_leave: bool | None = None
    force_recovery: bool | None = None
    force_recovery_mode: Literal["stream", "cache"] | None = None
    auto_cache_recover: bool | None = None
    force_positioning: bool | None = None
    allow_recovery: bool | None = None
    allow_positioning: bool | None = None
    allow_subscribe_for_client: bool | None = None
    allow_subscribe_for_anonymous: bool | None = None
    allow_publish_for_client: bool | None = None
    allow_publish_for_subscriber: bool | None = None
    allow_publish_for_anonymous: bool | None = None
    allow_presence_for_client: bool | None = None
    allow_presence_for_subscriber: bool | None = None
    allow_presence_for_anonymous: bool | None = None
    allow_history_for_client: bool | None = None
    allow_history_for_subscriber: bool | None = None
    allow_history_for_anonymous: bool | None = None
    subscribe_proxy_enabled: bool | None = None
    publish_proxy_enabled: bool | None = None
    sub_refresh_proxy_enabled: bool | None = None
    allow_user_limited_channels: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings that are not None, named as in a configuration file."""
        return {name: value for name, value in asdict(self).items() if value is not None}
