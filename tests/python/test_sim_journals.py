"""Journals read from the traces of simulated worlds, and their picture."""

from __future__ import annotations

from pathlib import Path

import carillon.sim
import nbformat
import pytest
from carillon.lab import LabError
from carillon.lab.picture import legend_below, new_axes
from carillon.lab.sim_journals import WorldJournals, draw_world, read_journals
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "08-broken-on-purpose.ipynb"

TRACE = """\
10.000 gateway0 is up
20.000 client1 starts in c0 at old:0, new
20.500 client0 starts in c0 at old:0, new
30.000 acknowledged c0 1 at old:1
31.000 client1 gets c0 old:1 1
32.000 acknowledged c1 2 at other:1
33.000 acknowledged c0 3 at old:2
34.000 client0 gets c0 old:1 1
35.000 client0 gets c0 old:2 3
40.000 redis fails over, without 1 changes; the old primary lives for 0 us
40.000 redis has lost 3
50.000 acknowledged c0 4 at {epoch}:2
51.000 client0 starts in c0 at {epoch}:1, {outcome}
52.000 client0 gets c0 {epoch}:2 4
53.000 client1 starts in c0 at {epoch}:1, recovered
"""


def written(epoch: str, outcome: str) -> WorldJournals:
    return read_journals(TRACE.format(epoch=epoch, outcome=outcome).splitlines())


def test_journals_of_a_trace() -> None:
    world = written("new", "not recovered")
    assert list(world.clients) == ["client0", "client1"]
    assert [(place.ms, place.epoch, place.offset, place.data) for place in world.clients["client0"]] == [
        (34.0, "old", 1, "1"),
        (35.0, "old", 2, "3"),
        (52.0, "new", 2, "4"),
    ]
    assert world.gaps == {"client0": [51.0], "client1": []}
    assert [place.data for place in world.acknowledged] == ["1", "3", "4"]
    assert [place.data for place in world.log] == ["1", "4"]
    assert world.lost == ["3"]
    assert world.failovers_ms == [40.0]
    assert world.epochs == ["old", "new"]
    assert world.named_twice == {}
    assert world.account() == {
        "client0": {
            "received": 3,
            "of these, lost by Redis": 1,
            "in the log, not received": 0,
            "gaps told": 1,
        },
        "client1": {
            "received": 1,
            "of these, lost by Redis": 0,
            "in the log, not received": 1,
            "gaps told": 0,
        },
    }


def test_an_offset_that_names_two_publications() -> None:
    assert written("old", "recovered").named_twice == {("old", 2): ["3", "4"]}


def test_what_is_acknowledged_again_after_a_loss_is_in_the_log() -> None:
    lines = [
        "1.000 client0 starts in c0 at a:0, new",
        "2.000 acknowledged c0 1 at a:1",
        "3.000 redis has lost 1",
    ]
    assert read_journals(lines).log == []
    assert [place.epoch for place in read_journals([*lines, "4.000 acknowledged c0 1 at b:1"]).log] == ["b"]


@pytest.mark.parametrize(
    ("lines", "named"),
    [(["no time"], "trace: 'no time'"), ([], "channel: 'c0'"), (TRACE.splitlines()[:1], "channel: 'c0'")],
)
def test_what_is_not_a_trace(lines: list[str], named: str) -> None:
    with pytest.raises(LabError, match=named):
        read_journals(lines)


def test_a_picture_names_what_it_shows() -> None:
    labels = {}
    for epoch, outcome in (("new", "not recovered"), ("old", "recovered")):
        picture, axes = new_axes("A world")
        draw_world(axes, written(epoch, outcome))
        legend_below(picture)
        picture._repr_png_()
        labels[epoch] = set(axes.get_legend_handles_labels()[1])
        lanes = [label.get_text() for label in axes.get_yticklabels()]
        assert lanes == ["log at the end", "client1", "client0", "acknowledged"]
    both = {"epoch old", "Redis fails over", "hollow: lost by Redis"}
    assert labels["new"] == both | {"epoch new", "gap, reported"}
    assert labels["old"] == both | {"offset that names two publications"}


def test_the_world_of_the_notebook() -> None:
    """A failover loses publications 3, 4 and 5; only a new epoch tells the clients."""
    worlds = {}
    for bug in ("", "epoch_not_bumped"):
        report = carillon.sim.run(
            22_615,
            gateways=2,
            clients=3,
            channels=1,
            publications=10,
            faults=2,
            duration_ms=3_000,
            only=[0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11],
            bug=bug,
            trace=True,
        )
        assert report.is_ok is (bug == "")
        worlds[bug] = read_journals(report.trace)
        # The text of the notebook names them. If the worlds of all seeds have changed, look for another seed.
        assert worlds[bug].lost == ["3", "4", "5"]
        assert report.lost == 3
        assert sum(map(len, worlds[bug].gaps.values())) == report.gaps
        assert sum(map(len, worlds[bug].clients.values())) == report.delivered
        assert len(worlds[bug].acknowledged) == report.acknowledged
    assert len(worlds[""].epochs) == 2
    assert worlds[""].named_twice == {}
    assert all(worlds[""].gaps.values())
    broken = worlds["epoch_not_bumped"]
    assert len(broken.epochs) == 1
    assert len(broken.named_twice) == len(broken.lost)
    assert not any(broken.gaps.values())
    assert all(row["in the log, not received"] == len(broken.lost) for row in broken.account().values())


def test_the_notebook_ends_well_in_a_build_without_the_simulator() -> None:
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]
    without = nbformat.v4.new_code_cell("import sys; sys.modules['carillon._sim'] = None")  # type: ignore[no-untyped-call]
    notebook.cells.insert(0, without)
    NotebookClient(notebook, timeout=60).execute()  # raises what a cell raises
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output["data"]["text/markdown"].split("**")[1] for output in shown] == [
        "This notebook ends here."
    ]
    assert "this build has no simulator" in shown[0]["data"]["text/markdown"]
