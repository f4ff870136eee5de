"""A TCP proxy for links between servers, on a thread of its own: it stalls, halves, cuts, and moves."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

from carillon.acceptor import Acceptor

if TYPE_CHECKING:
    from collections.abc import Coroutine

CHUNK = 65_536
ARRIVAL_S = 0.05


class TcpProxy:
    """Forwards bytes to a port of 127.0.0.1, until a test asks for a fault.

    Unlike `carillon.testing.FaultProxy` it cuts in the middle of what is sent, and `target` may be changed:
    for links that are made from then on.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._acceptor = Acceptor(self._serve)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._gates: list[dict[str, asyncio.Event]] = []  # of each link
        self._stalled: set[str] = set()  # of links that are made from now on
        self._is_cutting = False

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._acceptor.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def port(self) -> int:
        """Where clients of the proxy connect."""
        return self._acceptor.port

    def stall(self, *ways: str) -> None:
        """Passes nothing more "up", to the target, or "down"; by default in both directions."""
        self._run(self._stall(ways or ("up", "down"), is_of_new_links=True))

    def hold_what_is_sent(self) -> None:
        """Passes nothing more "up" on the links that there are; new ones are not concerned."""
        self._run(self._stall(("up",), is_of_new_links=False))

    def go_on(self) -> None:
        """Passes what has waited, also if its sender has closed the link meanwhile."""
        self._run(self._go_on())

    def cut(self) -> None:
        """Cuts all links."""
        self._run(self._cut())

    def cut_in_the_middle(self) -> None:
        """Passes half of what comes up next, and cuts all links."""
        self._is_cutting = True

    def move(self, target: int) -> None:
        """Cuts all links; those that are made from now on lead to this port."""
        self.target = target
        self.cut()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._acceptor.start()

    async def _stall(self, ways: tuple[str, ...], *, is_of_new_links: bool) -> None:
        self._stalled |= set(ways if is_of_new_links else ())
        for gates in self._gates:
            for way in ways:
                gates[way].clear()

    async def _go_on(self) -> None:
        self._stalled.clear()
        for gates in self._gates:
            for gate in gates.values():
                gate.set()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        gates = {way: asyncio.Event() for way in ("up", "down")}
        for way in gates.keys() - self._stalled:
            gates[way].set()
        self._gates.append(gates)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(back)
            down = asyncio.create_task(self._down(gates["down"], there, writer))
            try:
                await self._up(gates["up"], reader, back)
            finally:
                down.cancel()
                back.transport.abort()
                self._writers.discard(back)
        finally:
            self._writers.discard(writer)
            self._gates.remove(gates)

    async def _up(
        self, gate: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await gate.wait()
                if self._is_cutting and len(chunk) > 1:
                    self._is_cutting = False
                    writer.write(chunk[: len(chunk) // 2])
                    await asyncio.sleep(ARRIVAL_S)
                    await self._cut()
                    return
                writer.write(chunk)
                await writer.drain()
        await asyncio.sleep(ARRIVAL_S)  # before the link is cut behind it

    async def _down(
        self, gate: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await gate.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()  # then nothing more comes up, either
