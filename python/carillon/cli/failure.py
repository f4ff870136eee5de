"""Errors of the command line: one clear sentence, and an exit code that a script can read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from ..errors import AddressInUse, CarillonError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNTIME, CONFIG, ADDRESS_IN_USE = 1, 3, 98  # 0 is success, 2 (usage) is click's own


class Failure(click.ClickException):
    """Ends the command with this message and code."""

    def __init__(self, message: str, exit_code: int = RUNTIME) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance


@contextlib.contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """Turns errors that have their cause outside of this program into a `Failure`."""
    try:
        yield
    except ConfigError as error:
        raise Failure(str(error), CONFIG) from None
    except AddressInUse as error:
        raise Failure(error.strerror or str(error), ADDRESS_IN_USE) from None
    except (CarillonError, TimeoutError) as error:
        raise Failure(str(error) or "the server did not answer in time") from None
    except BrokenPipeError:
        raise  # of standard output: see `streams`
    except OSError as error:
        raise Failure(error.strerror or str(error)) from None
