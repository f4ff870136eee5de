"""A function of the application that may block, called from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class BlockingCall:
    """Calls a function on a thread of its own, once at a time.

    The thread does not keep the interpreter alive, as one of an executor would: a function that hangs is left
    behind.

    Args:
        function: Function without arguments.
        name: Name of the thread.
    """

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        self._function = function
        self._name = name
        self._thread: threading.Thread | None = None

    async def run(self) -> Any:
        """Calls the function and returns its result, or raises its exception.

        Raises:
            RuntimeError: An earlier call, which was given up, has not returned yet.
        """
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(0.01)  # it may just have given its result
            if self._thread.is_alive():
                raise RuntimeError("an earlier call of it has not returned yet")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()
        context = contextvars.copy_context()

        def finish(result: Any, error: Exception | None) -> None:
            if not outcome.done():  # else the caller has given up
                outcome.set_result((result, error))

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(self._function)
            except Exception as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(finish, result, error)

        self._thread = threading.Thread(target=work, name=self._name, daemon=True)
        self._thread.start()
        result, error = await outcome
        if error is not None:
            raise error
        return result
