"""One line that shows the progress of a run and is overwritten, on a terminal or in a notebook."""

from __future__ import annotations

import importlib
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

_CELLS = 30
_NOTEBOOK_S = 0.25  # each update is a message to the browser


class ProgressLine:
    """Draws a line on a terminal or in a notebook, else nothing. It is removed at the end of the block."""

    def __init__(self) -> None:
        self._notebook = _notebook_display()
        self._is_terminal = self._notebook is None and sys.stderr.isatty()
        self._drawn_s = 0.0

    def draw(self, share: float, text: str) -> None:
        """Draws the line again.

        Args:
            share: Share of the work that is done, 0 to 1.
            text: Text beside it.
        """
        filled = round(min(max(share, 0.0), 1.0) * _CELLS)
        line = f"[{'#' * filled}{'.' * (_CELLS - filled)}] {share:4.0%} {text}"
        if self._is_terminal:
            columns = shutil.get_terminal_size().columns - 1  # a line that wraps could not be written over
            sys.stderr.write(f"\r{line[:columns]}\x1b[K")
            sys.stderr.flush()
        elif self._notebook is not None and time.monotonic() - self._drawn_s > _NOTEBOOK_S:
            self._drawn_s = time.monotonic()
            self._notebook.update({"text/plain": line}, raw=True)

    def __enter__(self) -> Self:
        if self._notebook is not None:
            self._notebook.display({"text/plain": ""}, raw=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        elif self._notebook is not None:
            self._notebook.update({"text/plain": ""}, raw=True)


def _notebook_display() -> Any:
    """Returns a display of the running notebook; None outside of one."""
    shell = sys.modules.get("IPython")  # a notebook has imported it
    kernel = shell and shell.get_ipython()
    if kernel is None or not hasattr(kernel, "kernel"):
        return None
    return importlib.import_module("IPython.display").DisplayHandle()
