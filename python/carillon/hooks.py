"""Hooks: handlers of an application that say who a client is and what it may do.

A question of the core arrives with an id and a deadline. Its handler runs on an event loop, never on a thread
of the hub, and the answer goes back by the id. Only an answer denies. Whatever goes wrong leaves the question
undecided, and the client is told to ask again: an exception, a late answer, an answer that means nothing. The
core itself ends the wait at the deadline.
"""

from __future__ import annotations

import asyncio
import inspect
import json as _json
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from .errors import HookError
from .logs import logger
from .payload import encode
from .repeated_log import RepeatedLog

if TYPE_CHECKING:
    import concurrent.futures

    from . import _core

_log = logger("server")

Operation = Literal["connect", "subscribe", "publish"]
TransportKind = Literal["websocket", "sse", "poll"]

DEADLINE_S = 5.0
_REASON_BYTES = 123  # what a WebSocket close frame has room for


@dataclass(frozen=True, slots=True)
class Deny:
    """The answer no, with what the client is told.

    Attributes:
        code: 100 to 1999 is an error code of the reply; 3000 to 4999 closes the connection with this code
            (3500 to 3999 and 4500 to 4999 tell the client to stay away). 0 is the usual one: 103, permission
            denied, for subscribe and publish; a disconnect for connect.
        reason: For the client, at most 123 bytes.

    Raises:
        ValueError: Code or reason is outside of these.
    """

    code: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if not (self.code == 0 or 100 <= self.code <= 1999 or 3000 <= self.code <= 4999):
            raise ValueError(
                f"Deny: the code must be 0, 100 to 1999 (an error) or 3000 to 4999 (a disconnect), "
                f"not {self.code}"
            )
        if len(self.reason.encode()) > _REASON_BYTES:
            raise ValueError(f"Deny: the reason must be at most {_REASON_BYTES} bytes long: {self.reason!r}")


@dataclass(frozen=True, slots=True)
class User:
    """Who a client is: an answer of `on_connect`.

    Attributes:
        id: The user's id; empty is anonymous.
        info: Any JSON value; others see it in presence, joins and publications. None is nothing.
    """

    id: str
    info: Any = None


@dataclass(frozen=True, slots=True)
class _Context:
    client: str
    user: str
    transport: TransportKind
    data: bytes

    def json(self) -> Any:
        """`data`, decoded; None if there is none.

        Raises:
            ValueError: It is not JSON.
        """
        return _json.loads(self.data) if self.data else None


@dataclass(frozen=True, slots=True)
class ConnectContext(_Context):
    """Somebody wants to connect.

    Attributes:
        client: Id of the connection; empty where it has none yet.
        user: Who the server takes the client for: empty, but on a server in insecure mode, which believes
            `claimed_user`.
        transport: `websocket`, `sse` or `poll`.
        data: What the client sent along, JSON text or empty.
        token: Its token, empty if it gave none.
        claimed_user: Who the client says it is (`?user=`). Anybody can write anything there: it proves
            nothing.
    """

    token: str = field(repr=False)
    claimed_user: str


@dataclass(frozen=True, slots=True)
class SubscribeContext(_Context):
    """Somebody wants to read a channel.

    Attributes:
        client: Id of the connection; empty on plain SSE and long-poll, where a subscription is a request.
        user: Who it is, empty if anonymous.
        transport: `websocket`, `sse` or `poll`.
        data: What the client sent along, JSON text or empty.
        channel: The channel.
        token: Its token for this channel, empty if it gave none.
    """

    channel: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PublishContext(_Context):
    """A client wants to publish. The server's own publishes, and those of the HTTP API, ask nobody.

    Attributes:
        client: Id of the connection.
        user: Who it is, empty if anonymous.
        transport: `websocket`.
        data: The payload, as the client sent it.
        channel: The channel.
        token: Empty.
    """

    channel: str
    token: str = field(repr=False)


