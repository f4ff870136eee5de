"""`carillon config check|show|schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .failure import told_in_a_sentence

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path), envvar="CARILLON_CONFIG")


@click.group("config")
def config_group() -> None:
    """Checks and shows configurations."""


@config_group.command()
@click.argument("file", type=click.Path(path_type=Path), envvar="CARILLON_CONFIG")
def check(file: Path) -> None:
    """Says whether FILE (TOML, or JSON by its name) is a valid configuration."""
    from .. import config

    with told_in_a_sentence():
        config.normalise(config.load(file))
    click.echo(f"{file} is valid")


@config_group.command()
@_FILE
def show(file: Path | None) -> None:
    """Prints the configuration in force with FILE, or without one, as JSON with all defaults."""
    from .. import config

    with told_in_a_sentence():
        settings = config.normalise(config.load(file) if file else {})
    if settings.get("api_key"):
        settings["api_key"] = "(set)"
    click.echo(json.dumps(settings, indent=2))


@config_group.command()
def schema() -> None:
    """Prints every field with its type, default and meaning."""
    from .. import _core

    fields = json.loads(_core.config_schema())
    width = max(len(field["name"]) for field in fields)
    for field in fields:
        default = json.dumps(field["default"])
        click.echo(f"{field['name']:<{width}}  {field['type']:<7}  {default:<14}  {field['doc']}")
