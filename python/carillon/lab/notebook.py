"""The frame of a notebook: its scale, and a banner that says so."""

from __future__ import annotations

import os

from .capacity import LabError, system_name
from .verdict import quantity


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


def banner(scale: float, sizes: str = "") -> Text:
    """Returns the circumstances of a run: machine, load average, scale.

    Args:
        scale: What `scale_of` has returned.
        sizes: The sizes that follow from the scale, for example "1,000 members".
    """
    machine = f"{os.cpu_count()} cores, {system_name()}"
    where = f"Measured on a machine with {machine}; load average {os.getloadavg()[0]:.1f} at the start."
    busy = ""
    if os.getloadavg()[0] > 0.5:
        busy = " Other programs were busy: times are too long, and differences between times may be theirs."
    if scale >= 1:
        return Text(f"{where}{busy}{f' Sizes: {sizes}.' if sizes else ''}")
    sizes = f": {sizes}" if sizes else ""
    return Text(
        f"> **A run at scale {quantity(scale)}, not at full scale.** Sizes, times or rounds are smaller than "
        f"in a full run{sizes}. {where}{busy}"
    )
