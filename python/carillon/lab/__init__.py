"""A laboratory for fan-out strategies: measure, model, draw, decide.

`compare` runs real servers on this machine, `watch_switch` changes the strategy of a live channel,
`calibrate` learns what each piece of work costs here, `simulate` plays fleets that no one machine has and
`check_model` holds it against what was measured, `recommend` chooses, and the `plot_` functions draw what was
found. The extra `lab` of the package brings numpy (for `simulate`), matplotlib (for the pictures) and pandas
(without which rows are lists of dicts).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibration import calibrate
    from .capacity import LabError, online_max
    from .cell import Transport
    from .comparison import compare
    from .costs import Costs, TransportCosts
    from .fleet import Fleet, Population
    from .model_check import check_model
    from .outcome import Simulation
    from .picture import Picture
    from .plots import crossover, plot_capacity, plot_cost, plot_latencies, plot_switch, plot_trade_off
    from .recommendation import Recommendation, recommend
    from .simulation import simulate
    from .switching import watch_switch
    from .workload import Workload

_HOMES = {
    "calibration": ("calibrate",),
    "capacity": ("LabError", "online_max"),
    "cell": ("Transport",),
    "comparison": ("compare",),
    "costs": ("Costs", "TransportCosts"),
    "fleet": ("Fleet", "Population"),
    "model_check": ("check_model",),
    "outcome": ("Simulation",),
    "picture": ("Picture",),
    "plots": ("crossover", "plot_capacity", "plot_cost", "plot_latencies", "plot_switch", "plot_trade_off"),
    "recommendation": ("Recommendation", "recommend"),
    "simulation": ("simulate",),
    "switching": ("watch_switch",),
    "workload": ("Workload",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_EXTRA = ("matplotlib", "numpy")

__all__ = [
    "Costs",
    "Fleet",
    "LabError",
    "Picture",
    "Population",
    "Recommendation",
    "Simulation",
    "Transport",
    "TransportCosts",
    "Workload",
    "calibrate",
    "check_model",
    "compare",
    "crossover",
    "online_max",
    "plot_capacity",
    "plot_cost",
    "plot_latencies",
    "plot_switch",
    "plot_trade_off",
    "recommend",
    "simulate",
    "watch_switch",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{home}", __name__)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        text = f"lab.{name} needs {missing}: pip install 'carillon-hub[lab]'"
        raise ImportError(text, name=missing) from None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
