"""The shards of the subscribers of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .jobs import expand

if TYPE_CHECKING:
    from .queues import Ints

_CROWD = 8  # a channel with more subscribers per shard is spread by a formula, not one by one


class Placement:
    """The number of subscribers of each channel on each shard: rows of (shard, count)."""

    def __init__(self, subscribers: Ints, shards: int, random: np.random.Generator) -> None:
        is_crowd = subscribers > _CROWD * shards
        few, many = np.flatnonzero(~is_crowd), np.flatnonzero(is_crowd)
        owner, _ = expand(subscribers[few])
        places = few[owner] * shards + random.integers(0, shards, len(owner))
        keys, found = np.unique(places, return_counts=True)
        if len(many):
            even = np.full(shards, 1 / shards)
            dense = np.concatenate([random.multinomial(subscribers[channel], even) for channel in many])
            keys = np.concatenate([keys, (many[:, None] * shards + np.arange(shards)).ravel()])
            found = np.concatenate([found, dense])
            order = np.argsort(keys, kind="stable")
            keys, found = keys[order], found[order]
            keys, found = keys[found > 0], found[found > 0]
        self._keys = keys  # channel * shards + shard, ascending
        self._shards = shards
        self.shards: Ints = keys % shards
        self.counts: Ints = found.astype(np.int64)
        channels = keys // shards
        self.first: Ints = np.searchsorted(channels, np.arange(len(subscribers)))
        ends = np.searchsorted(channels, np.arange(len(subscribers)), side="right")
        self.rows: Ints = ends - self.first

    def count(self, channels: Ints, shards: Ints) -> Ints:
        """Returns the subscribers of each channel on one shard."""
        wanted = channels * self._shards + shards
        row = np.searchsorted(self._keys, wanted)
        is_there = row < len(self._keys)
        is_there[is_there] = self._keys[row[is_there]] == wanted[is_there]
        found = np.zeros(len(wanted), dtype=np.int64)
        found[is_there] = self.counts[row[is_there]]
        return found

    def of(self, channels: Ints) -> tuple[Ints, Ints, Ints]:
        """Returns all rows of the channels: index of the channel, shard, count."""
        index, nth = expand(self.rows[channels])
        row = self.first[channels][index] + nth
        return index, self.shards[row], self.counts[row]
