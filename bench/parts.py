"""Runs the parts of a benchmark that were asked for, and says whether each promise was kept."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carillon.load import LoadError

from .report import Promise, table
from .serving import ServingError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    Part = Callable[[argparse.Namespace], tuple[Any, str, list[Promise]]]


def add_parts(parser: argparse.ArgumentParser, parts: Mapping[str, Part]) -> None:
    """Adds the arguments that all such benchmarks have."""
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")


def parse_parts(parser: argparse.ArgumentParser, parts: Mapping[str, Part]) -> argparse.Namespace:
    """Parses the command line. No part stands for all of them."""
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in parts]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(parts)}")
    args.parts = args.parts or list(parts)
    return args


def run_parts(parts: Mapping[str, Part], args: argparse.Namespace) -> int:
    """Prints what each part has measured. Returns the exit code: 1 for a broken promise or a failed run."""
    document: dict[str, Any] = {}
    promises: list[Promise] = []
    for part in args.parts:
        begin = time.monotonic()
        try:
            document[part], text, found = parts[part](args)
        except (LoadError, ServingError) as error:
            print(f"{part}: {error}", file=sys.stderr)
            return 1
        rows = [["", "measured", "promised", ""], *(each.row() for each in found)]
        print(f"{text}\n\n{table(rows)}\n{part} took {time.monotonic() - begin:.0f} s\n", flush=True)
        promises += found
        document[part]["promises"] = [each.to_dict() for each in found]
    if args.json:
        args.json.write_text(json.dumps(document, indent=1))
    return 0 if all(each.is_kept for each in promises) else 1
