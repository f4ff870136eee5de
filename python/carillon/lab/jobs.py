"""Work for the queues of a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .queues import serve

if TYPE_CHECKING:
    from .queues import Floats, Ints

_PARTS_MAX = 8  # a job is split into so many at most, which is how finely others come in between


@dataclass(frozen=True)
class Jobs:
    """Work for queues of one kind. What it serves (a publication, a sweep) is `cause`."""

    server: Ints
    cause: Ints
    delay_s: Floats  # from when its cause is due
    service_s: Floats
    size: Floats  # deliveries, or inbox entries

    def __len__(self) -> int:
        return len(self.server)


def expand(counts: Ints) -> tuple[Ints, Ints]:
    """For each of `counts`, as many: its index, and which one it is."""
    index = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - first[index]


def split(jobs: Jobs, visit: int) -> Jobs:
    """Cuts large jobs into parts that arrive as if the server had nothing else to do."""
    parts = np.clip(np.ceil(jobs.size / visit), 1, _PARTS_MAX).astype(np.int64)
    if not len(parts) or parts.max() == 1:
        return jobs
    index, nth = expand(parts)
    service = (jobs.service_s / parts)[index]
    return Jobs(
        jobs.server[index],
        jobs.cause[index],
        jobs.delay_s[index] + nth * service,
        service,
        (jobs.size / parts)[index],
    )


class Queues:
    """Gathers jobs of several kinds for the same servers, and serves them together."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Floats, Floats]] = []
        self._count = 0

    def add(self, server: Ints, arrivals_s: Floats, service_s: Floats) -> slice:
        """More jobs; what comes back finds them again."""
        self._parts.append((server, arrivals_s, service_s))
        self._count += len(server)
        return slice(self._count - len(server), self._count)

    def serve(self) -> None:
        """Works on everything that was added."""
        self.server = np.concatenate([part[0] for part in self._parts])
        arrivals_s = np.concatenate([part[1] for part in self._parts])
        self.service = np.concatenate([part[2] for part in self._parts])
        self._starts_s, self._ends_s = serve(self.server, arrivals_s, self.service)

    def starts(self, part: slice) -> Floats:
        """When they began."""
        return self._starts_s[part]

    def ends(self, part: slice) -> Floats:
        """When they were done."""
        return self._ends_s[part]
