"""From the hub's threads into event loops: failures of handlers, ends, and what is given back."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, cast

import pytest
from carillon import _core, bridge
from carillon.bridge import EventThread, LoopBridge
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

Event = tuple[Any, ...]


class FakeCore:
    """A native bridge whose events come from the test."""

    def __init__(self, capacity: int = 0) -> None:
        self.is_closed = False
        self._events: list[Event] = []
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK)

    def put(self, *events: Event) -> None:
        self._events += events
        os.eventfd_write(self._descriptor, 1)

    def fileno(self) -> int:
        return self._descriptor

    def drain(self, max_items: int) -> list[Event]:
        taken, self._events = self._events[:max_items], self._events[max_items:]
        if taken and not self._events:
            os.eventfd_read(self._descriptor)
        return taken

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self._descriptor)


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition)


@pytest.fixture
def loop_bridge(monkeypatch: pytest.MonkeyPatch) -> Callable[[], LoopBridge]:
    """The bridge of the running loop, on a fake core; it is given back soon."""
    monkeypatch.setattr(_core, "Bridge", FakeCore)
    monkeypatch.setattr(bridge, "_LINGER_S", 0.02)
    return LoopBridge.of_running_loop


async def test_a_handler_that_fails_hinders_no_other(loop_bridge: Callable[[], LoopBridge]) -> None:
    failures: list[dict[str, Any]] = []
    told: list[Exception] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    one = loop_bridge()
    seen: list[Event] = []

    def fail(event: Event) -> None:
        raise ValueError("broken")

    broken, good = one.register(fail, told.append), one.register(seen.append, told.append)
    cast("FakeCore", one.core).put(("a", broken), ("b", good), ("c", good + 1))
    await until(lambda: seen)
    assert seen == [("b", good)]
    assert [str(failure["exception"]) for failure in failures] == ["broken"]
    assert [str(error) for error in told] == ["broken"], "whoever waits for its events"
    one.release(broken)
    one.release(good)
    await until(lambda: cast("FakeCore", one.core).is_closed)


async def test_a_bridge_is_given_back_when_nobody_has_used_it_for_a_while(
    loop_bridge: Callable[[], LoopBridge],
) -> None:
    one = loop_bridge()
    first = one.register(print, print)
    one.release(first)
    second = one.register(print, print)  # somebody comes back in time
    await asyncio.sleep(0.1)
    assert not cast("FakeCore", one.core).is_closed
    assert loop_bridge() is one
    one.release(second)
    await until(lambda: cast("FakeCore", one.core).is_closed)
    other = loop_bridge()
    assert other is not one
    other.release(other.register(print, print))
    await until(lambda: cast("FakeCore", other.core).is_closed)


def test_an_event_thread_outlives_failures_and_handles_what_waits_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    core = FakeCore()
    seen: list[Event] = []

    def handle(event: Event) -> None:
        if event[0] == "broken":
            raise ValueError
        seen.append(event)
        if event[0] == "last words":
            core.put(("behind them", 1))

    thread = EventThread("test", cast("_core.Bridge", core), handle)
    core.put(("broken", 1), ("good", 1))
    wait_until(lambda: seen)
    assert "could not be handled" in caplog.text
    thread.loop.call_soon_threadsafe(lambda: (thread.loop.stop(), core.put(("last words", 1))))
    thread.close(5)
    assert [event[0] for event in seen] == ["good", "last words", "behind them"]
    assert core.is_closed
    thread.close(5)
