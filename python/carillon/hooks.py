"""Hooks: functions of an application that identify clients and decide what they may do.

The core asks a question, which has an id and a deadline. The hook runs on an event loop, never on a thread
of the hub, and its answer goes back to the core by the id. Only an answer denies. An exception, a late answer
and an answer without a meaning leave the question undecided, and the client is asked to try again. The core
ends the wait at the deadline.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from .arguments import seconds, shown
from .errors import HookError
from .hook_answers import (
    ConnectAnswer,
    PublishAnswer,
    RefreshAnswer,
    RpcAnswer,
    SubRefreshAnswer,
    SubscribeAnswer,
    Verdict,
    verdict_of,
)
from .hook_contexts import (
    ConnectContext,
    Context,
    DisconnectContext,
    PublishContext,
    RefreshContext,
    RpcContext,
    SubRefreshContext,
    SubscribeContext,
)
from .logs import logger
from .repeated_log import RepeatedLog

if TYPE_CHECKING:
    import concurrent.futures

    from . import _core
    from .hook_contexts import Operation

_log = logger("server")

DEADLINE_S = 5.0

ConnectHook: TypeAlias = Callable[[ConnectContext], ConnectAnswer | Awaitable[ConnectAnswer]]
SubscribeHook: TypeAlias = Callable[[SubscribeContext], SubscribeAnswer | Awaitable[SubscribeAnswer]]
PublishHook: TypeAlias = Callable[[PublishContext], PublishAnswer]
RefreshHook: TypeAlias = Callable[[RefreshContext], RefreshAnswer | Awaitable[RefreshAnswer]]
SubRefreshHook: TypeAlias = Callable[[SubRefreshContext], SubRefreshAnswer | Awaitable[SubRefreshAnswer]]
RpcHook: TypeAlias = Callable[[RpcContext], RpcAnswer]
DisconnectHook: TypeAlias = Callable[[DisconnectContext], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class _Hook:
    pattern: str
    handler: Callable[[Any], Any]
    deadline_s: float
    matches: Callable[[str], object]


_CONSEQUENCES = {  # of a question without an answer
    "refresh": "the connection goes on, and it is asked again after limits.refresh_retry_ms",
    "sub_refresh": "the subscription goes on, and it is asked again after limits.refresh_retry_ms",
}
_LATE = Verdict(is_undecided=True, reason="the hook did not answer in time")
_FAILED = Verdict(is_undecided=True, reason="the hook failed")
_NOTED = Verdict(True)
_NOBODY = Verdict(is_undecided=True, reason="no hook could be asked")


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
        """Registers a hook.

        Raises:
            HookError: The pattern has a hook already, or the server was started.
            TypeError: The hook is not a function.
            ValueError: The pattern is empty.
        """
        name = f"on_{operation}"
        if self._is_installed:
            raise HookError(
                f"{name}: hooks are registered before start(), and this server was started already. In "
                "pytest: carillon_server_factory(before_start=...)"
            )
        if not callable(handler):
            raise TypeError(f"{name}: the hook must be a function of one context, not {handler!r}")
        if not pattern:
            what = "method" if operation == "rpc" else "channel"
            raise ValueError(f"{name}: the pattern is empty; give the name of a {what}, or * for all {what}s")
        hooks = self._hooks.setdefault(operation, [])
        if any(hook.pattern == pattern for hook in hooks):
            of_what = f" for {pattern!r}" if operation in _WITH_PATTERNS else ""
            raise HookError(f"{name}: there is a hook{of_what} already; decide everything in one hook")
        hooks.append(_Hook(pattern, handler, deadline_s, _matcher(pattern)))
        hooks.sort(key=lambda hook: -len(hook.pattern))

    @property
    def is_empty(self) -> bool:
        """Whether no hook is registered."""
        return not self._hooks

    def install(self, core: _core.Server) -> None:
        """Gives the core the patterns, and per operation one deadline: the longest of its hooks."""
        self._is_installed = True
        for operation, hooks in self._hooks.items():
            longest_s = max(hook.deadline_s for hook in hooks)
            core.set_hooks(operation, [hook.pattern for hook in hooks], max(1, int(longest_s * 1000)))

    def ask(
        self, core: _core.Server, loop: asyncio.AbstractEventLoop | None, question: tuple[Any, ...]
    ) -> None:
        """Runs the hook for a question on `loop` (None: the running one). The answer goes to `core`."""
        if self._is_closed:
            return
        _, number, operation, facts = question
        context = _CONTEXTS[operation](**facts)
        subject = facts.get("method" if operation == "rpc" else "channel", "")
        hook = next((one for one in self._hooks.get(operation, ()) if one.matches(subject)), None)
        if hook is None:
            _resolve(core, number, _NOBODY)
            return
        if operation == "disconnect":
            work = self._notify(core, number, hook, context)
        else:
            work = self._answer(core, number, operation, hook, context)
        try:
            future = asyncio.run_coroutine_threadsafe(work, loop or asyncio.get_running_loop())
        except RuntimeError:
            work.close()
            self._log.write(
                f"{operation} loop",
                logging.ERROR,
                f"on_{operation}: the event loop given as loop= is closed; {_consequence_of(operation)}",
                event="hook_loop_closed",
                hook=f"on_{operation}",
            )
            _resolve(core, number, _NOBODY)
            return
        self._waiting.add(future)  # else nobody would hold it
        future.add_done_callback(self._waiting.discard)

    def close(self) -> None:
        """Cancels the hooks that still run: the core has no client left that waits. Idempotent."""
        self._is_closed = True
        self._log.flush()
        for future in list(self._waiting):
            future.cancel()

    async def _notify(self, core: _core.Server, number: int, hook: _Hook, context: DisconnectContext) -> None:
        about = f"on_disconnect of client {context.client!r}"
        try:
            async with asyncio.timeout(hook.deadline_s):
                answer = hook.handler(context)
                if inspect.isawaitable(answer):
                    await answer
        except BaseException as error:
            if not _belongs_to_the_hook(error):
                raise
            if not self._is_closed:
                self._log.write(
                    "on_disconnect failed",
                    logging.ERROR,
                    f"{about} failed",
                    error,
                    event="hook_failed",
                    hook="on_disconnect",
                    **_subject_of(context),
                )
        finally:
            _resolve(core, number, _NOTED)  # the next one may begin

    async def _answer(
        self,
        core: _core.Server,
        number: int,
        operation: Operation,
        hook: _Hook,
        context: Context,
    ) -> None:
        where = f"on_{operation}"
        about = ""
        if isinstance(context, (SubscribeContext, PublishContext, SubRefreshContext)):
            where += f"({hook.pattern!r})"
            about = f" (channel {context.channel!r})"
        elif isinstance(context, RpcContext):
            where += f"({hook.pattern!r})"
            about = f" (method {context.method!r})"
        then = _consequence_of(operation)
        subject = _subject_of(context)
        began = time.monotonic()
        try:
            async with asyncio.timeout(hook.deadline_s):
                answer = hook.handler(context)
                if inspect.isawaitable(answer):
                    answer = await answer
            is_late = time.monotonic() - began >= hook.deadline_s  # no time-out ends a hook that blocks
            if is_late:
                is_awaited = _resolve(core, number, _LATE)
            else:
                is_awaited = _decide(core, number, operation, answer, context)
        except _Meaningless as error:
            is_late = False
            text = f"{where}: {_place(hook.handler)} {error}{about}; {then}"
            self._log.write(
                f"{where} meaningless", logging.ERROR, text, event="hook_meaningless", hook=where, **subject
            )
            is_awaited = _resolve(core, number, _FAILED)
        except BaseException as error:
            if not _belongs_to_the_hook(error):
                _resolve(core, number, _NOBODY)
                raise
            is_late = isinstance(error, TimeoutError) and time.monotonic() - began >= hook.deadline_s
            if not is_late:
                self._log.write(
                    f"{where} failed",
                    logging.ERROR,
                    f"{where} failed{about}; {then}",
                    error,
                    event="hook_failed",
                    hook=where,
                    **subject,
                )
            is_awaited = _resolve(core, number, _LATE if is_late else _FAILED) or not is_late
        if self._is_closed:
            return
        if is_late:
            text = (
                f"{where} did not answer within {hook.deadline_s:g} s{about}; {then}. A hook that blocks "
                "delays the other hooks: use await"
            )
            self._log.write(f"{where} late", logging.WARNING, text, event="hook_late", hook=where, **subject)
        elif not is_awaited:
            text = f"{where} was called too late{about}, because clients ask faster than hooks answer; {then}"
            self._log.write(
                f"{where} crowded", logging.WARNING, text, event="hook_crowded", hook=where, **subject
            )


def _subject_of(context: Context | DisconnectContext) -> dict[str, Any]:
    """Returns the fields of a record that say whom a question is about, without those that are not known."""
    found = {name: getattr(context, name, None) for name in ("client", "user", "channel", "method")}
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _consequence_of(operation: Operation) -> str:
    """Says what becomes of a client whose question has no answer."""
    return _CONSEQUENCES.get(operation, "the client is asked to try again")


def _belongs_to_the_hook(error: BaseException) -> bool:
    """Whether the hook raised this itself. Else its task, its loop or the program is being ended."""
    if isinstance(error, KeyboardInterrupt):  # only a main thread gets one from a signal
        return threading.current_thread() is not threading.main_thread()
    task = asyncio.current_task()
    return not isinstance(error, GeneratorExit) and (task is None or not task.cancelling())


class _Meaningless(Exception):  # noqa: N818
    """A hook returned a value that does not answer the question. The message is a verb and its object."""


def _place(handler: Callable[[Any], Any]) -> str:
    """Returns the name of a hook and where it is defined: a traceback of a wrong answer would not show it."""
    function = inspect.unwrap(handler)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    name = getattr(function, "__name__", None) or type(function).__name__
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return f"{name} ({os.path.basename(code.co_filename)}:{code.co_firstlineno})" if code else name


def _resolve(core: _core.Server, number: int, verdict: Verdict) -> bool:
    """Returns whether the answer was in time.

    Raises:
        ValueError: The data is not JSON.
    """
    return core.resolve(number, verdict)


def _decide(core: _core.Server, number: int, operation: Operation, answer: Any, context: Context) -> bool:
    """Gives the core the answer of a hook, and returns whether it was in time.

    Raises:
        _Meaningless: It is not an answer.
    """
    try:
        return _resolve(core, number, verdict_of(operation, answer, context))
    except (TypeError, ValueError) as error:
        raise _Meaningless(f"returned {shown(answer)}; {error}") from None


def _matcher(pattern: str) -> Callable[[str], object]:
    """`*` stands for any text, as in the channel patterns of the configuration."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch


