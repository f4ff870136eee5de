"""`carillon.lab`'s tables and pictures: what they say, from figures that are made up."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandas
import pytest
from carillon import lab
from carillon.lab.picture import STYLES, label_axes, log_axis, new_axes
from carillon.lab.table import Rows, rows_of, table_of

if TYPE_CHECKING:
    from pathlib import Path


def row(strategy: str, members: int, **changes: Any) -> dict[str, Any]:
    """Writing costs 1 µs per member and 100 besides, reading 1,000 whatever the size."""
    is_read = strategy == "read"
    times = {
        "publish": 0.02 if is_read else members / 1e4,
        "delivery": 60.0 if is_read else 1.0,
        "last": 70.0,
    }
    found: dict[str, Any] = {
        "strategy": strategy,
        "transport": "ws",
        "channels": 1,
        "members": members,
        "online": members // 10,
        "publish_rate": 20.0,
        "payload": 128,
        "publications": 1_200,
        "deliveries": 1_200 * members // 10,
        "publish_us": 1_000.0 if is_read else 100.0 + members,
        "inbox_read_ms": 0.5,
        "inbox_read_max_ms": 2.0 if is_read else 0.6,
    }
    for name, time in times.items():
        for key, factor in (("p10", 0.5), ("p50", 1), ("p90", 2), ("p99", 5), ("p999", 9), ("max", 12)):
            found[f"{name}_{key}_ms"] = time * factor
    return found | changes


ROWS = [row(strategy, members) for members in (10, 100, 1_000, 10_000) for strategy in ("write", "read")]


def texts(picture: lab.Picture) -> list[str]:
    found = [text.get_text() for text in picture.figure.texts]
    for axes in picture.figure.axes:
        found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        found += [text.get_text() for text in axes.texts]
    return found


def legend_of(picture: lab.Picture) -> list[str]:
    legend = picture.figure.axes[0].get_legend() or picture.figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


# ---- tables


def test_a_table_is_a_data_frame_where_pandas_is_installed() -> None:
    table = table_of(ROWS)
    assert isinstance(table, pandas.DataFrame)
    assert list(table["members"])[:3] == [10, 10, 100]
    assert list(rows_of(table)) == ROWS
    assert rows_of(table_of([{"a": 1.0}, {"a": None}]))[1] == {"a": None}, "no NaN"


def test_without_pandas_it_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = table_of([{"name": "<b>", "ms": 1.23456789}, {"name": "x"}])
    assert type(table) is Rows
    assert table == [{"name": "<b>", "ms": 1.23456789}, {"name": "x"}]
    shown = table._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "1.235" in shown


def test_measuring_needs_none_of_the_extra() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('numpy', 'pandas', 'matplotlib')))\n"
        "from carillon import lab\n"
        "lab.compare, lab.calibrate, lab.watch_switch, lab.recommend(lab.Workload(members=5))\n"
        "for name in ('simulate', 'plot_cost'):\n"
        "    try: getattr(lab, name)\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "lab.simulate needs numpy: pip install 'carillon-hub[lab]'",
        "lab.plot_cost needs matplotlib: pip install 'carillon-hub[lab]'",
    ]


def test_names_stay_what_they_are_whatever_is_loaded_first() -> None:
    code = (
        "import importlib, pkgutil\n"
        "from carillon import lab\n"
        "for module in pkgutil.iter_modules(lab.__path__, 'carillon.lab.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*(name for name in lab.__all__ if type(getattr(lab, name)).__name__ == 'module'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


# ---- pictures


def numbers(picture: lab.Picture) -> list[str]:
    """What the axis upwards is labelled with, within the view."""
    axis = picture.figure.axes[0].yaxis
    axis.get_ticklabels(
        which="both"
    )  # they are made when they are asked for; a drawing takes ten times as long
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [
        tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]


def test_every_logarithmic_axis_can_be_read() -> None:
    for low, high, expected in (
        (210.0, 380.0, ["250", "300", "350"]),
        (55.0, 92.0, ["60", "70", "80", "90"]),
        (41.0, 87.0, ["50", "60", "70", "80"]),
        (2.0, 60.0, ["2", "5", "10", "20", "50"]),
        (300.0, 8_000.0, ["500", "1,000", "2,000", "5,000"]),
        (0.3, 60_000.0, ["1", "10", "100", "1,000", "10,000"]),
        (1e-3, 1e9, None),
    ):
        picture, axes = new_axes("one tick is not a scale")
        axes.plot([1, 2], [low, high])
        log_axis(axes.yaxis)
        axes.set_ylim(low, high)
        found = numbers(picture)
        assert 3 <= len(found) <= 13, (low, high, found)
        assert not any("$" in text or "^" in text for text in found)
        if expected:
            assert found == expected
    for low in range(1, 60):
        for high in (low * 1.3, low * 2, low * 7):
            picture, axes = new_axes("one tick is not a scale")
            axes.plot([1, 2], [low, high])
            log_axis(axes.yaxis)
            assert len(numbers(picture)) >= 3, (low, high)
    label_axes(axes, "here", "there, ms")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("here", "there, ms (log scale)")


def test_cost_marks_the_crossover_where_it_is() -> None:
    picture = lab.plot_cost(table_of(ROWS), noise=0.1)
    # 100 + members = 1,000: at 900, by interpolation between 100 and 1,000 a little off.
    (axes,) = picture.figure.axes
    found = lab.crossover(table_of(ROWS), noise=0.1)
    assert found is not None
    assert found.members == pytest.approx(900, rel=0.1)
    assert found.low < 900 < (found.high or 0)
    assert picture.finding == (
        f"Reading is cheaper above {found.named('members')}: at 10,000 writing costs 10 times as much"
    )
    assert axes.get_xlabel() == "members of the channel (log scale)"
    assert axes.get_ylabel() == "CPU of a publication, µs (log scale)"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert legend_of(picture) == ["write", "read", f"the lines cross: {found}"]
    assert "10% online, over ws, 20 publications a second, 128 bytes each; noise 10\u00a0%" in texts(picture)


def test_a_title_does_not_claim_what_the_noise_takes_back() -> None:
    # Write and read differ by 53 % at most, hybrid is 45 % off the mode that it is in.
    costs = {"write": (60, 90, 153), "read": (70, 80, 100), "hybrid": (87, 90, 145)}
    rows = [
        row(name, members, publish_us=float(cost), threshold=500)
        for name, line in costs.items()
        for members, cost in zip((10, 100, 10_000), line, strict=True)
    ]
    assert lab.noise_of(rows) > 0.53
    assert lab.plot_cost(rows).finding == "At 10,000 members writing and reading cost about the same"
    found = lab.crossover(rows)
    assert found is not None
    assert found.high is None
    assert not any("cross" in text for text in legend_of(lab.plot_cost(rows))), "no mark"


def test_cost_of_readers_moves_the_crossover() -> None:
    rows = [each | {"inbox_read_ms": 3.0 if each["strategy"] == "read" else 0.5} for each in ROWS]
    assert "every size" not in lab.plot_cost(rows).finding
    moved = lab.plot_cost(rows, reads_per_publish=2)
    assert "of 2 inbox reads" in moved.figure.axes[0].get_ylabel()
    assert moved.finding != lab.plot_cost(rows).finding
    assert lab.crossover(rows, reads_per_publish=2) != lab.crossover(rows)


def test_cost_without_a_crossover_says_who_is_cheaper() -> None:
    rows = [each | ({"publish_us": 9_000.0} if each["strategy"] == "read" else {}) for each in ROWS[:6]]
    picture = lab.plot_cost(rows)
    assert picture.finding.startswith("Writing is cheaper at every size here")
    assert not any("crossover" in text for text in texts(picture))
    assert lab.crossover(rows).finding == "writing is cheaper at 1,000 members, the largest size"  # type: ignore[union-attr]
    rows = [each | {"publish_us": 100.0 if each["strategy"] == "read" else 103.0} for each in ROWS]
    assert lab.plot_cost(rows).finding == "At 10,000 members writing and reading cost about the same"
    assert "costs" in lab.plot_cost([row("hybrid", 10), row("hybrid", 100)]).finding


def test_a_title_does_not_stand_below_its_own_noise() -> None:
    # "32 % less" over "noise 35 %": a share of the larger value beside one of the smaller.
    rows = [
        row(name, members, publish_us=cost)
        for name, line in (("write", (60.0, 100.0)), ("read", (55.0, 68.0)))
        for members, cost in zip((10, 1_000), line, strict=True)
    ]
    picture = lab.plot_cost(rows, noise=0.35)
    assert picture.finding == (
        "Reading is cheaper above a size of at most 270 members: at 1,000 writing costs 47\u00a0% more"
    )
    assert any(text.endswith("noise 35\u00a0%") for text in texts(picture))
    # Read is below write at both sizes.
    assert not any("the lines cross" in text for text in legend_of(picture))


def test_rows_that_do_not_belong_in_one_picture_are_refused() -> None:
    with pytest.raises(lab.LabError, match="differ in transport"):
        lab.plot_cost([*ROWS, row("write", 10, transport="sse")])
    with pytest.raises(lab.LabError, match="share that is online"):
        lab.plot_trade_off([*ROWS, row("write", 1_000, online=500)])
    with pytest.raises(lab.LabError, match="no rows"):
        lab.plot_cost([])
    with pytest.raises(lab.LabError, match="no row has such times"):
        lab.plot_latencies([row("write", 10, delivery_p50_ms=None)])
    with pytest.raises(lab.LabError, match="watch_switch"):
        lab.plot_switch(ROWS)
    nothing: Any = None
    for function in (lab.plot_cost, lab.plot_trade_off, lab.plot_switch, lab.check_model, lab.crossover):
        with pytest.raises(lab.LabError, match=r"table: None; give what compare"):
            function(nothing)


def test_a_curve_of_latencies_ends_where_its_sample_does() -> None:
    picture = lab.plot_latencies(ROWS[-2:])
    (axes,) = picture.figure.axes
    assert axes.get_yscale() == "log"
    assert legend_of(picture) == ["write", "read"]
    assert picture.finding == ("The median time until a delivery: 1\u00a0ms (write) to 60\u00a0ms (read)"), (
        "and not the tail of one of them"
    )
    alone = lab.plot_latencies(ROWS[-1:])
    assert alone.finding.startswith("One in a thousand waits 9 times as long as the median")
    alike = [each | {"delivery_p50_ms": 60.0} for each in ROWS[-2:]]
    assert lab.plot_latencies(alike).finding == (
        "The median time until a delivery is about the same: 60\u00a0ms; one in a "
        "thousand waits up to 9 times as long (read)"
    )
    shares = [1 - 10**-x for x in axes.lines[0].get_xdata()]
    assert shares == pytest.approx([0.1, 0.5, 0.9, 0.99, 0.999])
    assert legend_of(lab.plot_latencies(ROWS))[0] == "write, 10 members"
    few = [each | {"last_p90_ms": None, "last_p99_ms": None, "last_p999_ms": None} for each in ROWS[-2:]]
    few = [each | {"publications": 20} for each in few]
    picture = lab.plot_latencies(few, of="last")
    assert picture.finding == ("The median time until the last subscriber is about the same: 70\u00a0ms")
    assert [1 - 10**-x for x in picture.figure.axes[0].lines[0].get_xdata()] == pytest.approx([0.1, 0.5])
    assert any("20 publications a curve" in text for text in texts(picture))
    ticks = [each.get_text() for each in picture.figure.axes[0].get_xticklabels()]
    assert ticks == ["10 %", "50 %\nmedian", "slowest"]
    flat = [each | {f"delivery_{key}_ms": 1.1 for key in ("p90", "p99", "p999")} for each in ROWS[:1]]
    assert "about as long as the median" in lab.plot_latencies(flat).finding


def test_rows_that_do_the_same_work_show_the_noise_of_a_picture() -> None:
    medians = {"write": 710.0, "read": 200.0, "hybrid": 710.0}
    rows = [
        row(name, 50_000, threshold=5_000, delivery_p50_ms=wait, delivery_p10_ms=None)
        | dict.fromkeys(("delivery_p90_ms", "delivery_p99_ms", "delivery_p999_ms"))
        for name, wait in medians.items()
    ]
    picture = lab.plot_latencies(rows)
    assert picture.finding == (
        "The median time until a delivery is the same within the noise, a factor of 3.5: 200\u00a0ms (read) "
        "to 710\u00a0ms (write)"
    )
    assert "hybrid is a factor of 3.5 off" in " ".join(texts(picture)).replace("\n", " ")
    assert "the same within the noise" in lab.plot_trade_off(rows).finding
    writes = [each | {"threshold": 100_000} for each in rows]  # hybrid writes, and costs as much
    assert lab.plot_latencies(writes).finding.startswith(
        "The median time until a delivery: 200\u00a0ms (read)"
    )


def test_the_trade_off_says_who_waits() -> None:
    picture = lab.plot_trade_off(ROWS)
    assert picture.finding == (
        "At 10,000 members publishers wait 9\u00a0ms on write and 0.18\u00a0ms on read; "
        "readers 9\u00a0ms on write and 540\u00a0ms on read"
    )
    assert [axes.get_title(loc="left") for axes in picture.figure.axes] == [
        "a publisher waits",
        "a subscriber waits",
    ]
    assert legend_of(picture) == ["write", "read"], "one legend for both panels"
    alike = [each | {"delivery_p999_ms": 250.0 if each["strategy"] == "read" else 210.0} for each in ROWS]
    assert lab.plot_trade_off(alike).finding.endswith(
        "readers 210\u00a0ms on write and 250\u00a0ms on read, about the same"
    )
    few = [each | {f"publish_{key}_ms": None for key in ("p90", "p99", "p999")} for each in ROWS]
    assert lab.plot_trade_off(few).figure.axes[0].get_ylabel() == "median, ms (log scale)"
    assert (
        lab.plot_trade_off(ROWS, reader="inbox").figure.axes[1].get_title(loc="left") == "an inbox read takes"
    )


def slice_of(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "time_s": number / 10,
        "strategy": "hybrid",
        "mode": "read" if 10 < number <= 20 else "write",
        "members": 12_000 if 10 < number <= 20 else 7_000,
        "online": 100,
        "is_mixed": number in (10, 20),
        "change_begin_s": {10: 1.04, 20: 2.06}.get(number),
        "change_end_s": {10: 1.06, 20: 2.08}.get(number),
        "publications": 5,
        "deliveries": 500,
        "publish_p50_ms": 0.1,
        "publish_p99_ms": None,
        "publish_max_ms": 0.3,
        "delivery_p50_ms": 58.0 if 10 <= number <= 20 else 1.0,
        "delivery_p99_ms": 2.0,
        "delivery_max_ms": 2.5,
    } | changes


def test_a_switch_is_a_timeline() -> None:
    picture = lab.plot_switch([slice_of(number) for number in range(30)])
    assert picture.finding == (
        "write → read → write under load: 15,000 deliveries, none lost, repeated or out of order"
    )
    assert "7,000 to 12,000 members, 100 online" in texts(picture)
    assert {" read, 12,000", " write, 7,000"} <= set(texts(picture))
    assert legend_of(picture) == [
        "mode: write",
        "mode: read",
        "both modes in one slice",
        "delivery, p99",
        "delivery, median",
        "publisher's reply, slowest of a slice",
    ]


def test_the_line_of_a_switch_is_where_it_began_and_the_mixed_slice_is_cut() -> None:
    (axes,) = lab.plot_switch([slice_of(number) for number in range(30)]).figure.axes
    curves = {line.get_label(): line for line in axes.lines}
    lines = sorted(line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2)
    assert lines == [0.0, 1.04, 2.06]
    median = dict(zip(*curves["delivery, median"].get_data(), strict=True))
    assert all(math.isnan(value) for at, value in median.items() if 1.0 < at < 1.1 or 2.0 < at < 2.1)
    # No latency of read mode lies in front of the line of the change.
    assert all(at > 1.04 for at, value in median.items() if value == 58.0)


def test_a_switch_that_ends_slowly_says_so() -> None:
    late = [slice_of(number, delivery_p99_ms=400.0 if number >= 25 else 5.0) for number in range(30)]
    assert lab.plot_switch(late).finding.endswith(
        "; but the last 0.5 s are slower than the first (400\u00a0ms instead of 5\u00a0ms, p99)"
    )


def test_a_simulation_can_be_drawn_beside_what_was_measured() -> None:
    rows = [
        lab.simulate(
            strategy,
            population=lab.Population(users=members, largest=members, exponent=0.0),
            online=0.1,
            publish_rate=20,
            seconds=1,
            arrivals="paced",
        ).to_row()
        for members in (100, 1_000, 10_000)
        for strategy in ("write", "read", "hybrid")
    ]
    assert legend_of(lab.plot_cost(rows))[:3] == ["write", "read", "hybrid"]
    lab.plot_latencies(rows)
    lab.plot_trade_off(rows)


def fleet_row(strategy: Any, users: int, **changes: Any) -> dict[str, Any]:
    return (
        lab.simulate(
            strategy,
            population=lab.Population(users=users, channels=100, largest=users // 10),
            fleet=lab.Fleet(gateways=4, connections_max=1_000),
            online=0.5,
            publish_rate=10,
            seconds=1,
        ).to_row()
        | changes
    )


def test_capacity_draws_the_load_and_not_the_limit_that_was_put_in() -> None:
    rows = [fleet_row("hybrid", users) for users in (10_000, 100_000)]
    picture = lab.plot_capacity(rows)
    assert picture.finding == (
        "The load of 50,000 connections needs 1 gateway (cores); the limit of connections per gateway, an "
        "input, asks for 50"
    )
    assert any(text.startswith("50% online") for text in texts(picture)), "of all users"
    assert "for the limit of connections (an input)" in legend_of(picture)
    worse = [each | {"strategy": "write", "broker_utilisation_max": 4.39} for each in rows]
    assert lab.plot_capacity([*rows, *worse]).finding.startswith(
        "At 50,000 connections the broker cannot keep up with write: its busiest partition would be "
        "440\u00a0% busy; on hybrid it is "
    )
    with pytest.raises(lab.LabError, match="no gateways"):
        lab.plot_capacity(ROWS)


def checked(figure: str, ratio: float, rate: float = 23.0) -> dict[str, Any]:
    return {
        "strategy": "write",
        "transport": "ws",
        "members": 100,
        "online": 50,
        "publish_rate": rate,
        "figure": figure,
        "kind": "time",
        "measured": 10.0,
        "modelled": 10.0 * ratio,
        "ratio": ratio,
    }


def test_the_title_of_a_check_names_its_worst_numbers_too() -> None:
    check = [
        checked("publish_us", 1 / 4.5),
        checked("publish_us", 1 / 2.4, 97.0),
        checked("publish_p50_ms", 0.5),
        checked("publish_p90_ms", 0.0026),
        checked("publish_p90_ms", 0.0026),
        checked("publish_p90_ms", 0.0008),
    ]
    assert lab.plot_model_check(check).finding == (
        "Factors by which the model is off (medians): CPU by 4.5 at 23 publications a second, CPU by 2.4 at "
        "97 publications a second, median waits by 2, p90 waits by 380; at worst 1,200"
    )
    assert lab.error_of(check, "p50") == 2
    assert lab.error_of(check[:1], "p90") is None


def test_modelled_waits_carry_their_error() -> None:
    rows = [fleet_row(name, 10_000, publish_p50_ms=wait) for name, wait in (("write", 9.0), ("read", 6.0))]
    rough = [checked("publish_p50_ms", 2.0)]
    assert "about as long" in lab.plot_fleet_waits(rows, rough).finding
    assert "a factor of 2" in " ".join(texts(lab.plot_fleet_waits(rows, rough)))
    fine = [checked("publish_p50_ms", 1.1)]
    assert lab.plot_fleet_waits(rows, fine).finding == (
        "At 5,000 connections publishers wait longest on write: 9\u00a0ms (median), 6\u00a0ms on read"
    )
    assert "p99" not in lab.plot_fleet_waits(rows, fine).finding
    with pytest.raises(lab.LabError, match="no medians"):
        lab.plot_fleet_waits(rows, [checked("publish_us", 1.0)])


def test_a_notebook_shows_a_picture_once_and_it_can_be_saved(tmp_path: Path) -> None:
    picture = lab.plot_cost(ROWS)
    png, metadata = picture._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert metadata["alt"] == picture.description
    assert picture.finding.rstrip(".") in picture.description
    assert (
        "CPU of a publication, µs (log scale) by members of the channel (log scale); " in picture.description
    )
    assert "write 110 to 10,000" in picture.description
    picture.save(tmp_path / "cost.svg")
    assert "<svg" in (tmp_path / "cost.svg").read_text()


def test_colours_differ_in_brightness_marker_or_line_too() -> None:
    assert len({style["color"] for style in STYLES.values()}) == len(STYLES)
    assert len({style["marker"] for style in STYLES.values()}) == len(STYLES)
    for style in STYLES.values():
        red, green, blue = (int(style["color"][i : i + 2], 16) / 255 for i in (1, 3, 5))
        brightness = sum(
            part * (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
            for part, value in zip((0.2126, 0.7152, 0.0722), (red, green, blue), strict=True)
        )
        assert 1.05 / (brightness + 0.05) > 3, "readable on white"


def test_a_summary_has_the_columns_that_fit_on_a_page() -> None:
    found = lab.summary(table_of(ROWS))
    assert len(found.columns) == 11
    assert list(found["strategy"]) == [each["strategy"] for each in ROWS]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_summary_prints_all_of_its_columns(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_there:
        monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setenv("COLUMNS", "80")
    found = lab.summary(ROWS)
    for text in (str(found), *([repr(found)] if is_there else [])):
        head, *lines = text.splitlines()
        assert len(head.split()) == 11
        assert head.split()[-1] == "store_writes"
        assert len(lines) == len(ROWS)
        assert "..." not in text


def test_an_unknown_option_is_answered_with_the_known_ones() -> None:
    functions: tuple[Any, ...] = (lab.compare, lab.watch_switch, lab.simulate)
    for function in functions:
        with pytest.raises(TypeError, match=r"no option 'duration'\. It has strateg.*, seconds"):
            function(duration=3)
    with pytest.raises(TypeError, match=r"compare: no option 'member'. Did you mean 'members'\?"):
        functions[0](member=3)
