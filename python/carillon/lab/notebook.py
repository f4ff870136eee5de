"""The frame of a notebook: its scale, how busy the machine is, and a banner that says so."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .capacity import LabError, system_name
from .verdict import quantity

QUIET_CORES = 0.1
"""Cores that other programs keep busy on a quiet machine, at most."""

_CROWDED_SHARE = 0.25  # of all cores: then server and load generator do not have a core each
_SAMPLE_S = 0.5


class Text(str):
    """Markdown that a notebook shows as text."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


def scale_of() -> float:
    """Returns the scale of this run: the environment variable `CARILLON_NB_SCALE`, by default 1.

    Raises:
        LabError: The variable is not a number above 0.
    """
    text = os.environ.get("CARILLON_NB_SCALE", "1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not scale > 0:
        raise LabError(f"CARILLON_NB_SCALE: {text!r}; give a number above 0. 1 is full scale")
    return scale


def busy_cores(seconds: float = _SAMPLE_S) -> float | None:
    """Measures how many cores other programs keep busy, while this one sleeps.

    A load average would count the notebook that ran before.

    Args:
        seconds: Length of the measurement.

    Returns:
        Number of cores; None where the system does not report it.
    """
    begin, before = time.monotonic(), _busy_s()
    if before is None:
        return None
    time.sleep(seconds)
    return max(0.0, ((_busy_s() or before) - before) / (time.monotonic() - begin))


def _busy_s() -> float | None:
    """CPU time of all programs since the machine was started, and the time that its host has taken."""
    try:
        ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except (OSError, ValueError, IndexError):
        return None
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = ticks[:8]
    return (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")


def busy_text(cores: float | None) -> str:
    """Says what other programs mean for a measurement.

    Args:
        cores: Cores that they keep busy, as `busy_cores` returns it.
    """
    if cores is None:
        return "The system does not report how busy other programs are."
    if cores <= QUIET_CORES:
        return "No other program was busy at the start."
    used = f"Other programs kept {quantity(cores)} of the cores busy at the start"
    if cores < _CROWDED_SHARE * (os.cpu_count() or 1):
        return f"{used}: small differences between times may be theirs."
    return f"{used}: times are too long, and differences between times may be theirs."


def banner(scale: float, sizes: str = "") -> Text:
    """Returns the circumstances of a run: machine, other programs, scale.

    Args:
        scale: What `scale_of` has returned.
        sizes: The sizes that follow from the scale, for example "1,000 members".
    """
    machine = f"{os.cpu_count()} cores, {system_name()}"
    where = f"Measured on a machine with {machine}. {busy_text(busy_cores())}"
    if scale >= 1:
        return Text(f"{where}{f' Sizes: {sizes}.' if sizes else ''}")
    sizes = f": {sizes}" if sizes else ""
    return Text(
        f"> **A run at scale {quantity(scale)}, not at full scale.** Sizes, times or rounds are smaller than "
        f"in a full run{sizes}. {where}"
    )
