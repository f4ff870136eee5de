"""Members over the fleet: one walk per publication, each inbox once, a walk whose gateway dies."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING, Any

import carillon
from carillon.errors import CarillonError
from carillon.load import LoadError

from ..report import Promise, load_average, table
from .gateways import HOST, fleet

if TYPE_CHECKING:
    import argparse

    from .gateways import Fleet, Gateway

STRATEGIES = ("write", "read", "hybrid", "adaptive", "conflate")
WALK_S = 60.0
TAKEOVER_S = 60.0
SUBSCRIBED_S = 60.0
QUIET_S = 2.0
SETTLED_S = 0.1  # until a gateway has counted what Redis has carried out
HEAD = [
    "strategy",
    "publications",
    "gateways that walked, each",
    "by another one",
    "inboxes written, each",
    "answered before the walk's end",
    "walk, median",
    "publish, median",
    "subscribers, one a gateway",
]
ROUNDS = 1  # publications of each strategy from each gateway


def channel_of(strategy: str) -> str:
    """Returns its channel."""
    return f"strategy-{strategy}"


class Subscribers:
    """A subscriber of each channel at each gateway, in a thread of their own."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self.offsets: dict[tuple[int, str], list[int]] = {
            (each.port, strategy): [] for each in gateways for strategy in STRATEGIES
        }
        self._live = 0
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Subscribers:
        self._thread.start()
        deadline = time.monotonic() + SUBSCRIBED_S
        while self._live < len(self.offsets):
            if time.monotonic() > deadline:
                raise LoadError(f"{self._live} of {len(self.offsets)} subscribers became live")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending.set()
        self._thread.join()

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._follow(*key)) for key in self.offsets]
        await asyncio.to_thread(self._is_ending.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, port: int, strategy: str) -> None:
        connecting = carillon.connect(f"http://{HOST}:{port}")
        async with connecting as client, client.subscribe(channel_of(strategy)) as subscription:
            self._live += 1
            async for message in subscription:
                self.offsets[port, strategy].append(message.offset)


def walks_of(ours: Fleet) -> dict[int, tuple[float, float]]:
    """Returns the inboxes that each gateway has written to in walks, and the steps, by its port."""
    found = {}
    for gateway in ours.live:
        samples = gateway.metrics()["carillon_walk_members"].samples
        values = {sample.name.rsplit("_", 1)[1]: sample.value for sample in samples if not sample.labels}
        found[gateway.port] = (values["sum"], values["count"])
    return found


def walk_key(ours: Fleet, strategy: str) -> str:
    """Returns the key that Redis has for as long as somebody walks over the members of a channel."""
    tail = f"ch:{channel_of(strategy)}"
    found = [each for each in ours.redis.cli("keys", f"*{tail}").split() if each.endswith(tail)]
    if len(found) != 1:
        raise LoadError(f"{len(found)} keys end with {tail}; this bench knows another layout")
    return f"{found[0].removesuffix(tail)}cw:{channel_of(strategy)}"


def wait_for_walk(ours: Fleet, key: str, walk_s: float) -> None:
    """Returns once nobody walks."""
    deadline = time.monotonic() + walk_s
    while ours.redis.cli("exists", key) != "0":
        if time.monotonic() > deadline:
            raise LoadError(f"a walk was not finished within {walk_s:g} s")
        time.sleep(0.01)


def publish_all(ours: Fleet, strategy: str, key: str) -> dict[str, Any]:
    """Publishes from each gateway in turn; returns how many have walked, and over how many inboxes."""
    found: dict[str, Any] = {"walkers": [], "inboxes": [], "publish_s": [], "walk_s": [], "by_another": 0,
                             "answered_early": 0}  # fmt: skip
    if strategy == "conflate":  # within one sweep, so that there is something to leave out
        before = walks_of(ours)
        for gateway in ours.live * ROUNDS:
            begin = time.monotonic()
            _call(gateway, strategy)
            found["publish_s"].append(time.monotonic() - begin)
        time.sleep(QUIET_S)
        _count(found, before, walks_of(ours))
        found["walk_s"].append(0.0)
        return found
    for gateway in ours.live * ROUNDS:
        before = walks_of(ours)
        begin = time.monotonic()
        _call(gateway, strategy)
        found["publish_s"].append(time.monotonic() - begin)
        found["answered_early"] += ours.redis.cli("exists", key) != "0"
        wait_for_walk(ours, key, WALK_S)
        found["walk_s"].append(time.monotonic() - begin)
        time.sleep(SETTLED_S)
        _count(found, before, walks_of(ours), gateway.port)
    return found


