"""The limits of this machine, checked before anything is started."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from ..descriptors import connections_max
from ..errors import CarillonError

if TYPE_CHECKING:
    from .cell import Cell

_SERVER_CONNECTIONS = 2  # the publisher's, and that of the lab
_CONNECTION_BYTES = 24 * 1024  # both ends of a connection, in the kernel and in the two processes
_MEMBER_BYTES = 400  # the tables of a member, without what is in the inbox
_INBOX_ENTRY_BYTES = 64
_INBOX_ENTRIES = 1_000  # limits.inbox_entries
_SPARE = 0.8  # of what is free now


class LabError(CarillonError, ValueError):
    """The lab cannot do what was asked. The message says why, and what is possible."""


def online_max() -> int:
    """Returns the number of connections that one server of this machine can hold for a measurement."""
    return connections_max() - _SERVER_CONNECTIONS


def system_name() -> str:
    """Returns the operating system with its version, without the suffix of its vendor."""
    return f"{platform.system()} {platform.release().partition('-')[0]}"


def check(cell: Cell) -> None:
    """Refuses a cell that the machine cannot hold.

    Raises:
        LabError: Too many sockets for the descriptors of the one server process, or too little memory.
    """
    most = online_max()
    if cell.has_sockets and cell.connections > most:
        raise LabError(
            f"online: {cell.online:g} of {cell.members:,} members are {cell.connections:,} connections, and "
            f"one server process holds {most:,} here (the hard limit of descriptors, ulimit -Hn, less its "
            f"own). Give online={_rounded_down(most / cell.members)} or less, or "
            'transports="memory", which needs no sockets'
        )
    need, free = _bytes_of(cell), _free_bytes()
    if free is not None and need > free * _SPARE:
        raise LabError(
            f"members: {cell.members:,} with {cell.connections:,} connections and up to "
            f"{cell.inbox_entries:,} inbox entries need about {need / 2**30:.1f} GiB, and of the "
            f"{free / 2**30:.1f} GiB that are free here {_SPARE:.0%} may be used. Give fewer members, or "
            "fewer publications (publish_rate, seconds)"
        )


def _bytes_of(cell: Cell) -> int:
    connections = cell.connections * _CONNECTION_BYTES if cell.has_sockets else 0
    return connections + cell.members * _MEMBER_BYTES + cell.inbox_entries * _INBOX_ENTRY_BYTES


def inbox_entries_of(members: int, publications: int) -> int:
    """Returns the largest number of inbox entries after some publications."""
    return members * min(publications, _INBOX_ENTRIES)


def _free_bytes() -> int | None:
    """MemAvailable; None where the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(found) * 1024 if found else None


def _rounded_down(share: float) -> str:
    return f"{int(share * 1000) / 1000:g}"
