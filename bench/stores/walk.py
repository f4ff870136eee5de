"""How long a walk over many members occupies Redis at once: by its own log of slow commands."""

from __future__ import annotations

import hashlib
import socket
from statistics import median
from typing import TYPE_CHECKING, Any

from .recording import Recorder, command, commands_of
from .running import gateways

if TYPE_CHECKING:
    from carillon.testing import RedisServer

MEMBERS = 50_000
LOGGED = 1_000_000
# What is shorter is not logged: a script would take longer for the sake of its commands' records.
LEAST_US = 50
# In the order in which a gateway loads them (RedisScript).
SCRIPTS = [
    "adopt",
    "append",
    "top",
    "tops",
    "read",
    "remove_history",
    "change_members",
    "walk",
    "walk_step",
    "standing",
    "members",
    "settle_members",
    "user_change",
    "user_enter",
    "user_inbox",
    "user_mark_read",
    "presence_change",
    "presence_counts",
    "presence_clear",
    "gateway_beat",
    "gateway_clear",
]


class Asking:
    """A connection to Redis that reads every reply."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: str | bytes) -> Any:
        """Returns the reply to a command."""
        self._socket.sendall(command(*words))
        return self._reply()

    def _reply(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if kind == b":" else rest

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()
        self._socket.close()


def names_of_scripts(redis: RedisServer) -> dict[bytes, str]:
    """Returns the names of the scripts by their hashes."""
    with Recorder(redis.port) as recorder, gateways(f"redis://127.0.0.1:{recorder.port}", 1):
        turns = commands_of(recorder.sent)
    loaded = [words[2] for turn in turns for words in turn if words[:2] == [b"SCRIPT", b"LOAD"]]
    if len(loaded) != len(SCRIPTS):
        raise RuntimeError("the gateway loads other scripts than this bench knows")
    return {hashlib.sha1(body).hexdigest().encode(): name for body, name in zip(loaded, SCRIPTS, strict=True)}


def logged(asking: Asking, names: dict[bytes, str]) -> dict[str, list[int]]:
    """Returns the microseconds of each command by its script or name, and empties the log."""
    times: dict[str, list[int]] = {}
    for entry in asking.ask("SLOWLOG", "GET", "-1"):
        words = entry[3]
        name = names.get(words[1], "") if words[0].upper() == b"EVALSHA" else ""
        times.setdefault(name or words[0].decode().lower(), []).append(entry[2])
    asking.ask("SLOWLOG", "RESET")
    return times


def walk(redis: RedisServer, rounds: int) -> None:
    """Prints the longest and the median time of each script.

    They contain the times in which Redis did not run: the least of the longest ones is nearest to what a
    script takes.
    """
    names = names_of_scripts(redis)
    users = [f"user-{i}-of-the-channel-that-is-walked-over" for i in range(MEMBERS)]
    asking = Asking(redis.port)
    seen: dict[str, dict[str, list[list[int]]]] = {}

    def note(phase: str) -> None:
        for name, times in logged(asking, names).items():
            seen.setdefault(phase, {}).setdefault(name, []).append(times)

    for _ in range(rounds):
        redis.cli("flushall")
        asking.ask("CONFIG", "SET", "slowlog-max-len", str(LOGGED), "slowlog-log-slower-than", str(LEAST_US))
        asking.ask("SLOWLOG", "RESET")
        with gateways(redis.url, 1) as (server,):
            server.add_members("walked", users)
            note("members are added")
            server.publish("walked", {"n": 1})
            note("a publication is entered")
            # As if the gateway that added them had died before the users' keys followed.
            pending = next(iter(asking.ask("KEYS", "*m:walked"))).replace(b"m:walked", b"j:walked")
            for first in range(0, MEMBERS, 1_000):
                changes = [word for user in users[first : first + 1_000] for word in (user, "1+0")]
                asking.ask("HSET", pending, *changes)
            asking.ask("SLOWLOG", "RESET")
            server.publish("walked", {"n": 2})
            note("the same with 50,000 pending changes")
        asking.ask("CONFIG", "SET", "slowlog-log-slower-than", "10000", "slowlog-max-len", "128")
    asking.close()
    print(f"\n## {MEMBERS:,} members: microseconds of single commands by SLOWLOG, {rounds} rounds")
    print(
        "| phase | script | calls | median | longest: the least of the rounds | all rounds |\n"
        + "| --- " * 6
        + "|"
    )
    for phase, by_name in seen.items():
        for name, each in sorted(by_name.items(), key=lambda item: -min(max(times) for times in item[1])):
            longest = sorted(max(times) for times in each)
            if len(each) == rounds and name in SCRIPTS:
                flat = [time for times in each for time in times]
                cells = (phase, name, f"{len(flat) // rounds:,}", f"{median(flat):.0f}", longest[0], longest)
                print(f"| {' | '.join(map(str, cells))} |")
