"""Processes with subscribers, and how the program speaks to them."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from typing import TYPE_CHECKING, Any

from carillon.descriptors import raise_limit

from .subscribers import Commands, Subscriber, Tally, keep, transport_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

CONNECTS_PER_S = 400.0


def work(pipe: Connection, port: int, channels: Sequence[str], first: int, count: int, steps: int) -> None:
    """Runs the subscribers first, first + steps, … until the pipe says that it is over."""
    raise_limit()
    asyncio.run(_work(pipe, port, channels, range(first, count, steps), CONNECTS_PER_S / steps))


async def _work(
    pipe: Connection, port: int, channels: Sequence[str], numbers: range, rate_per_s: float
) -> None:
    tally = Tally()
    commands = Commands(port, tally)
    subscribers = [
        Subscriber(port, channels[number % len(channels)], transport_of(number), tally, commands)
        for number in numbers
    ]

    async def open_all() -> None:
        for subscriber in subscribers:
            keep(asyncio.create_task(subscriber.connect()))
            await asyncio.sleep(1 / rate_per_s)

    keep(asyncio.create_task(open_all()))
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[Any] = asyncio.Queue()
    loop.add_reader(pipe.fileno(), lambda: asked.put_nowait(pipe.recv()))
    while True:
        word = await asked.get()
        if word == "end":
            break
        if word == "live":
            pipe.send(sum(each.is_live for each in subscribers))
        elif isinstance(word, str):
            tally.phase = word
            pipe.send(True)
        else:  # the tops: who is not there yet?
            behind = [each for each in subscribers if each.offset < word[each.channel]]
            pipe.send(
                {
                    "behind": len(behind),
                    "lost": sum(word[each.channel] - each.offset for each in behind),
                    "beyond": sum(each.offset > word[each.channel] for each in subscribers),
                    "names": [f"{each.transport} {each.channel} at {each.offset}" for each in behind[:5]],
                }
            )
    loop.remove_reader(pipe.fileno())
    ended, tally.ended = tally.ended, Counter()
    for subscriber in subscribers:
        subscriber.close()
    await commands.close()
    tally.ended = ended
    pipe.send(vars(tally) | {"transports": Counter(each.transport for each in subscribers)})


class Workers:
    """The processes.

    Args:
        port: Port of the proxy without TLS.
        channels: Channels, in turn.
        count: Number of subscribers.
        processes: Number of processes.
    """

    def __init__(self, port: int, channels: Sequence[str], count: int, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=work, args=(theirs, port, channels, number, count, processes), daemon=True
            )
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def ask(self, word: Any) -> list[Any]:
        """Asks all of them, and returns their answers."""
        for pipe in self._pipes:
            pipe.send(word)
        return [pipe.recv() for pipe in self._pipes]

    def kill(self) -> None:
        """Ends what is left of them."""
        for process in self._processes:
            process.kill()
            process.join()