ConnectAnswer: TypeAlias = bool | str | User | Deny | None
SubscribeAnswer: TypeAlias = bool | Deny | None
PublishAnswer: TypeAlias = Any  # bool, Deny, or the payload to publish instead

ConnectHook: TypeAlias = Callable[[ConnectContext], ConnectAnswer | Awaitable[ConnectAnswer]]
SubscribeHook: TypeAlias = Callable[[SubscribeContext], SubscribeAnswer | Awaitable[SubscribeAnswer]]
PublishHook: TypeAlias = Callable[[PublishContext], PublishAnswer]


@dataclass(frozen=True, slots=True)
class _Hook:
    pattern: str
    handler: Callable[[Any], Any]
    deadline_s: float
    matches: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What goes back to the core. Denied unless it says otherwise."""

    is_allowed: bool = False
    user: str = ""
    info_json: str = ""
    data: bytes | None = None
    code: int = 0
    reason: str = ""
    is_undecided: bool = False


_DENIED = Verdict()
_LATE = Verdict(is_undecided=True, reason="the hook did not answer in time")
_FAILED = Verdict(is_undecided=True, reason="the hook failed")
_NOBODY = Verdict(is_undecided=True, reason="nobody is there to decide")


class HookTable:
    """The hooks of one server, and the questions that wait for their handlers.

    `add` belongs to the time before the server starts; `ask` and `close` may be called from any thread.
    """

    def __init__(self) -> None:
        self._hooks: dict[Operation, list[_Hook]] = {}
        self._waiting: set[concurrent.futures.Future[None]] = set()
        self._is_installed = False
        self._is_closed = False
        self._log = RepeatedLog(_log)

    def add(
        self, operation: Operation, pattern: str, handler: Callable[[Any], Any], deadline_s: float
    ) -> None:
        """Takes a handler.

        Raises:
            HookError: The pattern has one already, or the server was started.
            TypeError: It is no function.
            ValueError: The deadline is not a positive time, or the pattern is empty.
        """
        name = f"on_{operation}"
        if self._is_installed:
            raise HookError(f"{name}: hooks are registered before start(): this server was started already")
        if not callable(handler):
            raise TypeError(f"{name}: the hook must be a function of one context, not {handler!r}")
        if not deadline_s > 0:
            raise ValueError(f"{name}: the deadline must be a positive number of seconds, not {deadline_s}")
        if not pattern:
            raise ValueError(f"{name}: the pattern is empty: give a channel, or * for all")
        hooks = self._hooks.setdefault(operation, [])
        if any(hook.pattern == pattern for hook in hooks):
            of_what = "" if operation == "connect" else f" for {pattern!r}"
            raise HookError(f"there is an {name} hook{of_what} already: decide everything in one")
        hooks.append(_Hook(pattern, handler, deadline_s, _matcher(pattern)))
        hooks.sort(key=lambda hook: -len(hook.pattern))

    def install(self, core: _core.Server) -> None:
        """Tells the core what to ask, and how long to wait: its one deadline per operation is the longest."""
        self._is_installed = True
        for operation, hooks in self._hooks.items():
            longest_s = max(hook.deadline_s for hook in hooks)
            core.set_hooks(operation, [hook.pattern for hook in hooks], max(1, int(longest_s * 1000)))

    def ask(
        self, core: _core.Server, loop: asyncio.AbstractEventLoop | None, question: tuple[Any, ...]
    ) -> None:
        """Runs the handler of a question on `loop` (else on the one running here); it answers to `core`."""
        if self._is_closed:
            return
        _, number, operation, client, user, channel, data, transport, token, claimed_user = question
        hook = next((one for one in self._hooks.get(operation, ()) if one.matches(channel)), None)
        if hook is None:
            _resolve(core, number, _NOBODY)
            return
        context: ConnectContext | SubscribeContext | PublishContext
        if operation == "connect":
            context = ConnectContext(client, user, transport, data, token, claimed_user)
        else:
            kind = SubscribeContext if operation == "subscribe" else PublishContext
            context = kind(client, user, transport, data, channel, token)
        work = self._answer(core, number, operation, hook, context)
        try:
            future = asyncio.run_coroutine_threadsafe(work, loop or asyncio.get_running_loop())
        except RuntimeError:
            work.close()
            self._log.write(
                f"{operation} loop",
                logging.ERROR,
                f"on_{operation}: the server's loop= is closed: clients are told to ask again",
            )
            _resolve(core, number, _NOBODY)
            return
        self._waiting.add(future)  # else nobody would hold it
        future.add_done_callback(self._waiting.discard)

    def close(self) -> None:
        """Cancels what still runs: the core has no client left to tell. Idempotent."""
        self._is_closed = True
        self._log.flush()
        for future in list(self._waiting):
            future.cancel()

    async def _answer(
        self,
        core: _core.Server,
        number: int,
        operation: Operation,
        hook: _Hook,
        context: ConnectContext | SubscribeContext | PublishContext,
    ) -> None:
        where = f"on_{operation}"
        about = ""
        if not isinstance(context, ConnectContext):
            where += f"({hook.pattern!r})"
            about = f" (channel {context.channel!r})"
        began = time.monotonic()
        try:
            async with asyncio.timeout(hook.deadline_s):
                answer = hook.handler(context)
                if inspect.isawaitable(answer):
                    answer = await answer
            is_late = time.monotonic() - began >= hook.deadline_s  # no time-out ends a hook that blocks
            verdict = _LATE if is_late else _verdict(operation, answer, context.user)
            is_awaited = _resolve(core, number, verdict)
        except BaseException as error:
            if not _belongs_to_the_hook(error):
                _resolve(core, number, _NOBODY)
                raise
            is_late = isinstance(error, TimeoutError) and time.monotonic() - began >= hook.deadline_s
            if not is_late:
                self._log.write(
                    f"{where} failed",
                    logging.ERROR,
                    f"{where} failed{about}: the client is told to ask again",
                    error,
                )
            is_awaited = _resolve(core, number, _LATE if is_late else _FAILED) or not is_late
        if self._is_closed:
            return
        if is_late:
            text = (
                f"{where} did not answer within {hook.deadline_s:g} s{about}: the client is told to ask "
                "again. A hook that blocks holds up the others: use await"
            )
            self._log.write(f"{where} late", logging.WARNING, text)
        elif not is_awaited:
            text = (
                f"{where} had to wait so long for its turn{about} that the client was told to ask again: "
                "clients ask faster than hooks answer"
            )
            self._log.write(f"{where} crowded", logging.WARNING, text)


def _belongs_to_the_hook(error: BaseException) -> bool:
    """Whether the hook raised this, and not somebody who ends its task, its loop or the program."""
    if isinstance(error, KeyboardInterrupt):  # only a main thread gets one from a signal
        return threading.current_thread() is not threading.main_thread()
    task = asyncio.current_task()
    return not isinstance(error, GeneratorExit) and (task is None or not task.cancelling())


def _resolve(core: _core.Server, number: int, verdict: Verdict) -> bool:
    """Whether the answer was in time.

    Raises:
        ValueError: The data is not JSON.
    """
    return core.resolve(
        number,
        verdict.is_allowed,
        verdict.is_undecided,
        verdict.user,
        verdict.info_json,
        verdict.data,
        verdict.code,
        verdict.reason,
    )


def _verdict(operation: Operation, answer: Any, user: str) -> Verdict:
    """What an answer means.

    Raises:
        TypeError: Nothing that is an answer to this question.
        ValueError: It has no JSON form.
    """
    if answer is True:
        return Verdict(True, user)
    if answer is False:
        return _DENIED
    if isinstance(answer, Deny):
        return Verdict(code=answer.code, reason=answer.reason)
    if answer is None:
        raise TypeError("the hook returned None: only True allows, and only False and Deny(...) deny")
    if operation == "connect":
        return _identity(answer)
    if operation == "publish":
        return Verdict(True, user, data=_json_text(answer))
    raise TypeError(f"the hook returned {answer!r}: return True, False or Deny")


def _identity(answer: Any) -> Verdict:
    if isinstance(answer, User):
        return Verdict(True, answer.id, "" if answer.info is None else _json_text(answer.info).decode())
    if isinstance(answer, str) and answer:
        return Verdict(True, answer)
    raise TypeError(
        f"the hook returned {answer!r}: return the user's id, User(id, info) (its id may be empty, for an "
        "anonymous one), True, False or Deny"
    )


def _json_text(value: Any) -> bytes:
    return bytes(encode(value)[0])  # a buffer holds JSON text, as the core will check


def _matcher(pattern: str) -> Callable[[str], object]:
    """`*` stands for any text, as in the channel patterns of the configuration."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch


_Connect = TypeVar("_Connect", bound=ConnectHook)
_Subscribe = TypeVar("_Subscribe", bound=SubscribeHook)
_Publish = TypeVar("_Publish", bound=PublishHook)


class HookDecorators:
    """What a server offers to register hooks.

    A hook is a function, `async` or not, of one context. It runs on the loop given to the server as `loop=`,
    else on one that the server runs on a thread of its own; there it must not block, since that holds up the
    other hooks (never the hub). It may use the server: `publish`, `disconnect` and so on.

    Only `True`, or an answer that says more, allows. Only `False` and `Deny(code, reason)` deny. An
    exception, `None`, and no answer within the deadline decide nothing: the client is told to ask again
    (error 100, disconnect 3004, 503 on `/poll`, a `retry:` on `/sse`), and a record in `carillon.server` says
    why, at most one per kind and second. Of several patterns that match a channel, the longest decides.
    """

    _hooks: HookTable

    @overload
    def on_connect(self, hook: _Connect, /) -> _Connect: ...
    @overload
    def on_connect(self, /, *, deadline: float = DEADLINE_S) -> Callable[[_Connect], _Connect]: ...
    def on_connect(self, hook: Any = None, /, *, deadline: float = DEADLINE_S) -> Any:
        """Decorator of the hook that says who a client is, on every transport. A server has one at most.

        It returns the user's id, `User(id, info)`, or `True` to let the client in as whom the server takes it
        for already (`context.user`): anonymous, but on a server in insecure mode.

        Args:
            hook: The hook, where the decorator is written without parentheses.
            deadline: Seconds that it may take.

        Raises:
            HookError: There is one already, or the server was started.
        """

        def register(hook: _Connect) -> _Connect:
            self._hooks.add("connect", "*", hook, deadline)
            return hook

        return register if hook is None else register(hook)

    def on_subscribe(
        self, pattern: str, *, deadline: float = DEADLINE_S
    ) -> Callable[[_Subscribe], _Subscribe]:
        """Decorator of a hook that says who may read the channels of a pattern. It returns `True` to allow.

        Args:
            pattern: Channels, with `*` for any text.
            deadline: Seconds that it may take.

        Raises:
            HookError: The pattern has one already, or the server was started.
        """
        _check_pattern("on_subscribe", pattern)

        def register(hook: _Subscribe) -> _Subscribe:
            self._hooks.add("subscribe", pattern, hook, deadline)
            return hook

        return register

    def on_publish(self, pattern: str, *, deadline: float = DEADLINE_S) -> Callable[[_Publish], _Publish]:
        """Decorator of a hook that says who may publish to the channels of a pattern, and what.

        It returns `True` to pass the payload on, or what is published in its place: bytes that hold JSON
        text, or a dict, list, str or number.

        Args:
            pattern: Channels, with `*` for any text.
            deadline: Seconds that it may take.

        Raises:
            HookError: The pattern has one already, or the server was started.
        """
        _check_pattern("on_publish", pattern)

        def register(hook: _Publish) -> _Publish:
            self._hooks.add("publish", pattern, hook, deadline)
            return hook

        return register


def _check_pattern(name: str, pattern: object) -> None:
    if not isinstance(pattern, str):
        raise TypeError(f'{name} takes a pattern: write @server.{name}("*") for all channels')
