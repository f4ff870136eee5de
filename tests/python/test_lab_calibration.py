"""`carillon.lab` measures what things cost on this machine, however busy that is."""

from __future__ import annotations

import math
import os

import pytest
from carillon import lab


@pytest.mark.slow
@pytest.mark.timeout(180)  # beside others
def test_calibration_finds_every_cost() -> None:
    found = lab.calibrate(seconds=0.3, progress=False)
    # How much is a matter of who else is busy here; that it was measured is not.
    assert found.publish_us > 0
    assert 0 <= found.inbox_entry_us < 10
    assert found.inbox_read_us > 0
    assert f"{os.cpu_count()} cores" in found.machine
    assert "load average" in found.machine
    assert set(found.transports) == {"ws", "sse", "poll"}
    for name in ("sweep_us", "inbox_entry_us", "merge_us", "ws.delivery_us", "poll.further_us"):
        low, high = found.range_of(name)
        assert 0 <= low <= high, name
        assert high > 0, "nothing is free: a cost below its noise has an upper bound"
    assert found.sweep_us > 0
    for name, costs in found.transports.items():
        assert costs.delivery_us >= 0, name
        assert costs.further_us >= 0, name
        assert costs.envelope_bytes > 20, name
        assert math.isfinite(costs.connection_bytes), name