_CONTEXTS: dict[Operation, type[Any]] = {
    "connect": ConnectContext,
    "subscribe": SubscribeContext,
    "publish": PublishContext,
    "refresh": RefreshContext,
    "sub_refresh": SubRefreshContext,
    "rpc": RpcContext,
    "disconnect": DisconnectContext,
}
_WITH_PATTERNS: frozenset[Operation] = frozenset(("subscribe", "publish", "sub_refresh", "rpc"))

_Connect = TypeVar("_Connect", bound=ConnectHook)
_Subscribe = TypeVar("_Subscribe", bound=SubscribeHook)
_Publish = TypeVar("_Publish", bound=PublishHook)
_Refresh = TypeVar("_Refresh", bound=RefreshHook)
_SubRefresh = TypeVar("_SubRefresh", bound=SubRefreshHook)
_Rpc = TypeVar("_Rpc", bound=RpcHook)
_Disconnect = TypeVar("_Disconnect", bound=DisconnectHook)


class HookDecorators:
    """The decorators of a server that register hooks.

    A hook is a function, `async` or not, of one context. It runs on the event loop given to the server as
    `loop=`, else on a loop that the server runs on a thread of its own. A hook must not block there, because
    that delays the other hooks (never the hub). It may call the server: `publish`, `disconnect` and so on.

    Only `True`, or an answer that says more, allows. Only `False` and `Deny(code, reason)` deny. An
    exception, `None`, and no answer within the deadline decide nothing. The client is then asked to try
    again: by error 100, by close code 3004, by status 503 on `/poll`, or by a `retry:` on `/sse`. A record of
    `carillon.server` says why, at most one per kind and second. If several patterns match a channel, the
    longest one decides.
    """

    _hooks: HookTable

    @overload
    def on_connect(self, hook: _Connect, /) -> _Connect: ...
    @overload
    def on_connect(self, /, *, deadline: float = DEADLINE_S) -> Callable[[_Connect], _Connect]: ...
    def on_connect(self, hook: Any = None, /, *, deadline: float = DEADLINE_S) -> Any:
        """Registers the hook that identifies clients, on every transport. A server has at most one.

        The hook gets a `ConnectContext`. It returns the user's id, `User(id, info)`, or `True` to accept the
        client as `context.user`: anonymous, except on a server in insecure mode.

        Args:
            hook: The hook, where the decorator is written without parentheses.
            deadline: Longest time that the hook may take, seconds.

        Raises:
            HookError: There is a hook already, or the server was started.
            ValueError: The deadline is not above 0.

        Example:
            @server.on_connect
            async def identify(ctx: ConnectContext) -> User | Deny:
                name = await sessions.get(ctx.cookies.get("session", ""))
                return User(name) if name else Deny(reason="log in first")
        """
        return self._of_clients("connect", hook, deadline)

    def on_subscribe(
        self, pattern: str, *, deadline: float = DEADLINE_S
    ) -> Callable[[_Subscribe], _Subscribe]:
        """Registers a hook that decides who may subscribe to the channels of a pattern.

        The hook gets a `SubscribeContext`. It returns `True` to allow the subscription, or a `Grant` of its
        channel to say more: what others see, data for the client, when it ends.

        Args:
            pattern: Name of a channel, with `*` for any text.
            deadline: Longest time that the hook may take, seconds.

        Raises:
            HookError: The pattern has a hook already, or the server was started.
            ValueError: The pattern is empty, or the deadline is not above 0.

        Example:
            @server.on_subscribe("chat:*")
            def may_read(ctx: SubscribeContext) -> bool:
                return ctx.user != ""
        """
        _check_pattern("on_subscribe", pattern)
        seconds("on_subscribe: deadline", deadline, may_be_zero=False)

        def register(hook: _Subscribe) -> _Subscribe:
            self._hooks.add("subscribe", pattern, hook, deadline)
            return hook

        return register

    def on_publish(self, pattern: str, *, deadline: float = DEADLINE_S) -> Callable[[_Publish], _Publish]:
        """Registers a hook that decides which clients may publish to the channels of a pattern, and what.

        The hook gets a `PublishContext`. It returns `True` to publish the payload as it is. Any other value
        that has a JSON form is published instead: a dict, list, str or number, or bytes that hold JSON text.

        Args:
            pattern: Name of a channel, with `*` for any text.
            deadline: Longest time that the hook may take, seconds.

        Raises:
            HookError: The pattern has a hook already, or the server was started.
            ValueError: The pattern is empty, or the deadline is not above 0.

        Example:
            @server.on_publish("chat:*")
            def sign(ctx: PublishContext) -> dict[str, object]:
                return {"by": ctx.user, "text": ctx.json()}
        """
        _check_pattern("on_publish", pattern)
        seconds("on_publish: deadline", deadline, may_be_zero=False)

        def register(hook: _Publish) -> _Publish:
            self._hooks.add("publish", pattern, hook, deadline)
            return hook

        return register

    @overload
    def on_refresh(self, hook: _Refresh, /) -> _Refresh: ...
    @overload
    def on_refresh(self, /, *, deadline: float = DEADLINE_S) -> Callable[[_Refresh], _Refresh]: ...
    def on_refresh(self, hook: Any = None, /, *, deadline: float = DEADLINE_S) -> Any:
        """Registers the hook that decides whether a connection that has expired goes on.

        A server has at most one. It is asked for every connection of the SDKs whose end comes, whether
        `on_connect`, a token or the HTTP API has set that end; such clients do not renew tokens themselves.
        The hook gets a `RefreshContext`. It returns `User(context.user, expires_at=...)` with the new end
        (without `expires_at`: no end), and with new `info` if that has changed. `False` or `Deny` closes the
        connection. Without an answer it goes on for `limits.refresh_retry_ms`, and the hook is asked again.

        Args:
            hook: The hook, where the decorator is written without parentheses.
            deadline: Longest time that the hook may take, seconds.

        Raises:
            HookError: There is a hook already, or the server was started.
            ValueError: The deadline is not above 0.

        Example:
            @server.on_refresh
            async def renew(ctx: RefreshContext) -> User | Deny:
                is_active = await accounts.is_active(ctx.user)
                return User(ctx.user, expires_at=time.time() + 300) if is_active else Deny(reason="locked")
        """
        return self._of_clients("refresh", hook, deadline)

    def on_sub_refresh(
        self, pattern: str, *, deadline: float = DEADLINE_S
    ) -> Callable[[_SubRefresh], _SubRefresh]:
        """Registers a hook that decides whether subscriptions that have expired go on.

        The hook gets a `SubRefreshContext`. It returns `Grant(context.channel, expires_at=...)` with the new
        end. `False` or `Deny` ends the subscription. Without an answer it goes on for
        `limits.refresh_retry_ms`, and the hook is asked again.

        Args:
            pattern: Name of a channel, with `*` for any text.
            deadline: Longest time that the hook may take, seconds.

        Raises:
            HookError: The pattern has a hook already, or the server was started.
            ValueError: The pattern is empty, or the deadline is not above 0.

        Example:
            @server.on_sub_refresh("chat:*")
            async def renew(ctx: SubRefreshContext) -> Grant | bool:
                is_member = await rooms.has(ctx.channel, ctx.user)
                return is_member and Grant(ctx.channel, expires_at=time.time() + 60)
        """
        _check_pattern("on_sub_refresh", pattern)
        seconds("on_sub_refresh: deadline", deadline, may_be_zero=False)

        def register(hook: _SubRefresh) -> _SubRefresh:
            self._hooks.add("sub_refresh", pattern, hook, deadline)
            return hook

        return register

    def on_rpc(self, pattern: str, *, deadline: float = DEADLINE_S) -> Callable[[_Rpc], _Rpc]:
        """Registers a hook that carries out calls of clients: `rpc` of the SDKs, `Client.rpc` of ours.

        The hook gets an `RpcContext`. What it returns is the reply: any value that has a JSON form, `None`
        and `False` among them, or bytes. Bytes reach a client that speaks JSON as `{"b64": "..."}`. Methods
        whose names begin with `carillon.` are the server's own. Error 104 answers a method without a hook.

        Args:
            pattern: Name of a method, with `*` for any text.
            deadline: Longest time that the hook may take, seconds.

        Raises:
            HookError: The pattern has a hook already, or the server was started.
            ValueError: The pattern is empty, or the deadline is not above 0.

        Example:
            @server.on_rpc("sum")
            def add(ctx: RpcContext) -> int | Deny:
                return sum(ctx.json()) if ctx.user else Deny(reason="log in first")
        """
        _check_pattern("on_rpc", pattern, "methods")
        seconds("on_rpc: deadline", deadline, may_be_zero=False)

        def register(hook: _Rpc) -> _Rpc:
            self._hooks.add("rpc", pattern, hook, deadline)
            return hook

        return register

    @overload
    def on_disconnect(self, hook: _Disconnect, /) -> _Disconnect: ...
    @overload
    def on_disconnect(self, /, *, deadline: float = DEADLINE_S) -> Callable[[_Disconnect], _Disconnect]: ...
    def on_disconnect(self, hook: Any = None, /, *, deadline: float = DEADLINE_S) -> Any:
        """Registers the hook that is told of each client that has gone. A server has at most one.

        The hook gets a `DisconnectContext`; what it returns has no meaning. Nobody waits for it. Beyond
        `limits.hook_questions` notices that wait, further ones are dropped: `disconnects_lost` of `stats()`.
        A takeover is no disconnect. Clients that `stop()` cuts off are not told of; those of a drain are.

        Args:
            hook: The hook, where the decorator is written without parentheses.
            deadline: Longest time that the hook may take, seconds.

        Raises:
            HookError: There is a hook already, or the server was started.
            ValueError: The deadline is not above 0.

        Example:
            @server.on_disconnect
            async def note(ctx: DisconnectContext) -> None:
                await accounts.set_last_seen(ctx.user, time.time())
        """
        return self._of_clients("disconnect", hook, deadline)

    def _of_clients(self, operation: Operation, hook: Any, deadline: float) -> Any:
        seconds(f"on_{operation}: deadline", deadline, may_be_zero=False)

        def register(hook: Any) -> Any:
            self._hooks.add(operation, "*", hook, deadline)
            return hook

        return register if hook is None else register(hook)


def _check_pattern(name: str, pattern: object, what: str = "channels") -> None:
    if not isinstance(pattern, str):
        raise TypeError(f'{name} takes a pattern: write @server.{name}("*") for all {what}')
