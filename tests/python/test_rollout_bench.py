"""bench/rollout at a small load: a fleet behind a proxy is replaced, and nothing is lost or doubled."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from carillon.testing import RedisServer
from conftest import require, require_tool

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SCALE = (
    "--gateways 3 --clients 60 --channels 6 --sdks 0 --workers 1 --before 1 --after 1 --pace 500ms "
    "--pause 0s --interval 200ms --expect 0.8"
)


@pytest.mark.wire
@pytest.mark.timeout(180)
def test_a_fleet_behind_haproxy_is_replaced_and_nothing_is_lost() -> None:
    require_tool("haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy")
    require_tool("openssl")
    require(not RedisServer.missing(), "redis-server")
    done = subprocess.run(
        [sys.executable, "-m", "bench.rollout", "--proxy", "haproxy", *SCALE.split()],
        cwd=ROOT, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0, other data than at its offset 0, not recovered 0" in done.stdout
    assert done.stdout.count(" -> ") == 3, "gateways have been replaced"
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("| ws "))
    _, before, _, _, during, *_ = (cell.strip() for cell in line.strip("|").split("|"))
    assert int(before.replace(",", "")) > 0
    assert int(during.replace(",", "")) > 0


@pytest.fixture
def make_subscriber(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Makes subscribers that have begun behind offset 2 of the epoch `e`."""
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("bench.rollout.subscribers")

    def make() -> Any:
        made = module.Subscriber(0, "room", "sse", module.Tally(), None)
        status(made, 2, is_recovered=False)
        return made

    return make


def status(to: Any, offset: int, *, is_recovered: bool) -> None:
    body = {"recovered": is_recovered, "epoch": "e", "offset": offset}
    to.on_event({"event": "status", "data": json.dumps(body)})


def deliver(to: Any, *offsets: int, plus: int = 0) -> Any:
    for offset in offsets:
        to.on_event({"data": json.dumps({"offset": offset, "data": {"n": offset + plus, "at": 0}})})
    return to.tally


def test_the_judge_sees_each_kind_of_fault(make_subscriber: Callable[[], Any]) -> None:
    well = deliver(make_subscriber(), 3, 4, 5)
    assert (well.missing, well.repeated, well.changed, well.not_recovered) == (0, 0, 0, 0)
    assert well.received == {"before": 3}
    assert deliver(make_subscriber(), 3, 6).missing == 2
    assert deliver(make_subscriber(), 3, 4, 3).repeated == 1
    assert deliver(make_subscriber(), 3, plus=1).changed == 1, "something is twice in the log"
    again = make_subscriber()
    status(again, 2, is_recovered=True)
    assert again.tally.not_recovered == 0
    status(again, 9, is_recovered=False)
    assert again.tally.not_recovered == 1


def test_latencies_are_those_of_their_transport_and_their_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    subscribers = importlib.import_module("bench.rollout.subscribers")
    report = importlib.import_module("bench.rollout.report")
    tally, other = subscribers.Tally(), subscribers.Tally()
    for _ in range(1000):
        tally.note("ws", 2_000_000)
        other.note("sse", 50_000_000)
    for _ in range(999):
        tally.note("uni_ws", 3_000_000)
    tally.phase = "during"
    for _ in range(1000):
        tally.note("ws", 80_000_000)
    tallies = [vars(tally), vars(other)]
    rows = {row[0]: row[1:] for row in report.transport_table(tallies)}
    assert rows["ws"] == ["1,000", "2.0", "2", "1,000", "80.0", "80"]
    assert rows["sse"] == ["1,000", "50.0", "50", "0", "-", "-"]
    assert rows["uni_ws"] == ["999", "-", "3", "0", "-", "-"], "a percentile needs ten observations beyond it"
    assert rows.keys() == {"transport", *subscribers.TRANSPORTS}
    assert report.histogram_row("before", tallies) == ["before", "2,999", "3.1", "50.0", "-", "50"]
