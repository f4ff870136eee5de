"""All commands of `carillon`."""

from __future__ import annotations

import os

import click

from .._version import __version__
from .bench import bench
from .config_command import config_group
from .doctor import doctor
from .failure import told_in_a_sentence
from .interrupts import INTERRUPTED
from .nodes import nodes
from .pub import pub
from .rollout import rollout
from .serve import serve
from .store_command import store_group
from .streams import output_that_leaves
from .sub import sub
from .token_command import token_command
from .top import top

__all__ = ["carillon"]


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        if os.environ.get("NO_COLOR"):  # no-color.org, which click does not know
            ctx.color = False
        try:
            with told_in_a_sentence(), output_that_leaves():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="Carillon")
def carillon() -> None:
    """Carillon: a real-time messaging server.

    An option on the command line wins over a CARILLON_... variable, and that over the configuration file.
    """


for _command in (
    serve,
    pub,
    sub,
    top,
    nodes,
    rollout,
    bench,
    doctor,
    config_group,
    token_command,
    store_group,
):
    carillon.add_command(_command)
