"""A proxy that closes connections in the middle of the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

from carillon.acceptor import Acceptor

if TYPE_CHECKING:
    from collections.abc import Sequence

BEFORE_THE_REQUEST = None  # as a place: the server hears nothing


class ClosingProxy:
    """Forwards to a port. The first connections are closed, each at a place of its own; later ones stay.

    A place is the number of bytes of the server's answer that the client gets, counted from the end of the
    answer's head: -40 is in the middle of the head, 0 behind the upgrade, 9 in the middle of a first frame.
    """

    def __init__(self, port: int, places: Sequence[int | None]) -> None:
        self.accepted = 0
        self._target = port
        self._places = list(places)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._acceptor = Acceptor(self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._acceptor.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"http://127.0.0.1:{self._acceptor.port}"

    async def _start(self) -> None:
        self._acceptor.start()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_closed = self.accepted < len(self._places)
        place = self._places[self.accepted] if is_closed else None
        self.accepted += 1
        await self._serve(reader, writer, is_closed, place)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_closed: bool, place: int | None
    ) -> None:
        answers, asking = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            if is_closed and place is BEFORE_THE_REQUEST:
                await reader.read(1)
            elif is_closed:
                await self._answer_in_part(answers, writer, reader, asking, place or 0)
            else:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, asking))
                    both.create_task(_pump(answers, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of them has gone
        finally:
            for each in (writer, asking):
                each.close()

    @staticmethod
    async def _answer_in_part(
        answers: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        reader: asyncio.StreamReader,
        asking: asyncio.StreamWriter,
        place: int,
    ) -> None:
        asked = asyncio.ensure_future(_pump(reader, asking))
        try:
            head = await answers.readuntil(b"\r\n\r\n")
            writer.write(head[: len(head) + place] if place < 0 else head)
            if place > 0:
                writer.write(await answers.readexactly(place))
            await writer.drain()
        finally:
            asked.cancel()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
