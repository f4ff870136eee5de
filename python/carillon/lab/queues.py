"""Queues: first come, first served, for many servers at once."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Ints: TypeAlias = npt.NDArray[np.integer[Any]]


def serve(servers: Ints, arrivals: Floats, services: Floats) -> tuple[Floats, Floats]:
    """Returns when each job begins and ends, if each server serves its jobs in the order of arrival.

    Exact: a job ends at its service time after the later of its arrival and the end of the one before it. So
    the ends of a server are its summed services plus the running maximum of (arrival less the services
    before), which needs no loop over events.

    Args:
        servers: Server of each job, from 0.
        arrivals: Arrival of each job, seconds.
        services: Service time of each job, seconds.
    """
    if not len(servers):
        return np.empty(0), np.empty(0)
    order = np.lexsort((arrivals, servers))
    of_server, service = servers[order], services[order]
    total = np.cumsum(service)
    slack = arrivals[order] - (total - service)
    # Each server is lifted above those before it, so that one running maximum serves all.
    step = float(slack.max() - slack.min()) + 1.0
    is_first = np.empty(len(order), dtype=bool)
    is_first[0] = True
    np.not_equal(of_server[1:], of_server[:-1], out=is_first[1:])
    lift = (np.cumsum(is_first) - 1) * step
    ends_sorted = np.maximum.accumulate(slack + lift) - lift + total
    ends = np.empty_like(ends_sorted)
    ends[order] = ends_sorted
    return ends - services, ends
