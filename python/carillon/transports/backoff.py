"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Full jitter: a random part of a limit that doubles with each failure.

    After a server has gone, its clients come back spread over the whole time instead of all at once.

    Args:
        min_delay: First limit, seconds.
        max_delay: Last limit, seconds.
        rng: Source of randomness, a parameter for tests.
    """

    def __init__(self, min_delay: float, max_delay: float, rng: random.Random | None = None) -> None:
        self._min = min_delay
        self._max = max_delay
        self._rng = rng or random.Random()
        self._failures = 0

    def reset(self) -> None:
        """An attempt succeeded."""
        self._failures = 0

    def next_delay(self, at_least: float = 0.0) -> float:
        """Seconds to wait now. `at_least` is what the server asked for; jitter comes on top of it."""
        limit = min(self._max, self._min * 2 ** min(self._failures, 30))
        self._failures += 1
        return at_least + self._rng.uniform(0.0, limit)
