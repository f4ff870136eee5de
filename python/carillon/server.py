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
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from . import _core, access_log, card
from . import config as configuration
from .bridge import EventThread, Handler, LoopBridge
from .channel import channel_name
from .cursor import Cursor
from .demo import pages as demo_pages
from .errors import AddressInUse, ForkedError, ServerFailed, ServerStopped, StoreError, from_core
from .fanout import FanOutMethods
from .hooks import HookDecorators, HookTable
from .items import ClientInfo, History
from .listener import Listener, url_of
from .logs import logger
from .payload import PublishOptions, core_arguments, encode, takes_publish_options
from .position import Position
from .transports import raw_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from .channel import Channel
    from .items import Gap, Message
    from .stream import OnGap

_log = logger("server")

_LEAVE_S = 1.0  # what a context manager gives clients to leave
_SLICE_S = 0.1  # how long a wait may hold back a signal
_HOOKS_S = 1.0  # what a hook that still runs may hold up a stop
_CLOSE_REASON_BYTES = 123  # what a WebSocket close frame has room for
_EVENTS = 1 << 16  # questions and log records that may wait for Python


class Server(HookDecorators, FanOutMethods):
    """A hub with its listening socket. Its threads are native: no event loop is needed to run it.

    All methods may be called from any thread. A stopped server stays stopped (its `ledger` and `stats` can
    still be read); make a new one to start again.

    Args:
        host: Address to listen on, by default that of `config`, else 127.0.0.1.
        port: Port, 0 picks a free one. By default that of `config`, else 0.
        threads: Shard threads, 0 is one per core (at most 4).
        flush: How bytes leave: `io_uring`, `send`, or `auto` (default), the first of them that works.
        store: `memory` (default) or the name of another store.
        channels: Settings per channel pattern (`*` matches anything, the longest pattern wins).
        api_key: Key of the HTTP API.
        insecure: Everybody may do everything. Left out, it is on if the host is loopback and neither `config`
            nor `api_key` is given; the core refuses it on any other address.
        allowed_origins: Web origins that browsers may come from, with `*` as glob.
        limits: Limits by name, as in the `limits` table of a configuration file.
        heartbeat: `ping_interval_ms` and `pong_timeout_ms` (`client.ping_interval` and `client.pong_timeout`
            of a configuration file), `comment_interval_ms` and `sse_retry_ms`.
        demo: Serve the demo page at `/`.
        loop: The event loop that hooks run on, from whatever thread it runs. By default the server has one
            for them, on a thread of its own.
        config: A TOML or JSON file, or the same as a dict. Arguments override it.

    Raises:
        ConfigError: A setting is wrong; the message names it, its value and the remedy.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        threads: int | None = None,
        flush: str | None = None,
        store: str | None = None,
        channels: Mapping[str, Channel | Mapping[str, Any]] | None = None,
        api_key: str | None = None,
        insecure: bool | None = None,
        allowed_origins: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        heartbeat: Mapping[str, int] | None = None,
        demo: bool | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        config: str | Path | Mapping[str, Any] | None = None,
    ) -> None:
        self._state_lock = threading.Lock()
        self._is_forked = False
        self._was_started = False
        self._has_ended = threading.Event()
        self._nowait_bridge: _core.Bridge | None = None
        self._nowait_ids = itertools.count(1)
        self._hooks = HookTable()
        self._loop = loop
        self._events: EventThread | None = None
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
        self._settings = configuration.settings_of_server(arguments, config)
        pages = demo_pages() if self._settings.get("demo") else {}
        try:
            self._core = _core.Server(_json.dumps(self._settings), pages)
        except Exception as error:
            raise from_core(error) from None

    # Life.

    def start(self) -> Self:
        """Listens and serves. Returns the server itself, so that `Server().start()` is one expression.

        Raises:
            AddressInUse: The address is taken.
            OSError: The address cannot be used.
            ServerStopped: It was stopped before.
        """
        return self._begin(_core.Server.start)

    def take_over(self) -> Self:
        """Starts with the listening socket, the connections and the logs of the server that runs there.

        That server must be another process of the same user that has called `offer_takeover`, as `carillon
        serve` does. Its clients notice nothing, and it ends. Hooks, readers and other Python objects do not
        move. Use it in the place of `start`.

        Raises:
            TakeoverError: Nobody offers a takeover there, or it failed: then the other server goes on, and
                this one cannot be used any more.
        """
        try:
            return self._begin(_core.Server.take_over)
        except Exception:
            self._has_ended.set()
            raise

    def offer_takeover(self) -> None:
        """Lets another process of this user take over, at the Unix socket of the option `takeover.socket`.

        Once, while it runs. `is_given_away` tells when that has happened.

        Raises:
            TakeoverError: The socket cannot be had.
        """
        try:
            self._running().offer_takeover()
        except Exception as error:
            raise from_core(error) from None

    @property
    def is_given_away(self) -> bool:
        """Whether another process has taken over: `drain`, for who was left behind, and `stop` remain.

        Who publishes here is told `StoreError`, and publishes again there.
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
            try:
                core.set_events(events)
                self._hooks.install(core)
                begin(core)
            except Exception as error:
                events.close()
                if isinstance(error, OSError):
                    raise self._address_error(
                        error, self.host, self._settings["http_server"]["port"]
                    ) from None
                raise from_core(error) from None
            handle = _event_handler(core, self._hooks, self._loop)
            self._events = EventThread(f"carillon-events-{core.port}", events, handle)
            self._was_started = True
        _live.add(self)
        return self

    def stop(self) -> None:
        """Closes every connection and ends the threads. Idempotent."""
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
        if events is not None:  # outside of the lock: a hook may be in stop(), too
            self._hooks.close()
            events.close(_HOOKS_S)

    def drain(self, deadline: float | None = None, pace: float | None = None) -> bool:
        """Asks all clients to go, takes no new ones, and waits for them. The server still runs afterwards.

        Each is asked at a random moment, so that they do not all come elsewhere at once. How many were asked,
        left, and did not is logged. Where the API has begun a drain already, this waits for its end.
        Ctrl-C ends the wait; the drain goes on until `stop`.

        Args:
            deadline: Seconds to wait at most, by default `shutdown.timeout` of the configuration.
            pace: Seconds within which they are asked, by default `shutdown.pace`, else 1 ms per client, half
                of the deadline at most.

        Returns:
            Whether all left in time.
        """
        return self._running().drain(*self._drain_ms(deadline, pace))

    def _drain_ms(self, deadline: float | None, pace: float | None) -> tuple[int, int | None]:
        if deadline is None:
            deadline = configuration.seconds(self._settings["shutdown"]["timeout"])
        return int(deadline * 1000), None if pace is None else int(pace * 1000)

    def listen(self, host: str | None = None, port: int = 0) -> Listener:
        """Listens at one more address, with the same hub behind it.

        Args:
            host: Address, by default that of the server.
            port: Port, 0 picks a free one.

        Raises:
            AddressInUse: The address is taken.
            OSError: The address cannot be used.
            ConfigError: The server is insecure, and others can reach this address.
        """
        host = self.host if host is None else host
        try:
            number = self._running().listen(host, port)
        except OSError as error:
            raise self._address_error(error, host, port) from None
        except Exception as error:
            raise from_core(error) from None
        return next(each for each in self.listeners if each.number == number)

    @property
    def listeners(self) -> list[Listener]:
        """The addresses at which it listens; first that of the configuration, until it is drained."""
        return [Listener(self, *each) for each in self._running().listeners()]

    @property
    def is_draining(self) -> bool:
        """Whether all clients are being asked to go, or have been, by `drain`, a signal or the API."""
        return bool(self._whole().is_draining)

    def wait(self) -> None:
        """Waits until the server is stopped. Signals (Ctrl-C) are seen within 100 ms.

        Raises:
            ServerFailed: One of its threads has died; the log says more. `stop` is all that is left to do.
        """
        core = self._running()
        while not self._has_ended.wait(_SLICE_S) and core.is_running:
            pass
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
        """Whether it serves. False also when one of its threads has died: see `wait` and the log."""
        return (
            self._was_started
            and not self._has_ended.is_set()
            and not self._is_forked
            and self._core.is_running
        )

    @property
    def failure(self) -> str:
        """What one of its threads has died of; empty if none has. Readable after the server was stopped."""
        return self._whole().failure

    @property
    def host(self) -> str:
        """The address it listens on."""
        return str(self._settings["http_server"]["address"])

    @property
    def port(self) -> int:
        """The port it listens on (the one that was picked, if 0 was asked for)."""
        return int(self._whole().port)

    @property
    def url(self) -> str:
        """Where clients reach it, `http://host:port`."""
        return url_of(self.host, self.port)

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration in force, defaults included (a copy)."""
        copy: dict[str, Any] = _json.loads(_json.dumps(self._settings))
        return copy

    # Publications.

    @takes_publish_options
    def publish(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> Position:
        """Publishes, and waits (without the GIL) if the store makes it wait.

        Where the channel has members and is in write mode, it returns when all their inboxes have it.

        Args:
            channel: Where.
            data: dict, list, str, number, bool or None (sent as JSON), or any buffer (sent as binary).
            **options: `json=True`: the buffer is JSON text, which is validated and passed on byte for byte.
                `tags`: short texts that travel with the publication. `key`: conflation key; on a channel with
                `conflate`, only the newest of a key in one write is delivered. `idempotency_key`: a second
                publish with this key returns the position of the first. `skip_history=True`: deliver to the
                subscribers of this moment, and keep nothing.

        Returns:
            The place in the channel's log (offset 0 if it keeps none).

        Raises:
            PayloadTooLarge: Larger than the limit.
            ValueError: The payload or the channel name is not valid.
            TypeError: The payload is of a type that has no meaning here.
            StoreError: The store refused.
        """
        core = self._running()
        what = core_arguments(data, options)
        try:
            return core.publish(channel, *what)
        except Exception as error:
            raise from_core(error) from None

    @takes_publish_options
    async def publish_async(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> Position:
        """As `publish`, without ever blocking the running loop."""
        core = self._running()
        what = core_arguments(data, options)
        bridge = LoopBridge.of_running_loop()
        done: asyncio.Future[Position] = bridge.loop.create_future()

        def on_event(event: tuple[Any, ...]) -> None:
            if not done.done():
                if event[0] == "completion":
                    done.set_result(Position(event[2], event[3]))
                elif event[0] == "error":
                    done.set_exception(StoreError(event[2]))
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
            raise from_core(error) from None
        finally:
            bridge.release(number)

    @takes_publish_options
    def publish_nowait(self, channel: str, data: Any, **options: Unpack[PublishOptions]) -> None:
        """Publishes without waiting for the store. What it refuses later is logged to `carillon.server`."""
        core = self._running()
        what = core_arguments(data, options)
        with self._state_lock:
            if self._nowait_bridge is None:
                self._nowait_bridge = _core.Bridge(4096)
            bridge = self._nowait_bridge
        for event in bridge.drain(4096):
            if event[0] == "error":
                _log.error("a publication was refused by the store: %s", event[2])
        try:
            core.publish_start(bridge, next(self._nowait_ids), channel, *what)
        except Exception as error:
            raise from_core(error) from None

    def publish_many(self, items: Iterable[tuple[str, Any]]) -> list[Position]:
        """Publishes many (channel, data) pairs and enters the native code once.

        Returns:
            Their positions, in the order given.
        """
        core = self._running()
        pairs = items if type(items) is list else list(items)
        try:
            positions = core.publish_many(pairs)
            if positions is None:
                positions = core.publish_encoded(_encoded(pairs))
            return positions
        except Exception as error:
            raise from_core(error) from None

    # Reading.

    @overload
    def subscribe(
        self, channel: str, since: Position | str | None = None, *, on_gap: Literal["raise"] = "raise"
    ) -> Cursor[Message]: ...
    @overload
    def subscribe(
        self, channel: str, since: Position | str | None = None, *, on_gap: Literal["yield"]
    ) -> Cursor[Message | Gap]: ...
    def subscribe(
        self, channel: str, since: Position | str | None = None, *, on_gap: OnGap = "raise"
    ) -> Cursor[Any]:
        """Returns a subscription in this process, for `async for` and `async with`. It needs no socket.

        Example:
            async for message in server.subscribe("news"):
                print(message.offset, message.json())

        Args:
            channel: Name of the channel.
            since: Position behind which delivery starts; by default now.
            on_gap: What happens where publications are lost. "raise" (default): the iteration raises
                `GapError`, and continues behind the gap when it is resumed. "yield": it yields a `Gap`.

        Raises:
            ValueError: The name of the channel or `on_gap` is not valid.
            PositionError: `since` is not a position.
        """
        return Cursor(self._running(), channel_name(channel), Position.of(since), on_gap)

    def history(
        self, channel: str, limit: int = 100, since: Position | str | None = None, reverse: bool = False
    ) -> History:
        """What the log holds.

        Args:
            channel: Which.
            limit: Messages at most; 0 asks for the position only, -1 for all.
            since: Only what came after (with `reverse`: before) this position.
            reverse: Newest first.

        Raises:
            PositionError: `since` belongs to an earlier epoch.
        """
        position = Position.of(since)
        try:
            messages, top = self._running().history(
                channel,
                limit,
                position.epoch if position else None,
                position.offset if position else 0,
                reverse,
            )
        except ServerStopped:
            raise
        except Exception as error:
            raise from_core(error) from None
        return History(messages, top)

    def history_remove(self, channel: str) -> None:
        """Empties the log of a channel. Offset and epoch go on."""
        self._running().history_remove(channel)

    def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is on a channel now, by connection id."""
        return {
            client: ClientInfo(client, user, raw_json.decode(info.strip())[0] if info else None)
            for client, (user, info) in self._running().presence(channel).items()
        }

    def channels(self, pattern: str = "*") -> dict[str, int]:
        """Channels that are in use, with their number of subscribers."""
        return self._running().channels(pattern)

    def connections(self) -> list[str]:
        """Ids of the connections that are open now. A thread that has died has none any more."""
        return self._running().connections()

    def disconnect(self, client: str, code: int = 3503, reason: str = "force disconnect") -> bool:
        """Closes a connection.

        Args:
            client: Its id.
            code: Close code, 3000 to 4999. Those from 3500 to 3999 and from 4500 to 4999 tell clients not to
                come back.
            reason: For the client, at most 123 bytes.

        Returns:
            Whether it was there.

        Raises:
            ValueError: The id is empty, or the code or the reason is outside of these.
        """
        _check_client(client)
        _check_close(code, reason)
        return self._running().disconnect(client, code, reason)

    def cut(self, client: str) -> bool:
        """Drops the TCP connection of a client at once, without a goodbye: for tests of what comes after.

        Args:
            client: Id of the connection, one of `connections()`.

        Returns:
            Whether it was there.

        Raises:
            ValueError: The id is empty.
        """
        _check_client(client)
        return self._running().cut(client)

    def stats(self) -> dict[str, Any]:
        """Gauges and counters of the server, also `POST /api/stats`. Readable after it was stopped.

        Now: `connections` (of `connections_max`), `listeners` with their connections, `backlog` (newcomers
        that wait in the kernel to be accepted), `handshakes` (accepted, and not yet clients), `websocket`,
        `sse`, `polls`, `subscriptions`, `channels`, `clogged` (connections whose kernel buffer is full),
        `commands_under_way` (commands of clients that wait for a hook or the store),
        `kernel_bytes` (memory in which the kernel holds what clients have not acknowledged; a thread looks at
        5,000 connections a second for it), `resident_bytes` (memory of this process, without that), `lagging`
        (subscriptions that are behind), `history_bytes` (publications kept, their encoded forms, and the
        channels themselves), `inbox_bytes` and `inbox_users` (members, their inboxes and read positions),
        `hook_questions` (under way to hooks), `body_bytes` (announced by the request bodies that are being
        read), `unsent_bytes` (memory of the replies that clients do not read).

        Ever: `accepted` connections, `accept_pauses` (the limits of admission made newcomers wait),
        `turned_away` (out of descriptors, or closed unheard for want of a place), `without_descriptor` (those
        of them for want of a descriptor), `refused` (over the limit of connections, or for want of a
        descriptor), `handshake_timeouts` (no whole request, or no connect command, in
        time), `bad_requests` (answered with 400, 405, 413, 415, 417, 426, 431 or 501; WebSockets closed for
        what they sent), `bodies_refused` (503, over `limits.body_bytes_total`),
        `unsent_closed` (connections closed because of `limits.unsent_bytes_total`, counted in `slow`, too),
        `memory_trims` (freed memory was given back to the system), `requests`, `commands`,
        `command_pauses` (a client's commands were not read on, because
        `limits.commands_under_way` of them waited for answers), `published`, `recovered` and `not_recovered`
        (subscriptions that began with a position, each poll counted), `gaps_told` (to subscriptions while
        they were open), `slow` (closed with 3008, or dropped since nothing was taken in time), `no_pong`
        (3012), `no_ack` (dropped since their peer acknowledged nothing in time), `log_lines_lost`
        (the queue to `logging` was full), `hooks_undecided` (questions that ended without an answer: a hook
        was late or failed) and `hooks_refused` (questions for which there was no room,
        `limits.hook_questions`).

        Fan-out, ever: `inbox_entries` (entered into inboxes at publish: the store writes of fan-out on
        write), `inbox_reads`, `inbox_merges` (ranges of logs that reads of inboxes were merged from),
        `sweeps` (visits of a thread to a channel in read mode), `fanout_write_ns` and `fanout_read_ns` (time
        spent entering and merging, nanoseconds); and now: `adaptive_factor`, which the thresholds of adaptive
        channels are multiplied with.
        """
        counters: dict[str, Any] = _json.loads(self._whole().stats())
        return counters

    def ledger(self) -> dict[str, Any]:
        """Published against delivered, conflated, dropped, returned and pending: in all, and by channel.

        `is_balanced` says that no publication is unaccounted for, `unbalanced` how many subscriptions have an
        account of their own that does not balance, `missing_shards` how many threads have died: subscriptions
        that were open there are not in the sums. Also `POST /api/ledger`, with at most `limit` channels
        (100; not more than 1,000): first those that do not balance, then those with most drops. Readable
        after the server was stopped.
        """
        ledger: dict[str, Any] = _json.loads(self._whole().ledger())
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

    def _address_error(self, error: OSError, host: str, port: int) -> OSError:
        if error.errno != errno.EADDRINUSE:
            return error
        address = f"{host}:{port}"
        ours = next((one for one in list(_live) if one.is_running and one.port == port), None)
        cause = f"by {ours!r} of this very process: stop() it" if ours else "by another process: end it"
        return AddressInUse(
            errno.EADDRINUSE, f"{address} is taken {cause}, choose another port, or port 0 for any"
        )


def _check_client(client: str) -> None:
    """Raises ValueError: connections without an id (polls, handshakes) are not to be named together."""
    if not client:
        raise ValueError("client: '' is no id of a connection; take one of server.connections()")


def _check_close(code: int, reason: str) -> None:
    if not isinstance(code, int) or not 3000 <= code <= 4999:
        raise ValueError(f"code: {code!r} is not a close code for clients; give one from 3000 to 4999")
    if len(reason.encode()) > _CLOSE_REASON_BYTES:
        raise ValueError(f"reason: is longer than {_CLOSE_REASON_BYTES} bytes: {reason!r}")


def _encoded(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, bytes, bool]]:
    """All of them, before any is published."""
    encoded = []
    for channel, data in pairs:
        payload, is_json = encode(data)
        encoded.append((channel, bytes(payload), is_json))
    return encoded


def _event_handler(core: _core.Server, hooks: HookTable, loop: asyncio.AbstractEventLoop | None) -> Handler:
    """What the event thread does. It holds no server: one that is let go must be seen to be."""

    def handle(event: tuple[Any, ...]) -> None:
        if event[0] == "question":
            hooks.ask(core, loop, event)
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
