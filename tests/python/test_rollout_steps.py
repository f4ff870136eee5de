"""The steps of `carillon rollout` over gateways that do what a test says, look by look."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from carillon.cli.exchange import NOTHING_LISTENS, Unanswered
from carillon.cli.fleet_watch import FleetWatch, Look
from carillon.cli.gateway import DRAINS, Gateway, Listed, place
from carillon.cli.rollout_lines import Lines
from carillon.cli.rollout_run import Rollout, Settings, Stopped, filled
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTINGS = Settings(
    pace_s=None,
    deadline_s=None,
    drain_timeout_s=5,
    expect=1,
    return_timeout_s=5,
    restart=None,
    restart_timeout_s=5,
    start_timeout_s=5,
    checks=3,
    interval_s=0.001,
    pause_s=0,
)


class Fleet:
    """A registry, and the gateways that show it."""

    def __init__(self, count: int) -> None:
        self.registry = [
            Listed(uid=f"process {i}", address=f"gateway{i}:80", version="1", clients=10, is_draining=False)
            for i in range(count)
        ]
        self.gateways = [ScriptedGateway(self, i) for i in range(count)]
        self.watch = FleetWatch(self.gateways)

    def rollout(self, *numbers: int, settings: Settings = SETTINGS) -> Rollout:
        return Rollout(self.watch, [self.gateways[i] for i in numbers], settings, Lines(as_json=True))


class ScriptedGateway(Gateway):
    """A gateway whose answers a test has written down.

    Drained, it leaves the registry with its clients, which go to the last gateway; another process comes at
    the next look.
    """

    def __init__(self, fleet: Fleet, number: int) -> None:
        super().__init__(place(f"http://gateway{number}:80"), None, 1, verify=True)
        self.fleet_of, self.number = fleet, number
        self.troubles: list[str] = []  # of the next looks, then none
        self.after_drain: list[str] = []  # those of the looks behind its drain
        self.returns_as = f"process {number}, replaced"
        self.failures = 0.0
        self.drained_at = 0.0
        self.looks = 0  # behind its drain

    async def trouble(self) -> str:
        if self.drained_at:
            self.looks += 1
            if self.looks == 2:
                old = Listed(self.returns_as, f"gateway{self.number}:80", "2", 0, is_draining=False)
                self.fleet_of.registry.append(old)
        return self.troubles.pop(0) if self.troubles else ""

    async def fleet(self) -> list[Listed]:
        return [*self.fleet_of.registry]

    async def drain(self, pace_s: float | None, deadline_s: float | None) -> int:
        self.drained_at = time.monotonic()
        registry = self.fleet_of.registry
        leaving = next(each for each in registry if each.address == f"gateway{self.number}:80")
        registry.remove(leaving)
        registry[-1] = replace(registry[-1], clients=registry[-1].clients + leaving.clients)
        self.troubles = [*self.after_drain]
        return leaving.clients

    async def refused(self) -> float:
        return self.failures


def look_at(fleet: Fleet, ill: Iterable[int] = ()) -> Look:
    return Look(tuple(fleet.registry), {fleet.gateways[i]: "it is ill" for i in ill})


async def test_all_are_replaced() -> None:
    fleet = Fleet(3)
    rollout = fleet.rollout(0, 1)
    await rollout.run(is_dry=False)
    assert rollout.replaced == fleet.gateways[:2]
    assert {each.version for each in fleet.registry} == {"1", "2"}


async def test_beside_an_old_process_that_ends_the_new_one_is_meant() -> None:
    fleet = Fleet(2)
    old = replace(fleet.registry[0], is_draining=True)
    new = replace(fleet.registry[0], uid="another")
    fleet.registry[:1] = [old, new]
    assert fleet.watch.entry_of(fleet.gateways[0], look_at(fleet)) == new
    fleet.registry.remove(new)
    assert fleet.watch.entry_of(fleet.gateways[0], look_at(fleet)) == old


async def test_a_gateway_is_ill_when_it_failed_several_times_in_a_row() -> None:
    fleet = Fleet(2)
    well, ill = look_at(fleet), look_at(fleet, [1])
    for look in (ill, ill, well, ill, ill):
        assert fleet.watch.ill(look, 3) is None
    assert fleet.watch.ill(ill, 3) == (fleet.gateways[1], "it is ill")


async def test_a_gateway_that_answers_must_be_in_the_registry_too() -> None:
    fleet = Fleet(3)
    assert await fleet.watch.identify(fleet.registry) == []
    del fleet.registry[1]
    look = await fleet.watch.look()
    assert look.troubles == {fleet.gateways[1]: "it is not in the registry of the fleet"}


async def test_refusals_count_from_the_first_look_and_those_of_a_new_process_from_its_start() -> None:
    fleet = Fleet(2)
    fleet.gateways[0].failures = 5
    assert await fleet.watch.refusals(look_at(fleet)) is None
    fleet.registry[1] = replace(fleet.registry[1], uid="another")
    fleet.gateways[1].failures = 2
    assert await fleet.watch.refusals(look_at(fleet)) == (fleet.gateways[1], 2)
    fleet.gateways[1].failures = 0
    fleet.gateways[0].failures = 6
    assert await fleet.watch.refusals(look_at(fleet)) == (fleet.gateways[0], 1)


async def test_a_gateway_that_is_missing_in_the_registry_has_not_left_while_it_drains() -> None:
    fleet = Fleet(2)
    fleet.gateways[0].after_drain = [DRAINS] * 40
    rollout = fleet.rollout(0, settings=replace(SETTINGS, start_timeout_s=0.01))
    fleet.gateways[0].returns_as = "process 0, replaced"
    await rollout.run(is_dry=False)
    assert fleet.gateways[0].looks > 40


async def test_the_old_process_is_no_replacement() -> None:
    fleet = Fleet(2)
    fleet.gateways[0].returns_as = "process 0"
    rollout = fleet.rollout(0, settings=replace(SETTINGS, start_timeout_s=0.05))
    with pytest.raises(Stopped, match="the registry of the fleet has no new process at this address"):
        await rollout.run(is_dry=False)
    assert rollout.replaced == []


@pytest.mark.parametrize(("again", "is_replaced"), [(3, True), (2, False)])
async def test_a_replacement_is_healthy_several_times_in_a_row(again: int, is_replaced: bool) -> None:
    fleet = Fleet(2)
    # The first is asked for by the drain.
    fleet.gateways[0].after_drain = ["", "", "", "it starts", *[""] * again, *["it starts"] * 10_000]
    rollout = fleet.rollout(0, settings=replace(SETTINGS, start_timeout_s=0.2))
    if is_replaced:
        return await rollout.run(is_dry=False)
    with pytest.raises(Stopped, match="not healthy 3 times in a row"):
        await rollout.run(is_dry=False)
    return None


async def test_between_two_gateways_comes_the_pause_and_nobody_may_be_ill() -> None:
    fleet = Fleet(3)
    settings = replace(SETTINGS, pause_s=0.3)
    await fleet.rollout(0, 1, settings=settings).run(is_dry=False)
    assert fleet.gateways[1].drained_at - fleet.gateways[0].drained_at >= settings.pause_s

    class Silent(ScriptedGateway):
        async def trouble(self) -> str:
            if any(each.drained_at for each in fleet.gateways):
                return "it is ill"
            return ""

    fleet = Fleet(3)
    fleet.gateways[2] = Silent(fleet, 2)
    fleet.watch = FleetWatch(fleet.gateways)
    with pytest.raises(Stopped, match="gateway2:80"):
        await fleet.rollout(0, 1).run(is_dry=False)
    assert not fleet.gateways[1].drained_at


async def test_it_does_not_go_on_beside_another_rollout() -> None:
    fleet = Fleet(3)

    class Other(ScriptedGateway):
        async def trouble(self) -> str:
            if len(fleet.registry) == 3 and any(each.version == "2" for each in fleet.registry):
                fleet.registry = [
                    replace(each, is_draining=each.address == "gateway2:80") for each in fleet.registry
                ]
            return ""

    fleet.gateways[2] = Other(fleet, 2)
    fleet.watch = FleetWatch(fleet.gateways)
    with pytest.raises(Stopped, match="no further gateway was asked to drain: gateway2:80 drains"):
        await fleet.rollout(0, 1).run(is_dry=False)
    assert not fleet.gateways[1].drained_at


def test_words_of_a_command_are_quoted_for_the_shell() -> None:
    (gateway, _), (entry, _) = Fleet(2).gateways, Fleet(2).registry
    odd = replace(entry, address="it; reboot")
    assert filled("start {node} {port} ${HOME}", gateway, odd) == "start 'it; reboot' 80 ${HOME}"


async def test_a_command_that_takes_too_long_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    fleet = Fleet(2)
    command = f"sleep 300 & echo $! > {tmp_path}/pid; wait"
    settings = replace(SETTINGS, restart=command, restart_timeout_s=0.5)
    with pytest.raises(Stopped, match=r"did not end within 0\.5 s \(--restart-timeout\), and was killed"):
        await fleet.rollout(0, settings=settings).run(is_dry=False)
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    wait_until(lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] in "ZX")


async def test_without_an_answer_of_anybody_nothing_begins() -> None:
    fleet = Fleet(2)

    class Mute(ScriptedGateway):
        async def fleet(self) -> list[Listed]:
            raise Unanswered("no answer")

    fleet.watch = FleetWatch([Mute(fleet, 0), Mute(fleet, 1)])
    with pytest.raises(Stopped, match=r"nothing was begun: http://gateway0:80: no answer"):
        await fleet.rollout(0).run(is_dry=False)


# One lost request, and what was never seen.


@pytest.mark.parametrize("lost", [2, 3])
async def test_a_gateway_that_misses_a_check_does_not_stop_the_beginning(lost: int) -> None:
    fleet = Fleet(2)
    fleet.gateways[1].troubles = ["timeout"] * lost
    rollout = fleet.rollout(0)
    if lost < SETTINGS.checks:
        return await rollout.run(is_dry=False)
    with pytest.raises(Stopped, match="nothing was begun: gateway1:80 is not healthy: timeout"):
        await rollout.run(is_dry=False)
    assert not fleet.gateways[0].drained_at
    return None


async def test_a_gateway_that_misses_a_check_between_two_does_not_stop_the_rollout() -> None:
    fleet = Fleet(3)

    class MissesOne(ScriptedGateway):
        has_missed = False

        async def trouble(self) -> str:
            versions = [each.version for each in fleet.registry]
            if rollout.replaced and not self.has_missed and versions.count("2") == 1:
                self.has_missed = True
                return "timeout"
            return await super().trouble()

    fleet.gateways[2] = MissesOne(fleet, 2)
    fleet.watch = FleetWatch(fleet.gateways)
    rollout = fleet.rollout(0, 1)
    await rollout.run(is_dry=False)
    assert fleet.gateways[2].has_missed  # type: ignore[attr-defined]
    assert rollout.replaced == fleet.gateways[:2]


class Registry(Fleet):
    """A registry that lacks one gateway, or that nobody shows, in some looks."""

    def __init__(self, count: int, looks: dict[int, str]) -> None:
        super().__init__(count)
        self.number = 0
        self.looks = looks
        self.gateways = [Shower(self, i) for i in range(count)]
        self.watch = FleetWatch(self.gateways)


class Shower(ScriptedGateway):
    """A gateway that shows such a registry."""

    fleet_of: Registry

    async def fleet(self) -> list[Listed]:
        if self.number == 0:
            self.fleet_of.number += 1
        what = self.fleet_of.looks.get(self.fleet_of.number)
        if what == "nobody":
            raise Unanswered("no answer")
        return [each for each in await super().fleet() if each.address != what]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("what", ["nobody", "gateway0:80", "gateway1:80", "gateway2:80"])
async def test_a_registry_that_lacks_a_gateway_for_once_is_no_baseline(number: int, what: str) -> None:
    fleet = Registry(3, {number: what})
    for each in fleet.gateways:
        each.failures = 4  # from before the rollout
    fleet.gateways[1].after_drain = [""] * 10
    rollout = fleet.rollout(1)
    await rollout.run(is_dry=False)
    assert rollout.replaced == [fleet.gateways[1]]


async def test_clients_of_a_gateway_that_was_missing_before_the_drain_are_not_those_that_came_back() -> None:
    fleet = Registry(3, {2: "gateway2:80"})

    class Loses(Shower):
        async def drain(self, pace_s: float | None, deadline_s: float | None) -> int:
            (asked,) = (each for each in fleet.registry if each.address == "gateway0:80")
            fleet.registry.remove(asked)
            self.drained_at = time.monotonic()
            return asked.clients

    fleet.gateways[0] = Loses(fleet, 0)
    fleet.watch = FleetWatch(fleet.gateways)
    settings = replace(SETTINGS, return_timeout_s=0.05)
    with pytest.raises(Stopped, match="its clients did not come back: 0 more are at the others"):
        await fleet.rollout(0, settings=settings).run(is_dry=False)


class Unmeasured(ScriptedGateway):
    """A gateway whose `/metrics` is not answered at first."""

    unanswered = 0

    async def refused(self) -> float | None:
        if self.unanswered:
            self.unanswered -= 1
            raise Unanswered("timeout")
        return self.failures


@pytest.mark.parametrize("unanswered", [2, 3])
async def test_refusals_are_not_compared_with_a_count_that_was_never_read(unanswered: int) -> None:
    fleet = Fleet(2)
    silent = fleet.gateways[1] = Unmeasured(fleet, 1)
    silent.unanswered, silent.failures = unanswered, 7
    fleet.watch = FleetWatch(fleet.gateways)
    if unanswered < SETTINGS.checks:
        return await fleet.rollout(0).run(is_dry=False)
    with pytest.raises(Stopped, match="nothing was begun: gateway1:80 does not answer /metrics: timeout"):
        await fleet.rollout(0).run(is_dry=False)
    assert not fleet.gateways[0].drained_at
    return None


@pytest.mark.parametrize("looks", [1, 2])
async def test_a_gateway_that_misses_a_check_while_it_drains_has_not_left(looks: int) -> None:
    """It is missing in the registry at the same time, because it is busy."""
    fleet = Fleet(2)
    gateway = fleet.gateways[0]
    gateway.after_drain = [*["timeout"] * looks, DRAINS, DRAINS, *["timeout"] * 2, NOTHING_LISTENS, *[""] * 3]
    said = Noted(gateway)
    await Rollout(fleet.watch, [gateway], SETTINGS, said).run(is_dry=False)
    assert "left 3" in said.events, "when nothing listens any more"


class Noted(Lines):
    """What was printed, each with the number of answers that the gateway still has to give."""

    def __init__(self, gateway: ScriptedGateway) -> None:
        super().__init__(as_json=True)
        self.events: list[str] = []
        self.fields: list[dict[str, object]] = []
        self.gateway = gateway

    def say(self, event: str, node: str = "", **fields: object) -> None:
        self.events.append(f"{event} {len(self.gateway.troubles)}")
        self.fields.append(fields)


async def test_a_gateway_that_hangs_in_its_drain_has_not_ended() -> None:
    """Its replacement would run beside it."""
    fleet = Fleet(2)
    gateway = fleet.gateways[0]
    gateway.after_drain = [DRAINS, *["timeout"] * 9]
    rollout = fleet.rollout(0)
    with pytest.raises(Stopped, match=r"does not answer any more while it drains \(timeout\)"):
        await rollout.run(is_dry=False)
    assert rollout.replaced == []


async def test_a_replacement_that_does_not_count_its_refusals_is_named() -> None:
    class Uncounted(ScriptedGateway):
        async def refused(self) -> float | None:  # type: ignore[override]
            return None if self.drained_at else 0.0

    fleet = Fleet(3)
    fleet.gateways[0] = Uncounted(fleet, 0)
    fleet.watch = FleetWatch(fleet.gateways)
    said = Noted(fleet.gateways[0])
    rollout = Rollout(fleet.watch, fleet.gateways[:2], SETTINGS, said)
    await rollout.run(is_dry=False)
    assert [each.split()[0] for each in said.events].count("uncounted") == 1


async def test_who_waits_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carillon.cli.rollout_run._TOLD_S", 0.01)
    fleet = Fleet(2)
    gateway = fleet.gateways[0]
    gateway.after_drain = [*[DRAINS] * 40, NOTHING_LISTENS, *["it starts"] * 40]
    said = Noted(gateway)
    await Rollout(fleet.watch, [gateway], SETTINGS, said).run(is_dry=False)
    states = {str(each["state"]) for each in said.fields if "state" in each}
    assert "0 clients are still there" in states
    assert "its replacement is not there: it starts" in states


class Deaf(ScriptedGateway):
    """A gateway from which answers to a drain get lost.

    `lost` of them, behind which it drains if it `drains`.
    """

    lost = 1
    drains = False
    asked = 0

    async def drain(self, pace_s: float | None, deadline_s: float | None) -> int:
        self.asked += 1
        if self.lost >= self.asked:
            if self.drains:
                await super().drain(pace_s, deadline_s)
                self.troubles = [DRAINS]
            raise Unanswered("timeout")
        return await super().drain(pace_s, deadline_s)


@pytest.mark.parametrize(("lost", "drains", "asked"), [(1, True, 1), (2, False, 3)])
async def test_a_lost_answer_to_a_drain_does_not_stop_the_rollout(
    lost: int, drains: bool, asked: int
) -> None:
    fleet = Fleet(2)
    deaf = fleet.gateways[0] = Deaf(fleet, 0)
    deaf.lost, deaf.drains = lost, drains
    fleet.watch = FleetWatch(fleet.gateways)
    rollout = fleet.rollout(0)
    await rollout.run(is_dry=False)
    assert (deaf.asked, rollout.replaced) == (asked, [deaf])


async def test_a_gateway_that_never_answers_the_drain_stops_the_rollout() -> None:
    fleet = Fleet(2)
    deaf = fleet.gateways[0] = Deaf(fleet, 0)
    deaf.lost = 3
    fleet.watch = FleetWatch(fleet.gateways)
    with pytest.raises(Stopped, match="was asked to drain, and has not answered: timeout"):
        await fleet.rollout(0).run(is_dry=False)
    assert deaf.asked == SETTINGS.checks
