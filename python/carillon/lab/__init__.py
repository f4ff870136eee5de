"""A laboratory for fan-out strategies: measure, model, draw, decide.

`compare` runs real servers on this machine, `calibrate` learns from it what each piece of work costs,
`simulate` plays fleets that no one machine has, `recommend` chooses, and the `plot_` functions draw what was
found. The extra `lab` of the package brings numpy, pandas and matplotlib, without which rows are lists of
dicts, and there is no simulator and no picture.
"""

from .capacity import LabError
from .compare import compare

__all__ = ["LabError", "compare"]
