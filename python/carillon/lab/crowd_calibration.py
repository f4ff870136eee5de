"""`calibrate_crowd`: what a delivery costs on a gateway that is full, whose connections fit no cache."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..load import Load, run_load
from ..load.serving import Placement, serving
from .calibration import machine_now
from .capacity import LabError, online_max
from .cell import CHANNEL, HEARTBEATS
from .verdict import rounded

if TYPE_CHECKING:
    from .calibration import Socket
    from .costs import Costs

_DELIVERIES_PER_S = 16_000  # a third of a core: what waits is not batched
_ONE_THREAD = Placement(1, (), (), has_own_cores=False)


def calibrate_crowd(
    costs: Costs,
    *,
    connections: int = 8_000,
    transport: Socket = "ws",
    publications: int = 8,
    rounds: int = 3,
) -> Costs:
    """Measures a delivery with many connections, and returns the costs with it.

    `calibrate` measures with 200 connections. A delivery to one of thousands costs more, because neither
    the server's nor the kernel's part of a connection is in a cache when its turn comes.

    Example:
        costs = lab.calibrate_crowd(lab.calibrate(), connections=8_000)

    Args:
        costs: What `calibrate` has returned: the cost of a publication is subtracted.
        connections: Number of connections to one server with one thread.
        transport: Transport of the connections.
        publications: Publications of a round, to all of them.
        rounds: Number of rounds.

    Returns:
        The costs with another `delivery_us` of this transport, its spread, and the load average of now.

    Raises:
        LabError: More connections than a server holds here, a value is wrong, or a delivery was wrong.
        LoadError: The server or a worker failed.
    """
    if not 1 <= connections <= online_max():
        raise LabError(f"connections: {connections!r}; give 1 to {online_max():,}, which a server holds here")
    if publications < 1 or rounds < 1:
        raise LabError(f"publications: {publications!r}, rounds: {rounds!r}; give at least 1 of each")
    load: dict[str, Any] = {
        "transport": transport,
        "channel": CHANNEL,
        "connections": connections,
        "rate_per_s": min(50.0, _DELIVERIES_PER_S / connections),
        "seconds": 0.0,
        "messages": publications,
        "warmup": 2,
    }
    options = {f"{CHANNEL}*": {"history_size": 1_000, "history_ttl": "1h"}}
    found: list[float] = []
    with serving(_ONE_THREAD, {**HEARTBEATS, "channels": options}) as server:
        for _ in range(rounds):
            result = run_load(Load(host=server.host, port=server.port, server_pids=(server.pid,), **load))
            if not result.is_clean:
                raise LabError(f"{transport}: {result.first_fault} (in all {result.faults})")
            found.append((result.server_us / result.messages - costs.publish_us) / connections)
    found.sort()
    value = rounded(found[len(found) // 2])
    if value <= 0:
        raise LabError(f"connections: {connections:,} deliveries cost less than a publication; give more")
    name = f"{transport}.delivery_us"
    spread = {**costs.spread, name: (rounded(found[0] / value), rounded(found[-1] / value))}
    return replace(
        costs.with_values({name: value}),
        spread=MappingProxyType(spread),
        machine=f"{machine_now()}; deliveries with {connections:,} connections",
    )
