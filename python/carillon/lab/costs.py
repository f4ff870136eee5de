"""What each piece of work costs: the constants of the simulator and of recommendations."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from .capacity import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cell import Transport

PAYLOAD_BYTES = 128
"""Of the publications that the constants are measured with."""


@dataclass(frozen=True, kw_only=True)
class TransportCosts:
    """What a connection and its deliveries cost.

    Attributes:
        delivery_us: CPU time of the server, microseconds: a publication in a write of its own.
        further_us: The same of each further publication in the same write.
        envelope_bytes: On the wire beside the payload, above TCP, both directions: a publication alone. (On a
            WebSocket it tells who has published, if that was a client.)
        further_bytes: The same of each further publication in the same write.
        connection_bytes: Private memory of the server for one idle connection, bytes.
    """

    delivery_us: float
    further_us: float
    envelope_bytes: float
    further_bytes: float
    connection_bytes: float


def _defaults() -> Mapping[str, TransportCosts]:
    return MappingProxyType(
        {
            "ws": TransportCosts(
                delivery_us=2.4,
                further_us=0.54,
                envelope_bytes=126,
                further_bytes=126,
                connection_bytes=2_040,
            ),
            "sse": TransportCosts(
                delivery_us=2.9,
                further_us=0.53,
                envelope_bytes=62.5,
                further_bytes=62.5,
                connection_bytes=2_900,
            ),
            "poll": TransportCosts(
                delivery_us=10.7,
                further_us=1.2,
                envelope_bytes=361,
                further_bytes=45.3,
                connection_bytes=1_010,
            ),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Cost constants of one machine; `calibrate` measures them.

    The defaults were measured by `calibrate` on two cores of a KVM guest (Linux 6.18), 128-byte publications.
    Times are CPU time of the server in microseconds unless they say otherwise.

    Attributes:
        publish_us: A publication over a WebSocket that nobody gets, with its reply.
        inbox_entry_us: Entering a publication into the inbox of one member.
        sweep_us: Read mode: a sweep of one channel, whoever is on it.
        inbox_read_us: A request for an inbox over the server API, with nothing in it.
        inbox_item_us: Each publication in its answer.
        merge_us: Each channel whose log is merged into it.
        kib_us: Each further KiB of payload in one delivery.
        inbox_entry_bytes: Memory of an inbox entry, bytes.
        transports: By transport: `ws`, `sse`, `poll`.
        machine: What they were measured on.
    """

    publish_us: float = 81.0
    inbox_entry_us: float = 0.07
    sweep_us: float = 37.0
    inbox_read_us: float = 37.0
    inbox_item_us: float = 3.4
    merge_us: float = 0.37
    kib_us: float = 0.08
    inbox_entry_bytes: float = 26.0
    transports: Mapping[str, TransportCosts] = field(default_factory=_defaults)
    machine: str = "2 cores of a KVM guest, Linux 6.18"

    def of(self, transport: Transport | str) -> TransportCosts:
        """Those of a transport.

        Raises:
            LabError: They were not measured.
        """
        try:
            return self.transports[transport]
        except KeyError:
            known = ", ".join(self.transports)
            raise LabError(f"transport: {transport!r}; these costs know {known}") from None

    def write_us(self, transport: Transport | str, publications: float = 1.0, payload: int = 128) -> float:
        """CPU time of one write to one connection.

        Args:
            transport: Of the connection.
            publications: That leave in it, at least 1.
            payload: Bytes of each.
        """
        costs = self.of(transport)
        bytes_us = publications * self.kib_us * max(0, payload - PAYLOAD_BYTES) / 1024
        return costs.delivery_us + (publications - 1) * costs.further_us + bytes_us

    def write_bytes(self, transport: Transport | str, publications: float = 1.0, payload: int = 128) -> float:
        """Bytes on the wire of one write to one connection, above TCP, both directions."""
        costs = self.of(transport)
        return costs.envelope_bytes + (publications - 1) * costs.further_bytes + publications * payload

    def save(self, path: str | Path) -> None:
        """Writes them down as JSON."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        document["transports"] = {name: asdict(costs) for name, costs in self.transports.items()}
        Path(path).write_text(json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what `save` has written.

        Raises:
            LabError: The file is none of these, or lacks a field.
        """
        try:
            document: dict[str, Any] = json.loads(Path(path).read_text())
            transports = {name: TransportCosts(**costs) for name, costs in document.pop("transports").items()}
            if missing := {each.name for each in fields(cls)} - {*document, "transports"}:
                raise LabError(f"{path} lacks {', '.join(sorted(missing))}: calibrate again")
            return cls(**document, transports=MappingProxyType(transports))
        except LabError:
            raise
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise LabError(f"{path} holds no costs that Costs.save has written: {error}") from None
