"""A signal at any moment of a takeover: it succeeds, or the old process goes on, or clients are sent away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon.testing import wait_until
from test_takeover import CHANNEL, Journal, by_poll, by_sse, by_websocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from serve_process import Process

pytestmark = [pytest.mark.wire, pytest.mark.slow]

ROUNDS = int(os.environ.get("CARILLON_SIGNAL_ROUNDS", "2"))
CONNECTIONS = 30
HISTORY_BYTES = 40_000_000  # it goes ahead, and takes its time


async def call(port: int, method: str, **fields: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/api/{method}", json=fields)
        result: dict[str, Any] = answer.json()["result"]
        return result


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition, 20)


def is_serving(process: Process, port: int) -> bool:
    if process.child.poll() is not None:
        return False
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    return False


async def publish(port: int) -> None:
    while True:
        with contextlib.suppress(httpx.HTTPError, KeyError):  # it is drained, or nobody listens
            await call(port, "publish", channel=CHANNEL, data=0)
        await asyncio.sleep(0.01)


async def meet(
    launch: Callable[..., Process], old: Process, whom: str, number: signal.Signals, after_s: float
) -> Process | None:
    """A takeover with a signal `after_s` from its start. Returns the process that serves afterwards."""
    port = old.port
    epoch = str((await call(port, "publish", channel=CHANNEL, data=0))["epoch"])
    journals = [Journal() for _ in range(CONNECTIONS)]
    ready = asyncio.Semaphore(0)
    transports = (by_websocket, by_sse, by_poll)
    readers = [
        asyncio.create_task(transports[i % 3](port, epoch, journal, ready))
        for i, journal in enumerate(journals)
    ]
    async with asyncio.timeout(30):
        for _ in readers:
            await ready.acquire()
    publishing = asyncio.create_task(publish(port))
    new = launch(port, "--takeover", waits=False)
    await asyncio.sleep(after_s)
    target, other = (old, new) if whom == "old" else (new, old)
    target.child.send_signal(number)

    code = await asyncio.to_thread(target.ended)
    assert code in ((0,) if whom == "old" else (0, 1, 130, -number)), (code, target.log)
    if whom == "old":  # the other one has taken over, or says why not
        await until(lambda: new.child.poll() is not None or is_serving(new, port))
        assert new.child.poll() in (None, 1), new.log
    else:  # it has handed over, or goes on
        await until(lambda: old.child.poll() is not None or is_serving(old, port))
        assert old.child.poll() in (None, 0), old.log
    publishing.cancel()
    print(f"old: {old.child.poll()}, new: {new.child.poll()}")
    survivor = other if other.child.poll() is None else None
    if survivor:
        top = (await call(port, "publish", channel=CHANNEL, data=0))["offset"]

        await until(
            lambda: all(
                reader.done() or journal.top() >= top
                for reader, journal in zip(readers, journals, strict=True)
            )
        )
        assert not any(reader.done() for reader in readers), "a client was sent away, or cut off"
    else:
        await asyncio.wait(readers, timeout=20)
        assert all(reader.done() for reader in readers), "a client hangs, though nobody serves it"
    for journal in journals:
        assert journal.offsets == list(range(1, journal.top() + 1))
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, publishing, return_exceptions=True)
    return survivor


@pytest.mark.parametrize("whom", ["old", "new"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
@pytest.mark.timeout(180)
def test_whoever_gets_it(launch: Callable[..., Process], whom: str, number: signal.Signals) -> None:
    seed = os.environ.get("CARILLON_SEED", str(time.time_ns()))
    print(f"CARILLON_SEED={seed}")
    chance = random.Random(f"{seed} {whom} {number}")

    def start() -> Process:
        process = launch()
        url = f"http://127.0.0.1:{process.port}/api/publish"
        with httpx.Client(trust_env=False) as client:
            for number in range(HISTORY_BYTES // 800_000):  # as a channel keeps no more than 4 MiB, in ten
                large = {"channel": f"large-{number % 10}", "data": "x" * 800_000}
                client.post(url, json=large).raise_for_status()
        return process

    serving = start()
    began = time.monotonic()
    old, serving = serving, launch(serving.port, "--takeover")
    assert old.ended() == 0
    usual_s = time.monotonic() - began
    for _ in range(ROUNDS):
        after_s = chance.uniform(0.6, 1.7) * usual_s
        print(f"after {after_s:.3f} s, of {usual_s:.3f} s that it usually takes")
        serving = asyncio.run(meet(launch, serving, whom, number, after_s)) or start()
