"""`carillon.lab` on real servers: small grids, and the simulator held against them."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from carillon import _core, lab
from carillon.lab import capacity, switching
from carillon.lab.table import rows_of

pytestmark = pytest.mark.alone

FAST: dict[str, Any] = {"publish_rate": 40.0, "seconds": 0.5, "progress": False}


@pytest.fixture(scope="module")
def grid() -> Any:
    """Writing and reading on all transports, with 100 members."""
    return lab.compare(
        ["write", "read"], 100, 0.2, transports=["ws", "sse", "poll"], sweep_interval_ms=50, **FAST
    )


def test_a_row_for_each_cell_with_every_figure(grid: Any) -> None:
    rows = rows_of(grid)
    assert [(row["transport"], row["strategy"]) for row in rows] == [
        (transport, strategy) for transport in ("ws", "sse", "poll") for strategy in ("write", "read")
    ]
    for row in rows:
        assert (row["members"], row["online"], row["publications"]) == (100, 20, 20)
        assert row["deliveries"] == 20 * 20
        assert row["store_writes"] == (100 if row["strategy"] == "write" else 0)
        assert row["wire_bytes"] > 128
        assert row["publish_us"] > row["delivery_us"] > 0
        assert row["memory_mib"] > 1
        for name in ("publish", "delivery", "last"):
            assert 0 < row[f"{name}_p50_ms"] <= row[f"{name}_max_ms"]
            assert row[f"{name}_p999_ms"] is None, "no sample here is large enough"
        for name in ("publish", "delivery"):
            assert row[f"{name}_p90_ms"] is None, "20 publications have no p90, nor have their 400 deliveries"
        assert 0 < row["inbox_read_ms"] <= row["inbox_read_max_ms"]


def test_readers_wait_for_the_sweep_and_nobody_else_does(grid: Any) -> None:
    for row in rows_of(grid):
        if row["strategy"] == "read" and row["transport"] != "poll":
            assert row["delivery_p50_ms"] > 5
            assert row["delivery_max_ms"] > 15


def test_the_simulator_counts_what_was_counted(grid: Any) -> None:
    checked = rows_of(lab.check_model(grid))
    counts = [row for row in checked if row["kind"] == "count"]
    assert len(counts) >= 6 * 2
    for row in counts:
        if row["figure"] == "wire_bytes":
            # Polls come back when they come back: how many publications an answer holds is a matter of time.
            tolerance = 0.35 if row["transport"] == "poll" else 0.02
            assert row["ratio"] == pytest.approx(1, rel=tolerance), row
        else:
            assert row["modelled"] == row["measured"], row
    assert {row["figure"] for row in checked if row["kind"] == "time"} >= {"publish_us", "delivery_p50_ms"}


def test_nobody_online_and_everybody() -> None:
    rows = rows_of(lab.compare("write", [1, 40], [0, 1], **FAST))
    assert [(row["members"], row["online"]) for row in rows] == [(1, 0), (1, 1), (40, 0), (40, 40)]
    for row in rows:
        assert row["store_writes"] == row["members"]
        assert row["publish_p50_ms"] > 0
        has_deliveries = row["online"] > 0
        assert (row["delivery_p50_ms"] is not None) == has_deliveries
        assert (row["wire_bytes"] is not None) == has_deliveries
        assert (row["inbox_read_ms"] is not None) == (row["online"] < row["members"])


def test_all_members_online_without_a_socket() -> None:
    rows = rows_of(
        lab.compare(
            ["write", "read"], 3_000, [0.5, 1], transports="memory", channels=2, sweep_interval_ms=20, **FAST
        )
    )
    for row in rows:
        assert row["deliveries"] == 20 * row["online"]
        assert row["store_writes"] == (3_000 if row["strategy"] == "write" else 0)
        assert row["wire_bytes"] > 128
        assert row["publish_us"] > 0
        assert row["memory_mib"] > 1
        assert (row["inbox_read_ms"] is None) == (row["online"] == 3_000)


def test_many_channels_share_the_publications() -> None:
    (row,) = rows_of(lab.compare("write", 10, 0.5, channels=4, **FAST))
    assert row["channels"] == 4
    assert row["deliveries"] == 20 * 5
    assert row["store_writes"] == 10


def test_what_cannot_be_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carillon.lab.comparison.measure", lambda *_: pytest.fail("it started"))
    for wrong, words in (
        ({"strategies": "push"}, "strategies: 'push' is not one of write, read"),
        ({"transports": "mail"}, "transports: 'mail'"),
        ({"members": 0}, "members: 0"),
        ({"members": []}, "empty"),
        ({"online": 1.5}, "online: 1.5"),
        ({"publish_rate": 0}, "publish_rate: 0"),
        ({"publish_rate": "fast"}, "publish_rate: 'fast'; give a number above 0"),
        ({"seconds": math.inf}, "seconds: inf"),
        ({"payload": 5}, "payload: 5"),
    ):
        with pytest.raises(lab.LabError, match=words):
            lab.compare(**{"progress": False, **wrong})


def test_it_says_what_the_machine_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    most = lab.online_max()
    with pytest.raises(lab.LabError) as refused:
        lab.compare("write", [10, 10 * most], 1.0, progress=False)
    assert f"one server process holds {most:,} here" in str(refused.value)
    assert "Give online=0.1 or less" in str(refused.value)
    assert 'transports="memory"' in str(refused.value)
    monkeypatch.setattr(capacity, "_free_bytes", lambda: 2**20)
    with pytest.raises(lab.LabError, match=r"need about .* GiB .* Give fewer members"):
        lab.compare("write", 50_000, 0.0, progress=False)


def test_a_switch_under_load_loses_nothing() -> None:
    steps = [(0.0, "write"), (0.4, "read"), (0.8, "write")]
    rows = rows_of(
        lab.watch_switch(
            steps, 60, online=30, publish_rate=50, seconds=1.2, sweep_interval_ms=50, progress=False
        )
    )
    assert [row["time_s"] for row in rows] == pytest.approx([number / 10 for number in range(12)])
    assert sum(row["publications"] for row in rows) == 60
    assert sum(row["deliveries"] for row in rows) == 60 * 30
    modes = [row["mode"] for row in rows]
    assert modes[0] == modes[-1] == "write"
    assert modes[6] == "read"
    assert rows[6]["delivery_p50_ms"] is not None
    # The slice of a change says so; its mode is that of its start.
    for row, after in pairwise(rows):
        if row["mode"] != after["mode"]:
            assert row["is_mixed"]
            assert row["time_s"] <= row["change_begin_s"] <= row["time_s"] + 0.1
            assert row["change_begin_s"] <= row["change_end_s"]
    pure = [row for row in rows if not row["is_mixed"]]
    assert all(row["change_begin_s"] is None for row in pure)
    assert 8 <= len(pure) < len(rows)


def test_a_hybrid_channel_switches_by_its_members() -> None:
    rows = rows_of(
        lab.watch_switch(
            "hybrid",
            [(0.0, 50), (0.4, 150), (0.8, 50)],
            online=20,
            threshold=100,
            publish_rate=50,
            seconds=1.2,
            progress=False,
        )
    )
    assert {(row["mode"], row["members"]) for row in rows} == {("write", 50), ("read", 150)}
    with pytest.raises(lab.LabError, match="online: 60"):
        lab.watch_switch("hybrid", 50, online=60, progress=False)
    with pytest.raises(lab.LabError, match="second 0"):
        lab.watch_switch([(1.0, "read")], 50, online=10, progress=False)


def test_a_slice_in_which_the_channel_changes_is_mixed() -> None:
    def slice_at(start_s: float) -> Any:
        return SimpleNamespace(start_s=start_s, publish=_core.LoadHistogram(), latency=_core.LoadHistogram())

    states = [
        switching._State(0.0, 0.0, "hybrid", "write", 700),
        switching._State(2.05, 2.06, "hybrid", "read", 1_200),
        switching._State(2.29, 2.31, "hybrid", "write", 700),
    ]
    result: Any = SimpleNamespace(slices=[slice_at(at) for at in (1.9, 2.0, 2.1, 2.2, 2.3, 2.4)])
    rows = switching._rows(result, states, 50, 0.1)
    assert [(row["mode"], row["is_mixed"]) for row in rows] == [
        ("write", False),
        ("write", True),  # the change begins within it: no latency of read mode is drawn in front of the line
        ("read", False),
        ("read", True),
        ("write", True),  # and this one ends within it
        ("write", False),
    ]
    assert [row["change_begin_s"] for row in rows] == [None, 2.05, None, 2.29, 2.29, None]
