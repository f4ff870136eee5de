"""Loads that run at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from carillon.load import Load, LoadResult, Progress, run_load

if TYPE_CHECKING:
    from collections.abc import Callable

LOADS_MAX = 8


class _EndedError(Exception):
    """The block was left before the load had ended."""


class Together:
    """Starts loads in threads; whatever still runs when the block is left is ended there."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(LOADS_MAX)
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._pool.shutdown()

    def start(
        self, load: Load, *, on_progress: Callable[[Progress], None] | None = None, **options: Any
    ) -> RunningLoad:
        """Starts a load; `options` are further ones of `run_load`."""
        is_measuring = threading.Event()

        def follow(progress: Progress) -> None:
            if self._is_over.is_set():
                raise _EndedError
            if on_progress is not None:
                on_progress(progress)
            if progress.is_measuring:
                is_measuring.set()

        future = self._pool.submit(run_load, load, on_progress=follow, **options)
        return RunningLoad(future, is_measuring)


class RunningLoad:
    """A load that has been started."""

    def __init__(self, future: Future[LoadResult], is_measuring: threading.Event) -> None:
        self._future = future
        self._is_measuring = is_measuring

    def wait_until_measuring(self) -> None:
        """Returns once its measured window has begun, or it has ended."""
        while not self._is_measuring.wait(0.05) and not self._future.done():
            pass

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    def result(self) -> LoadResult:
        """Waits for its end. Raises what the load raised."""
        return self._future.result()
