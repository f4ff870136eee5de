"""One test for each row of the table of limits that bounds questions to hooks: set small, and reached.

`test_limits.py` checks that no row is forgotten: a test here is named after its row.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from wire_clients import open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import PublishContext, Server

pytestmark = pytest.mark.wire


class Gate:
    """A publish hook that answers when the test says so."""

    def __init__(self, server: Server) -> None:
        self.running = self.most = 0
        self.may_answer = threading.Event()
        server.on_publish("*")(self.decide)

    async def decide(self, context: PublishContext) -> bool:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.to_thread(self.may_answer.wait)
        self.running -= 1
        return True


async def outcomes(
    serve: Callable[..., Server], limits: dict[str, int], publishers: int, size: int, refused: int
) -> Gate:
    """Publishes once on each of so many connections; `refused` of them are to be told to ask again."""
    gates: list[Gate] = []
    server = serve(limits=limits, before_start=lambda server: gates.append(Gate(server)))
    (gate,) = gates

    async def publish() -> int:
        async with open_ws(server) as ws:
            reply = await ws.command(publish={"channel": "c", "data": "x" * size})
            assert "error" not in reply or reply["error"]["temporary"]
            return reply["error"]["code"] if "error" in reply else 0

    publishing = [asyncio.create_task(publish()) for _ in range(publishers)]
    await until(lambda: server.stats()["hooks_refused"] == refused and gate.running > 0)
    await until(lambda: server.stats()["hook_questions"] == publishers - refused)
    gate.may_answer.set()
    assert sorted(await asyncio.gather(*publishing)) == [0] * (publishers - refused) + [100] * refused
    assert server.stats()["hook_questions"] == 0
    return gate


async def test_hook_questions(serve: Callable[..., Server]) -> None:
    await outcomes(serve, {"hook_questions": 16}, publishers=20, size=1, refused=4)


async def test_hook_question_bytes(serve: Callable[..., Server]) -> None:
    await outcomes(serve, {"hook_question_bytes": 65_536}, publishers=4, size=25_000, refused=2)


async def test_hooks_at_once(serve: Callable[..., Server]) -> None:
    gate = await outcomes(serve, {"hooks_at_once": 3}, publishers=8, size=1, refused=0)
    assert gate.most == 3, "the others waited for these"
