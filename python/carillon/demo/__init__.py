"""The demo page: one file, no external asset."""

from __future__ import annotations

from importlib.resources import files


def pages() -> dict[str, tuple[str, bytes]]:
    """Path -> (content type, body), as the core serves it."""
    body = files(__package__).joinpath("index.html").read_bytes()
    return {"/": ("text/html; charset=utf-8", body)}
