"""`python -m carillon`."""

from .cli import main

main(prog_name="carillon")
