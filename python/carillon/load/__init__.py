"""The load generator: subscribers and a publisher in native worker processes that check every delivery.

`carillon bench` and the benchmarks of the source tree use it. It is not yet a public API: it may change.
"""

from .load import Load, LoadError, Protocol, PublishBy, Transport
from .result import Faults, LoadResult
from .run import Progress, run_load

__all__ = [
    "Faults",
    "Load",
    "LoadError",
    "LoadResult",
    "Progress",
    "Protocol",
    "PublishBy",
    "Transport",
    "run_load",
]
