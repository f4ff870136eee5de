"""Replaces the gateways of a fleet one after another, and stops where one does not come back."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import shlex
import signal
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .exchange import NOTHING_LISTENS, Unanswered
from .gateway import DRAINS, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .fleet_watch import FleetWatch, Look
    from .gateway import Gateway, Listed
    from .rollout_lines import Lines

_PLACEHOLDER = re.compile(r"(?<!\$)\{(\w+)\}")
_SHOWN = 200  # characters of what a command has said
_OUTPUT_BYTES = 64 * 1024
_TOLD_S = 5.0  # between two lines about the same wait


class Stopped(Exception):  # noqa: N818
    """A rollout does not go on. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a rollout is done. All times are seconds.

    Attributes:
        pace_s: Time over which clients are asked to leave; None: that of the gateway.
        deadline_s: Time that clients have; None: that of the gateway.
        drain_timeout_s: Maximum time until a gateway that drains has left.
        expect: Share of its clients that must be at the others before it is started again.
        return_timeout_s: Maximum time for that, after it has left.
        restart: Command that starts the replacement; None: a supervisor does.
        restart_timeout_s: Maximum time of the command.
        start_timeout_s: Maximum time until the replacement is healthy.
        checks: Number of checks in a row after which a gateway counts as healthy, or as ill.
        interval_s: Time between two checks.
        pause_s: Time between two gateways.
    """

    pace_s: float | None
    deadline_s: float | None
    drain_timeout_s: float
    expect: float
    return_timeout_s: float
    restart: str | None
    restart_timeout_s: float
    start_timeout_s: float
    checks: int
    interval_s: float
    pause_s: float


class Rollout:
    """A rollout over some gateways of a fleet.

    Attributes:
        replaced: Gateways that are replaced.
        step: What it does now, and what to do if it ends here; empty between two gateways.

    Args:
        fleet: All gateways that are looked at.
        to_replace: Those of them that are replaced, in this order.
        settings: How.
        lines: Where the steps are printed.
    """

    def __init__(
        self, fleet: FleetWatch, to_replace: Sequence[Gateway], settings: Settings, lines: Lines
    ) -> None:
        self._fleet = fleet
        self._to_replace = tuple(to_replace)
        self._settings = settings
        self._lines = lines
        self.replaced: list[Gateway] = []
        self.step: str = ""
        self._said_uncounted: set[Gateway] | None = None  # None: before the first line

    async def run(self, *, is_dry: bool) -> None:
        """Replaces all of them.

        Args:
            is_dry: Whether to check and to print the plan only.

        Raises:
            Stopped: It does not go on.
        """
        begin_s = time.monotonic()
        look = await self._require_health(is_first=True)
        self._lines.say(
            "fleet",
            gateways=len(look.registry),
            clients=sum(each.clients for each in look.registry),
            to_replace=len(self._to_replace),
        )
        self._say_uncounted()
        for number, gateway in enumerate(self._to_replace, 1):
            if is_dry:
                self._say_plan(gateway, look)
                continue
            if self.replaced:
                if self._settings.pause_s:
                    self._lines.say("pause", seconds=self._settings.pause_s)
                    await self._until(None, self._settings.pause_s, _never)
                look = await self._require_health()
            await self._replace(gateway, number, look)
            self.replaced.append(gateway)
            self.step = ""
        if not is_dry:
            self._lines.say("done", replaced=len(self.replaced), seconds=time.monotonic() - begin_s)

    def whereabouts(self) -> str:
        """Says where it stands, and what to do to go on."""
        name = self._fleet.name_of
        left = [each for each in self._to_replace if each not in self.replaced]
        words = []
        if self.replaced:
            words.append(f"Replaced: {', '.join(map(name, self.replaced))}.")
        if self.step:
            words.append(f"{name(left[0])} is unfinished: {self.step}.")
        elif self.replaced and left:
            words.append("No gateway is unfinished.")
        if left and (self.step or self.replaced):
            rest = [each.place.text for each in left]
            rest += [f"--watch {each.place.text}" for each in self._fleet.gateways if each not in left]
            words.append(
                f"Go on, once all are healthy, with: carillon rollout {' '.join(rest)} and the same options"
            )
            if self.step and len(left) > 1:
                words.append(f"(without {left[0].place.text} if its replacement runs by then)")
        return " ".join(words)

    # The steps.

    async def _require_health(self, *, is_first: bool = False) -> Look:
        """Returns what is there, if nothing is wrong. One missed answer does not count as wrong.

        All that is compared later begins with this look, so no gateway may be missing in it.
        """
        look, missing = await self._complete_look(is_first)
        if is_first:
            self._require_identity(look, missing)
        for gateway, trouble in look.troubles.items():
            raise Stopped(f"{self._begun}: {self._fleet.name_of(gateway)} is not healthy: {trouble}")
        for each in look.registry:
            if each.is_draining:
                raise Stopped(f"{self._begun}: {each.address} drains")
        if len(look.registry) < 2:
            raise Stopped(
                f"{self._begun}: the fleet has no other gateway that could take the clients; "
                "to replace a single one use carillon serve --takeover"
            )
        await self._require_publishing(look, None)
        await self._require_first_counts(look)
        return look

    @property
    def _begun(self) -> str:
        return "no further gateway was asked to drain" if self.replaced else "nothing was begun"

    async def _complete_look(self, is_first: bool) -> tuple[Look, list[Gateway]]:
        """Looks until all gateways answer and are in the registry, at most as often as `checks` says.

        Returns the look, and, if it is the first one, the gateways that are not in its registry.
        """
        for check in range(1, self._settings.checks + 1):
            try:
                look = await self._fleet.look()
            except Unanswered as error:
                if check == self._settings.checks:
                    raise Stopped(f"{self._begun}: {error}") from None
            else:
                missing = await self._fleet.identify(look.registry) if is_first else []
                if check == self._settings.checks or not (look.troubles or missing):
                    return look, missing
            await asyncio.sleep(self._settings.interval_s)
        raise AssertionError("checks is at least 1")

    async def _require_first_counts(self, look: Look) -> None:
        """Makes sure that each gateway has a count with which its later refusals are compared."""
        for _ in range(1, self._settings.checks):
            if not self._fleet.without_count(look):
                return
            await asyncio.sleep(self._settings.interval_s)
            await self._require_publishing(look, None)
        for gateway, why in self._fleet.without_count(look).items():
            raise Stopped(f"{self._begun}: {self._fleet.name_of(gateway)} does not answer /metrics: {why}")

    def _require_identity(self, look: Look, missing: list[Gateway]) -> None:
        addresses = ", ".join(each.address for each in look.registry)
        for gateway in missing:
            trouble = look.troubles.get(gateway)
            raise Stopped(
                f"nothing was begun: {gateway.place.text} is not healthy: {trouble}"
                if trouble
                else f"nothing was begun: {gateway.place.text} is none of the addresses in the registry "
                f"({addresses}); write it as ADDRESS={gateway.place.url}"
            )
        names = [self._fleet.name_of(each) for each in self._fleet.gateways]
        for name in names:
            if names.count(name) > 1:
                raise Stopped(f"nothing was begun: {name} is given twice; give each gateway once")
        for stranger in self._fleet.strangers(look):
            raise Stopped(
                f"nothing was begun: {stranger.address} belongs to the fleet and is not given; "
                f"give it among NODES, or by --watch if it is not to be replaced"
            )

    async def _require_publishing(self, look: Look, without: Gateway | None) -> None:
        refused = await self._fleet.refusals(look, without)
        if refused:
            gateway, count = refused
            raise Stopped(
                f"{self._fleet.name_of(gateway)} has refused {count} connections or publications since the "
                "rollout began (carillon_refused_connections_total, carillon_store_errors_total, "
                "carillon_inbox_timeouts_total); see its log"
            )
        if self._said_uncounted is not None:
            self._say_uncounted()

    def _say_uncounted(self) -> None:
        """Says of which gateways refusals are not counted; a replacement may be one of them, too."""
        said = self._said_uncounted or set()
        for gateway in sorted(self._fleet.uncounted - said, key=self._fleet.name_of):
            self._lines.say("uncounted", self._fleet.name_of(gateway))
        self._said_uncounted = {*self._fleet.uncounted}

    def _needed(self, clients: int) -> int:
        return math.floor(clients * self._settings.expect)

    def _say_plan(self, gateway: Gateway, look: Look) -> None:
        entry = self._fleet.entry_of(gateway, look)
        assert entry is not None
        restart = self._settings.restart
        self._lines.say(
            "plan",
            self._fleet.name_of(gateway),
            version=entry.version,
            clients=entry.clients,
            clients_expected=self._needed(entry.clients),
            then=f"run: {filled(restart, gateway, entry)}" if restart else "wait for its supervisor",
        )

    async def _replace(self, gateway: Gateway, number: int, look: Look) -> None:
        begin_s = time.monotonic()
        name = self._fleet.name_of(gateway)
        old = self._fleet.entry_of(gateway, look)
        assert old is not None  # a healthy look has an entry for each gateway
        await self._drain(gateway, old, look.clients_without(old.uid))
        if self._settings.restart is not None:
            await self._restart(gateway, old)
        await self._wait_for_health(gateway, old)
        self._lines.say(
            "replaced",
            name,
            seconds=time.monotonic() - begin_s,
            number=number,
            to_replace=len(self._to_replace),
        )

    async def _drain(self, gateway: Gateway, old: Listed, others: int) -> None:
        settings, name = self._settings, self._fleet.name_of(gateway)
        begin_s = time.monotonic()
        self.step = "it was asked to drain, and ends by itself; its replacement is not started yet"
        try:
            connections = await self._ask_to_drain(gateway, old)
        except Refused as error:
            self.step = ""
            raise Stopped(f"{name} refuses to drain: {error}") from None
        except Unanswered as error:
            raise Stopped(f"{name} was asked to drain, and has not answered: {error}") from None
        self._lines.say("drain", name, connections=connections, clients=old.clients)
        left = old.clients
        missed = 0

        async def has_left(look: Look) -> bool:
            nonlocal left, missed
            left = next((each.clients for each in look.registry if each.uid == old.uid), 0)
            # A busy gateway may be missing in the list for once, and not answer for once.
            trouble = DRAINS if look.has(old.uid) else await gateway.trouble()
            missed = 0 if trouble == DRAINS else missed + 1
            if trouble in ("", NOTHING_LISTENS):
                return True
            if missed >= settings.checks:  # it hangs, or its machine has gone: a process may still be there
                raise Stopped(
                    f"{name} does not answer any more while it drains ({trouble}), so nobody knows whether "
                    "it has ended; make sure of that before its replacement is started"
                )
            return False

        if not await self._until(
            gateway, settings.drain_timeout_s, has_left, lambda: f"{left:,} clients are still there"
        ):
            raise Stopped(
                f"{name}: the drain did not end within {settings.drain_timeout_s:g} s (--drain-timeout); "
                f"{left:,} clients are still there"
            )
        self._lines.say("left", name, seconds=time.monotonic() - begin_s)
        self.step = "it was drained and has ended; its replacement is not started yet"
        needed = self._needed(old.clients)
        back = 0

        async def are_back(look: Look) -> bool:
            nonlocal back
            back = look.clients_without(old.uid) - others
            return back >= needed

        if not await self._until(
            gateway,
            settings.return_timeout_s,
            are_back,
            lambda: f"{max(back, 0):,} more clients are at the others, of {needed:,} that are expected",
        ):
            raise Stopped(
                f"{name}: its clients did not come back: {max(back, 0):,} more are at the others, and "
                f"{needed:,} of its {old.clients:,} were expected (--expect {settings.expect:g}) within "
                f"{settings.return_timeout_s:g} s (--return-timeout)"
            )
        self._lines.say(
            "back", name, clients_back=back, clients=old.clients, seconds=time.monotonic() - begin_s
        )

    async def _ask_to_drain(self, gateway: Gateway, old: Listed) -> int:
        """Asks again if no answer comes and it does not drain. Returns the number of connections asked."""
        settings = self._settings
        for check in range(1, settings.checks + 1):
            try:
                return await gateway.drain(settings.pace_s, settings.deadline_s)
            except Refused:
                raise
            except Unanswered:
                if await gateway.trouble() == DRAINS:
                    return old.clients  # the request has arrived
                if check == settings.checks:
                    raise
            await asyncio.sleep(settings.interval_s)
        raise AssertionError("checks is at least 1")

    async def _restart(self, gateway: Gateway, old: Listed) -> None:
        settings, name = self._settings, self._fleet.name_of(gateway)
        assert settings.restart is not None
        command = filled(settings.restart, gateway, old)
        begin_s = time.monotonic()
        self.step = f"it was drained; the command that starts its replacement was begun: {command}"
        code, said = await _run(command, settings.restart_timeout_s)
        if code is None:
            raise Stopped(
                f"{name}: the command did not end within {settings.restart_timeout_s:g} s "
                f"(--restart-timeout), and was killed: {command}{said}"
            )
        if code:
            raise Stopped(f"{name}: the command failed with exit code {code}: {command}{said}")
        self.step = "the command that starts its replacement has ended; it was not seen healthy yet"
        self._lines.say("restart", name, seconds=time.monotonic() - begin_s, command=command)

    async def _wait_for_health(self, gateway: Gateway, old: Listed) -> None:
        settings, name = self._settings, self._fleet.name_of(gateway)
        begin_s = time.monotonic()
        healthy = 0
        trouble = "it was not looked at yet"
        new: Listed | None = None

        async def is_healthy(look: Look) -> bool:
            nonlocal healthy, trouble, new
            new = self._fleet.entry_of(gateway, look)
            trouble = await gateway.trouble()
            if not trouble and (new is None or new.uid == old.uid):
                trouble = "the registry of the fleet has no new process at this address"
            if not trouble and new is not None and new.is_draining:
                trouble = DRAINS
            healthy = 0 if trouble else healthy + 1
            return healthy >= settings.checks

        if not await self._until(
            gateway,
            settings.start_timeout_s,
            is_healthy,
            lambda: f"its replacement is not there: {trouble}" if trouble else "its replacement is healthy",
        ):
            who = "its replacement" if settings.restart else "its supervisor's replacement"
            raise Stopped(
                f"{name}: {who} was not healthy {settings.checks} times in a row within "
                f"{settings.start_timeout_s:g} s (--start-timeout): "
                f"{trouble or 'healthy, but not for long enough'}"
            )
        assert new is not None
        self._lines.say(
            "healthy",
            name,
            seconds=time.monotonic() - begin_s,
            version_before=old.version,
            version=new.version,
        )

    # Waiting.

    async def _until(
        self,
        gateway: Gateway | None,
        limit_s: float,
        condition: Callable[[Look], Awaitable[bool]],
        state: Callable[[], str] | None = None,
    ) -> bool:
        """Looks at the fleet again and again until a condition holds. Returns whether it did in time.

        Now and then it prints the state, so that nobody has to guess what it waits for.
        """
        begin_s = time.monotonic()
        told_s = begin_s
        while True:
            if await condition(await self._look(gateway)):
                return True
            now_s = time.monotonic()
            left_s = begin_s + limit_s - now_s
            if left_s <= 0:
                return False
            if gateway is not None and state is not None and now_s - told_s >= _TOLD_S:
                told_s = now_s
                self._lines.say(
                    "waits",
                    self._fleet.name_of(gateway),
                    state=state(),
                    seconds=now_s - begin_s,
                    limit_s=limit_s,
                )
            await asyncio.sleep(min(self._settings.interval_s, left_s))

    async def _look(self, without: Gateway | None) -> Look:
        """Looks at all gateways but one, and stops if one of them is ill."""
        failures = 0
        while True:
            try:
                look = await self._fleet.look(without)
                break
            except Unanswered as error:
                failures += 1
                if failures >= self._settings.checks:
                    raise Stopped(f"another gateway fell ill: {error}") from None
                await asyncio.sleep(self._settings.interval_s)
        ill = self._fleet.ill(look, self._settings.checks)
        if ill:
            gateway, trouble = ill
            raise Stopped(f"another gateway fell ill: {self._fleet.name_of(gateway)}: {trouble}")
        await self._require_publishing(look, without)
        return look


async def _never(_: Look) -> bool:
    return False


def unknown_placeholder(command: str) -> str | None:
    """Returns a placeholder of a command that has no value; None if all have one."""
    known = ("node", "url", "host", "port")
    return next((each for each in _PLACEHOLDER.findall(command) if each not in known), None)


def filled(command: str, gateway: Gateway, entry: Listed) -> str:
    """Returns the command with the values of its placeholders, quoted for a shell."""
    words = {**gateway.place.with_words(), "node": entry.address}
    return _PLACEHOLDER.sub(lambda found: shlex.quote(words[found[1]]), command)


async def _run(command: str, limit_s: float) -> tuple[int | None, str]:
    """Runs a command in a shell. Returns its exit code, None if it was killed, and what it said last."""
    with tempfile.TemporaryFile() as output:  # no pipe: a server that it starts may keep it open
        process = await asyncio.create_subprocess_shell(
            command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        code: int | None = None
        try:
            async with asyncio.timeout(limit_s):
                code = await process.wait()
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - _OUTPUT_BYTES))
        lines = output.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    printable = "".join(each if each.isprintable() else "?" for each in last)[:_SHOWN]
    return code, f" ({printable})" if printable else ""
