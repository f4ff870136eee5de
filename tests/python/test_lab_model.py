"""`carillon.lab`'s arithmetic: queues, spreads, the simulator, recommendations. Nothing is measured here."""

from __future__ import annotations

import dataclasses
import math
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from carillon import lab
from carillon.lab.calibration import _Estimate, _of_window
from carillon.lab.placement import Placement
from carillon.lab.queues import serve
from carillon.lab.spread import Spread
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

    from carillon.fanout import Strategy

ONE = lab.Fleet(gateways=1, cores=1)


def uniform(members: int, channels: int = 1) -> lab.Population:
    return lab.Population(users=members, channels=channels, largest=members, exponent=0.0)


def paced(strategy: Strategy, members: int, online: float, **changes: Any) -> lab.Simulation:
    settings: dict[str, Any] = {
        "population": uniform(members),
        "fleet": ONE,
        "online": online,
        "publish_rate": 20.0,
        "seconds": 2.0,
        "arrivals": "paced",
    }
    return lab.simulate(strategy, **{**settings, **changes})


# ---- queues


jobs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100), st.integers(0, 20)), max_size=60)


@given(jobs)
def test_a_queue_serves_one_after_another(work: list[tuple[int, int, int]]) -> None:
    servers, arrivals, services = (
        np.array([job[i] for job in work], dtype=kind) for i, kind in enumerate((np.int64, float, float))
    )
    starts, ends = serve(servers, arrivals, services)
    free = dict.fromkeys(range(4), 0.0)
    for number in sorted(range(len(work)), key=lambda number: (arrivals[number], number)):
        start = max(arrivals[number], free[servers[number]])
        free[servers[number]] = start + services[number]
        assert starts[number] == pytest.approx(start, abs=1e-6)
        assert ends[number] == pytest.approx(free[servers[number]], abs=1e-6)


def test_a_queue_at_half_its_capacity_waits_as_the_textbook_says() -> None:
    random = np.random.default_rng(3)
    count = 400_000
    arrivals = np.cumsum(random.exponential(2.0, count))
    starts, _ = serve(np.zeros(count, dtype=np.int64), arrivals, np.ones(count))
    # M/D/1 at utilisation 1/2 waits rho / (2 (1 - rho)) services.
    assert (starts - arrivals).mean() == pytest.approx(0.5, rel=0.03)


# ---- spreads


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200), st.floats(0.01, 0.999))
def test_a_percentile_is_at_most_a_hundredth_too_high(times: list[float], share: float) -> None:
    spread = Spread()
    spread.add(np.array(times))
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    assert exact * 0.999 <= spread.percentile_s(share) <= exact * 1.011
    assert spread.count == len(times)


def test_deliveries_of_a_job_are_spread_over_it() -> None:
    spread = Spread()
    spread.add_evenly(np.array([0.0]), np.array([1.0]), np.array([1_000.0]))
    assert spread.count == pytest.approx(1_000)
    assert spread.percentile_s(0.5) == pytest.approx(0.45, abs=0.1)
    assert spread.to_row("x")["x_max_ms"] == 1_000
    assert Spread().to_row("x")["x_p50_ms"] is None


# ---- the simulator: what must be exact


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_counts_of_writing(transport: Any) -> None:
    found = paced("write", 1_000, 0.25, transport=transport, payload=200)
    costs = lab.Costs()
    assert found.publications == 40
    assert found.deliveries == 40 * 250
    assert found.store_writes == 40 * 1_000
    assert found.wire_bytes == pytest.approx(found.deliveries * costs.write_bytes(transport, 1, 200))
    row = found.to_row()
    assert (row["online"], row["store_writes"]) == (250, 1_000)


def test_counts_of_reading_are_the_same_in_fewer_writes() -> None:
    written = paced("write", 1_000, 0.25, transport="poll")
    found = paced("read", 1_000, 0.25, transport="poll", sweep_interval_ms=500)
    assert found.deliveries == written.deliveries
    assert found.store_writes == 0
    assert found.wire_bytes < written.wire_bytes, "the answer to a poll holds several"
    assert found.core_seconds < written.core_seconds


