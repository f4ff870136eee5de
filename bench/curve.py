"""What a publish costs, by subscribers of the channel: the curve, measured and drawn.

    python -m bench.curve                     measures, writes docs/images/publish_cost.json and .svg
    python -m bench.curve --draw              only draws the picture again

Sinks in memory from 10 to 1,000,000 cursors, alone and with other cursors on other channels in the same hub;
WebSockets as far as the descriptors of one process go. Same hub, same log, pump, mailbox and shard. What is
measured is CPU time: of the one thread that is publisher and shard, and of the whole server process.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carillon.descriptors import connections_max, raise_limit
from carillon.load import LoadError

from .loads import PAYLOAD_BYTES, NamedLoad
from .report import load_average, table
from .serving import (
    ROOT,
    ServingError,
    build_program,
    carillon,
    cores,
    end_on_sigterm,
    machine,
    pinned,
    put_load,
    serving,
)

IMAGES = ROOT / "docs" / "images"
SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
OTHERS = (0, 100_000, 1_000_000)
SOCKET_SIZES = (10, 100, 1_000, 10_000, 19_000)
DELIVERIES_PER_ROUND = 2_000_000
TIMEOUT_S = 300


def measure_sinks(program: Path, cursors: int, others: int = 0, *, is_mixed: bool = False) -> dict[str, Any]:
    """One point. Raises ServingError if a cursor missed, repeated or reordered anything."""
    most = 500 if is_mixed else 20_000  # those that are full for a round must find it in the history
    messages = min(most, max(10, DELIVERIES_PER_ROUND // cursors))
    numbers = {"cursors": cursors, "others": others, "messages": messages}
    command = [str(program), *(word for name, value in numbers.items() for word in (f"--{name}", str(value)))]
    done = subprocess.run(
        [*command, *(["--mixed"] if is_mixed else [])], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise ServingError(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure_sockets(connections: int, seconds: float) -> dict[str, Any]:
    """One point: a publish to so many WebSockets, one message in flight."""
    load = NamedLoad("curve", "", {"connections": connections, "in_flight": 1, "warmup": 10})
    server_core, generator_core = cores()
    with serving(carillon(), load, prefix=pinned(server_core)) as server:
        result = put_load(server, load, core=generator_core, seconds=seconds, timeout_s=20)
    if not result.is_clean:
        raise LoadError(f"{result.faults}: {result.first_fault}")
    per_delivery = result.server_us_per_delivery or math.nan
    return {
        "connections": connections,
        "messages": result.messages,
        "delivery_us": round(per_delivery, 4),
        "publish_us": round(per_delivery * connections, 2),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of the curve."""
    program = build_program("sinks")
    sizes = [size for size in SIZES if size <= args.cursors]
    others = [number for number in OTHERS if number <= args.cursors]
    document: dict[str, Any] = {
        "settings": {
            **machine(),
            "payload": f"{PAYLOAD_BYTES} bytes",
            "load average before": load_average(),
        }
    }
    document["sinks"] = []
    for number in others:
        for size in sizes:
            document["sinks"].append(measure_sinks(program, size, number))
            tell(f"{size:,} cursors, {number:,} others: {document['sinks'][-1]['publish_ns'] / 1e3:,.1f} µs")
    document["mixed"] = [measure_sinks(program, size, is_mixed=True) for size in sizes if size >= 100]
    most = min(args.sockets, connections_max())
    document["sockets"] = []
    for size in [each for each in SOCKET_SIZES if each <= most]:
        document["sockets"].append(measure_sockets(size, args.seconds))
        tell(f"{size:,} sockets: {document['sockets'][-1]['publish_us']:,.1f} µs")
    document["settings"]["load average after"] = load_average()
    return document


