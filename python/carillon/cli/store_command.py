"""`carillon store`: look after the file of an SQLite store."""

from __future__ import annotations

import click

from .failure import Failure, told_in_a_sentence

_PREFIX = "sqlite:"


def _path(_: click.Context, __: click.Parameter, value: str) -> str:
    path = value.removeprefix(_PREFIX)
    if not path or "://" in path:
        raise click.BadParameter(f"{value!r} is not a file; write it as carillon.db or sqlite:carillon.db")
    return path


@click.group("store")
def store_group() -> None:
    """Look after the file of a store: sqlite:PATH."""


@store_group.command("backup")
@click.argument("source", metavar="FROM", callback=_path)
@click.argument("target", metavar="TO", callback=_path)
def backup(source: str, target: str) -> None:
    """Copy a store to a new file, also while a server uses it.

    The copy is of one moment, is checked, and is on disk when the command ends. A server that is started with
    it gives every channel a new epoch, so that clients are told that publications may be missing.
    """
    _copy(source, target)
    click.echo(f"{target} is a backup of {source}")


@store_group.command("restore")
@click.argument("source", metavar="FROM", callback=_path)
@click.argument("target", metavar="TO", callback=_path)
def restore(source: str, target: str) -> None:
    """Make a store from a backup, in a new file.

    Every channel has a new epoch in it, because publications after the backup are missing. What is at TO is
    never overwritten: move it away first, together with TO-wal.
    """
    _copy(source, target)
    click.echo(f"{target} is restored; the server that is started with it gives all channels new epochs")


@store_group.command("check")
@click.argument("file", metavar="FILE", callback=_path)
def check(file: str) -> None:
    """Read a whole store, also while a server uses it, and say what is wrong with it.

    The exit code is 1 if something is.
    """
    from .. import _core
    from ..errors import from_core

    with told_in_a_sentence():
        try:
            trouble = _core.check_store_file(file)
        except Exception as error:
            raise from_core(error) from None
    if trouble:
        raise Failure(
            f"{file}: the file is damaged ({trouble}); restore a backup with 'carillon store restore'"
        )
    click.echo(f"{file} is sound")


def _copy(source: str, target: str) -> None:
    from .. import _core
    from ..errors import from_core

    with told_in_a_sentence():
        try:
            _core.copy_store_file(source, target)
        except Exception as error:
            raise from_core(error) from None