def _call(gateway: Gateway, strategy: str) -> None:
    with gateway.api() as api:
        api.call("publish", channel=channel_of(strategy), data=f"from {gateway.port}", key="k")


def _count(
    found: dict[str, Any],
    before: dict[int, tuple[float, float]],
    after: dict[int, tuple[float, float]],
    port: int = 0,
) -> None:
    written = {each: after[each][0] - before[each][0] for each in after}
    found["walkers"].append(sum(1 for value in written.values() if value))
    found["by_another"] += any(value and each != port for each, value in written.items())
    found["inboxes"].append(sum(written.values()))


def kill_walker(ours: Fleet, key: str) -> dict[str, float]:
    """Kills the gateway that walks over the members of a publication; returns when another went on."""
    before = walks_of(ours)
    publishing = threading.Thread(target=_publish, args=(ours.live[0],), daemon=True)
    publishing.start()
    deadline = time.monotonic() + WALK_S
    walker = None
    while walker is None and time.monotonic() < deadline:
        now = walks_of(ours)
        walker = next((each for each in ours.live if now[each.port][0] > before[each.port][0]), None)
    if walker is None:
        raise LoadError(f"nobody walked within {WALK_S:g} s")
    walker.kill()
    killed = time.monotonic()
    name, _ = _walk(ours, key)
    publishing.join()
    if not name:
        raise LoadError("the walk was over before its gateway was killed; give more members")
    before = walks_of(ours)
    taken_s = 0.0
    while walking := _walk(ours, key)[0]:
        if time.monotonic() > killed + TAKEOVER_S:
            raise LoadError(f"the walk of a killed gateway was not finished within {TAKEOVER_S:g} s")
        if not taken_s and walking != name:
            taken_s = time.monotonic() - killed
        time.sleep(0.005)
    done_s = time.monotonic() - killed
    time.sleep(SETTLED_S)
    after = walks_of(ours)
    written = [after[port][0] - before[port][0] for port in after]
    return {"taken_s": taken_s or done_s, "done_s": done_s, "left": sum(written),
            "walkers": sum(1 for each in written if each)}  # fmt: skip


def _publish(gateway: Gateway) -> None:
    # The gateway may be killed before it answers.
    with contextlib.suppress(OSError, http.client.HTTPException, CarillonError), gateway.api() as api:
        api.call("publish", channel=channel_of("write"), data="the walker dies")


def _walk(ours: Fleet, key: str) -> tuple[str, str]:
    """Returns the name of the gateway that walks, and the member up to whom it has; empty: nobody walks."""
    name, member, *_ = [*ours.redis.cli("hmget", key, "g", "a").split("\n"), "", ""]
    return name, member


