"""The `carillon` command."""

from __future__ import annotations

from .interrupts import leave_at_once

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Runs the command. Ctrl-C shows no traceback: the imports that take time come after this call has begun.

    Args:
        arguments: Arguments of the command; None takes those of the process.
    """
    leave_at_once()
    from .command import carillon

    carillon(arguments, prog_name="carillon")
