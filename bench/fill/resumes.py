"""Clients that come back, with a position behind the top, to a channel that is being published to.

Rests on `websockets`, not on a client of ours.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Resume:
    """One client that came back.

    Attributes:
        missed: Publications that it had missed, at least.
        seconds: From its first byte until it had all of them.
        fault: Why it was not complete; empty: it was, and the next live publication followed without a gap.
    """

    missed: int
    seconds: float = 0.0
    fault: str = ""


class Resumes(threading.Thread):
    """Resumes, one after another, at a steady rate until `seconds` are over.

    Args:
        port: The server's.
        channel: Where somebody publishes more than once a second.
        per_s: Resumes per second.
        seconds: How long.
        missed_max: Each has missed 1 to so many publications.
    """

    def __init__(
        self, port: int, channel: str, *, per_s: float, seconds: float, missed_max: int = 50
    ) -> None:
        super().__init__(daemon=True)
        self._url = f"ws://127.0.0.1:{port}/connection/websocket"
        self._channel = channel
        self._per_s = per_s
        self._seconds = seconds
        self._missed_max = missed_max
        self._random = random.Random(1)
        self.done: list[Resume] = []

    def run(self) -> None:
        """Fills `done`."""
        begin = time.monotonic()
        try:
            epoch, newest = self._position()
        except (OSError, WebSocketException, LookupError) as error:
            self.done.append(Resume(0, fault=f"no position to begin with: {error!r}"))
            return
        for number in range(int(self._per_s * self._seconds)):
            time.sleep(max(0.0, begin + number / self._per_s - time.monotonic()))
            if time.monotonic() > begin + self._seconds:
                return  # each waits for the next publication, so a slow machine makes fewer of them
            missed = min(newest, self._random.randint(1, self._missed_max))
            newest = self._resume(epoch, newest - missed, newest)

    def _position(self) -> tuple[str, int]:
        with connect(self._url, compression=None, proxy=None, open_timeout=TIMEOUT_S) as client:
            reply = next(self._replies(client, {"channel": self._channel}))["subscribe"]
            return str(reply["epoch"]), int(reply["offset"])

    def _resume(self, epoch: str, since: int, newest: int) -> int:
        """Goes on after `since`, until it has one publication beyond `newest`; returns the newest it saw."""
        wanted = {"channel": self._channel, "recover": True, "epoch": epoch, "offset": since}
        missed = newest - since
        seen = since
        begin = time.monotonic()
        seconds = 0.0
        try:
            with connect(self._url, compression=None, proxy=None, open_timeout=TIMEOUT_S) as client:
                for message in self._replies(client, wanted):
                    for offset in offsets_in(message):
                        if offset != seen + 1:
                            return self._note(Resume(missed, fault=f"{offset} came after {seen}"), newest)
                        seen = offset
                    if seen >= newest and not seconds:
                        seconds = time.monotonic() - begin
                    if seen > newest:
                        return self._note(Resume(missed, seconds), seen)
                    if time.monotonic() > begin + TIMEOUT_S:
                        break
        except (OSError, WebSocketException, LookupError) as error:
            return self._note(Resume(missed, fault=repr(error)), newest)
        return self._note(Resume(missed, fault=f"only up to {seen} of {newest}"), newest)

    def _note(self, resume: Resume, newest: int) -> int:
        self.done.append(resume)
        return newest

    @staticmethod
    def _replies(client: ClientConnection, subscribe: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Everything from the answer to the subscribe on. Raises LookupError for a refusal."""
        client.send('{"id":1,"connect":{}}\n' + json.dumps({"id": 2, "subscribe": subscribe}))
        is_subscribed = False
        while True:
            try:
                text = client.recv(TIMEOUT_S)
            except TimeoutError:
                return
            for line in str(text).splitlines():
                message = json.loads(line)
                if "error" in message:
                    raise LookupError(line)
                if not message:
                    client.send("{}")
                elif message.get("id") == 2:
                    if subscribe.get("recover") and not message["subscribe"].get("recovered"):
                        raise LookupError(f"not recovered: {line[:200]}")
                    is_subscribed = True
                if is_subscribed and message:
                    yield message


def offsets_in(message: dict[str, Any]) -> list[int]:
    """Those of the publications in a subscribe reply or a push."""
    publications = message.get("subscribe", {}).get("publications", [])
    pushed = message.get("push", {}).get("pub")
    return [each["offset"] for each in itertools.chain(publications, [pushed] if pushed else [])]
