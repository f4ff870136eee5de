"""`carillon config check|show|schema`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from .config_file import config_file
from .failure import told_in_a_sentence

if TYPE_CHECKING:
    from pathlib import Path


@click.group("config")
def config_group() -> None:
    """Checks and prints configurations, and lists all options."""


@config_group.command()
@config_file(is_required=True)
def check(file: Path) -> None:
    """Checks FILE and the environment, as 'carillon serve' reads them.

    FILE is TOML, or JSON if its name ends in .json. All mistakes are listed, each with the line where it
    stands or the variable that it comes from.
    """
    from .. import config

    with told_in_a_sentence():
        settings = config.normalise(config.read(file, offers_takeover=True))
    for _, warning in config.warnings(settings):
        click.echo(f"Warning: {file}: {warning}", err=True)
    variables = ", ".join(config.variables_in_use())
    click.echo(f"{file} is valid" + (f", with {variables} of the environment" if variables else ""))


@config_group.command()
@config_file()
def show(file: Path | None) -> None:
    """Prints the settings of FILE and the environment, as JSON.

    All defaults are filled in, but for options that do not belong to the store.
    """
    from .. import config

    with told_in_a_sentence():
        settings = config.normalise(config.read(file))
    for option in config.schema():
        if option["secret"] and config.get(settings, option["name"]):
            config.put(settings, option["name"], "(set)")
    settings = config.for_reading_again(settings)
    config.put(settings, "store.url", config.url_without_password(settings["store"]["url"]))
    click.echo(json.dumps(settings, indent=2))


@config_group.command()
def schema() -> None:
    """Prints every option with its type, default and meaning.

    An environment variable sets an option as well: CARILLON_HTTP_SERVER_PORT sets http_server.port.
    """
    from .. import config

    options = config.schema()
    width = max(len(option["name"]) for option in options)
    for option in options:
        default = json.dumps(option["default"])
        alias = f" (or {option['alias']})" if option["alias"] else ""
        click.echo(f"{option['name']:<{width}}  {option['type']:<8}  {default:<14}  {option['doc']}{alias}")