def tell(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def rows_of(document: dict[str, Any]) -> list[list[str]]:
    """The figures as a table: CPU time per publish."""
    by_others: dict[int, dict[int, float]] = {}
    for point in document["sinks"]:
        by_others.setdefault(point["others"], {})[point["cursors"]] = point["publish_ns"] / 1e3
    mixed = {point["cursors"]: point["publish_ns"] / 1e3 for point in document["mixed"]}
    sockets = {point["connections"]: point["publish_us"] for point in document["sockets"]}
    memory = {p["cursors"]: p["bytes_per_cursor"] for p in document["sinks"] if not p["others"]}
    head = ["subscribers", *(f"sinks, {number:,} others" for number in by_others)]
    rows = [[*head, "1 % slow, full, gone each", "bytes per cursor", "WebSockets"]]
    for size in sorted({*sockets, *(size for points in by_others.values() for size in points)}):
        times = [points.get(size) for points in (*by_others.values(), mixed)]
        cells = [f"{value:,.1f} µs" if value else "-" for value in times]
        cells.append(f"{memory[size]:,.0f}" if size in memory else "-")
        cells.append(f"{sockets[size]:,.1f} µs" if size in sockets else "-")
        rows.append([f"{size:,}", *cells])
    return rows


# ---- the picture

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 56, 64
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .ideal { stroke: #8c959f; stroke-width: 1; stroke-dasharray: 2 5; fill: none }
  .line { fill: none; stroke-width: 2 }
  .sockets { --c: #b35900 } .alone { --c: #0550ae } .some { --c: #1a7f37 } .many { --c: #8250df }
  .mixed { --c: #bf3989 }
  .line, .mark { stroke: var(--c) } .mark { fill: var(--c) } text.name { fill: var(--c) }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .grid { stroke: #30363d } .ideal { stroke: #8b949e }
    .sockets { --c: #ffa657 } .alone { --c: #79c0ff } .some { --c: #56d364 } .many { --c: #d2a8ff }
    .mixed { --c: #ff9bce }
  }
"""


@dataclass(frozen=True)
class Series:
    """One line of the picture.

    Attributes:
        name: At its end.
        style: Its class.
        points: Subscribers and µs per publish.
        shape: Of the marks: lines that lie on one another are told apart by it.
    """

    name: str
    style: str
    shape: str
    points: list[tuple[float, float]] = field(default_factory=list)


def series_of(document: dict[str, Any]) -> list[Series]:
    """The lines, from what was measured."""
    names = {
        0: Series("sinks in memory", "alone", "circle"),
        100_000: Series("… + 100,000 others", "some", "square"),
        1_000_000: Series("… + 1,000,000 others", "many", "cross"),
    }
    for point in document["sinks"]:
        names[point["others"]].points.append((point["cursors"], point["publish_ns"] / 1e3))
    mixed = Series("… 3 % slow, full, gone", "mixed", "circle")
    mixed.points.extend((point["cursors"], point["publish_ns"] / 1e3) for point in document["mixed"])
    sockets = Series("WebSockets", "sockets", "circle")
    sockets.points.extend((point["connections"], point["publish_us"]) for point in document["sockets"])
    return [each for each in (*names.values(), mixed, sockets) if each.points]


def draw(document: dict[str, Any]) -> str:
    """The picture as SVG: logarithmic both ways, so that "linear" is a slope that can be seen."""
    lines = series_of(document)
    xs = [x for each in lines for x, _ in each.points]
    ys = [y for each in lines for _, y in each.points]
    x_from, x_to = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
    y_from, y_to = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_from) / (x_to - x_from)
        up = (math.log10(y) - y_from) / (y_to - y_from)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>CPU time per publish by subscribers of the channel</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="28">CPU time per publish, by subscribers of the channel</text>',
    ]
    for power in range(x_from, x_to + 1):
        x, _ = place(10**power, 10**y_from)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{10**power:,}</text>')
    for power in range(y_from, y_to + 1):
        _, y = place(10**x_from, 10**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{time_text(power)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 18}" text-anchor="middle">subscribers</text>')
    parts += linear(lines[-1].points[-1], 10 ** (y_to - 0.3), place)
    taken: list[float] = []
    for each in lines:
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in each.points))
        parts.append(f'<g class="{each.style}"><polyline class="line {each.style}" points="{path}"/>')
        parts += [mark(each.shape, *place(*point)) for point in each.points]
        x, y = place(*each.points[-1])
        while any(abs(y - other) < 16 for other in taken):
            y += 4
        taken.append(y)
        parts.append(f'<text class="name" x="{x + 12}" y="{y + 4}">{each.name}</text></g>')
    return "\n".join([*parts, "</svg>", ""])


def linear(point: tuple[float, float], y_to: float, place: Any) -> list[str]:
    """A dotted line of slope one through a point, up to `y_to`: what linear growth looks like."""
    x, y = point
    begin, end = place(10, y * 10 / x), place(x * y_to / y, y_to)
    return [
        f'<path class="ideal" d="M{begin[0]},{begin[1]} L{end[0]},{end[1]}"/>',
        f'<text x="{end[0] + 6}" y="{end[1]}">linear</text>',
    ]


def mark(shape: str, x: float, y: float) -> str:
    """A point of a line."""
    if shape == "square":
        return f'<rect class="mark" x="{x - 4}" y="{y - 4}" width="8" height="8" fill-opacity="0"/>'
    if shape == "cross":
        return f'<path class="mark" d="M{x - 6},{y} h12 M{x},{y - 6} v12"/>'
    return f'<circle class="mark" cx="{x}" cy="{y}" r="3.5"/>'


def time_text(power: int) -> str:
    """A power of ten of µs."""
    if power >= 3:
        return f"{10 ** (power - 3):,} ms"
    return f"{10**power:,} µs" if power >= 0 else f"{10.0**power:g} µs"


def main() -> int:
    """Runs the command line."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what was measured")
    parser.add_argument("--cursors", type=int, default=1_000_000, help="the most of them (default 1,000,000)")
    parser.add_argument("--sockets", type=int, default=19_000, help="the most of them (default 19,000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="per point with sockets (default 3)")
    parser.add_argument("--out", type=Path, default=IMAGES / "publish_cost", help="without a suffix")
    args = parser.parse_args()
    raise_limit()
    figures, picture = args.out.with_suffix(".json"), args.out.with_suffix(".svg")
    if args.draw:
        document = json.loads(figures.read_text())
    else:
        try:
            document = measure(args)
        except (LoadError, ServingError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            return 1
        figures.write_text(json.dumps(document, indent=1) + "\n")
    picture.write_text(draw(document))
    print("; ".join(f"{name}: {value}" for name, value in document["settings"].items()))
    print(f"\n{table(rows_of(document))}\n\n{picture}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
