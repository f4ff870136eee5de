"""Looks at all gateways of a fleet at once, and says which of them has fallen ill."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .exchange import Unanswered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .gateway import Gateway, Listed

_RESOLVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a fleet shows at one moment.

    Attributes:
        registry: The gateways that are registered, by the eyes of one that is healthy.
        troubles: Why a gateway that was looked at cannot serve clients; only those that cannot.
    """

    registry: tuple[Listed, ...]
    troubles: dict[Gateway, str]

    def clients_without(self, uid: str) -> int:
        """Number of clients of all gateways but one."""
        return sum(each.clients for each in self.registry if each.uid != uid)

    def has(self, uid: str) -> bool:
        """Whether the registry has this process."""
        return any(each.uid == uid for each in self.registry)


class FleetWatch:
    """The gateways of a fleet, each of which has a place and, once it was found, an address in the registry.

    Args:
        gateways: All that are looked at.
    """

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self.gateways: tuple[Gateway, ...] = tuple(gateways)
        self._listed: dict[Gateway, str] = {}
        self._refused: dict[str, float] = {}  # by process
        self._at_first: set[str] = set()  # processes that were there at the first count
        self._failures: dict[Gateway, int] = {}
        self.uncounted: set[Gateway] = set()
        self._unanswered: dict[Gateway, str] = {}  # of the newest count

    async def identify(self, registry: Iterable[Listed]) -> list[Gateway]:
        """Finds each gateway in the registry. Returns those that are not there.

        An address there is the one at which a gateway listens, so the host may have another name.
        """
        known = list(registry)
        missing = []
        for gateway in self.gateways:
            address = await _address_of(gateway, known)
            if address is None:
                missing.append(gateway)
            else:
                self._listed[gateway] = address
        return missing

    def name_of(self, gateway: Gateway) -> str:
        """The gateway's address in the registry."""
        return self._listed.get(gateway, gateway.place.listed)

    def entry_of(self, gateway: Gateway, look: Look) -> Listed | None:
        """The entry of a gateway in the registry. Where an old process ends beside a new one, the new one."""
        found = [each for each in look.registry if each.address == self.name_of(gateway)]
        return next((each for each in found if not each.is_draining), found[0] if found else None)

    def strangers(self, look: Look) -> list[Listed]:
        """Entries of the registry that are none of the gateways."""
        ours = {self.name_of(each) for each in self.gateways}
        return [each for each in look.registry if each.address not in ours]

    async def look(self, without: Gateway | None = None) -> Look:
        """Looks at all gateways but one, and at the registry by one that is healthy.

        Raises:
            Unanswered: None of them gives the registry.
        """
        seen = [each for each in self.gateways if each is not without]
        found = await asyncio.gather(*(each.trouble() for each in seen))
        troubles = {each: trouble for each, trouble in zip(seen, found, strict=True) if trouble}
        why = ""
        for gateway in sorted(seen, key=lambda each: each in troubles):
            try:
                registry = tuple(await gateway.fleet())
            except Unanswered as error:
                why = why or f"{gateway.place.text}: {error}"
                troubles.setdefault(gateway, str(error))
                continue
            look = Look(registry, troubles)
            for each in seen:
                if each in self._listed and each not in troubles and self.entry_of(each, look) is None:
                    troubles[each] = "it is not in the registry of the fleet"
            return look
        raise Unanswered(why or "no other gateway is known, which could tell of the fleet")

    def ill(self, look: Look, checks: int) -> tuple[Gateway, str] | None:
        """Counts what was seen. Returns a gateway that was not healthy this many times in a row, and why."""
        for gateway in self.gateways:
            trouble = look.troubles.get(gateway)
            self._failures[gateway] = self._failures.get(gateway, 0) + 1 if trouble else 0
            if trouble and self._failures[gateway] >= checks:
                return gateway, trouble
        return None

    async def refusals(self, look: Look, without: Gateway | None = None) -> tuple[Gateway, int] | None:
        """Returns a gateway that has refused connections or publications since the first call, and how many.

        A process that was not there then counts from its start.
        """
        if not self._at_first:
            self._at_first = {each.uid for each in look.registry}
        for gateway in self.gateways:
            entry = self.entry_of(gateway, look)
            if gateway is without or gateway in look.troubles or entry is None or entry.is_draining:
                continue
            try:
                count = await gateway.refused()
            except Unanswered as error:
                self._unanswered[gateway] = str(error)
                continue  # its health says so as well
            if count is None:
                self.uncounted.add(gateway)
                continue
            first = count if entry.uid in self._at_first else 0
            more = count - self._refused.setdefault(entry.uid, first)
            if more > 0:
                return gateway, round(more)
        return None

    def without_count(self, look: Look) -> dict[Gateway, str]:
        """Gateways whose process has no count yet that later ones are compared with, and why."""
        found = {}
        for gateway in self.gateways:
            entry = self.entry_of(gateway, look)
            if gateway not in self.uncounted and entry is not None and entry.uid not in self._refused:
                found[gateway] = self._unanswered.get(gateway, "it was not asked yet")
        return found


async def _address_of(gateway: Gateway, registry: Sequence[Listed]) -> str | None:
    wanted = gateway.place.listed
    if any(each.address == wanted for each in registry):
        return wanted
    port = wanted.rpartition(":")[2]
    here = await _resolved(wanted)
    for each in registry:
        if each.address.rpartition(":")[2] == port and here & await _resolved(each.address):
            return each.address
    return None


async def _resolved(address: str) -> set[str]:
    host = address.rpartition(":")[0].strip("[]")
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return set()
    return {str(each[4][0]) for each in found}
