"""The network client for code without an event loop: the same names and arguments, each call waits.

One background thread per client runs the client of `carillon.client`; nothing of its logic is repeated here,
and the signatures and descriptions of its methods are those of the client there.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from .background_loop import BackgroundLoop
from .client import Client as AsyncClient
from .client import Subscription as AsyncSubscription
from .client import connect as connect_async
from .errors import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from .items import Gap, Message
    from .position import Position

P = ParamSpec("P")
T = TypeVar("T")


def _waits(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """The blocking twin of a method: the same arguments, and it waits for the result."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._inner, *args, **kwargs))  # type: ignore[no-any-return]

    functools.update_wrapper(call, method)
    call.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    del call.__wrapped__  # type: ignore[attr-defined]  # it is not a coroutine function
    return call


class Subscription:
    """An iterator of `Message` and `Gap`, and a context manager."""

    def __init__(self, loop: BackgroundLoop, inner: AsyncSubscription) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def channel(self) -> str:
        """The channel."""
        return self._inner.channel

    @property
    def position(self) -> Position | None:
        """Behind the last item read."""
        return self._inner.position

    @property
    def is_recovered(self) -> bool | None:
        """Whether nothing was lost the last time a position was given; None if none was."""
        return self._inner.is_recovered

    next = _waits(AsyncSubscription.next)
    publish = _waits(AsyncSubscription.publish)

    def open(self) -> Self:
        """Starts delivery and waits until it has begun. Idempotent."""
        self._loop.run(self._inner.open())
        return self

    def close(self) -> None:
        """Ends delivery. Idempotent."""
        if not self._loop.is_closed:
            self._loop.run(self._inner.aclose())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message | Gap:
        try:
            item = self._loop.run(_next_or_none(self._inner))
        except ConnectionClosed:
            if not self._loop.is_closed:
                raise
            item = None  # the client was closed on this side
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A client of one server; may be used from any thread. See `carillon.Client`."""

    def __init__(self, inner: AsyncClient) -> None:
        self._inner = inner
        self._loop = BackgroundLoop("carillon-client", "the client is closed: connect again")

    @property
    def transport(self) -> str:
        """`ws`, `sse` or `poll`."""
        return self._inner.transport

    @property
    def url(self) -> str:
        """The server's address."""
        return self._inner.url

    @property
    def client_id(self) -> str | None:
        """The id that the server gave this connection. See `carillon.Client.client_id`."""
        return self._inner.client_id

    publish = _waits(AsyncClient.publish)
    history = _waits(AsyncClient.history)
    presence = _waits(AsyncClient.presence)

    def open(self) -> Self:
        """Connects. Idempotent."""
        try:
            self._loop.run(self._inner.open())
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Ends all subscriptions, the connection and the thread. Idempotent."""
        if not self._loop.is_closed:
            self._loop.run(self._inner.aclose())
            self._loop.close()

    def subscribe(self, channel: str, since: Position | str | None = None) -> Subscription:
        """A subscription. See `carillon.Client.subscribe`."""
        return Subscription(self._loop, self._loop.run(_call(self._inner.subscribe, channel, since)))

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._inner).replace("carillon.Client", "carillon.sync.Client")


def _connects(connect: Callable[P, AsyncClient]) -> Callable[P, Client]:
    @functools.wraps(connect)
    def call(*args: P.args, **kwargs: P.kwargs) -> Client:
        return Client(connect(*args, **kwargs))

    return call


connect = _connects(connect_async)


async def _next_or_none(inner: AsyncSubscription) -> Message | Gap | None:
    return await anext(inner, None)


async def _call(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)
