"""`python -m carillon`."""

from .cli import main

main()
