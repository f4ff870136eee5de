"""The loads by name. A delivery is one message at one subscriber; all of them have 128 bytes of data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PAYLOAD_BYTES = 128


@dataclass(frozen=True)
class NamedLoad:
    """One load.

    Attributes:
        name: As in performance figures.
        text: What it is, for tables.
        settings: Arguments of `carillon.load.Load`.
    """

    name: str
    text: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def transport(self) -> str:
        """How its subscribers connect."""
        return str(self.settings.get("transport", "ws"))


LOADS = {
    load.name: load
    for load in (
        NamedLoad("A", "1,000 subscribers, 1 message in flight", {"in_flight": 1}),
        NamedLoad("E", "1,000 subscribers, 16 in flight", {"in_flight": 16}),
        NamedLoad("B", "1,000 subscribers, 64 in flight", {"in_flight": 64}),
        NamedLoad(
            "C", "10,000 subscribers, 8 in flight", {"connections": 10_000, "in_flight": 8, "warmup": 32}
        ),
        NamedLoad("D", "1,000 subscribers, 20 messages per second", {"rate_per_s": 20.0, "warmup": 20}),
        NamedLoad(
            "F",
            "10,000 channels of 1 subscriber, 64 in flight",
            {"connections": 10_000, "channels": 10_000, "in_flight": 64, "warmup": 10_000},
        ),
        NamedLoad("G-sse", "1,000 SSE streams, 1 in flight", {"transport": "sse"}),
        NamedLoad("G-poll", "1,000 pollers, 1 in flight", {"transport": "poll"}),
        NamedLoad(
            "K",
            "1,000 subscribers on 20 of 200 channels each, 16 in flight",
            {"channels": 200, "channels_per_connection": 20, "in_flight": 16, "warmup": 200},
        ),
        NamedLoad("M", "10,000 idle subscribers", {"connections": 10_000, "is_idle": True}),
    )
}


def parse_loads(text: str) -> list[NamedLoad]:
    """Reads `A,E,B`; raises ValueError for a name that is none."""
    names = text.split(",")
    if unknown := [name for name in names if name not in LOADS]:
        raise ValueError(f"no such load: {', '.join(unknown)} (there are {', '.join(LOADS)})")
    return [LOADS[name] for name in names]
