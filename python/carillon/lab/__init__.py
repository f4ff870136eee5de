"""A laboratory for fan-out strategies: measure, model, draw, decide.

`compare` runs real servers on this machine. `watch_switch` changes the strategy of a live channel.
`calibrate` measures the cost of each piece of work here, `calibrate_crowd` that of a delivery on a full
gateway, `calibrate_store` those of a shared Redis. `simulate` models fleets that no one machine holds, and
`check_model` and `check_fleet` compare it with measurements. `recommend` chooses a strategy. The `plot_`
functions draw the results, and `judge` chooses the words for a difference. The extra `lab` of the package
brings numpy (for `simulate`), matplotlib (for the pictures) and pandas (without it, tables are lists of
dicts).
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
    from .crossing import Crossover, crossover, judge_cost, noise_of
    from .crowd_calibration import calibrate_crowd
    from .fleet import Fleet, Population
    from .fleet_check import MeasuredFleet, check_fleet
    from .model_check import check_model, error_of
    from .outcome import Simulation
    from .percentiles import percentile_ms
    from .picture import Picture
    from .plots import plot_cost, plot_latencies, plot_trade_off
    from .plots_fleet import plot_capacity, plot_fleet_waits, plot_model_check
    from .plots_switch import plot_switch
    from .recommendation import Recommendation, recommend
    from .simulation import simulate
    from .store_calibration import calibrate_store
    from .store_costs import StoreCosts
    from .switching import watch_switch
    from .table import summary
    from .verdict import Limit, Verdict, judge, judge_counts, judge_samples
    from .workload import Workload

_HOMES = {
    "calibration": ("calibrate",),
    "capacity": (
        "LabError",
        "online_max",
    ),
    "cell": ("Transport",),
    "comparison": ("compare",),
    "costs": (
        "Costs",
        "TransportCosts",
    ),
    "crossing": (
        "Crossover",
        "crossover",
        "judge_cost",
        "noise_of",
    ),
    "crowd_calibration": ("calibrate_crowd",),
    "fleet": (
        "Fleet",
        "Population",
    ),
    "fleet_check": (
        "MeasuredFleet",
        "check_fleet",
    ),
    "model_check": (
        "check_model",
        "error_of",
    ),
    "outcome": ("Simulation",),
    "percentiles": ("percentile_ms",),
    "picture": ("Picture",),
    "plots": (
        "plot_cost",
        "plot_latencies",
        "plot_trade_off",
    ),
    "plots_fleet": (
        "plot_capacity",
        "plot_fleet_waits",
        "plot_model_check",
    ),
    "plots_switch": ("plot_switch",),
    "recommendation": (
        "Recommendation",
        "recommend",
    ),
    "simulation": ("simulate",),
    "store_calibration": ("calibrate_store",),
    "store_costs": ("StoreCosts",),
    "switching": ("watch_switch",),
    "table": ("summary",),
    "verdict": (
        "Limit",
        "Verdict",
        "judge",
        "judge_counts",
        "judge_samples",
    ),
    "workload": ("Workload",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_EXTRA = ("matplotlib", "numpy")

__all__ = [
    "Costs",
    "Crossover",
    "Fleet",
    "LabError",
    "Limit",
    "MeasuredFleet",
    "Picture",
    "Population",
    "Recommendation",
    "Simulation",
    "StoreCosts",
    "Transport",
    "TransportCosts",
    "Verdict",
    "Workload",
    "calibrate",
    "calibrate_crowd",
    "calibrate_store",
    "check_fleet",
    "check_model",
    "compare",
    "crossover",
    "error_of",
    "judge",
    "judge_cost",
    "judge_counts",
    "judge_samples",
    "noise_of",
    "online_max",
    "percentile_ms",
    "plot_capacity",
    "plot_cost",
    "plot_fleet_waits",
    "plot_latencies",
    "plot_model_check",
    "plot_switch",
    "plot_trade_off",
    "recommend",
    "simulate",
    "summary",
    "watch_switch",
]


if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that exists

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
