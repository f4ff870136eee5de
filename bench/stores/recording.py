"""What a gateway says to Redis: recorded on its way, and said again by a bare socket."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from itertools import pairwise
from typing import Self

CHUNK = 1 << 20
MARK = b"*5\r\n"  # the reply to a group of appends begins so, and holds nothing of a publication


class Recorder:
    """Forwards connections to a port of 127.0.0.1, and keeps what goes there, chunk by chunk."""

    def __init__(self, target: int) -> None:
        self.sent: list[bytes] = []
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [here, there]
                for each in (here, there):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(here, there, self.sent), daemon=True).start()
                threading.Thread(target=self._pump, args=(there, here, None), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, kept: list[bytes] | None) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK):
                if kept is not None:
                    kept.append(chunk)
                target.sendall(chunk)


def command(*words: str | bytes) -> bytes:
    """Returns a command as it is sent to Redis."""
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def commands_of(sent: list[bytes]) -> list[list[list[bytes]]]:
    """Returns the commands of each chunk, as words; one that is cut in two belongs to the later chunk."""
    turns: list[list[list[bytes]]] = []
    rest = b""
    for chunk in sent:
        rest += chunk
        at, turn = 0, []
        while (words := _read(rest, at)) is not None:
            at, found = words
            turn.append(found)
        rest = rest[at:]
        if turn:
            turns.append(turn)
    return turns


def _read(data: bytes, at: int) -> tuple[int, list[bytes]] | None:
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    words = []
    for _ in range(int(data[at + 1 : end])):
        at, end = end + 2, data.find(b"\r\n", end + 2)
        if end < 0:
            return None
        size = int(data[at + 1 : end])
        if len(data) < end + 2 + size + 2:
            return None
        words.append(data[end + 2 : end + 2 + size])
        end += 2 + size
    return end + 2, words


def appends_of(turns: list[list[list[bytes]]], script: bytes) -> list[list[list[bytes]]]:
    """Returns the turns that run a script, without everything else."""
    kept = [[words for words in turn if words[0] == b"EVALSHA" and words[1] == script] for turn in turns]
    return [turn for turn in kept if turn]


def append_script(turns: list[list[list[bytes]]]) -> bytes:
    """Returns the hash of the script that appends, among those that the gateway has loaded."""
    loaded = [words[2] for turn in turns for words in turn if words[:2] == [b"SCRIPT", b"LOAD"]]
    return hashlib.sha1(next(body for body in loaded if b"'XADD'" in body)).hexdigest().encode()


class Replay:
    """Says the same again, over a bare socket: a turn is one write, then it waits for all replies."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self, turns: list[tuple[bytes, int]]) -> int:
        """Sends all turns, given with their numbers of commands. Returns the number of "ok" replies."""
        heard = []
        for sent, number in turns:
            self._socket.sendall(sent)
            replies = b""
            while replies.count(MARK) < number or not replies.endswith(b"\r\n"):
                chunk = self._socket.recv(CHUNK)
                if not chunk or b"-ERR" in chunk:
                    raise RuntimeError(f"redis refuses what it took before: {chunk[:200]!r}")
                replies += chunk
            heard.append(replies)
        return b"".join(heard).count(MARK + b"$2\r\nok\r\n")

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()


def pipelined(turns: list[list[list[bytes]]], depth: int) -> list[tuple[bytes, int]]:
    """Returns what a replay sends: `depth` commands at once, whatever was one turn; 0: as it was recorded."""
    if depth == 0:
        return [(b"".join(command(*words) for words in turn), len(turn)) for turn in turns]
    flat = [command(*words) for turn in turns for words in turn]
    bounds = [*range(0, len(flat), depth), len(flat)]
    return [(b"".join(flat[first:last]), last - first) for first, last in pairwise(bounds)]
