"""The benchmarks of Python's speed and of the growth curve, tiny: that they run and draw what they saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = [pytest.mark.alone, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--items", "3000", "--rounds", "1", "--subscribers", "20", "--load-seconds", "1.5")


def bench(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)


def test_python_speed(tmp_path: Path) -> None:
    figures = tmp_path / "speed.json"
    done = bench("python_speed", *TINY, "--hook-seconds", "0.5", "--json", str(figures))
    assert figures.exists(), done.stderr
    report = json.loads(figures.read_text())
    assert set(report["speeds"]) == {"publish", "publish_many", "async for"}
    for speeds in report["speeds"].values():
        assert speeds["alone"]["by_cpu"] > 1e4
        assert speeds["under_load"]["by_cpu"] > 1e4
    assert report["load"]["deliveries"] == report["load"]["messages"] * 20 > 0
    assert report["hooks"]["asked"] >= report["hooks"]["messages"] > 0
    assert report["hooks"]["missing"] == report["hooks"]["refused"] == 0


def test_the_curve_is_drawn_from_its_figures(tmp_path: Path) -> None:
    measured = ROOT / "docs" / "images" / "publish_cost.json"
    (tmp_path / "curve.json").write_text(measured.read_text())
    done = bench("curve", "--draw", "--out", str(tmp_path / "curve"))
    assert done.returncode == 0, done.stderr
    assert "1,000,000" in done.stdout
    picture = ElementTree.parse(tmp_path / "curve.svg").getroot()
    names = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"WebSockets", "sinks in memory", "… + 1,000,000 others"} <= set(names)
    lines = picture.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 5
    for point in (pair for line in lines for pair in line.attrib["points"].split()):
        x, y = map(float, point.split(","))
        assert 0 < x < 860
        assert 0 < y < 520
