"""`carillon.lab.verdict`: the numbers choose the sentence. A claim that they contradict must not come out."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from carillon import lab
from carillon.lab import notebook, verdict
from carillon.lab.crossing import cross
from carillon.lab.percentiles import columns, percentile_ms
from hypothesis import given
from hypothesis import strategies as st

WORDS = {"less": "less", "same": "same", "more": "more"}


# ---- two values


@pytest.mark.parametrize(
    ("value", "other", "noise", "outcome"),
    [
        (59, 57, 0.1, "same"),  # "59 µs, where writing takes 57" is not less
        (57, 59, 0.1, "same"),
        (100, 50, 0.1, "more"),
        (50, 100, 0.1, "less"),
        (110, 100, 0.1, "same"),
        (111, 100, 0.1, "more"),
        (3.34, 3.23, 0.1, "same"),
        (0, 0, 0.1, "same"),
        (1, 0, 0.1, "more"),
        (0, 1, 0.1, "less"),
        (1_138, 4, 379, "same"),  # within the error of a model that is off by a factor of 380
    ],
)
def test_a_difference_within_the_noise_has_a_sentence_of_its_own(
    value: float, other: float, noise: float, outcome: str
) -> None:
    assert lab.judge(value, other, noise=noise).choose(**WORDS) == outcome


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 10))
def test_the_order_of_two_values_only_turns_the_outcome(value: float, other: float, noise: float) -> None:
    opposite = {"less": "more", "same": "same", "more": "less"}
    assert (
        lab.judge(other, value, noise=noise).outcome == opposite[lab.judge(value, other, noise=noise).outcome]
    )


def test_a_verdict_says_how_much_without_claiming_more() -> None:
    assert str(lab.judge(81, 100)) == "19\u00a0% less"
    assert str(lab.judge(10, 100)) == "10 times less"
    assert str(lab.judge(150, 100)) == "50\u00a0% more"
    assert str(lab.judge(285, 1)) == "280 times as much"
    assert str(lab.judge(101, 100)) == "about the same"
    assert str(lab.judge(0, 100)) == "nothing"


def test_overlapping_samples_do_not_differ() -> None:
    rng = random.Random(1)
    drain = [rng.uniform(20, 400) for _ in range(60)]
    crash = [rng.uniform(20, 410) for _ in range(60)]
    assert lab.judge_samples(crash, drain).outcome == "same"
    assert lab.judge_samples([each + 500 for each in crash], drain).outcome == "more"
    assert lab.judge_samples(drain, [each + 500 for each in crash]).outcome == "less"
    assert lab.judge_samples([100], [101]).outcome == "less", "one sample has no spread"


def test_counts_differ_by_more_than_chance() -> None:
    assert lab.judge_counts(5, 1).outcome == "same"
    assert lab.judge_counts(14, 0).outcome == "more"
    assert lab.judge_counts(0, 14).outcome == "less"
    assert lab.judge_counts(0, 0).outcome == "same"


def test_the_range_of_a_median_holds_it() -> None:
    rng = random.Random(2)
    hits = 0
    for _ in range(400):
        low, high = verdict.median_range([rng.random() for _ in range(60)])
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 0.99
    assert verdict.median_range([3, 1, 2]) == (1, 3), "few samples: their whole range"


# ---- percentiles


@pytest.mark.parametrize(
    ("share", "count", "carried"),
    [
        (0.5, 1, True),
        (0.5, 0, False),
        (0.9, 99, False),
        (0.9, 100, True),
        (0.99, 999, False),
        (0.99, 1_000, True),
        (0.999, 1_000, False),
        (0.999, 10_000, True),
        (0.1, 99, False),
        (0.1, 100, True),
    ],
)
def test_a_percentile_needs_ten_samples_beyond_it(share: float, count: int, carried: bool) -> None:
    assert verdict.is_carried(share, count) is carried


def test_columns_stop_where_the_sample_does() -> None:
    from carillon import _core

    times = _core.LoadHistogram()
    for number in range(1, 201):
        times.record(number * 1_000_000)
    row = columns("x", times)
    assert row["x_p50_ms"] == pytest.approx(100, rel=0.02)
    assert row["x_p90_ms"] == pytest.approx(180, rel=0.02)
    assert (row["x_p99_ms"], row["x_p999_ms"]) == (None, None)
    assert row["x_max_ms"] == 200
    assert percentile_ms(times, 0.99) is None


def test_deliveries_of_few_publications_carry_no_tail() -> None:
    from carillon import _core

    times = _core.LoadHistogram()
    for number in range(1, 95_001):
        times.record(number * 1_000)
    assert columns("x", times)["x_p999_ms"] is not None
    row = columns("x", times, independent=5)
    assert [row[f"x_{key}_ms"] for key in ("p10", "p90", "p99", "p999")] == [None] * 4
    assert row["x_p50_ms"] == pytest.approx(47.5, rel=0.02)
    assert row["x_max_ms"] == 95
    assert columns("x", times, independent=1_000)["x_p99_ms"] is not None
    assert percentile_ms(times, 0.9, independent=99) is None


# ---- where lines cross


SIZES = [10.0, 100.0, 1_000.0, 10_000.0]


def test_a_crossing_is_as_wide_as_the_noise() -> None:
    write = [(size, 100 + size) for size in SIZES]
    read = [(size, 1_000.0) for size in SIZES]
    sharp, wide = cross(write, read, 0.01), cross(write, read, 0.3)
    assert sharp is not None
    assert wide is not None
    assert wide.low < sharp.low <= sharp.members <= sharp.high < wide.high  # type: ignore[operator]
    assert wide.overlaps(sharp)
    assert not sharp.overlaps(lab.Limit(5_000, None))
    assert wide.finding == f"the lines cross at {wide} members"


@pytest.mark.parametrize(
    ("read", "low", "high", "finding"),
    [
        # Within the noise at both sizes.
        ((102, 100), 0, None, "at 1,000 members neither is cheaper by more than the noise"),
        ((300, 300), 1_000, None, "writing is cheaper at 1,000 members, the largest size"),
        (
            (200, 100),
            260,
            None,
            "at 1,000 members neither is cheaper by more than the noise; below 260, writing is",
        ),
        ((33, 33), 0, 10, "reading is cheaper at every size from 10 members on"),
        # Reading is below writing at both sizes: nothing crosses, although 10 is within the noise.
        (
            (90, 50),
            0,
            18,
            "reading is cheaper above a size of at most 18 members, below which neither is cheaper by more "
            "than the noise",
        ),
        ((200, 50), 53, 170, "the lines cross at 53 to 170 members"),
    ],
)
def test_lines_that_do_not_cross_are_not_said_to(
    read: tuple[float, float], low: float, high: float | None, finding: str
) -> None:
    found = cross([(10.0, 100.0), (1_000.0, 103.0)], list(zip((10.0, 1_000.0), read, strict=True)), 0.2)
    assert found is not None
    assert found.low == pytest.approx(low, rel=0.03)
    assert found.high == (None if high is None else pytest.approx(high, rel=0.03))
    assert found.finding == finding
    assert found.is_seen is ("cross" in finding)
    assert cross([(10.0, 100.0)], [(20.0, 100.0)], 0.2) is None, "no size has both"


def test_lines_that_cross_twice_count_from_where_reading_stays_cheaper() -> None:
    sizes = (10.0, 100.0, 1_000.0, 10_000.0)
    write = list(zip(sizes, (100, 300, 100, 300), strict=True))
    read = list(zip(sizes, (200, 200, 200, 200), strict=True))
    found = cross(write, read, 0.1)
    assert found is not None
    assert 1_000 < found.low < (found.high or 0) < 10_000
    back = cross(read, write, 0.1)
    assert back is not None
    assert (back.low, back.high) == (10_000, None), "writing is cheaper at the largest size"


# ---- limits


@pytest.mark.parametrize(
    ("low", "high", "named", "short"),
    [
        (44, 470, "a size between 44 and 470 members", "44 to 470"),
        (898, 901, "900 members", "900"),
        (0, 230, "a size of at most 230 members", "at most 230"),
        (44, None, "a size of at least 44 members, if there is one", "at least 44, if any"),
        (0, None, "a size that is not known", "not known"),
    ],
)
def test_a_limit_is_named_by_what_is_known(low: float, high: float | None, named: str, short: str) -> None:
    limit = lab.Limit(low, high)
    assert limit.named("members") == named
    assert str(limit) == short


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.09, None, "reading is cheaper below 0.09 reads; above that it cannot be told"),
        (0, 1.3, "writing is cheaper above 1.3 reads; below that it cannot be told"),
        (
            0.07,
            1.3,
            "reading is cheaper below 0.07 reads, and writing is cheaper above 1.3; in between it cannot "
            "be told",
        ),
        (0.2, 0.2, "reading is cheaper below 0.2 reads, and writing is cheaper above that"),
        (
            0,
            None,
            "it cannot be told from these numbers where reading is cheaper, and where writing is cheaper",
        ),
    ],
)
def test_a_limit_says_only_what_is_known_on_either_side(low: float, high: float | None, told: str) -> None:
    assert lab.Limit(low, high).told("reading is cheaper", "writing is cheaper", "reads") == told
    assert verdict.sentence("the lines cross") == "The lines cross."


def test_limits_overlap_where_both_may_be_the_same() -> None:
    assert lab.Limit(0, 10).overlaps(lab.Limit(10, None))
    assert lab.Limit(5, None).overlaps(lab.Limit(100, None))
    assert not lab.Limit(0, 10).overlaps(lab.Limit(11, None))
    assert not lab.Limit(11, None).overlaps(lab.Limit(0, 10))
    assert lab.Limit(0, 10).agrees(lab.Limit(5, 20)) is True
    assert lab.Limit(0, 10).agrees(lab.Limit(5, None)) is None, "what has no end agrees with everything"
    assert lab.Limit(0, 10).agrees(lab.Limit(11, None)) is False


def test_a_quotient_by_a_value_below_its_noise_has_no_end() -> None:
    assert verdict.quotient((0.1, 0.2), (0.5, 2)) == lab.Limit(0.05, 0.4)
    open_ended = verdict.quotient((0.097, 0.18), (0, 1.1))
    assert open_ended.high is None
    assert open_ended.named("reads", "a number") == "a number of at least 0.088 reads, if there is one"
    assert verdict.quotient((0.1, 0.2), (-0.1, 0)) == lab.Limit(0, None)
    assert lab.Costs(inbox_entry_us=1, merge_us=2, spread={}).writing_pays_above() == lab.Limit(0.5, 0.5)


def test_a_range_covers_ranges_and_is_not_their_overlap() -> None:
    assert verdict.covering([(80, 200), (112, 260)]) == (80, 260)


def test_the_noise_comes_from_repeats_and_twins() -> None:
    def cell(strategy: str, cost: float, threshold: int = 50) -> dict[str, Any]:
        return {
            "strategy": strategy,
            "transport": "ws",
            "channels": 1,
            "members": 100,
            "online": 10,
            "threshold": threshold,
            "publish_us": cost,
        }

    assert lab.noise_of([cell("write", 100), cell("read", 60)]) == verdict.SINGLE_RUN_NOISE
    # Hybrid reads above its threshold: read is its twin, and lies 20 % off it.
    assert lab.noise_of([cell("write", 100), cell("read", 60), cell("hybrid", 72)]) == pytest.approx(0.4)
    one_pair = [cell("write", 100), cell("write", 104), cell("write", 150)]
    assert lab.noise_of(one_pair) == verdict.SINGLE_RUN_NOISE, "one pair may be alike by chance"
    pairs = [each | {"members": size} for size in (1, 2, 3, 4) for each in one_pair]
    assert lab.noise_of(pairs) == pytest.approx(0.08)
    assert lab.noise_of([each | {"publish_us": 100} for each in pairs]) == 0.05, "never without any noise"


# ---- numbers in words


def test_numbers_have_two_significant_digits() -> None:
    assert [verdict.quantity(value) for value in (284_557, 531, 99.6, 0.156, 1_269, 0, 6.54e-5)] == [
        "280,000",
        "530",
        "100",
        "0.16",
        "1,300",
        "0",
        "0.000065",
    ]
    assert verdict.milliseconds(999.6) == "1\u00a0s"
    assert verdict.milliseconds(3_444) == "3.4\u00a0s"
    assert verdict.microseconds(1_500) == "1.5\u00a0ms"
    assert verdict.percent(0.0083) == "0.83\u00a0%"
    assert verdict.span(281, 1_029) == "280 to 1,000"
    assert verdict.span(100.1, 100.2) == "100"
    assert verdict.span(0, 470) == "at most 470"
    assert verdict.span(0.23, math.inf) == "at least 0.23"
    assert verdict.counted(1, "gateway") == "1 gateway"
    assert verdict.counted(200, "gateway") == "200 gateways"
    assert verdict.listed(["a", "b", "c"]) == "a, b and c"
    assert verdict.listed(["a"]) == "a"


# ---- notebooks


def test_a_scaled_run_has_a_banner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARILLON_NB_SCALE", "0.2")
    assert notebook.scale_of() == 0.2
    assert "scale 0.2, not at full scale" in notebook.banner(0.2, "1,000 members")
    assert "1,000 members" in notebook.banner(0.2, "1,000 members")
    assert "not at full scale" not in notebook.banner(1.0)
    monkeypatch.setattr(notebook, "busy_cores", lambda: 1.4)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    assert "kept 1.4 of the cores busy" in notebook.banner(1.0)
    monkeypatch.setattr(notebook, "busy_cores", lambda: 0.02)
    monkeypatch.setattr("os.getloadavg", lambda: (5.0, 5.0, 5.0))  # of the notebook before this one
    assert "No other program was busy" in notebook.banner(1.0)
    for wrong in ("fast", "0", "-1"):
        monkeypatch.setenv("CARILLON_NB_SCALE", wrong)
        with pytest.raises(lab.LabError, match="CARILLON_NB_SCALE"):
            notebook.scale_of()


def test_a_busy_machine_is_described_by_how_busy_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert notebook.busy_text(0.05) == "No other program was busy at the start."
    assert notebook.busy_text(0.3) == (
        "Other programs kept 0.3 of the cores busy at the start: small differences between times may be "
        "theirs."
    )
    assert "times are too long" in notebook.busy_text(1.4)
    assert "does not report" in notebook.busy_text(None)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc")
def test_other_programs_are_measured_and_this_one_is_not() -> None:
    clock = iter((100.0, 100.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebook, "_busy_s", lambda: next(clock))
        patch.setattr(notebook.time, "sleep", lambda _: None)
        steps = iter((7.0, 7.25))
        patch.setattr(notebook.time, "monotonic", lambda: next(steps))
        assert notebook.busy_cores() == pytest.approx(2.0)
    found = notebook._busy_s()
    assert found is not None
    assert found > 0
