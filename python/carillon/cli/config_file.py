"""The configuration file of a command: `FILE` or `--config FILE`, which mean the same."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_file(*, is_required: bool = False) -> Callable[[_Command], _Command]:
    """Returns a decorator that calls the command with the argument `file`, a path or None.

    Args:
        is_required: Whether a command without a file is refused.
    """

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def with_file(*args: Any, argument: Path | None, option: Path | None, **given: Any) -> Any:
            if argument is not None and option is not None:
                raise click.UsageError(f"two configuration files, {argument} and {option}; give one of them")
            file = argument or option or _of_environment()
            if file is None and is_required:
                raise click.UsageError("no configuration file; give FILE, or set CARILLON_CONFIG")
            return command(*args, file=file, **given)

        path = click.Path(path_type=Path)
        named = click.option("--config", "option", metavar="FILE", type=path, help="The same as FILE.")
        decorated: Any = click.argument("argument", metavar="[FILE]", required=False, type=path)(
            named(with_file)
        )
        return decorated  # type: ignore[no-any-return]

    return decorate


def _of_environment() -> Path | None:
    value = os.environ.get("CARILLON_CONFIG")
    return Path(value) if value else None
