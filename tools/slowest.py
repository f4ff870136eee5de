"""Prints the ten slowest translation units of a build: tools/slowest.py build/dev/.ninja_log."""

import sys
from pathlib import Path


def main() -> int:
    log = Path(sys.argv[1])
    if not log.exists():
        print(f"{log} is not there: build first")
        return 1
    seconds: dict[str, float] = {}
    for line in log.read_text().splitlines()[1:]:
        start, end, _, output, _ = line.split("\t")
        if output.endswith(".o"):  # the last build of a unit counts
            seconds[output] = (int(end) - int(start)) / 1000
    for output in sorted(seconds, key=lambda name: -seconds[name])[:10]:
        print(f"{seconds[output]:6.1f} s  {output.partition('.dir/')[2].removesuffix('.o')}")
    print(f"{sum(seconds.values()):6.1f} s  in all, {len(seconds)} units")
    return 0


if __name__ == "__main__":
    sys.exit(main())
