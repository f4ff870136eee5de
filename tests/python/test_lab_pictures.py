"""`carillon.lab`'s tables and pictures: what they say, from figures that are made up."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandas
import pytest
from carillon import lab
from carillon.lab.picture import STYLES, milliseconds, quantity
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
        "publications": 40,
        "deliveries": 40 * members // 10,
        "publish_us": 1_000.0 if is_read else 100.0 + members,
        "inbox_read_ms": 0.5,
        "inbox_read_p99_ms": 2.0 if is_read else 0.6,
    }
    for name, time in times.items():
        for key, factor in (("p10", 0.5), ("p50", 1), ("p90", 2), ("p99", 5), ("p999", 9), ("max", 12)):
            found[f"{name}_{key}_ms"] = time * factor
    return found | changes


ROWS = [row(strategy, members) for members in (10, 100, 1_000, 10_000) for strategy in ("write", "read")]


def texts(picture: lab.Picture) -> list[str]:
    (axes,) = picture.figure.axes
    return [
        axes.get_title(loc="left"),
        axes.get_xlabel(),
        axes.get_ylabel(),
        *(t.get_text() for t in axes.texts),
    ]


def legend_of(picture: lab.Picture) -> list[str]:
    legend = picture.figure.axes[0].get_legend()
    assert legend is not None
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
    picture.figure.draw_without_rendering()
    axis = picture.figure.axes[0].yaxis
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [
        tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]


def test_an_axis_without_a_decade_has_a_scale_all_the_same() -> None:
    for costs, expected in (
        ((210.0, 380.0), ["225", "250", "275", "300", "325", "350", "375"]),
        ((300.0, 900.0), ["300", "500", "700"]),
        ((300.0, 2_500.0), ["500", "1,000", "2,000"]),
        ((300.0, 8_000.0), ["500", "1,000", "2,000", "5,000"]),
        ((300.0, 60_000.0), ["1,000", "10,000"]),
    ):
        rows = [
            row("write", members, publish_us=cost) for members, cost in zip((10, 100), costs, strict=True)
        ]
        assert sorted(numbers(lab.plot_cost(rows)), key=lambda text: int(text.replace(",", ""))) == expected


def test_cost_marks_the_crossover_where_it_is() -> None:
    picture = lab.plot_cost(table_of(ROWS))
    # 100 + members = 1,000: at 900, by interpolation between 100 and 1,000 a little off.
    (axes,) = picture.figure.axes
    marks = [line for line in axes.lines if line.get_markersize() == 15]
    assert len(marks) == 1
    assert float(marks[0].get_xdata()[0]) == pytest.approx(900, rel=0.1)
    assert lab.crossover(table_of(ROWS)) == float(marks[0].get_xdata()[0])
    assert any(text.startswith("crossover: ") for text in texts(picture))
    assert picture.finding.startswith("Reading is cheaper above ")
    assert picture.finding.endswith("10 times less at 10,000")
    assert axes.get_xlabel() == "members of the channel"
    assert axes.get_ylabel().endswith("µs")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert legend_of(picture) == ["write", "read"]
    assert "10% online, over ws, 20 publications a second, 128 bytes each" in texts(picture)


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
    assert lab.crossover(rows) is None
    rows = [each | {"publish_us": 100.0 if each["strategy"] == "read" else 103.0} for each in ROWS]
    assert lab.plot_cost(rows).finding == "At 10,000 members writing and reading cost about the same"
    assert "costs" in lab.plot_cost([row("hybrid", 10), row("hybrid", 100)]).finding


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


def test_latencies_stand_on_a_logarithmic_axis_of_shares() -> None:
    picture = lab.plot_latencies(ROWS[-2:])
    (axes,) = picture.figure.axes
    assert axes.get_yscale() == "log"
    assert legend_of(picture) == ["write", "read"]
    assert picture.finding.startswith("One in a hundred waits 5 times as long as the median")
    shares = [1 - 10**-x for x in axes.lines[0].get_xdata()]
    assert shares == pytest.approx([0.1, 0.5, 0.9, 0.99, 0.999])
    assert legend_of(lab.plot_latencies(ROWS))[0] == "write, 10 members"


def test_the_trade_off_says_who_waits() -> None:
    picture = lab.plot_trade_off(ROWS)
    assert picture.finding == "Writing makes publishers wait (5\u00a0ms), reading the readers (300\u00a0ms)"
    assert "10 to 10,000" in texts(picture), "reading stays in one place"
    assert lab.plot_trade_off(ROWS, reader="inbox").figure.axes[0].get_ylabel().startswith("an inbox read")


def test_a_switch_is_a_timeline() -> None:
    slices = [
        {
            "time_s": number / 10,
            "strategy": "hybrid",
            "mode": "read" if 10 <= number < 20 else "write",
            "members": 12_000 if 10 <= number < 20 else 7_000,
            "online": 100,
            "publications": 5,
            "deliveries": 500,
            "publish_p50_ms": 0.1,
            "publish_p99_ms": 0.2,
            "delivery_p50_ms": 1.0,
            "delivery_p99_ms": 2.0,
        }
        for number in range(30)
    ]
    picture = lab.plot_switch(slices)
    assert picture.finding.startswith("write → read → write under load: 15,000 deliveries, none lost")
    assert "7,000 to 12,000 members, 100 online" in texts(picture)
    assert {" read, 12,000", " write, 7,000"} <= set(texts(picture))


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
    assert legend_of(lab.plot_cost(rows)) == ["write", "read", "hybrid"]
    lab.plot_latencies(rows)
    lab.plot_trade_off(rows)


def test_capacity_names_what_runs_out() -> None:
    rows = [
        lab.simulate(
            "hybrid",
            population=lab.Population(users=users, channels=100, largest=users // 10),
            fleet=lab.Fleet(gateways=4, connections_max=1_000),
            online=0.5,
            publish_rate=10,
            seconds=1,
        ).to_row()
        for users in (10_000, 100_000)
    ]
    picture = lab.plot_capacity(rows)
    assert picture.finding == "50,000 connections need 50 gateways (first to run out: connections)"
    assert any(text.startswith("50% online") for text in texts(picture)), "of all users"
    worse = [*rows, rows[-1] | {"strategy": "write", "bottleneck": "broker", "gateways_needed": 1}]
    assert lab.plot_capacity(worse).finding.endswith("; the broker cannot keep up with write")
    with pytest.raises(lab.LabError, match="no gateways"):
        lab.plot_capacity(ROWS)


def test_a_notebook_shows_a_picture_once_and_it_can_be_saved(tmp_path: Path) -> None:
    picture = lab.plot_cost(ROWS)
    assert picture._repr_png_().startswith(b"\x89PNG")
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


def test_numbers_are_said_as_people_do() -> None:
    assert [quantity(value) for value in (0.123, 1.26, 12.6, 126, 1_264, 50_000)] == [
        "0.12",
        "1.3",
        "13",
        "130",
        "1,300",
        "50,000",
    ]
    assert milliseconds(1_500) == "1.5\u00a0s"