def test_times_of_an_idle_server_can_be_added_up() -> None:
    costs = lab.Costs()
    found = paced("write", 1_000, 0.1)
    push_ms = 100 * costs.write_us("ws") / 1e3
    entering_ms = 1_000 * costs.inbox_entry_us / 1e3
    assert found.publish.percentile_s(0.5) * 1e3 == pytest.approx(
        costs.publish_us / 1e3 + push_ms + entering_ms, rel=0.02
    )
    assert found.last.percentile_s(0.5) * 1e3 == pytest.approx(costs.publish_us / 1e3 + push_ms, rel=0.02)
    read = paced("read", 1_000, 0.1)
    assert read.publish.percentile_s(0.99) * 1e3 == pytest.approx(costs.publish_us / 1e3, rel=0.02)


def test_the_broker_answers_a_publisher_when_all_inboxes_have_it() -> None:
    fleet = lab.Fleet(gateways=2, broker_cores=4)
    found = paced("write", 4_000, 0.0, fleet=fleet)
    entering_ms = 4_000 / fleet.broker_cores * fleet.broker_entry_us / 1e3
    assert found.publish.percentile_s(0.5) * 1e3 >= entering_ms
    assert found.publish.percentile_s(0.99) * 1e3 == pytest.approx(entering_ms, abs=1.0)
    read = paced("read", 40_000, 0.0, fleet=fleet)
    assert read.publish.percentile_s(0.99) * 1e3 < 1.0


def test_subscribers_of_a_shard_that_has_none_are_not_those_of_another() -> None:
    subscribers = np.array([1, 0, 3, 1_000])
    placement = Placement(subscribers, 16, np.random.default_rng(1))
    every = np.arange(16)
    for channel, wanted in enumerate(subscribers):
        counts = placement.count(np.full(16, channel), every)
        assert counts.sum() == wanted
        _, shards, rows = placement.of(np.array([channel]))
        assert counts[shards].tolist() == rows.tolist()


def test_publishing_in_read_mode_costs_the_same_at_any_size() -> None:
    small, large = (paced("read", members, 0.0) for members in (10, 50_000))
    assert small.core_seconds == large.core_seconds
    small, large = (paced("write", members, 0.0) for members in (1_000, 50_000))
    publish_s = lab.Costs().publish_us * 1e-6 * 40
    assert large.core_seconds - publish_s == pytest.approx(50 * (small.core_seconds - publish_s))


def test_a_sweep_is_waited_for() -> None:
    found = paced("read", 100, 1.0, publish_rate=199.0, sweep_interval_ms=100)
    assert found.delivery.percentile_s(0.5) == pytest.approx(0.05, abs=0.01)
    assert found.delivery.percentile_s(0.999) == pytest.approx(0.1, abs=0.01)


def test_hybrid_reads_above_its_threshold() -> None:
    population = lab.Population(users=100_000, channels=50, largest=20_000, exponent=1.0, activity=0.0)
    sizes = population.members()
    above = int((sizes > 1_000).sum())
    assert 0 < above < 50
    found = lab.simulate("hybrid", population=population, threshold=1_000, publish_rate=500, seconds=4)
    assert found.read_channels == above
    assert (
        found.store_writes
        < lab.simulate("write", population=population, publish_rate=500, seconds=4).store_writes
    )