def read_all(ours: Fleet, users: list[str], expected: dict[str, int]) -> tuple[Counter[str], float]:
    """Reads all inboxes, spread over the gateways; returns what is wrong, and the time."""
    want = {channel_of(strategy): list(range(1, count + 1)) for strategy, count in expected.items()}
    parts = [users[i :: len(ours.live)] for i in range(len(ours.live))]

    def read(gateway: Gateway, part: list[str]) -> Counter[str]:
        wrong: Counter[str] = Counter()
        with gateway.api() as api:
            for user in part:
                got: dict[str, list[int]] = {channel: [] for channel in want}
                for item in api.call("inbox", user=user, limit=1_000)["items"]:
                    got.setdefault(item["channel"], []).append(item.get("offset", -1))
                for channel, offsets in got.items():
                    wanted = want.get(channel, [])
                    wrong["missing"] += len(set(wanted) - set(offsets))
                    wrong["twice"] += len(offsets) - len(set(offsets))
                    wrong["foreign"] += len(set(offsets) - set(wanted))
                    wrong["out of order"] += offsets != sorted(offsets)
                wrong["read"] += 1
        return wrong

    begin = time.monotonic()
    with ThreadPoolExecutor(len(parts)) as pool:
        found = sum(pool.map(read, ours.live, parts), Counter())
    return found, time.monotonic() - begin


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str, list[Promise]]:
    """Publishes, kills, reads; returns what goes into the JSON, the text, and what was promised."""
    users = [f"member-{number}" for number in range(args.members)]
    document: dict[str, Any] = {}
    rows = [HEAD]
    with fleet(args.gateways, threshold=max(2, args.members // 5)) as ours:
        begin = time.monotonic()
        for number, strategy in enumerate(STRATEGIES):
            with ours.gateways[number % len(ours.gateways)].api() as api:
                api.add_members(channel_of(strategy), users)
        joined_s = time.monotonic() - begin
        keys = {strategy: walk_key(ours, strategy) for strategy in STRATEGIES}
        with Subscribers(ours.gateways) as subscribers:
            for strategy in STRATEGIES:
                document[strategy] = publish_all(ours, strategy, keys[strategy])
            time.sleep(QUIET_S)
            seen = {key: list(offsets) for key, offsets in subscribers.offsets.items()}
        taken = kill_walker(ours, keys["write"])
        count = args.gateways * ROUNDS
        expected = {strategy: count + (strategy == "write") for strategy in STRATEGIES}
        wrong, read_s = read_all(ours, users, expected)
        load = load_average()
    strays = 0
    for strategy in STRATEGIES:
        found = document[strategy]
        each = [offsets for (_, name), offsets in seen.items() if name == strategy]
        whole = list(range(1, count + 1))
        # Conflated publications of one key may be left out, but never the newest.
        is_right = [
            offsets[-1:] == [count] and offsets == sorted(set(offsets)) if strategy == "conflate"
            else offsets == whole
            for offsets in each
        ]  # fmt: skip
        strays += is_right.count(False)
        publish = median(found["publish_s"])
        rows.append([strategy, str(count), _range(found["walkers"]), str(found["by_another"]),
                     _range(found["inboxes"]), str(found["answered_early"]),
                     f"{1e3 * median(found['walk_s']):,.0f} ms", f"{1e3 * publish:,.0f} ms",
                     f"{is_right.count(True)} of {len(each)} right, {sum(map(len, each))} deliveries"]
                    )  # fmt: skip
    document |= {"takeover": taken, "inboxes": dict(wrong)}
    is_one_walk = all(each == 1 for each in document["write"]["walkers"])
    is_each_once = all(each == args.members for each in document["write"]["inboxes"])
    faults = sum(value for name, value in wrong.items() if name != "read")
    text = "\n".join(
        [
            f"## {args.members:,} members on {args.gateways} gateways, {count} publications of each "
            "strategy, one from each gateway",
            f"load average {load}; {len(STRATEGIES)} channels with their members in {joined_s:.1f} s; "
            f"hybrid and adaptive have a threshold of {max(2, args.members // 5):,}",
            "",
            table(rows),
            "",
            f"A gateway is killed in its walk: another one walks {taken['taken_s']:.1f} s later, and has "
            f"entered the remaining members after {taken['done_s']:.1f} s. "
            f"carillon_walk_members of the others counts {taken['left']:,.0f} of them.",
            f"{wrong['read']:,} inboxes read in {read_s:.0f} s: "
            + ", ".join(f"{name} {wrong[name]}" for name in ("missing", "twice", "foreign", "out of order")),
        ]
    )
    promises = [
        Promise("write: publications with other than one walk", float(not is_one_walk), 0),
        Promise(
            "write: publications whose walk did not write to each inbox once", float(not is_each_once), 0
        ),
        Promise(
            "other strategies: walks", float(sum(sum(document[s]["walkers"]) for s in STRATEGIES[1:])), 0
        ),
        Promise("inbox items missing, twice, foreign, out of order", faults, 0),
        Promise("subscribers that did not get each publication once", strays, 0),
    ]
    return document, text, promises


def _range(values: list[Any]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
