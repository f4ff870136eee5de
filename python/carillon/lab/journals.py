"""Journals: what each client received, and when, while its network was cut; and their picture."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import connect
from ..items import Gap, Message
from ..testing import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from matplotlib.axes import Axes

    from ..position import Position
    from ..server import Server
    from .calibration import Socket
    from .table import Row

CLOCK = time.perf_counter
LIVE, FILLED, DOWN, LOST = "#0072B2", "#E69F00", "#CCCCCC", "#D55E00"
_ROW = 0.8  # the part of the height of a row that is used
_WATCH_S = 0.01
_SETTLE_S = 30.0


@dataclass
class Journal:
    """What one client received.

    Attributes:
        name: Name of the client.
        transport: Its transport.
        proxy: Its network.
        items: Pairs of arrival and `Message` or `Gap`.
        down: Pairs of begin and end of each interruption of its network.
        position: Position behind the last item; None: nothing has arrived.
    """

    name: str
    transport: Socket
    proxy: FaultProxy
    items: list[tuple[float, Message | Gap]] = field(default_factory=list)
    down: list[tuple[float, float]] = field(default_factory=list)
    position: Position | None = None
    _down_since: float | None = None
    _is_there: asyncio.Event = field(default_factory=asyncio.Event)
    _has_more: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def messages(self) -> list[tuple[float, Message]]:
        """Arrivals and messages, without gaps."""
        return [(at, item) for at, item in self.items if isinstance(item, Message)]

    @property
    def gaps(self) -> list[tuple[float, Gap]]:
        """Arrivals and gaps."""
        return [(at, item) for at, item in self.items if isinstance(item, Gap)]

    def is_filled(self, message: Message, published: dict[int, float]) -> bool:
        """Whether a message was published while the network was down: it cannot have come live."""
        return any(begin <= published[message.offset] <= end for begin, end in self.down)

    async def cut(self, seconds: float) -> None:
        """Cuts the network of this client, and keeps it away for some seconds."""
        self.proxy.is_refusing = True
        self.proxy.cut()
        await asyncio.sleep(seconds)
        self.proxy.is_refusing = False

    async def _listen(self, channel: str) -> None:
        # The delay before a reconnect is a random part of a limit that doubles, here up to half a second.
        async with (
            connect(
                self.proxy.url,
                transport=self.transport,
                max_reconnect_delay=0.5,
            ) as client,
            client.subscribe(channel, on_gap="yield") as subscription,
        ):
            self._is_there.set()
            async for item in subscription:
                self.items.append((CLOCK(), item))
                self.position = subscription.position
                self._has_more.set()

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_WATCH_S)

    def _look(self) -> None:
        """Notes whether the network is down."""
        if self.proxy.connections == 0 and self._down_since is None:
            self._down_since = CLOCK()
        elif self.proxy.connections and self._down_since is not None:
            self.down.append((self._down_since, CLOCK()))
            self._down_since = None


@contextlib.asynccontextmanager
async def keep_journals(
    server: Server, channel: str, transports: Sequence[Socket], each: int
) -> AsyncIterator[list[Journal]]:
    """Subscribes clients to a channel, each behind a network of its own, and keeps a journal for each.

    Args:
        server: The server.
        channel: Name of the channel.
        transports: Transports of the clients.
        each: Number of clients of each transport.
    """
    with contextlib.ExitStack() as networks:
        journals = [
            Journal(f"{transport} {i + 1}", transport, networks.enter_context(FaultProxy(server)))
            for transport in transports
            for i in range(each)
        ]
        tasks = [asyncio.create_task(one._listen(channel)) for one in journals]
        try:
            await asyncio.gather(*(one._is_there.wait() for one in journals))
            tasks += [asyncio.create_task(one._watch()) for one in journals]
            yield journals
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def publish_paced(
    server: Server, channel: str, seconds: float, period: float, published: dict[int, float]
) -> None:
    """Publishes a message every `period` seconds, and notes the moment of each offset in `published`."""
    begin = CLOCK()
    for number in range(round(seconds / period)):
        published[server.publish(channel, number).offset] = CLOCK()
        await asyncio.sleep(max(0.0, begin + (number + 1) * period - CLOCK()))


async def settled(journals: Sequence[Journal], offset: int) -> None:
    """Waits until every journal has reached an offset."""
    async with asyncio.timeout(_SETTLE_S):
        for one in journals:
            while one.position is None or one.position.offset < offset:
                one._has_more.clear()
                await one._has_more.wait()
            one._look()  # the last interruption may have ended just now


def account(journals: Sequence[Journal], published: dict[int, float]) -> dict[str, Row]:
    """Returns the counts of each journal, by name: what was delivered, filled in, repeated, missing, lost."""
    found = {}
    for one in journals:
        offsets = [item.offset for _, item in one.messages]
        found[one.name] = {
            "times down": len(one.down),
            "s down": round(sum(end - begin for begin, end in one.down), 1),
            "delivered": len(offsets),
            "filled in": sum(one.is_filled(item, published) for _, item in one.messages),
            "repeated": len(offsets) - len(set(offsets)),
            "missing": len(set(published) - set(offsets)),
            "reported as lost": sum(gap.lost_to - gap.lost_from + 1 for _, gap in one.gaps if gap.lost_from),
            "in order": offsets == sorted(offsets),
        }
    return found


def draw_journals(axes: Axes, journals: Sequence[Journal], published: dict[int, float], start: float) -> None:
    """Draws a row for each journal: a dot for each delivery, the higher the older the message was.

    Args:
        axes: Axes of a picture.
        journals: The journals; the first one is the highest row.
        published: Moment of publication of each offset.
        start: Moment that is 0 on the horizontal axis.
    """
    ages = [at - published[item.offset] for one in journals for at, item in one.messages]
    oldest_s = max(ages, default=1.0)
    style: dict[str, Any] = {"zorder": 3, "linewidths": 0}
    for row, one in enumerate(reversed(journals)):
        for begin, end in one.down:
            label = None if row or begin != one.down[0][0] else "network down"
            axes.barh(
                row, end - begin, left=begin - start, height=_ROW, color=DOWN, align="edge", label=label
            )
        for is_filled, colour, size, label in ((False, LIVE, 3, "live"), (True, FILLED, 9, "filled in")):
            dots = [
                (at, at - published[item.offset])
                for at, item in one.messages
                if one.is_filled(item, published) is is_filled
            ]
            axes.scatter(
                [at - start for at, _ in dots],
                [row + 0.1 + (_ROW - 0.15) * min(1.0, age / oldest_s) for _, age in dots],
                s=size,
                color=colour,
                label=None if row else label,
                **style,
            )
        for at, _ in one.gaps:
            axes.scatter(at - start, row + 0.4, s=60, color=LOST, marker="X", zorder=4)
    if any(one.gaps for one in journals):
        axes.scatter([], [], s=60, color=LOST, marker="X", label="gap, reported")
    axes.set_yticks([row + 0.4 for row in range(len(journals))], [one.name for one in reversed(journals)])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    axes.set_xlabel("time since the start, s")
    axes.set_ylim(0, len(journals))
