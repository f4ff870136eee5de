"""`simulate`: a fleet that no one machine can hold, from the cost constants of one machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..fanout import STRATEGIES, Strategy
from .capacity import LabError
from .cell import publications_of
from .costs import Costs
from .fleet import Fleet, Population
from .jobs import Jobs, Queues, expand, split
from .options import names_its_options
from .outcome import Simulation
from .placement import Placement
from .queues import serve
from .spread import Spread

if TYPE_CHECKING:
    from .queues import Floats, Ints

EVENTS_MAX = 12_000_000
"""Largest number of jobs of one simulation: about 20 seconds and 3 GB."""

_VISIT = 256  # deliveries of a channel per turn of a shard (docs/design.md); other work comes in between
_TURN_ENTRIES = 1_024  # limits.inbox_members_per_turn, for the same reason
_ROUNDS = 12  # at most, until the announcements of two rounds agree
_AGREED_S = 1e-6


@names_its_options
def simulate(
    strategy: Strategy = "hybrid",
    *,
    population: Population,
    fleet: Fleet | None = None,
    online: float = 0.4,
    publish_rate: float = 1_000.0,
    payload: int = 128,
    seconds: float = 5.0,
    transport: Literal["ws", "sse", "poll"] = "ws",
    threshold: int = 10_000,
    sweep_interval_ms: float = 100.0,
    inbox_reads_per_s: float = 0.0,
    arrivals: Literal["poisson", "paced"] = "poisson",
    costs: Costs | None = None,
    has_inboxes: bool = True,
    seed: int = 1,
) -> Simulation:
    """Simulates a fleet for some seconds: how long things take, and how busy every machine is.

    Every shard thread, partition of the broker and network card is a queue that serves in the order of
    arrival. A publication is work for the shard of its publisher, then for the partition of its channel (with
    more than one gateway), then for each shard that has subscribers of it, then for the network. A large
    fan-out is cut into parts, as a hub does it, so that other work comes in between. In read mode the work
    waits for the next sweep, which takes all new publications. Entering inboxes is work for the publisher's
    shard or, in a fleet, for all partitions; the publisher has its reply when that is done. Equal seeds give
    equal results.

    Three things are not modelled: the way from the gateway to the client, batches that form by themselves on
    an overloaded shard (so an overload is modelled as slower than it is), and connections that come and go.
    `check_model` shows how far the times are off.

    Args:
        strategy: Strategy of all channels.
        population: Users, channels and their members.
        fleet: Machines and prices; by default one gateway with one core.
        online: Share of users, and of the members of each channel, that have a connection, 0 to 1.
        publish_rate: Publications per second, all channels together.
        payload: Size of a publication, bytes.
        seconds: Length of the simulated publishing. Everything that was published is then delivered.
        transport: Transport of the subscribers.
        threshold: Number of members above which `hybrid` reads; `adaptive` is modelled with this threshold.
        sweep_interval_ms: Interval between sweeps in read mode, ms.
        inbox_reads_per_s: Inbox reads per second, all users together.
        arrivals: `poisson`: publications at random moments; `paced`: at equal distances, as the load
            generator.
        costs: What `calibrate` has returned; by default the stored costs of another machine.
        has_inboxes: Members have inboxes, as users of `add_members`; False: they are subscribers only.
        seed: Seed of all random numbers.

    Returns:
        A `Simulation`.

    Raises:
        LabError: A value is wrong, or the simulation would have more than `EVENTS_MAX` jobs.
    """
    if strategy not in STRATEGIES:
        raise LabError(f"strategy: {strategy!r} is not one of {', '.join(STRATEGIES)}")
    if not 0 <= online <= 1:
        raise LabError(f"online: {online!r}; give the share of members that are online, 0 to 1")
    if not (publish_rate > 0 and seconds > 0 and sweep_interval_ms > 0 and inbox_reads_per_s >= 0):
        raise LabError(
            f"publish_rate: {publish_rate!r}, seconds: {seconds!r}, sweep_interval_ms: "
            f"{sweep_interval_ms!r}; all must be above 0 (inbox_reads_per_s: 0 or more)"
        )
    settings = _Settings(
        strategy=strategy,
        population=population,
        fleet=fleet or Fleet(),
        online=online,
        publish_rate=publish_rate,
        payload=payload,
        seconds=seconds,
        transport=transport,
        threshold=threshold,
        sweep_s=sweep_interval_ms / 1e3,
        inbox_reads_per_s=inbox_reads_per_s,
        is_paced=arrivals == "paced",
        costs=costs or Costs(),
        has_inboxes=has_inboxes,
    )
    return _Run(settings, np.random.default_rng(seed)).play()


@dataclass(frozen=True, kw_only=True)
class _Settings:
    strategy: Strategy
    population: Population
    fleet: Fleet
    online: float
    publish_rate: float
    payload: int
    seconds: float
    transport: Literal["ws", "sse", "poll"]
    threshold: int
    sweep_s: float
    inbox_reads_per_s: float
    is_paced: bool
    costs: Costs
    has_inboxes: bool


class _Run:
    def __init__(self, settings: _Settings, random: np.random.Generator) -> None:
        self.settings = settings
        self.fleet = settings.fleet
        self.costs = settings.costs
        self.random = random
        self.shards = self.fleet.gateways * self.fleet.cores
        self._publish()
        self._subscribe()

    # ---- the publications and their subscribers

    def _publish(self) -> None:
        settings = self.settings
        wanted = publications_of(settings.publish_rate, settings.seconds)
        if wanted > EVENTS_MAX:
            raise LabError(f"publish_rate x seconds: {wanted:,} publications; {EVENTS_MAX:,} are the limit")
        if settings.is_paced:
            self.due_s = np.arange(wanted) / settings.publish_rate
        else:
            self.due_s = np.sort(self.random.random(wanted)) * settings.seconds
        channels = settings.population.channels
        if settings.is_paced:
            drawn = np.arange(wanted) % channels  # in turn
        else:
            drawn = self.random.choice(channels, wanted, p=settings.population.shares())
        ranks, self.channel = np.unique(drawn, return_inverse=True)  # only those that are published to
        self.members = settings.population.members()[ranks]
        self.home = self.random.integers(0, self.shards, wanted)  # the publisher's shard

    def _subscribe(self) -> None:
        expected = self.members * self.settings.online
        # Rounded up with the probability of the fraction: of a channel of two, half online, about one is.
        whole = np.round(expected)
        drawn = np.floor(expected + self.random.random(len(expected)))
        self.subscribers = np.where(np.isclose(expected, whole), whole, drawn).astype(np.int64)
        least = np.minimum(self.subscribers, self.shards)[self.channel].sum()
        if least > EVENTS_MAX:
            raise self._too_many(int(least))
        self.placement = Placement(self.subscribers, self.shards, self.random)
        is_above = np.maximum(self.members, self.subscribers) > self.settings.threshold
        is_read = {"write": np.zeros_like(is_above), "read": np.ones_like(is_above)}
        self.is_read = is_read.get(self.settings.strategy, is_above)

    # ---- the work

    def play(self) -> Simulation:
        """Simulates everything, and sums it up."""
        fleet, costs = self.fleet, self.costs
        is_entered = ~self.is_read & self.settings.has_inboxes
        entries = np.where(is_entered, self.members, 0)[self.channel]
        pushed = self._pushes()
        local, spread = self._entries(entries)
        reads = self._inbox_reads()
        everything = len(self.due_s) + len(pushed) + len(local) + len(spread) + len(reads.server)
        if everything > EVENTS_MAX:
            raise self._too_many(everything)

        publish_s = np.full(len(self.due_s), costs.publish_us * 1e-6)
        announced_s = self.due_s + publish_s
        way_s = fleet.network_ms * 1e-3 if fleet.has_broker else 0.0
        for _ in range(_ROUNDS):
            before_s = announced_s
            sweeps = self._sweeps(announced_s + way_s)
            queues = Queues()
            published = queues.add(self.home, self.due_s, publish_s)
            pushed_s = (announced_s + way_s)[pushed.cause] + pushed.delay_s
            push = queues.add(pushed.server, pushed_s, pushed.service_s)
            enter = queues.add(local.server, announced_s[local.cause] + local.delay_s, local.service_s)
            read = queues.add(reads.server, reads.delay_s, reads.service_s)
            swept_s = sweeps.due_s[sweeps.jobs.cause] + sweeps.jobs.delay_s
            sweep = queues.add(sweeps.jobs.server, swept_s, sweeps.jobs.service_s)
            queues.serve()
            taken_s = queues.ends(published)
            if fleet.has_broker:
                announced_s, stored_s, broker_busy_s = self._ask_broker(taken_s + way_s, spread)
                replied_s = stored_s + way_s
            else:
                announced_s, broker_busy_s = taken_s, np.zeros(1)
                replied_s = taken_s.copy()
                np.maximum.at(replied_s, local.cause, queues.ends(enter))
            if float(np.abs(announced_s - before_s).max()) < _AGREED_S:
                break

        publish, delivery, last, inbox = Spread(), Spread(), Spread(), Spread()
        publish.add(replied_s - self.due_s)
        inbox.add(queues.ends(read) - reads.delay_s)
        last_s = np.zeros(len(self.due_s))
        nic_busy_s = self._deliver(queues, push, pushed, sweep, sweeps, delivery, last_s)
        has_any = last_s > 0
        last.add((last_s - self.due_s)[has_any])
        busy_s = np.bincount(queues.server, queues.service, self.shards).reshape(fleet.gateways, fleet.cores)
        deliveries = int(self.subscribers[self.channel].sum())
        return Simulation(
            settings=self._named(),
            publications=len(self.due_s),
            deliveries=deliveries,
            store_writes=int(entries.sum()),
            wire_bytes=self.wire_bytes,
            inbox_reads=len(reads.server),
            publish=publish,
            delivery=delivery,
            last=last,
            inbox=inbox,
            core_seconds=float(busy_s.sum()),
            utilisation=busy_s.mean(axis=1) / self.settings.seconds,
            network_utilisation=nic_busy_s / self.settings.seconds,
            broker_utilisation=broker_busy_s / self.settings.seconds if fleet.has_broker else np.zeros(0),
            online=self.settings.online,
            connections=round(self.settings.population.users * self.settings.online),
            connection_bytes=costs.of(self.settings.transport).connection_bytes,
            read_channels=int(self.is_read.sum()),
            fleet=fleet,
        )

    def _pushes(self) -> Jobs:
        """Write mode: one job per publication and shard that has subscribers of it."""
        written = np.flatnonzero(~self.is_read[self.channel])
        index, shard, count = self.placement.of(self.channel[written])
        service = count * self._write_us(np.ones(1)) * 1e-6
        service = service + self._heard_s(written[index], shard)
        zero = np.zeros(len(index))
        return split(Jobs(shard, written[index], zero, service, count.astype(np.float64)), _VISIT)

    def _heard_s(self, publication: Ints, shard: Ints) -> Floats:
        """A gateway hears a publication once: its first shard with subscribers pays, unless it published."""
        if not self.fleet.has_broker:
            return np.zeros(len(shard))
        gateway = shard // self.fleet.cores
        _, first = np.unique(publication * self.fleet.gateways + gateway, return_index=True)
        is_first = np.zeros(len(shard), bool)
        is_first[first] = True
        is_own = gateway == self.home[publication] // self.fleet.cores
        return np.where(is_first & ~is_own, self.fleet.heard_us * 1e-6, 0.0)

    def _entries(self, entries: Ints) -> tuple[Jobs, Jobs]:
        """Write mode: inbox entries, within the one gateway, or spread over the partitions of the broker."""
        cause = np.flatnonzero(entries)
        size = entries[cause].astype(np.float64)
        nothing = Jobs(*(np.empty(0, dtype) for dtype in (np.int64, np.int64, float, float, float)))
        if not self.fleet.has_broker:
            return self._local_entries(cause, size), nothing
        partitions = self.fleet.broker_cores
        parts = np.minimum(entries[cause], partitions)
        index, nth = expand(parts)
        share = (size / parts)[index]
        server = (self.channel[cause][index] + nth) % partitions
        service = share * self.fleet.broker_entry_us * 1e-6
        jobs = Jobs(server, cause[index], np.zeros(len(index)), service, share)
        walker = Jobs(self.home[cause], cause, np.zeros(len(cause)), size * self.fleet.entry_us * 1e-6, size)
        return split(walker, _TURN_ENTRIES), split(jobs, _TURN_ENTRIES)

    def _local_entries(self, cause: Ints, size: Floats) -> Jobs:
        """One shard walks over the members, a chunk in each of its turns, and delivers in between."""
        server = self.channel[cause] % self.shards
        entry_s = max(self.costs.inbox_entry_us, 1e-6) * 1e-6
        jobs = Jobs(server, cause, np.zeros(len(cause)), size * entry_s, size)
        parts = split(jobs, _TURN_ENTRIES)
        # What was delivered before a part: a visit for each turn, as long as there is anybody.
        turns = parts.delay_s / entry_s / _TURN_ENTRIES
        on_shard = self.placement.count(self.channel[parts.cause], parts.server)
        delivered = np.minimum(np.floor(turns) * _VISIT, on_shard)
        delay_s = parts.delay_s + delivered * self._write_us(np.ones(1)) * 1e-6
        return Jobs(parts.server, parts.cause, delay_s, parts.service_s, parts.size)

    def _sweeps(self, at_gateways_s: Floats) -> _Sweeps:
        """Read mode: one job per channel, tick and shard, with all publications since the tick before."""
        cause = np.flatnonzero(self.is_read[self.channel])
        tick = np.ceil(at_gateways_s[cause] / self.settings.sweep_s).astype(np.int64)
        channel = self.channel[cause]
        key = tick * (int(self.channel.max()) + 1) + channel
        keys, sweep, batch = np.unique(key, return_inverse=True, return_counts=True)
        swept = keys % (int(self.channel.max()) + 1)
        due_s = keys // (int(self.channel.max()) + 1) * self.settings.sweep_s
        index, shard, count = self.placement.of(swept)
        if len(index) > EVENTS_MAX:
            raise self._too_many(len(index))
        service = (self.costs.sweep_us + count * self._write_us(batch[index])) * 1e-6
        jobs = split(Jobs(shard, index, np.zeros(len(index)), service, count.astype(np.float64)), _VISIT)
        return _Sweeps(jobs, due_s, cause, sweep, batch)

    def _write_us(self, batch: Floats | Ints) -> Floats:
        one, two = (
            self.costs.write_us(self.settings.transport, n, self.settings.payload) for n in (1.0, 2.0)
        )
        return np.asarray(one + (batch - 1) * (two - one))

    def _inbox_reads(self) -> Jobs:
        """Members who return: an inbox read, merged with the channels in read mode."""
        settings = self.settings
        count = round(settings.inbox_reads_per_s * settings.seconds)
        population = settings.population
        sizes = population.members()
        is_read = {"write": np.zeros(len(sizes), bool), "read": np.ones(len(sizes), bool)}.get(
            settings.strategy, sizes > settings.threshold
        )
        merged = self.random.poisson(sizes[is_read].sum() / population.users, count)
        service = (self.costs.inbox_read_us + merged * self.costs.merge_us) * 1e-6
        server = self.random.integers(0, self.shards, count)
        due_s = np.sort(self.random.random(count)) * settings.seconds
        return Jobs(server, np.arange(count), due_s, service, np.ones(count))

    def _ask_broker(self, arrivals_s: Floats, spread: Jobs) -> tuple[Floats, Floats, Floats]:
        """When each publication is announced and stored in all inboxes, and how busy each partition is."""
        fleet = self.fleet
        index, shard, _ = self.placement.of(np.arange(len(self.subscribers)))
        gateways = np.unique(index * fleet.gateways + shard // fleet.cores) // fleet.gateways
        touched = np.bincount(gateways, minlength=len(self.subscribers))[self.channel]
        append_s = (fleet.broker_append_us + touched * fleet.broker_gateway_us) * 1e-6
        queues = Queues()
        appended = queues.add(self.channel % fleet.broker_cores, arrivals_s, append_s)
        entering_s = (arrivals_s + append_s)[spread.cause] + spread.delay_s
        entered = queues.add(spread.server, entering_s, spread.service_s)
        queues.serve()
        announced_s = queues.ends(appended)
        stored_s = announced_s.copy()
        np.maximum.at(stored_s, spread.cause, queues.ends(entered))
        busy_s = np.bincount(queues.server, queues.service, fleet.broker_cores).astype(float)
        return announced_s, stored_s, busy_s

    # ---- the deliveries

    def _deliver(self, queues: Queues, push: slice, pushed: Jobs, sweep: slice, sweeps: _Sweeps,
                 delivery: Spread, last_s: Floats) -> Floats:  # fmt: skip
        """Sends everything over the network, counts the deliveries, and returns how busy each card is."""
        transport, payload = self.settings.transport, self.settings.payload
        alone, two = (self.costs.write_bytes(transport, n, payload) for n in (1.0, 2.0))
        jobs = sweeps.jobs
        push_bytes = pushed.size * alone
        sweep_bytes = jobs.size * (alone + (sweeps.batch[jobs.cause] - 1) * (two - alone))
        self.wire_bytes = float(push_bytes.sum() + sweep_bytes.sum())
        per_byte_s = 8 / (self.fleet.network_gbit * 1e9)
        card = np.concatenate([pushed.server, jobs.server]) // self.fleet.cores
        starts_s = np.concatenate([queues.starts(push), queues.starts(sweep)])
        ends_s = np.concatenate([queues.ends(push), queues.ends(sweep)])
        sending_s = np.concatenate([push_bytes, sweep_bytes]) * per_byte_s
        sent_first_s, sent_s = serve(card, starts_s, sending_s)
        starts_s, ends_s = np.maximum(starts_s, sent_first_s), np.maximum(ends_s, sent_s)
        count = len(pushed)
        due_s = self.due_s[pushed.cause]
        delivery.add_evenly(starts_s[:count] - due_s, ends_s[:count] - due_s, pushed.size)
        np.maximum.at(last_s, pushed.cause, ends_s[:count])
        # A sweep delivers several publications in one write: each of them once to everybody.
        rows = np.bincount(jobs.cause, minlength=len(sweeps.batch))
        first = np.searchsorted(jobs.cause, np.arange(len(sweeps.batch)))
        index, nth = expand(rows[sweeps.sweep])
        row = first[sweeps.sweep][index] + nth
        publication = sweeps.cause[index]
        due_s = self.due_s[publication]
        delivery.add_evenly(starts_s[count:][row] - due_s, ends_s[count:][row] - due_s, jobs.size[row])
        np.maximum.at(last_s, publication, ends_s[count:][row])
        return np.bincount(card, sending_s, self.fleet.gateways).astype(float)

    def _named(self) -> dict[str, object]:
        settings = self.settings
        return {
            "strategy": settings.strategy,
            "transport": settings.transport,
            "channels": settings.population.channels,
            "members": settings.population.largest,
            "publish_rate": settings.publish_rate,
            "payload": settings.payload,
            "threshold": settings.threshold,
            "sweep_interval_ms": settings.sweep_s * 1e3,
        }

    def _too_many(self, events: int) -> LabError:
        seconds = self.settings.seconds * EVENTS_MAX / events
        return LabError(
            f"seconds: {self.settings.seconds:g} of this fleet are about {events:,} jobs, and {EVENTS_MAX:,} "
            f"are the limit. Give seconds={seconds * 0.8:.2g} or less, or a lower publish_rate"
        )


@dataclass(frozen=True)
class _Sweeps:
    """Read mode: the jobs of all sweeps, and which publication is in which of them."""

    jobs: Jobs  # cause: the sweep
    due_s: Floats  # of each sweep
    cause: Ints  # the publications of read mode,
    sweep: Ints  # and the sweep of each
    batch: Ints  # publications of each sweep
