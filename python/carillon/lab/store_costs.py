"""Costs of a shared store: what Redis and the gateways on it pay for a publication."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from .capacity import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping


def _default_spread() -> Mapping[str, tuple[float, float]]:
    return MappingProxyType(
        {
            "append_us": (89.0, 190.0),
            "gateway_us": (0.95, 23.0),
            "entry_us": (23.0, 30.0),
            "gateway_heard_us": (70.0, 95.0),
            "gateway_entry_us": (3.9, 4.9),
            "way_ms": (0.033, 0.12),
        }
    )


@dataclass(frozen=True, kw_only=True)
class StoreCosts:
    """Cost constants of gateways that share a Redis, as `calibrate_store` measures them.

    The defaults are what `lab.calibrate_store(rounds=5, seconds=1.5)` has returned on two cores of a KVM
    guest with Redis 7.0 and six gateways. Times are CPU time in microseconds unless they say otherwise.

    Attributes:
        append_us: Redis: a publication that is appended alone, heard by one gateway, with the wake-up of a
            Redis that has nothing else to do. A busy Redis takes 60 to 80, and 17 where a channel gets 16 at
            once (docs/performance.md).
        gateway_us: Redis: each further gateway that hears a publication.
        entry_us: Redis: entering a publication into the inbox of one member.
        gateway_heard_us: A gateway: hearing a publication of another one, its wake-up and the delivery to its
            first subscriber included.
        gateway_entry_us: The gateway that walks over the members: entering one of them.
        way_ms: One way between a gateway and Redis, ms: half of what an append over Redis takes longer than
            one in memory, less the CPU time of Redis. On one machine: a network adds its own.
        spread: Least and largest value in the rounds of the measurement, by name.
        machine: Machine that the constants were measured on, and its load average.
        measured_on: Date of the measurement.
        source: What has measured them.
    """

    append_us: float = 180.0
    gateway_us: float = 8.6
    entry_us: float = 25.0
    gateway_heard_us: float = 90.0
    gateway_entry_us: float = 4.5
    way_ms: float = 0.11
    spread: Mapping[str, tuple[float, float]] = field(default_factory=_default_spread)
    machine: str = "2 cores, Linux 6.18.44, x86_64, load average 1.2"
    measured_on: str = "2026-11-30"
    source: str = "lab.calibrate_store"

    def save(self, path: str | Path) -> None:
        """Writes the constants to a file, as JSON."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        document["spread"] = {name: list(each) for name, each in self.spread.items()}
        Path(path).write_text(json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads constants from a file that `save` has written.

        Raises:
            LabError: The file was not written by `save`, or lacks a field.
        """
        try:
            document: dict[str, Any] = json.loads(Path(path).read_text())
            spread = {name: (low, high) for name, (low, high) in document.pop("spread").items()}
            if missing := {each.name for each in fields(cls)} - {*document, "spread"}:
                raise LabError(f"{path} lacks {', '.join(sorted(missing))}: calibrate again")
            return cls(**document, spread=MappingProxyType(spread))
        except LabError:
            raise
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise LabError(f"{path} is not a file of StoreCosts.save: {error}") from None
