"""`carillon store`: look after the file of an SQLite store, and move it into Redis."""

from __future__ import annotations

from pathlib import Path

import click

from .failure import Failure, told_in_a_sentence
from .interrupts import INTERRUPTED, interruptible

_PREFIX = "sqlite:"


def _path(_: click.Context, __: click.Parameter, value: str) -> str:
    path = value.removeprefix(_PREFIX)
    if not path or "://" in path:
        raise click.BadParameter(f"{value!r} is not a file; write it as carillon.db or sqlite:carillon.db")
    return path


@click.group("store")
def store_group() -> None:
    """Look after the file of a store, or move it into Redis."""


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

    if not Path(file).exists():
        raise Failure(f"{file}: there is no such file")
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


@store_group.command("copy")
@click.argument("source", metavar="FROM", callback=_path)
@click.argument("target", metavar="TO")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration with the options of TO: store.user, store.prefix, limits and so on.",
)
def copy(source: str, target: str, file: Path | None) -> None:
    """Copy a store from a file into Redis: TO is redis://….

    No server may use the file meanwhile. Clients keep their positions. Publications, idempotency keys,
    versions, members and read positions are copied; inboxes are merged from the publications again. Redis
    must have no key with the prefix yet. No server starts on an unfinished copy. A server that is started
    with FROM afterwards gives all channels new epochs, because the two would go on with the same offsets.
    """
    from .. import _core
    from ..errors import from_core
    from .store_config import store_config

    if not _core.is_redis_url(target):
        raise click.UsageError("TO: is no address of Redis; write redis://host (for a file: 'store backup')")
    with told_in_a_sentence(), interruptible():
        _, document = store_config(file, target)
        try:
            copied = _core.copy_store_to_redis(source, document)
        except KeyboardInterrupt:  # later the core says what is left
            raise Failure("interrupted: nothing was copied", INTERRUPTED) from None
        except Exception as error:
            raise from_core(error) from None
    channels, publications, keys, members, has_new_epochs = copied
    click.echo(
        f"copied from {source}: {channels} channels, {publications} publications, {keys} idempotency keys, "
        f"{members} memberships"
    )
    if has_new_epochs:
        click.echo(
            "all channels have new epochs: the file is a backup, was copied before, or the last server that "
            "used it may have lost something"
        )


def _copy(source: str, target: str) -> None:
    from .. import _core
    from ..errors import from_core

    with told_in_a_sentence(), interruptible():
        try:
            _core.copy_store_file(source, target)
        except KeyboardInterrupt:
            # Before it is whole the copy has another name, and goes when it is interrupted.
            state = "is whole" if Path(target).exists() else "was not written"
            raise Failure(f"interrupted: {target} {state}", INTERRUPTED) from None
        except Exception as error:
            raise from_core(error) from None
