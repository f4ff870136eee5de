"""The delay before the next attempt to connect."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STABLE_S = 5.0  # a connection that was open for this time was a success


class Backoff:
    """Full jitter: a random part of a limit that doubles with each failure.

    After a server has stopped, its clients reconnect spread over the whole time instead of all at once. The
    limit is the first one again after a connection was open for `stable` seconds: a server that accepts
    clients and drops them at once must not be asked more often than one that refuses them.

    Args:
        min_delay: First limit, seconds.
        max_delay: Last limit, seconds.
        stable: Duration of a connection that counts as a success, seconds; by default 5, or `max_delay` if
            that is less.
        rng: Source of randomness, for tests.
        clock: Source of the time in seconds, for tests.
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
        """Notes that an attempt succeeded: now, or at the first such call since the last delay."""
        if self._connected_at is None:
            self._connected_at = self._clock()

    def ended(self) -> bool:
        """Notes that an attempt has ended. Returns whether it was a success: open for `stable` seconds."""
        was_stable = self._connected_at is not None and self._clock() - self._connected_at >= self._stable
        if was_stable:
            self._failures = 0
        self._connected_at = None
        return was_stable

    def next_delay(self, at_least: float = 0.0) -> float:
        """Returns the time to wait, seconds: `at_least`, which the server asked for, and the jitter."""
        self.ended()
        limit = min(self._max, self._min * 2 ** min(self._failures, 30))
        self._failures += 1
        return at_least + self._rng.uniform(0.0, limit)
