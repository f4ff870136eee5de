"""Cost constants: what each piece of work costs. The simulator and recommendations use them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from .capacity import LabError
from .verdict import Limit, quotient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cell import Transport

PAYLOAD_BYTES = 128
"""Size of the publications that the constants are measured with."""


@dataclass(frozen=True, kw_only=True)
class TransportCosts:
    """Costs of one connection and of its deliveries.

    Attributes:
        delivery_us: CPU time of the server for a publication in a write of its own, microseconds.
        further_us: The same for each further publication in one write.
        envelope_bytes: Bytes on the wire beside the payload, above TCP, in both directions, for a publication
            in a write of its own. (On a WebSocket they name the publisher, if it was a client.)
        further_bytes: The same for each further publication in one write.
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


def _default_spread() -> Mapping[str, tuple[float, float]]:
    return MappingProxyType(
        {
            "publish_us": (0.7, 1.3),
            "inbox_entry_us": (0.7, 2.7),
            "sweep_us": (0.2, 1.3),
            "merge_us": (0.4, 2.0),
            "inbox_read_us": (0.8, 1.3),
            "inbox_item_us": (0.8, 1.3),
            "kib_us": (0.0, 2.0),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Cost constants of one machine, as `calibrate` measures them.

    The defaults were measured by `calibrate` on two cores of a KVM guest (Linux 6.18), with publications of
    128 bytes. Times are CPU time of the server in microseconds unless they say otherwise. The spread of the
    defaults covers several calibrations of that machine, idle and busy.

    Attributes:
        publish_us: A publication over a WebSocket without subscribers, with its reply.
        inbox_entry_us: Entering a publication into the inbox of one member.
        sweep_us: Read mode: a sweep of one channel, whatever the number of connections.
        inbox_read_us: An inbox read over the HTTP API, of an empty inbox.
        inbox_item_us: Each publication in the answer.
        merge_us: Each channel whose log is merged into the inbox.
        kib_us: Each further KiB of payload in one delivery.
        inbox_entry_bytes: Memory of an inbox entry, bytes.
        transports: Costs by transport: `ws`, `sse`, `poll`.
        spread: Least and largest value of a constant in the measurement, as factors of it, by name
            (`sweep_us`, `ws.delivery_us`, …). A least factor of 0 says that the cost is below its noise: then
            the largest value is an upper bound, and the constant lies halfway. A name that is missing has no
            spread.
        machine: Machine that the constants were measured on, and its load average.
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
    spread: Mapping[str, tuple[float, float]] = field(default_factory=_default_spread)
    machine: str = "2 cores of a KVM guest, Linux 6.18"

    def range_of(self, name: str) -> tuple[float, float]:
        """Returns the least and the largest value that a constant had in the measurement.

        Args:
            name: Name of a constant; that of a transport with a dot: `ws.delivery_us`.
        """
        transport, _, attribute = name.rpartition(".")
        value = float(getattr(self.of(transport) if transport else self, attribute))
        low, high = self.spread.get(name, (1.0, 1.0))
        return value * low, value * high

    def is_below_noise(self, name: str) -> bool:
        """Whether a constant was too small to be measured: its range begins at 0."""
        return self.spread.get(name, (1.0, 1.0))[0] == 0

    def writing_pays_above(self) -> Limit:
        """Returns the reads of a member per publication above which writing is cheaper than reading.

        It is the cost of an inbox entry divided by that of a merge, as a range from the spread of both. It
        has no end if a merge is below its noise.
        """
        return quotient(self.range_of("inbox_entry_us"), self.range_of("merge_us"))

    def with_values(self, values: Mapping[str, float]) -> Self:
        """Returns these costs with other values of some constants, by name as in `range_of`."""
        own: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
        transports = dict(self.transports)
        for name, value in values.items():
            transport, _, attribute = name.rpartition(".")
            if transport:
                transports[transport] = replace(transports[transport], **{attribute: value})
        return replace(self, transports=MappingProxyType(transports), **own)

    def of(self, transport: Transport | str) -> TransportCosts:
        """Returns the costs of a transport.

        Raises:
            LabError: The transport was not measured.
        """
        try:
            return self.transports[transport]
        except KeyError:
            known = ", ".join(self.transports)
            raise LabError(f"transport: {transport!r}; these costs have {known}") from None

    def write_us(self, transport: Transport | str, publications: float = 1.0, payload: int = 128) -> float:
        """Returns the CPU time of one write to one connection, microseconds.

        Args:
            transport: Transport of the connection.
            publications: Publications in the write, at least 1.
            payload: Size of each, bytes.
        """
        costs = self.of(transport)
        bytes_us = publications * self.kib_us * max(0, payload - PAYLOAD_BYTES) / 1024
        return costs.delivery_us + (publications - 1) * costs.further_us + bytes_us

    def write_bytes(self, transport: Transport | str, publications: float = 1.0, payload: int = 128) -> float:
        """Returns the bytes on the wire of one write to one connection, above TCP, in both directions."""
        costs = self.of(transport)
        return costs.envelope_bytes + (publications - 1) * costs.further_bytes + publications * payload

    def save(self, path: str | Path) -> None:
        """Writes the constants to a file, as JSON."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        document["transports"] = {name: asdict(costs) for name, costs in self.transports.items()}
        document["spread"] = {name: list(factors) for name, factors in self.spread.items()}
        Path(path).write_text(json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads constants from a file that `save` has written.

        Raises:
            LabError: The file was not written by `save`, or lacks a field.
        """
        try:
            document: dict[str, Any] = json.loads(Path(path).read_text())
            transports = {name: TransportCosts(**costs) for name, costs in document.pop("transports").items()}
            spread = {name: (low, high) for name, (low, high) in document.pop("spread", {}).items()}
            if missing := {each.name for each in fields(cls)} - {*document, "transports", "spread"}:
                raise LabError(f"{path} lacks {', '.join(sorted(missing))}: calibrate again")
            proxies = MappingProxyType(transports), MappingProxyType(spread)
            return cls(**document, transports=proxies[0], spread=proxies[1])
        except LabError:
            raise
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise LabError(f"{path} is not a file of Costs.save: {error}") from None
