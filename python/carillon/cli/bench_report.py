"""What `carillon bench` shows: a progress bar while it runs, then a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..progress_line import ProgressLine

if TYPE_CHECKING:
    from ..load import Load, LoadResult, Progress


class ProgressBar(ProgressLine):
    """How far a load is: connected, warming up, measuring."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load
        self._measuring_since_s: float | None = None

    def show(self, progress: Progress) -> None:
        """Draws the line anew."""
        if progress.live < self._load.connections:
            share, text = progress.live / self._load.connections, f"{progress.live:,} connected"
        elif not progress.is_measuring:
            share, text = 0.0, "warming up"
        else:
            now = time.monotonic()
            self._measuring_since_s = self._measuring_since_s or now
            share = min(1.0, (now - self._measuring_since_s) / self._load.seconds)
            text = f"{progress.deliveries:,} delivered"
        self.draw(share, text)


def _times(of: str) -> str:
    shares = {"p50": "p50", "p99": "p99", "p99.9": "p999", "max": "max"}
    return ", ".join(f"{name} {{{of}_{key}_ms:.2f}} ms" for name, key in shares.items())


_ROWS = {
    "generator": "{generator_workers} process(es), {generator_waits}",
    "connected in": "{connect_s:.2f} s",
    "messages": "{messages:,} in {window_s:.2f} s",
    "deliveries": "{deliveries:,} ({deliveries_per_s:,} per second)",
    "latency": _times("latency"),
    "last subscriber": _times("last_subscriber"),
    "cuts": "{cuts} of {cut_s:g} s, all but {staying:,} come back over {return_s:g} s",
    "delivered": "{delivered_share:.4%}",
    "came back": "{returns:,}, {not_recovered:,} of them told of a gap, after {retries:,} further tries",
    "all live again after": "{all_live_s} s ({returns_per_s:,} per second)",
    "connect to live": _times("resume"),
    "server CPU per return": "{server_us_per_return:.1f} µs (with what is published and caught up meanwhile)",
    "staying, all live": _times("staying_quiet"),
    "staying, in a storm": _times("staying_storm"),
    "server CPU per delivery": "{server_us_per_delivery:.3f} µs (user {server_user_us_per_delivery:.3f}, "
    "system {server_system_us_per_delivery:.3f})",
    "server cores busy": "{server_cores_busy:.3f}",
    "server memory": "{server_private_before_kib:,} KiB private before, {server_private_kib:,} KiB connected",
    "memory per connection": "{memory_bytes_per_connection:,} bytes",
}


def print_table(result: LoadResult) -> None:
    """Prints a line per figure; what this run has not measured has none."""
    row = result.to_dict()
    click.echo(f"{'load':<25}{_load_in_words(row)}")
    for name, template in _ROWS.items():
        try:
            click.echo(f"{name:<25}{template.format_map(row)}")
        except (KeyError, TypeError):
            continue
    click.echo(f"{'faults':<25}{result.faults}")


def _load_in_words(row: dict[str, Any]) -> str:
    pace = "idle"
    if row["in_flight"]:
        pace = "{in_flight} in flight, {payload_bytes} bytes"
    elif row["rate_per_s"]:
        pace = "{rate_per_s:g} messages per second, {payload_bytes} bytes"
    on = " on {channels_per_connection} of {channels:,} channels" if row["channels"] > 1 else ""
    return f"{{connections:,}} {{transport}} connections{on}, {pace}".format_map(row)
