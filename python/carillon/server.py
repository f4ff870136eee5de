"""A Carillon server inside this process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import itertools
import json as _json
import os
import threading
import time
import warnings
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, overload

from . import _core, access_log, card
from . import config as configuration
from .address import is_loopback
from .arguments import kind, seconds, shown, text, whole_number
from .bridge import EventThread, Handler, LoopBridge
from .channel import channel_name
from .cursor import Cursor
from .demo import pages as demo_pages
from .errors import (
    AddressInUse,
    CarillonError,
    CommandError,
    ForkedError,
    ServerFailed,
    ServerStopped,
    StoreError,
    append_error,
    from_core,
)
from .fanout import FanOutMethods, asked
from .hook_answers import Grant
from .hooks import HookDecorators, HookTable
from .items import ClientInfo, History
from .listener import Listener, url_of
from .logs import logger
from .payload import PublishOptions, core_arguments, encode, takes_publish_options
from .position import Position
from .reload import Reloads
from .remote_keys import RemoteKeys
from .start import HistoryQuery, Start
from .transports import raw_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from .channel import Channel
    from .items import Gap, Message
    from .reload import Source
    from .stream import OnGap

_log = logger("server")

_LEAVE_S = 1.0  # what a context manager gives clients to leave
_SLICE_S = 0.1  # how long a wait may hold back a signal
_HOOKS_S = 1.0  # what a hook that still runs may hold up a stop
_SUBSCRIBE_REFUSALS = {  # code and reason, as clients get them
    "already_subscribed": (105, "a connection has a subscription to this channel already"),
    "limit_exceeded": (106, "a connection has as many channels as limits.channels_per_connection allows"),
}
_CLOSE_REASON_BYTES = 123  # what a WebSocket close frame has room for
_PORT_MAX = 65_535
_EVENTS = 1 << 16  # questions and log records that may wait for Python


class ServerOptions(TypedDict, total=False):
    """The arguments of `Server`, for functions that pass them on. `Server` describes them."""

    host: str | None
    port: int | None
    threads: int | None
    flush: str | None
    store: str | Mapping[str, Any] | None
    channels: Mapping[str, Channel | Mapping[str, Any]] | None
    api_key: str | None
    insecure: bool | None
    allowed_origins: Sequence[str] | None
    limits: Mapping[str, int] | None
    heartbeat: Mapping[str, int] | None
    demo: bool | None
    loop: asyncio.AbstractEventLoop | None
    config: Source


class Server(HookDecorators, FanOutMethods):
    """A messaging server in this process. Its threads are native: it needs no event loop.

    Enter it with `with` or `async with`, or call `start` and `stop`. All methods may be called from any
    thread. A server that was stopped cannot be started again, but its `ledger` and `stats` can still be read.

    Example:
        with carillon.Server(port=8000, channels={"*": carillon.Channel(history_size=100)}) as server:
            server.publish("news", {"text": "hello"})
            server.wait()

    Args:
        host: Address to listen on; by default that of `config`, else 127.0.0.1.
        port: Port to listen on, 0 for a free one; by default that of `config`, else 0.
        threads: Number of shard threads; by default one per core, at most 4.
        flush: Method of sending: "io_uring", "send", or "auto" (default) for the first of them that works.
        store: Where the publications are kept: "memory" (the default) or "sqlite:PATH"; or a dict with its
            options, such as {"url": "sqlite:carillon.db", "durability": "normal"} (docs/stores.md).
        channels: Settings by channel pattern, as `Channel` or dict. `*` stands for any text. Of several
            patterns that match, the longest applies.
        api_key: Key of the HTTP API; by default none.
        insecure: Whether every client may do everything. By default it is true if the host is loopback and
            neither `config` nor `api_key` is given. It is refused on any other address.
        allowed_origins: Web origins that browsers may connect from, with `*` for any text.
        limits: Limits by name, as in the `limits` table of a configuration file.
        heartbeat: Intervals in milliseconds by name: `ping_interval_ms`, `pong_timeout_ms`,
            `comment_interval_ms`, `sse_retry_ms`.
        demo: Whether the demo page is served at `/`; by default not.
        loop: Event loop that hooks run on. By default the server runs one on a thread of its own.
        config: Path of a TOML or JSON file, or the same as a dict, or a function that returns the dict. A
            reload reads the file, or calls the function, again. Arguments override it.

    Raises:
        ConfigError: A setting is wrong. The message names it, its value and the remedy.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        threads: int | None = None,
        flush: str | None = None,
        store: str | Mapping[str, Any] | None = None,
        channels: Mapping[str, Channel | Mapping[str, Any]] | None = None,
        api_key: str | None = None,
        insecure: bool | None = None,
        allowed_origins: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        heartbeat: Mapping[str, int] | None = None,
        demo: bool | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        config: Source = None,
    ) -> None:
        self._state_lock = threading.Lock()
        self._is_forked = False
        self._was_started = False
        self._has_ended = threading.Event()
        self._nowait_bridge: _core.Bridge | None = None
        self._refused_nowait = 0  # not logged yet
        self._refusals_due_s = 0.0
        self._nowait_ids = itertools.count(1)
        self._hooks = HookTable()
        self._loop = loop
        self._events: EventThread | None = None
        self._keys: RemoteKeys | None = None
        arguments = {
            "host": host,
            "port": port,
            "threads": threads,
            "flush": flush,
            "store": store,
            "channels": channels,
            "api_key": api_key,
            "insecure": insecure,
            "allowed_origins": allowed_origins,
            "limits": limits,
            "heartbeat": heartbeat,
            "demo": demo,
        }
        self._reloads = Reloads(arguments, config)
        pages = demo_pages() if self._settings.get("demo") else {}
        try:
            self._core = _core.Server(_json.dumps(self._settings), pages)
        except Exception as error:
            raise from_core(error) from None

    # Life.

    def start(self) -> Self:
        """Starts to listen and to serve, and returns the server itself. Idempotent.

        Example:
            server = carillon.Server().start()

        Raises:
            AddressInUse: Another process, or a server of this one, listens at the address.
            OSError: The address cannot be used.
            ServerStopped: The server was stopped before.
        """
        return self._begin(_core.Server.start)

    def take_over(self) -> Self:
        """Starts with the listening socket, the connections and the logs of the server at this address.

        Call it instead of `start`. That server must be another process of the same user that has called
        `offer_takeover`, as `carillon serve` does. Its clients stay connected, and it ends. Hooks,
        subscriptions and other Python objects do not move.

        Raises:
            TakeoverError: No server offers a takeover there, or the takeover failed. The other server
                continues, and this one cannot be used any more.
        """
        try:
            return self._begin(_core.Server.take_over)
        except Exception:
            self._has_ended.set()
            raise

    def offer_takeover(self) -> None:
        """Offers a takeover to other processes of this user, at the Unix socket `takeover.socket`.

        The offer stands until one process has taken over; `is_given_away` is true from then on.

        Raises:
            TakeoverError: The socket cannot be opened.
        """
        try:
            self._running().offer_takeover()
        except Exception as error:
            raise from_core(error) from None

    @property
    def is_given_away(self) -> bool:
        """Whether another process has taken over.

        Only `drain` (for clients that could not be moved) and `stop` still work. `publish` raises
        `StoreError`; publish again to the new process.
        """
        return bool(self._whole().is_given_away)

    def _begin(self, begin: Callable[[_core.Server], None]) -> Self:
        core = self._whole()
        with self._state_lock:
            if self._has_ended.is_set():
                raise ServerStopped(
                    "this server was stopped, and its log with it: make a new Server to start again"
                )
            if self._was_started:
                return self
            events = _core.Bridge(_EVENTS)
            self._keys = RemoteKeys(core, self._settings)
            self._keys.start()
            self._reloads.attach(core, self._keys)
            try:
                core.set_events(events)
                self._hooks.install(core)
                begin(core)
            except Exception as error:
                events.close()
                self._keys.close()
                if isinstance(error, OSError):
                    raise self._address_error(
                        error, self.host, self._settings["http_server"]["port"]
                    ) from None
                raise from_core(error) from None
            handle = _event_handler(core, self._hooks, self._loop, self._reloads)
            self._events = EventThread(f"carillon-events-{core.port}", events, handle)
            self._was_started = True
        _live.add(self)
        self._warn_if_nobody_may_do_anything(self.host)
        return self

    def reload(
        self,
        config: Source = None,
        *,
        channels: Mapping[str, Channel | Mapping[str, Any]] | None = None,
        api_key: str | None = None,
        allowed_origins: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> list[dict[str, Any]]:
        """Reads the configuration again and puts it in place while the server runs: all of it, or nothing.

        Without arguments, the file or the function that the server was made with is read again; the
        arguments of `Server` still override it. `POST /api/reload` does the same. Keys of tokens, the API
        key, channels, origins and limits change between two turns of the server's threads. Connections and
        subscriptions stay; what clients do from then on follows the new settings. The call waits for files,
        endpoints of keys and a turn of each thread. On an event loop, use `asyncio.to_thread`.

        Example:
            server.reload(api_key="the next one", limits={"connections": 50_000})

        Args:
            config: What to read from now on in place of the argument `config` of `Server`.
            channels: As of `Server`; it takes the place of the earlier argument, as the next three do.
            api_key: As of `Server`.
            allowed_origins: As of `Server`.
            limits: As of `Server`.

        Returns:
            The changes, empty if nothing differs: dicts with the name of an `option` and its `old` and `new`
            value. "(set)" and "(changed)" stand for secrets.

        Raises:
            ConfigError: The configuration has mistakes; the message has a line for each.
            ReloadError: An option differs that only a new process can change, or a drain or a takeover is
                under way. The message has a line for each reason.
            ServerStopped: The server does not run.
        """
        self._running()
        arguments = {
            "channels": channels,
            "api_key": api_key,
            "allowed_origins": allowed_origins,
            "limits": limits,
        }
        return self._reloads.reload(config, arguments)

    def stop(self) -> None:
        """Closes all connections and ends the threads. Idempotent."""
        if self._is_forked:
            return
        with self._state_lock:
            self._has_ended.set()
            _live.discard(self)
            if self._was_started:
                self._core.stop()
            if self._nowait_bridge is not None:
                self._nowait_bridge.close()
                self._nowait_bridge = None
            events, self._events = self._events, None
            keys, self._keys = self._keys, None
        if keys is not None:
            keys.close()
        if events is not None:  # outside of the lock: a hook may be in stop(), too
            self._hooks.close()
            events.close(_HOOKS_S)

    def drain(self, deadline: float | None = None, pace: float | None = None) -> bool:
        """Asks all clients to reconnect, accepts no new ones, and waits until all have left.

        Each client is asked at a random moment, so that they do not all reconnect at the same moment. The log
        says how many were asked, left, and stayed. If the HTTP API has already begun a drain, this waits for
        its end. Ctrl-C ends the wait; the drain continues until `stop`. The server still runs afterwards.

        Args:
            deadline: Longest time to wait, seconds; by default `shutdown.timeout` of the configuration.
            pace: Time within which the clients are asked, seconds; by default `shutdown.pace`, else 1 ms per
                client, at most half of the deadline.

        Returns:
            Whether all clients left in time.
        """
        return self._running().drain(*self._drain_ms(deadline, pace))

    def _drain_ms(self, deadline: float | None, pace: float | None) -> tuple[int, int | None]:
        if deadline is None:
            deadline = configuration.seconds(self._settings["shutdown"]["timeout"])
        deadline_ms = int(seconds("deadline", deadline) * 1000)
        return deadline_ms, None if pace is None else int(seconds("pace", pace) * 1000)

    def listen(self, host: str | None = None, port: int = 0) -> Listener:
        """Listens at one more address of the same server, and returns the listener.

        Args:
            host: Address to listen on; by default that of the server.
            port: Port to listen on; by default 0, for a free one.

        Raises:
            AddressInUse: Another process, or a server of this one, listens at the address.
            OSError: The address cannot be used.
            ConfigError: The server is insecure, and other machines can reach this address.
        """
        host = self.host if host is None else text("host", host)
        whole_number("port", port, 0, _PORT_MAX)
        try:
            number = self._running().listen(host, port)
        except OSError as error:
            raise self._address_error(error, host, port) from None
        except Exception as error:
            raise from_core(error) from None
        self._warn_if_nobody_may_do_anything(host)
        return next(each for each in self.listeners if each.number == number)

    @property
    def listeners(self) -> list[Listener]:
        """The listeners that are open: first that of the configuration, then those of `listen`."""
        return [Listener(self, *each) for each in self._running().listeners()]

    @property
    def is_draining(self) -> bool:
        """Whether a drain has begun: by `drain`, a signal or the HTTP API."""
        return bool(self._whole().is_draining)

    def wait(self) -> None:
        """Waits until the server is stopped, or for Ctrl-C. Signals are handled within 100 ms.

        After Ctrl-C the server still runs: the end of its `with` block drains and stops it, `stop` stops it.

        Raises:
            ServerFailed: One of its threads has died; the log says why. Call `stop`.
        """
        core = self._running()
        with contextlib.suppress(KeyboardInterrupt):
            while not self._has_ended.is_set() and core.is_running:
                time.sleep(_SLICE_S)  # Ctrl-C in the middle of Event.wait may leave its lock locked
        if self.failure:
            raise ServerFailed(self.failure)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._leave)  # clients on this loop need it to leave

    def __del__(self) -> None:
        if getattr(self, "_was_started", False) and not self._has_ended.is_set() and not self._is_forked:
            warnings.warn(f"{self!r} was never stopped", ResourceWarning, source=self, stacklevel=2)
            self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the server serves. It is false, too, when one of its threads has died: see `failure`."""
        return (
            self._was_started
            and not self._has_ended.is_set()
            and not self._is_forked
            and self._core.is_running
        )

    @property
    def failure(self) -> str:
        """Why one of its threads has died; empty if none has. It can be read after the server was stopped."""
        return self._whole().failure

    @property
    def host(self) -> str:
        """The address that the server listens on."""
        return str(self._settings["http_server"]["address"])

    @property
    def port(self) -> int:
        """The port that the server listens on; 0 before the start, if a free one is to be used."""
        return int(self._whole().port)

    @property
    def url(self) -> str:
        """Address for clients, `http://host:port`.

        Raises:
            ServerStopped: The server was never started, so it has no port yet.
        """
        if not self._was_started:
            raise ServerStopped("the server is not started, so it has no address yet: call start() first")
        return url_of(self.host, self.port)

    @property
    def _settings(self) -> dict[str, Any]:
        return self._reloads.settings

    @property
    def settings(self) -> dict[str, Any]:
        """A copy of the configuration, with all defaults but those of another store.

        Another server takes it: `Server(config=server.settings)`.
        """
        return configuration.for_reading_again(self._settings)

    # Publications.

    @takes_publish_options
    def publish(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> Position:
        """Publishes to a channel and returns the position.

        It blocks, with the GIL released, while the store is busy. If the channel has members and is in write
        mode, it returns when all their inboxes hold the publication.

        Example:
            server.publish("news", {"text": "hello"}, tags={"lang": "en"})

        Args:
            channel: Name of the channel.
            data: Payload: dict, list, str, number, bool or None (sent as JSON), or a buffer such as bytes
                (sent as binary).
            **options: Options of the publication:
                - `json`: whether the buffer holds JSON text, which is validated and sent byte for byte.
                - `tags`: dict of short texts that are delivered with the publication.
                - `key`: conflation key. On a channel with `conflate`, only the newest publication of a key
                  in one write is delivered.
                - `idempotency_key`: a second publish with this key returns the position of the first one.
                - `skip_history`: deliver to current subscribers only, and do not store.
                - `delta`: subscribers that asked for deltas may get the difference to the publication
                  before, where that is shorter.
                - `expected_offset`: publish only if the channel's newest publication has this offset.
                - `version`, `version_epoch`: publish only if the version is above the last one of the channel
                  that had the same epoch.

        Returns:
            The position in the channel's log; its offset is 0 if the channel keeps no log.

        Raises:
            PayloadTooLarge: The payload is larger than `limits.publication_bytes`.
            ValueError: The payload, an option or the name of the channel is not valid.
            TypeError: The payload or an option is of a type that cannot be published.
            StoreConflict: The channel is not as `expected_offset` or `version` has it; `top` is its position.
            StoreUnavailable: The store did not take it.
            StoreOutcomeUnknown: The store may have taken it, or not; or it is stored, and some inboxes may
                lack it.
        """
        core = self._running()
        what = core_arguments(channel, data, options)
        try:
            return core.publish(channel, *what)
        except Exception as error:
            raise _refused(channel, error) from None

    @takes_publish_options
    async def publish_async(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> Position:
        """Publishes as `publish` does, and waits without blocking the event loop."""
        core = self._running()
        what = core_arguments(channel, data, options)
        bridge = LoopBridge.of_running_loop()
        done: asyncio.Future[Position] = bridge.loop.create_future()

        def on_event(event: tuple[Any, ...]) -> None:
            if not done.done():
                if event[0] == "completion":
                    done.set_result(Position(event[2], event[3]))
                elif event[0] == "error":
                    done.set_exception(append_error(*event[2]))
                else:
                    done.set_exception(ServerStopped("the server was stopped: make a new Server"))

        def on_failure(error: Exception) -> None:
            if not done.done():
                done.set_exception(error)

        number = bridge.register(on_event, on_failure)
        try:
            core.publish_start(bridge.core, number, channel, *what)
            return await done
        except Exception as error:
            raise _refused(channel, error) from None
        finally:
            bridge.release(number)

    @takes_publish_options
    def publish_nowait(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> None:
        """Publishes as `publish` does, without waiting for the store. A later refusal is logged."""
        core = self._running()
        what = core_arguments(channel, data, options)
        with self._state_lock:
            if self._nowait_bridge is None:
                self._nowait_bridge = _core.Bridge(4096)
            bridge = self._nowait_bridge
        refusals = [event[2][1] for event in bridge.drain(4096) if event[0] == "error"]
        if refusals:
            self._report_refusals(refusals)
        try:
            core.publish_start(bridge, next(self._nowait_ids), channel, *what)
        except Exception as error:
            raise _refused(channel, error) from None

    def _report_refusals(self, reasons: list[str]) -> None:
        """Logs that publications of `publish_nowait` were refused: at most one record per second."""
        with self._state_lock:
            self._refused_nowait += len(reasons)
            now = time.monotonic()
            if now < self._refusals_due_s:
                return
            self._refusals_due_s = now + 1
            count, self._refused_nowait = self._refused_nowait, 0
        _log.error(
            "publications of publish_nowait that the store refused: %d; the last one: %s",
            count,
            reasons[-1],
            extra={"event": "publication_refused", "count": count},
        )

    def publish_many(self, items: Iterable[tuple[str, Any]]) -> list[Position]:
        """Publishes many (channel, data) pairs in one call: all of them, or none if one is not valid.

        Args:
            items: Pairs of a channel and what `publish` takes as `data`.

        Returns:
            Their positions, in the order given.

        Raises:
            PayloadTooLarge: A payload is larger than `limits.publication_bytes`.
            ValueError: A payload or the name of a channel is not valid. The message names the item.
            TypeError: An item is not a pair, or is of types that cannot be published.
            StoreError: The store refused.
        """
        core = self._running()
        pairs = items if type(items) is list else _listed(items)
        try:
            positions = core.publish_many(pairs)
            if positions is None:
                positions = core.publish_encoded(_encoded(pairs))
            return positions
        except Exception as error:
            _check_items(pairs)
            raise from_core(error) from None

    # Reading.

    @overload
    def subscribe(
        self,
        channel: str,
        since: Position | str | None = None,
        last: int | None = None,
        *,
        on_gap: Literal["raise"] = "raise",
    ) -> Cursor[Message]: ...
    @overload
    def subscribe(
        self,
        channel: str,
        since: Position | str | None = None,
        last: int | None = None,
        *,
        on_gap: Literal["yield"],
    ) -> Cursor[Message | Gap]: ...
    def subscribe(
        self,
        channel: str,
        since: Position | str | None = None,
        last: int | None = None,
        *,
        on_gap: OnGap = "raise",
    ) -> Cursor[Any]:
        """Returns a subscription in this process, for `async for` and `async with`. It needs no socket.

        Example:
            async for message in server.subscribe("news"):
                print(message.offset, message.json())

        Args:
            channel: Name of the channel.
            since: Where to start: behind a position (a `Position`, or its text `epoch:offset`), or with the
                oldest message that is kept (`"oldest"`). By default the subscription starts live.
            last: Number of newest messages to start with, in place of `since`.
            on_gap: What happens where publications are lost. "raise" (default): the iteration raises
                `GapError`, and continues behind the gap when it is resumed. "yield": it yields a `Gap`.

        Raises:
            ValueError: The name of the channel or `on_gap` is not valid, or `since` and `last` are both
                given.
            PositionError: `since` is not a position.
        """
        return Cursor(self._running(), channel_name(channel), Start.of(since, last), on_gap)

    def history(
        self,
        channel: str,
        *,
        last: int | None = None,
        since: Position | str | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> History:
        """Returns messages out of the channel's log. Without arguments: the newest 100, oldest first.

        Args:
            channel: Name of the channel.
            last: Number of newest messages to return, oldest of them first.
            since: Position behind which the list starts, or `"oldest"`. With `reverse`: the position before
                which it starts.
            limit: Maximum number of messages, by default 100; 0 asks for the position only, -1 for all.
            reverse: Return the newest message first.

        Raises:
            PositionError: `since` is not a position, or belongs to an earlier epoch.
            ValueError: `last` is given beside another argument, or a number is out of its range.

        Example:
            history = server.history("chat", last=50)
            cursor = server.subscribe("chat", since=history.position)  # no message between is lost
        """
        query = HistoryQuery.of(last, since, limit, reverse)
        name = channel_name(channel)
        try:
            messages, top = self._running().history(
                name, query.start.since, query.start.last, query.limit, query.is_reverse
            )
        except ServerStopped:
            raise
        except Exception as error:
            raise from_core(error) from None
        return History.of(messages, top, is_reverse=query.is_reverse)

    def history_remove(self, channel: str) -> None:
        """Empties the history of a channel. Its offset and its epoch continue.

        Raises:
            StoreUnavailable: The store is not available.
            ValueError: The name of the channel is not valid.
        """
        asked(self._running().history_remove, channel_name(channel))

    def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Returns the clients that are subscribed to a channel, by connection id.

        Raises:
            StoreUnavailable: The store is not available.
            ValueError: The name of the channel is not valid.
        """
        return {
            client: ClientInfo(
                client, user, *(raw_json.decode(info.strip())[0] if info else None for info in infos)
            )
            for client, (user, *infos) in asked(self._running().presence, channel_name(channel)).items()
        }

    def channels(self, pattern: str = "*") -> dict[str, int]:
        """Returns the channels that are in use, each with its number of subscriptions.

        Args:
            pattern: Names to list, with `*` for any text; by default all.
        """
        return self._running().channels(text("pattern", pattern))

    def connections(self) -> list[str]:
        """Returns the ids of the connections that are open now."""
        return self._running().connections()

    def _answers(self, timeout_s: float) -> bool:
        """Returns whether every thread of the server answers within `timeout_s`, for a watchdog."""
        return self._running().answers(int(timeout_s * 1_000))

    def disconnect(self, client: str, code: int = 3503, reason: str = "force disconnect") -> bool:
        """Closes a connection.

        Args:
            client: Id of the connection, one of `connections()`.
            code: Close code, 3000 to 4999; by default 3503. A client does not reconnect after 3500 to 3999
                and after 4500 to 4999.
            reason: Reason for the client, at most 123 bytes.

        Returns:
            Whether the connection was open.

        Raises:
            ValueError: The id is empty, or the code or the reason is not valid.
        """
        _check_client(client)
        _check_close(code, reason)
        return self._running().disconnect(client, code, reason)

    def disconnect_user(
        self, user: str, code: int = 3503, reason: str = "force disconnect", *, client: str = ""
    ) -> int:
        """Closes the connections of a user.

        Args:
            user: Id of the user.
            code: As of `disconnect`.
            reason: As of `disconnect`.
            client: Id of a connection: only this one, if it is the user's.

        Returns:
            The number of connections that were closed.

        Raises:
            ValueError: The user is empty, or the code or the reason is not valid.
        """
        text("user", user)
        _check_close(code, reason)
        return self._running().disconnect_user(user, text("client", client, may_be_empty=True), code, reason)

    def subscribe_user(
        self,
        user: str,
        channel: str,
        *,
        client: str = "",
        info: Any = None,
        data: Any = None,
        since: Position | str | None = None,
    ) -> int:
        """Subscribes the connections of a user to a channel, without their asking.

        Acts on clients of the SDKs, over each of their transports, that are connected now; a user who is
        offline is no error. For those who connect later see `User.subscriptions`. Plain event streams and
        polls have the channels of their URL.

        Args:
            user: Id of the user.
            channel: Name of the channel.
            client: Id of a connection: only this one, if it is the user's.
            info: As of `Grant`.
            data: As of `Grant`.
            since: Where the subscription starts, a position or `"oldest"`; by default with the next
                publication.

        Returns:
            The number of connections that have the subscription by this.

        Raises:
            CommandError: A connection has the channel already, or as many channels as it may have.
            StoreUnavailable: The store is not available.
            ValueError: The user is empty, the name of the channel is not valid, or a value has no JSON form.
        """
        text("user", user)
        grant = Grant(channel_name(channel), info, data)
        connections, refusal = self._running().subscribe_user(
            user,
            text("client", client, may_be_empty=True),
            *grant._for_core()[:3],
            Start.of(since).since,
        )
        if refusal == "failed":
            raise StoreError("the store is not available; subscribe again")
        if refusal:
            raise CommandError(*_SUBSCRIBE_REFUSALS[refusal])
        return connections

    def unsubscribe_user(self, user: str, channel: str, *, client: str = "") -> int:
        """Ends the subscriptions of a user's connections to a channel, whoever made them.

        Acts on the same connections as `subscribe_user`. SDKs do not subscribe again by themselves.

        Args:
            user: Id of the user.
            channel: Name of the channel.
            client: Id of a connection: only this one, if it is the user's.

        Returns:
            The number of connections that had the subscription.

        Raises:
            ValueError: The user is empty, or the name of the channel is not valid.
        """
        text("user", user)
        return self._running().unsubscribe_user(
            user, text("client", client, may_be_empty=True), channel_name(channel)
        )

    def cut(self, client: str) -> bool:
        """Drops the TCP connection of a client at once, without a close frame, as a network failure does.

        Args:
            client: Id of the connection, one of `connections()`.

        Returns:
            Whether the connection was open.

        Raises:
            ValueError: The id is empty.
        """
        _check_client(client)
        return self._running().cut(client)

    def stats(self) -> dict[str, Any]:
        """Returns gauges and counters of the server. They can be read after it was stopped.

        `POST /api/stats` returns the same.

        Server:
            - `version`, `uptime_ms`, `threads`; `flush`: method of sending.
            - `is_running`, `is_draining`; `last_error`: why a thread has died, empty if none has.

        Now:
            - `connections`, of `connections_max`; `websocket`, `sse`, `polls`, `emulated`, `unidirectional`:
              of each transport.
            - `listeners`: each with its connections. `backlog`: connections that wait in the kernel to be
              accepted. `handshakes`: accepted, and not yet clients.
            - `channels_in_memory`: channels in use. `channels_known`: channels whose epoch is remembered.
            - `subscriptions`, `channels`; `lagging`: subscriptions that are behind.
            - `clogged`: connections whose kernel buffer is full.
            - `commands_under_way`: commands of clients that wait for a hook or the store.
            - `hook_questions`: questions that wait for hooks.
            - `resident_bytes`: memory of this process. `kernel_bytes`: memory in the kernel for data that
              clients have not acknowledged (5,000 connections are read per second).
            - `store_trouble`: why the store takes no publications now, or "".
            - `wal_bytes`: size of the write-ahead log of SQLite.
            - `history_bytes`: publications kept, their encoded forms, and the channels themselves.
            - `stored_pages`: pages of histories, read from the store, that are in memory or being read.
              `stored_pages_waiting`: pages that wait for room (`limits.stored_pages`).
            - `inbox_bytes`, `inbox_users`: members, their inboxes and read positions.
            - `body_bytes`: length of the request bodies that are being read or carried out.
            - `unsent_bytes`: memory of replies that clients do not read.

        Since the start, connections:
            - `accepted`.
            - `accept_pauses`: times that accepting paused because of a limit.
            - `turned_away`: connections closed before their request was read, because descriptors or slots
              had run out.
            - `without_descriptor`: connections that were closed in this way, or accepted only to be refused,
              because descriptors had run out.
            - `refused`: over the limit of connections, or without a descriptor.
            - `handshake_timeouts`: no complete request, or no connect command, in time.
            - `bad_requests`: requests answered with 400, 405, 413, 415, 417, 426, 431 or 501, and WebSockets
              closed because of a message.
            - `bodies_refused`: answered with 503 because of `limits.body_bytes_total`.
            - `slow`: closed with 3008, or dropped because nothing was read in time; `unsent_closed` of them
              because of `limits.unsent_bytes_total`.
            - `no_pong`: closed with 3012. `no_ack`: dropped because the peer acknowledged nothing in time.

        Since the start, work:
            - `requests`, `commands`, `published`.
            - `command_pauses`: times that a client's commands were not read on, because
              `limits.commands_under_way` of them waited for answers.
            - `deflated`: messages that were compressed: each publication once in each encoding, however many
              subscribers it has. `inflated`: compressed messages of clients.
            - `recovered`, `not_recovered`: subscriptions that began with a position (each poll is one).
            - `gaps_told`: gaps that open subscriptions were notified of.
            - `proxy_requests`: questions that wait for backends. `proxy_connections`: connections opened to
              them.
            - `proxies_undecided`: such questions that ended without an answer. `proxies_refused`: those
              beyond `limits.proxy_waiting`.
            - `hooks_undecided`: questions that ended without an answer, because a hook was late or failed.
              `hooks_refused`: questions beyond `limits.hook_questions`. `disconnects_lost`: notices for
              `on_disconnect` beyond it.
            - `memory_trims`: times that freed memory was returned to the system.
            - `log_lines_lost`: records lost because the queue to `logging` was full.
              `log_records_suppressed`: records beyond `limits.log_records_per_s`.
            - `stored_pages_read`: pages read from the store for subscribers, with `stored_page_publications`.
              `stored_page_waits`: times that one had to wait for room.

        Since the start, fan-out:
            - `inbox_entries`: entries written into inboxes at publish.
            - `inbox_reads`; `inbox_merges`: ranges of logs merged by reads of inboxes.
            - `sweeps`: visits of a thread to a channel in read mode.
            - `fanout_write_ns`, `fanout_read_ns`: time spent writing entries and merging, nanoseconds.
            - `adaptive_factor` (now): factor by which the thresholds of adaptive channels are multiplied.
        """
        counters: dict[str, Any] = _json.loads(self._whole().stats())
        return counters

    def metrics(self) -> str:
        """Returns the page of metrics, in the text format of Prometheus. Also after the server was stopped.

        `GET /metrics` returns the same; docs/metrics.md says what each of them is.
        """
        return self._whole().metrics()

    def ledger(self, *, channel: str = "", client: str = "") -> dict[str, Any]:
        """Returns what became of every publication, by subscription: in all, and by channel.

        Args:
            channel: Name of the only channel, such as that of a log record; by default all channels.
            client: Id of the only client: its open subscriptions alone. By default all subscriptions, and
                those that have ended.

        It can be read after the server was stopped. `POST /api/ledger` returns the same for at most `limit`
        channels (100; at most 1,000): first those that do not balance, then those with most drops.

        - `published` = `delivered` + `conflated` + `dropped` (by reason) + `returned` + `pending`.
        - `is_balanced`: whether that holds for every subscription.
        - `unbalanced`: number of subscriptions for which it does not hold.
        - `missing_shards`: number of threads that have died. Subscriptions that were open there are missing.
        - `channels`: the same, by channel.
        - `forgotten`: the same for all channels together that are not in memory any more, if there are any.
        """
        ledger: dict[str, Any] = _json.loads(self._whole().ledger(channel, client))
        return ledger

    def __repr__(self) -> str:
        if getattr(self, "_is_forked", False):
            return "<carillon.Server of another process>"
        if self.is_running:
            return f"<carillon.Server running on {self.url}>"
        return f"<carillon.Server {'stopped' if self._was_started else 'not started'}>"

    def _repr_html_(self) -> str:
        is_running = self.is_running
        rows: dict[str, object] = {
            "state": "running" if is_running else "stopped" if self._was_started else "new"
        }
        if is_running:
            channels = self.channels()
            rows["clients"] = len(self.connections())
            rows["channels"] = f"{len(channels)}, {sum(channels.values())} subscriptions"
            rows["ledger"] = "balances" if self.ledger()["is_balanced"] else "does not balance"
            is_insecure = self._settings["client"]["insecure"]
            rows["mode"] = "insecure: everybody may do everything" if is_insecure else "keys required"
        return card.render("Carillon", self.url if is_running else None, rows)

    def _whole(self) -> _core.Server:
        if self._is_forked:
            raise ForkedError(
                "this server belongs to the parent process: its threads were not forked with it. "
                "Start one in the child, or start workers by spawn"
            )
        return self._core

    def _running(self) -> _core.Server:
        core = self._whole()
        if self._has_ended.is_set():
            raise ServerStopped("the server was stopped: make a new Server")
        if not self._was_started:
            raise ServerStopped("the server is not started: call start(), or use it in a with block")
        return core

    def _leave(self) -> None:
        if self.is_running:
            with contextlib.suppress(ServerStopped):
                self.drain(_LEAVE_S)
        self.stop()

    def _warn_if_nobody_may_do_anything(self, host: str) -> None:
        """Logs that every client is refused, on an address that other machines are meant to reach."""
        allows = any(configuration.allows_clients(self._settings)) or not self._hooks.is_empty
        if not is_loopback(host) and not allows:
            _log.warning(
                "host %s: other machines can reach it, so clients may do only what is allowed, and nothing "
                "is to clients without a user; give keys of tokens (client.token), channels "
                "(channel.namespaces, in Python also channels={...}) with allow_subscribe_for_client and "
                "allow_subscribe_for_anonymous, or hooks (client.proxy, in Python @server.on_connect)",
                host,
                extra={"event": "nothing_allowed"},
            )

    def _address_error(self, error: OSError, host: str, port: int) -> OSError:
        if error.errno != errno.EADDRINUSE:
            return error
        if "http_server.internal_port" in str(error):
            http = self._settings["http_server"]
            address = f"{http['internal_address']}:{http['internal_port']}"
            return AddressInUse(
                errno.EADDRINUSE,
                f"http_server.internal_port: {address} is taken by another process; end it, or give another",
            )
        address = f"{host}:{port}"
        ours = next((one for one in list(_live) if one.is_running and one.port == port), None)
        if ours:
            cause = f"by {ours!r} of this process; stop() it, or give another port (0 for any)"
        else:
            cause = (
                "by another process; end it, or give another port (0 for any). If the workers of an "
                "application start a server each, start one in a process of its own: carillon serve"
            )
        return AddressInUse(errno.EADDRINUSE, f"{address} is taken {cause}")


