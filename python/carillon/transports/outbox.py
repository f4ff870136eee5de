"""The commands of one client that are to be sent, and those that wait for their answers. No I/O."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import CarillonError

MESSAGE_BYTES = 32 * 1024  # of commands that are sent together; half of what a server accepts by default
_PONG = 0  # in the place of a command's id

Reply = dict[str, tuple[Any, int]]  # member of the reply -> its value, and where it begins in the text
OnReply = Callable[[str, Reply], None]


@dataclass(frozen=True)
class Command:
    """A command that waits for its answer.

    Attributes:
        size: Size of its text, bytes.
        on_reply: Function that gets the answer.
        waiter: Future of the caller that waits for the answer; None without one.
        refuse: Function that gets a code and a reason if the command is refused and no caller waits.
    """

    size: int
    on_reply: OnReply
    waiter: asyncio.Future[Any] | None
    refuse: Callable[[int, str], None] | None

    def fail(self, error: CarillonError) -> None:
        """Raises an error in the caller that waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)


class Outbox:
    """Puts commands together into messages. Belongs to one event loop, and outlives a connection."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, Command] = {}
        self._outgoing: dict[int, bytes] = {}  # not sent yet, by the ids of the commands
        self._has_outgoing = asyncio.Event()
        self._together_bytes = MESSAGE_BYTES
        self._longest: tuple[int, list[int]] = 0, []  # message over this connection: size, commands

    def add(
        self,
        body: str,
        on_reply: OnReply,
        *,
        waiter: asyncio.Future[Any] | None = None,
        refuse: Callable[[int, str], None] | None = None,
    ) -> int:
        """Adds a command without its id, and returns the id."""
        number = next(self._ids)
        text = f'{{"id":{number},{body}}}'.encode()
        self._waiting[number] = Command(len(text), on_reply, waiter, refuse)
        self._put(number, text)
        return number

    def add_pong(self) -> None:
        """Adds the answer to a ping. Of several pings that wait, one is answered."""
        self._put(_PONG, b"{}")

    def drop(self, number: int) -> None:
        """Forgets a command whose answer is not needed any more. If it was not sent, it never is."""
        self._waiting.pop(number, None)
        self._outgoing.pop(number, None)

    def is_unsent(self, number: int) -> bool:
        """Returns whether a command was not sent yet."""
        return number in self._outgoing

    def answered(self, number: int) -> Command | None:
        """Returns the command with this id if it still waits for its answer."""
        return self._waiting.pop(number, None)

    async def message(self) -> bytes:
        """Waits until there is a command, and returns a message of as many as may be sent together."""
        while not self._outgoing:
            self._has_outgoing.clear()
            await self._has_outgoing.wait()
        numbers: list[int] = []
        size = 0
        for number, text in self._outgoing.items():
            if numbers and size + len(text) > self._together_bytes:
                break
            numbers.append(number)
            size += len(text) + 1
        if size > self._longest[0]:
            self._longest = size, numbers
        return b"\n".join([self._outgoing.pop(number) for number in numbers])

    def send_less(self) -> Command | None:
        """Notes that a message was too long for the server. It must have been the longest one.

        If it held several commands, commands are sent one by one from now on.

        Returns:
            The command of the message, if it was the only one and still waits.
        """
        _, numbers = self._longest
        if len(numbers) > 1:
            self._together_bytes = 0
            return None
        return self._waiting.pop(numbers[0], None) if numbers else None

    def lost(self, error: CarillonError) -> None:
        """Notes that the connection ended: every caller that waits for an answer gets the error."""
        waiting, self._waiting = self._waiting, {}
        self._outgoing.clear()
        self._longest = 0, []
        for command in waiting.values():
            command.fail(error)

    def _put(self, number: int, text: bytes) -> None:
        self._outgoing[number] = text
        self._has_outgoing.set()
