"""How long to wait before the next attempt."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STABLE_S = 5.0  # a connection that lived as long was a success


class Backoff:
    """Full jitter: a random part of a limit that doubles with each failure.

    After a server has gone, its clients come back spread over the whole time instead of all at once. The
    limit starts again from the first after a connection has lived for `stable` seconds: a server that lets
    clients in and drops them at once must not be asked more often than one that refuses them.

    Args:
        min_delay: First limit, seconds.
        max_delay: Last limit, seconds.
        stable: Life of a connection that counts as a success, seconds; by default 5, or `max_delay` if that
            is less.
        rng: Source of randomness, a parameter for tests.
        clock: Source of the time in seconds, a parameter for tests.
    """

    def __init__(
        self,
        min_delay: float,
        max_delay: float,
        stable: float | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._min = min_delay
        self._max = max_delay
        self._stable = min(STABLE_S, max_delay) if stable is None else stable
        self._rng = rng or random.Random()
        self._clock = clock
        self._failures = 0
        self._connected_at: float | None = None

    def connected(self) -> None:
        """An attempt succeeded: from now on, or from the first such call since the last delay, it lives."""
        if self._connected_at is None:
            self._connected_at = self._clock()

    def next_delay(self, at_least: float = 0.0) -> float:
        """Seconds to wait now. `at_least` is what the server asked for; jitter comes on top of it."""
        if self._connected_at is not None and self._clock() - self._connected_at >= self._stable:
            self._failures = 0
        self._connected_at = None
        limit = min(self._max, self._min * 2 ** min(self._failures, 30))
        self._failures += 1
        return at_least + self._rng.uniform(0.0, limit)