def _check_client(client: object) -> None:
    """Raises an error unless it names one connection: polls and handshakes have an empty id in common."""
    if text("client", client, may_be_empty=True) == "":
        raise ValueError("client: '' is not the id of a connection; give one of server.connections()")


def _check_close(code: int, reason: str) -> None:
    whole_number("code", code, 3000, 4999)
    if len(text("reason", reason, may_be_empty=True).encode()) > _CLOSE_REASON_BYTES:
        raise ValueError(f"reason: {shown(reason)} is longer than {_CLOSE_REASON_BYTES} bytes")


def _refused(channel: str, error: Exception) -> Exception:
    """Returns what to raise when the core refuses a publication.

    Raises:
        ValueError: The channel is not a channel name. It is checked only now: every publish would pay for it.
    """
    if not isinstance(error, CarillonError):
        channel_name(channel)
    return from_core(error)


def _listed(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    if isinstance(items, Mapping):
        raise TypeError("items: is a mapping; give (channel, data) pairs, as a dict's items() are")
    try:
        return list(items)
    except TypeError:
        raise TypeError(f"items: {shown(items)} is {kind(items)}; give (channel, data) pairs") from None


def _encoded(pairs: list[tuple[str, Any]]) -> list[tuple[str, bytes, bool]]:
    """Encodes all of them, before any is published."""
    encoded = []
    for pair in pairs:
        channel, data = _pair(pair)
        payload, is_json = encode(data)
        encoded.append((channel_name(channel), bytes(payload), is_json))
    return encoded


def _pair(pair: Any) -> Any:
    """Returns the item of a `publish_many` if it is a pair: the text "ab" would unpack as one."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{shown(pair)} is not a (channel, data) pair")
    return pair


def _check_items(pairs: list[Any]) -> None:
    """Raises an error that names the first item that cannot be published, if there is one."""
    for index, pair in enumerate(pairs):
        try:
            channel, data = _pair(pair)
            channel_name(channel)
            encode(data)
        except (TypeError, ValueError) as error:
            raise type(error)(f"items[{index}]: {error}") from None


def _event_handler(
    core: _core.Server, hooks: HookTable, loop: asyncio.AbstractEventLoop | None, reloads: Reloads
) -> Handler:
    """What the event thread does. It holds no server: one that is let go must be seen to be."""

    def handle(event: tuple[Any, ...]) -> None:
        if event[0] == "question":
            hooks.ask(core, loop, event)
        elif event[0] == "reload":
            reloads.on_request(event[1])
        else:
            access_log.emit(event)

    return handle


_live: weakref.WeakSet[Server] = weakref.WeakSet()
_parents_parts: list[object] = []


def _stop_all() -> None:
    for server in list(_live):
        server.stop()


def _mark_forked() -> None:
    for server in list(_live):
        server._is_forked = True
        # Never destroyed in the child: their threads are not there to join.
        _parents_parts.extend((server._core, server._events))


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_mark_forked)
