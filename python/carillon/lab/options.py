"""Unknown options: refused with the names of the known ones."""

from __future__ import annotations

import difflib
import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def names_its_options(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a function refuse an unknown option with the names of those that it has."""
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, cutoff=0.75)
                hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)}."
                raise TypeError(f"{function.__name__}: no option {name!r}. {hint}")
        return function(*args, **options)

    return checked
