"""Does a channel with 19,000 subscribers hold up a channel with one?

    python -m bench.fairness --big 19000

Publishes at a steady rate to a channel with one subscriber, alone, and then while a big one has full load.
Prints the single subscriber's latency of both, and what one whole fan-out of the big channel takes: without
bounded work per turn, the single one would wait for that. Exit code 1: a delivery was wrong; latencies decide
nothing. All traffic stays on 127.0.0.0/8.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from typing import Any

from carillon.load import Load, LoadResult, Progress, run_load

from .loads import NamedLoad
from .serving import carillon, serving


def latency(result: LoadResult) -> dict[str, Any]:
    histogram = result.latency
    shares = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
    figures = {f"{name}_ms": round(histogram.percentile_ns(share) / 1e6, 3) for name, share in shares}
    return {**figures, "is_clean": result.is_clean, "faults": str(result.faults)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--big", type=int, default=19_000, help="subscribers of the big channel")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second to the single subscriber")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with serving(carillon(), NamedLoad("fairness", "ws", {})) as server:

        def single(seconds: float) -> LoadResult:
            return run_load(
                Load(
                    port=server.port,
                    channel="small",
                    connections=1,
                    rate_per_s=options.rate,
                    seconds=seconds,
                    warmup=5,
                )
            )

        alone = latency(single(options.seconds))
        results: list[LoadResult] = []
        is_measuring = threading.Event()

        def told(progress: Progress) -> None:
            if progress.is_measuring:
                is_measuring.set()

        def crowd() -> None:
            load = Load(
                port=server.port,
                channel="big",
                connections=options.big,
                seconds=2 * options.seconds,
                warmup=2,
                timeout_s=60,
            )
            try:
                results.append(run_load(load, on_progress=told))
            finally:
                is_measuring.set()

        thread = threading.Thread(target=crowd)
        thread.start()
        is_measuring.wait()
        beside = latency(single(options.seconds))
        thread.join()
    big = results[0]
    report = {
        "big": options.big,
        "alone": alone,
        "beside": beside,
        "fan_out_p50_ms": round(big.last_subscriber.percentile_ns(0.5) / 1e6, 1),
        "big_deliveries_per_s": round(big.deliveries_per_s),
        "big_faults": str(big.faults),
    }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"{options.big:,} subscribers on the big channel, a whole fan-out takes", end=" ")
        print(f"{report['fan_out_p50_ms']} ms (p50), {report['big_deliveries_per_s']:,} deliveries/s")
        for name in ("alone", "beside"):
            print(f"the single one {name:7} {report[name]}")
    return 0 if alone["is_clean"] and beside["is_clean"] and big.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
