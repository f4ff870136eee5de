"""Standard input and output, which may be closed, full, or unable to show a character."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING

import click

from .failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator


def input_lines() -> Iterator[str]:
    """The lines of standard input, without their ends."""
    if sys.stdin is None:
        raise Failure("standard input is closed: pipe lines into it, or give DATA as an argument")
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            where = f"line {number} of standard input, byte {error.start + 1}"
            raise Failure(f"{where}: not UTF-8; convert the input first, as with iconv") from None


def require_output() -> None:
    """Ends the command if nobody could see what it prints."""
    if sys.stdout is None:
        raise Failure("standard output is closed: this command only prints")


def print_json(text: str) -> None:
    """Prints a line with JSON in it. Characters that the terminal's encoding lacks are escaped as in JSON."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, _ESCAPE).decode(encoding))


def drop_output() -> None:
    """From now on nothing that is printed goes anywhere, nor what has not left yet."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


@contextlib.contextmanager
def output_that_leaves() -> Iterator[None]:
    """Whatever was printed has left at the end of the block, else the command fails.

    Left to the end of the interpreter, the same failure would be a traceback.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # as with `| head`: nobody wants the rest
        drop_output()
        raise click.exceptions.Exit(1) from None
    except OSError as error:
        drop_output()
        raise Failure(f"standard output: {error.strerror}") from None


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return json.dumps(missing)[1:-1], error.end


_ESCAPE = "carillon.json"
codecs.register_error(_ESCAPE, _escaped)
