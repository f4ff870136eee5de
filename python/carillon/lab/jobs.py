"""Work for the queues of a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .queues import serve

if TYPE_CHECKING:
    from .queues import Floats, Ints

_PARTS_MAX = 8  # parts of a split job at most: the more, the finer other work comes in between


@dataclass(frozen=True)
class Jobs:
    """Work for queues of one kind. `cause` is the publication or sweep that it serves."""

    server: Ints
    cause: Ints
    delay_s: Floats  # from when its cause is due
    service_s: Floats
    size: Floats  # deliveries, or inbox entries

    def __len__(self) -> int:
        return len(self.server)


def expand(counts: Ints) -> tuple[Ints, Ints]:
    """Returns, for each of `counts`, that many pairs of its index and a running number."""
    index = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - first[index]


def split(jobs: Jobs, visit: int) -> Jobs:
    """Cuts large jobs into parts that arrive as if the server had no other work."""
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
        """Adds jobs, and returns a slice that finds them again."""
        self._parts.append((server, arrivals_s, service_s))
        self._count += len(server)
        return slice(self._count - len(server), self._count)

    def serve(self) -> None:
        """Serves all jobs that were added."""
        self.server: Ints = np.concatenate([part[0] for part in self._parts])
        arrivals_s = np.concatenate([part[1] for part in self._parts])
        self.service: Floats = np.concatenate([part[2] for part in self._parts])
        self._starts_s, self._ends_s = serve(self.server, arrivals_s, self.service)

    def starts(self, part: slice) -> Floats:
        """Returns when the jobs began."""
        return self._starts_s[part]

    def ends(self, part: slice) -> Floats:
        """Returns when the jobs ended."""
        return self._ends_s[part]