def test_equal_seeds_are_equal_and_others_are_not() -> None:
    population = lab.Population(users=10_000, channels=200, largest=2_000)
    runs = [
        lab.simulate(
            "hybrid", population=population, fleet=lab.Fleet(gateways=4, cores=2), seed=seed
        ).to_row()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_a_busier_fleet_is_slower_and_needs_more() -> None:
    population = lab.Population(users=40_000, channels=100, largest=10_000)
    fleet = lab.Fleet(gateways=2, cores=1)
    calm, busy = (
        lab.simulate("write", population=population, fleet=fleet, publish_rate=rate, seconds=4)
        for rate in (2.0, 600.0)
    )
    assert busy.utilisation.max() > calm.utilisation.max()
    assert busy.delivery.percentile_s(0.99) > calm.delivery.percentile_s(0.99)
    assert busy.gateways_by["cores"] > calm.gateways_by["cores"]
    assert busy.cost_per_month >= calm.cost_per_month


def test_a_large_channel_does_not_hold_up_the_small_ones_on_its_shard() -> None:
    small = uniform(10, channels=1)
    alone = lab.simulate("write", population=small, online=1.0, publish_rate=50, seconds=4, fleet=ONE)
    both = lab.Population(users=20_000, channels=60, largest=20_000, smallest=10, exponent=3.0, activity=0.0)
    mixed = lab.simulate("write", population=both, online=1.0, publish_rate=50, seconds=4, fleet=ONE)
    largest_s = 20_000 * lab.Costs().write_us("ws") * 1e-6
    assert alone.last.percentile_s(0.5) < 0.001
    assert mixed.last.percentile_s(0.5) < largest_s / 4, "half of all publications wait for an eighth at most"


def test_a_broker_that_cannot_keep_up_is_named() -> None:
    population = lab.Population(users=1_000_000, channels=1_000, largest=1_000_000)
    fleet = lab.Fleet(gateways=10, cores=4, broker_cores=1)
    found = lab.simulate("write", population=population, fleet=fleet, publish_rate=200, seconds=2)
    assert found.bottleneck == "broker"
    assert found.publish.percentile_s(0.5) > 1.0, "publishers wait for it"
    read = lab.simulate("read", population=population, fleet=fleet, publish_rate=200, seconds=2)
    assert read.bottleneck != "broker"
    assert read.publish.percentile_s(0.5) < 0.1


def test_inbox_reads_merge_only_what_is_read() -> None:
    population = lab.Population(users=1_000, channels=100, largest=500, exponent=0.0)
    times = {
        strategy: lab.simulate(
            strategy, population=population, online=0.0, publish_rate=1, inbox_reads_per_s=100
        ).inbox.percentile_s(0.5)
        for strategy in ("write", "read")
    }
    costs = lab.Costs()
    assert times["write"] * 1e6 == pytest.approx(costs.inbox_read_us, rel=0.02)
    expected = costs.inbox_read_us + 50 * costs.merge_us  # half of the 100 channels, on the average
    assert times["read"] * 1e6 == pytest.approx(expected, rel=0.1)


def test_ten_million_connections_on_two_hundred_gateways_take_seconds() -> None:
    population = lab.Population(users=25_000_000, channels=1_000_000, largest=10_000_000)
    fleet = lab.Fleet(gateways=200, cores=8)
    start = time.monotonic()
    found = lab.simulate("hybrid", population=population, fleet=fleet, publish_rate=5_000, seconds=1)
    assert time.monotonic() - start < 30
    assert found.connections == 10_000_000
    assert len(found.utilisation) == 200
    assert 0 < found.utilisation.mean() < 1
    assert found.gateways_needed >= 100, "a gateway holds 100,000 connections"


def test_what_is_too_much_or_wrong_is_refused_with_the_remedy() -> None:
    huge = lab.Population(users=10_000_000, channels=1, largest=10_000_000)
    with pytest.raises(lab.LabError, match=r"Give seconds=\d"):
        lab.simulate("write", population=huge, fleet=lab.Fleet(gateways=500, cores=8), publish_rate=10_000)
    with pytest.raises(lab.LabError, match="strategy: 'push'"):
        lab.simulate("push", population=uniform(10))  # type: ignore[arg-type]
    with pytest.raises(lab.LabError, match="online: 2"):
        lab.simulate("write", population=uniform(10), online=2)
    with pytest.raises(lab.LabError, match="gateways: 0"):
        lab.Fleet(gateways=0)
    with pytest.raises(lab.LabError, match="largest: 11"):
        lab.Population(users=10, largest=11)


def test_an_overloaded_gateway_is_said_to_be_one() -> None:
    found = paced("write", 20_000, 1.0, publish_rate=40.0, seconds=0.5)
    text = str(found)
    assert "20,000 on 1 gateway\n" in text
    assert "overloaded: the load needs 200\u00a0% of its cores" in text
    assert "p99" not in text, "the tail of the model is not to be trusted"


def test_percentiles_of_a_simulation_stop_where_its_sample_does() -> None:
    row = paced("write", 1_000, 0.25).to_row()
    assert row["publications"] == 40
    assert row["publish_p50_ms"] > 0
    assert row["publish_p90_ms"] is None
    assert row["deliveries"] == 10_000
    assert row["delivery_p50_ms"] > 0
    assert row["delivery_p90_ms"] is None, "they belong to 40 publications"


def test_a_cost_below_its_noise_has_an_upper_bound() -> None:
    publish, with_sweep = _Estimate(80.0, 70.0, 95.0), _Estimate(78.0, 72.0, 92.0)
    sweep = (with_sweep - publish).as_cost()
    assert (sweep.low, sweep.high) == (0, 22), "it may cost 92 - 70"
    assert sweep.value == 11, "it is not free: halfway to the bound"
    assert sweep.factors() == (0, 2)
    clear = (_Estimate(130.0, 120.0, 140.0) - publish).as_cost()
    assert (clear.value, clear.low, clear.high) == (50, 25, 70)
    nothing = _Estimate(-5.0, -9.0, -1.0).as_cost()
    assert (nothing.low, nothing.high) == (0, 4), "the noise is at least as large as its own spread"


def test_a_further_delivery_does_not_cost_more_than_a_lone_one() -> None:
    lone, noisy = _Estimate(5.94, 5.0, 7.0), _Estimate(70.4, 3.0, 90.0)
    assert noisy.at_most(lone) == _Estimate(5.94, 3.0, 7.0)


def test_the_window_of_a_load_shows_its_spread() -> None:
    seen = [(n * 20, n * 20 * cost) for n, cost in zip(range(1, 7), (10, 10, 11, 12, 11, 10), strict=True)]
    found = _of_window(10.5, seen)
    assert found.low < 10.5 < found.high
    short = _of_window(10.0, [(0, 0.0), (3, 30.0)])
    assert (short.low, short.high) == (8.0, 12.5), "a window without parts has the noise of a single run"


def test_constants_have_ranges() -> None:
    costs = lab.Costs(sweep_us=10.0, spread={"sweep_us": (0.0, 2.0), "ws.delivery_us": (0.5, 1.5)})
    assert costs.range_of("sweep_us") == (0, 20)
    assert costs.is_below_noise("sweep_us")
    assert costs.range_of("ws.delivery_us") == pytest.approx((1.2, 3.6))
    assert costs.range_of("publish_us") == (costs.publish_us, costs.publish_us), "no spread is known"
    other = costs.with_values({"sweep_us": 1.0, "ws.delivery_us": 9.0})
    assert (other.sweep_us, other.of("ws").delivery_us, other.of("sse")) == (1.0, 9.0, costs.of("sse"))


def test_a_simulation_shows_itself_in_a_notebook_and_in_print() -> None:
    simulation = paced("write", 100, 0.5)
    for shown in (simulation._repr_html_(), str(simulation)):
        assert "Simulation: write" in shown
        assert "2,000 deliveries" in shown
        assert " object at 0x" not in shown


# ---- costs


def test_costs_are_saved_and_loaded(tmp_path: Path) -> None:
    costs = lab.Costs(publish_us=1.5, machine="mine")
    costs.save(tmp_path / "costs.json")
    assert lab.Costs.load(tmp_path / "costs.json") == costs
    assert costs.write_us("ws", 3) == costs.of("ws").delivery_us + 2 * costs.of("ws").further_us
    poll = costs.of("poll")
    assert costs.write_bytes("poll", 3, 10) == poll.envelope_bytes + 2 * poll.further_bytes + 30
    assert costs.write_us("ws", 1, 128 + 1024) == costs.of("ws").delivery_us + costs.kib_us
    (tmp_path / "costs.json").write_text('{"publish_us": 1, "transports": {}}')
    with pytest.raises(lab.LabError, match="lacks"):
        lab.Costs.load(tmp_path / "costs.json")
    with pytest.raises(lab.LabError, match=r"is not a file of Costs\.save"):
        lab.Costs.load(tmp_path / "none.json")
    with pytest.raises(lab.LabError, match="'mail'"):
        costs.of("mail")


# ---- recommendations


COSTS = lab.Costs(
    publish_us=20.0,
    inbox_entry_us=0.1,
    sweep_us=5.0,
    merge_us=2.0,
    spread={"sweep_us": (0.5, 1.8), "inbox_entry_us": (0.7, 1.5)},
    transports=MappingProxyType(
        {
            "ws": lab.TransportCosts(
                delivery_us=2.0, further_us=0.2, envelope_bytes=60, further_bytes=60, connection_bytes=700
            )
        }
    ),
)


def test_the_publishers_time_bounds_the_size_that_writes() -> None:
    found = lab.recommend(lab.Workload(members=50_000, publish_ms_max=20), COSTS)
    assert (found.strategy, found.too_slow_above) == ("write", 190_000), "199,800: two digits, and never more"
    assert found.threshold == 190_000
    found = lab.recommend(lab.Workload(members=500_000, publish_ms_max=20), COSTS)
    assert found.strategy == "read"
    found = lab.recommend(lab.Workload(members=[10, 500_000], publish_ms_max=20), COSTS)
    assert (found.strategy, found.threshold) == ("hybrid", 190_000)
    found = lab.recommend(lab.Workload(members=[10, 500_000], publish_ms_max=20, is_steady=False), COSTS)
    assert found.strategy == "adaptive"
    assert "fanout_threshold = 190000" in str(found)


def test_who_favours_cost_reads_from_where_it_pays() -> None:
    workload = lab.Workload(members=[10, 200_000], online=0.1, publish_rate=1.0, favour="cost")
    found = lab.recommend(workload, COSTS)
    assert found.strategy == "hybrid"
    assert found.saves > 0.01
    assert found.threshold == found.cheaper_above
    assert found.cheaper_above is not None
    # At that size both cost the same, which the table shows.
    at = {row["mode"]: row["cpu_ms_per_s"] for row in found.rows if row["members"] == found.threshold}
    assert at["write"] == pytest.approx(at["read"], rel=0.05)


def test_members_who_come_back_more_often_than_is_published_are_written_to() -> None:
    rare = lab.Workload(
        members=[10, 50_000], online=0.0, publish_rate=0.001, visits_per_hour=60, favour="cost"
    )
    found = lab.recommend(rare, COSTS)
    assert found.cheaper_above is None
    assert found.strategy == "write"
    assert any("never cheaper" in reason for reason in found.reasons)


def test_a_sweep_that_is_too_slow_is_no_choice() -> None:
    found = lab.recommend(
        lab.Workload(members=[10, 50_000], delivery_ms_max=50, sweep_interval_ms=100, favour="cost"), COSTS
    )
    assert found.strategy == "write"
    assert any("later than the 50 ms" in reason for reason in found.reasons)
    forced = lab.recommend(lab.Workload(members=500_000, delivery_ms_max=50, sweep_interval_ms=100), COSTS)
    assert forced.strategy == "read"
    assert forced.sweep_interval_ms == 25


def test_rows_have_what_members_cost_and_wait_for() -> None:
    workload = lab.Workload(members=1_000, online=0.5, publish_rate=2.0, visits_per_hour=36, favour="cost")
    row = {row["mode"]: row for row in lab.recommend(workload, COSTS).rows}
    # 500 pushes of 2 µs and 1,000 entries of 0.1 µs per publication; 5 visits a second merge for 2 µs.
    assert row["write"]["cpu_ms_per_s"] == pytest.approx(2 * (0.02 + 1.0 + 0.1))
    assert row["read"]["cpu_ms_per_s"] == pytest.approx(2 * (0.02 + 0.005 + 1.0) + 0.01)
    assert row["write"]["last_subscriber_ms"] == pytest.approx(0.02 + 1.0 + 0.1)
    assert row["read"]["last_subscriber_ms"] == pytest.approx(100 + 1.0)
    assert row["write"]["publish_ms"] == pytest.approx(0.02 + 0.1)


def test_reasons_have_the_numbers() -> None:
    found = lab.recommend(lab.Workload(members=[100, 500_000]), COSTS)
    text = str(found)
    assert "500,000 x 0.1 µs = 50\u00a0ms" in text
    assert "hybrid, with that threshold" in text
    assert 'fanout = "hybrid"' in found._repr_html_().replace("&quot;", '"')
    assert {row["members"] for row in found.rows} == {100, found.threshold, 500_000}


def test_a_recommendation_is_as_wide_as_the_spread_of_its_costs() -> None:
    workload = lab.Workload(members=[10, 200_000], online=0.1, publish_rate=1.0, visits_per_hour=0)
    sharp = lab.recommend(workload, dataclasses.replace(COSTS, spread={}))
    assert sharp.cheaper_between == (sharp.cheaper_above, sharp.cheaper_above) == (50, 50)
    wide = dataclasses.replace(COSTS, spread={"sweep_us": (0.5, 3.0), "inbox_entry_us": (0.5, 2.0)})
    found = lab.recommend(workload, wide)
    assert (found.cheaper_above, found.cheaper_between) == (50, (12, 300))
    assert "cheaper above a size between 12 and 300 members, as far as the costs are known" in str(found)


def test_a_cost_below_its_noise_is_not_free() -> None:
    workload = lab.Workload(members=[50, 400_000], publish_rate=0.5, visits_per_hour=0, favour="cost")
    noisy = dataclasses.replace(COSTS, sweep_us=6.0, spread={"sweep_us": (0.0, 2.0)})
    found = lab.recommend(workload, noisy)
    assert found.cheaper_between == (0, 120)
    assert "a sweep costs less than its noise; 12\u00a0µs at most" in str(found)


def test_what_saves_next_to_nothing_is_not_worth_a_change() -> None:
    cheap = {"members": [50, 40_000], "publish_rate": 0.5, "favour": "cost", "visits_per_hour": 0}
    found = lab.recommend(lab.Workload(**cheap), COSTS)
    assert found.saves < 0.01
    assert found.strategy == "write", "although reading is cheaper above 50 members"
    assert "reading saves 0.2\u00a0% of a core: not worth a change of mode (below 1\u00a0%)" in str(found)
    eager = lab.recommend(lab.Workload(**cheap, worth_core=0.001), COSTS)
    assert (eager.strategy, eager.threshold) == ("hybrid", 50)
    assert "not worth" not in str(eager)


def cost_rows(crossing: int) -> list[dict[str, Any]]:
    """Writing costs 100 µs and 0.1 µs a member, reading the same at `crossing` members."""
    return [
        {
            "strategy": strategy,
            "transport": "memory",
            "channels": 1,
            "members": members,
            "online": members // 10,
            "publish_rate": 47.0,
            "payload": 128,
            "sweep_interval_ms": 10,
            "threshold": 10_000,
            "publish_us": 10 + 0.1 * (members if strategy == "write" else crossing),
        }
        for members in (10, 100, 1_000, 10_000)
        for strategy in ("write", "read")
        for _ in range(2)
    ]


def noisy_rows() -> list[dict[str, Any]]:
    """Both cost the same at every size, and the two rounds of each differ by half."""
    return [row | {"publish_us": 15.0 if number % 2 else 10.0} for number, row in enumerate(cost_rows(60))]


def test_a_recommendation_says_whether_it_agrees_with_a_measurement() -> None:
    workload = lab.Workload(members=[10, 50_000])
    good = lab.recommend(workload, COSTS, measured=cost_rows(60))
    assert good.agrees is True
    assert (
        "by these costs reading is cheaper above a size between 17 and 130 members; as measured, the lines "
        "cross at 35 to 51 members. Both agree." in str(good)
    )
    bad = lab.recommend(workload, COSTS, measured=cost_rows(3_000))
    assert bad.agrees is False
    assert "They do not agree" in str(bad)
    assert lab.recommend(workload, COSTS).agrees is None
    noisy = lab.recommend(workload, COSTS, measured=noisy_rows())
    assert noisy.agrees is None
    assert "neither confirms nor contradicts" in str(noisy)
    never = lab.recommend(workload, COSTS, measured=cost_rows(10_000_000))
    assert never.agrees is False, "writing was cheaper at every size"
    assert "as measured, writing is cheaper at 10,000 members, the largest size" in str(never)
    unknown = dataclasses.replace(COSTS, spread={"inbox_entry_us": (0.0, 2.0)})
    assert lab.recommend(workload, unknown, measured=cost_rows(60)).agrees is None, "it predicts anything"
    one = [each for each in cost_rows(60) if each["strategy"] == "write"]
    assert "no size with both" in str(lab.recommend(workload, COSTS, measured=one))


def test_recommend_names_an_argument_of_another_class() -> None:
    wrong: Any = 5
    with pytest.raises(lab.LabError, match=r"workload: 5; give a lab.Workload"):
        lab.recommend(wrong)
    with pytest.raises(lab.LabError, match=r"costs: 5; give lab.Costs"):
        lab.recommend(lab.Workload(members=5), wrong)
    with pytest.raises(lab.LabError, match=r"table: 5; give what compare"):
        lab.recommend(lab.Workload(members=5), measured=wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"members": 0}, "members: 0"),
        ({"members": 1e4}, "members: 10000.0; give a whole number"),
        ({"members": "5"}, "members: '5'"),
        ({"members": []}, "members"),
        ({"members": 1, "online": -1}, "online: -1"),
        ({"members": 1, "publish_rate": 0}, "publish_rate: 0"),
        ({"members": 1, "favour": "fun"}, "favour: 'fun'"),
    ],
)
def test_a_workload_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(lab.LabError, match=words):
        lab.Workload(**wrong)
