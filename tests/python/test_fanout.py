"""Members, inboxes and strategies in Python, without a socket."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import Channel, ConfigError, FanOut, Gap, GapError, Server, ServerStopped, fanout

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 50_000


def offsets(inbox: carillon.Inbox, channel: str) -> list[int]:
    return [message.offset for message in inbox.messages if message.channel == channel]


def test_members_are_users_once_each(carillon_server: Server) -> None:
    assert carillon_server.add_members("a", ["bob", "ann", "bob"]) == 2
    assert carillon_server.add_members("a", (name for name in ("ann", "eve"))) == 3
    assert carillon_server.members("a") == ["ann", "bob", "eve"]
    assert carillon_server.members("a", limit=1, after="ann") == ["bob"]
    assert carillon_server.remove_members("a", ["ann", "nobody"]) == 2
    assert carillon_server.remove_members("b", ["ann"]) == 0
    assert carillon_server.members("b") == []


def test_an_inbox_is_read_page_by_page(carillon_server: Server) -> None:
    for channel in ("a", "b"):
        carillon_server.add_members(channel, ["ann"])
    for number in range(1, 31):
        carillon_server.publish("a" if number % 3 else "b", {"n": number}, tags={"n": str(number)})
    read: list[int] = []
    while True:
        inbox = carillon_server.inbox("ann", limit=7)
        read += [message.json()["n"] for message in inbox.messages]
        for message in inbox.messages:
            assert message.position is not None
            assert message.tags == {"n": str(message.json()["n"])}
            carillon_server.mark_read("ann", message.channel, message.offset)
        if not inbox.has_more:
            break
    assert sorted(read) == list(range(1, 31))
    assert carillon_server.inbox("ann") == carillon.Inbox([], {}, False)
    carillon_server.mark_read("ann", "a", 1)
    assert carillon_server.unread("ann") == {}, "it never goes back"


@pytest.mark.parametrize("strategy", fanout.STRATEGIES)
def test_what_has_left_the_history_is_told_as_a_gap(
    carillon_server_factory: Callable[..., Server], strategy: fanout.Strategy
) -> None:
    server = carillon_server_factory(
        channels={"*": Channel(history_size=5, fanout=strategy, fanout_threshold=1)}
    )
    server.add_members("a", ["ann", "bob"])
    for number in range(1, 21):
        server.publish("a", number)
    epoch = server.history("a").position.epoch
    inbox = server.inbox("ann")
    assert inbox.items[0] == Gap("a", epoch, 1, 15)
    assert [item.offset for item in inbox.items[1:]] == [16, 17, 18, 19, 20]
    with pytest.raises(GapError, match=r"'a': offsets 1 to 15 are lost.* Read items") as raised:
        _ = inbox.messages  # a list without the gap would be a loss in silence
    assert (raised.value.lost_to, raised.value.position) == (15, inbox.items[0].position)
    assert inbox.unread == {"a": 20}
    server.history_remove("a")
    assert server.inbox("ann").items == [Gap("a", epoch, 1, 20)]
    server.mark_read("ann", "a", 20)
    assert server.inbox("ann").items == []


def test_a_strategy_is_changed_while_it_is_live(carillon_server: Server) -> None:
    assert carillon_server.fanout("a") == FanOut("write", "write", 10_000, 0, 0)
    carillon_server.add_members("a", [f"user-{number}" for number in range(10)])
    carillon_server.set_fanout("a", "hybrid", threshold=10)
    assert carillon_server.fanout("a") == FanOut("hybrid", "write", 10, 10, 0)
    carillon_server.add_members("a", ["one more"])
    assert carillon_server.fanout("a") == FanOut("hybrid", "read", 10, 11, 0, 1)
    carillon_server.remove_members("a", ["one more", "user-0", "user-1"])
    assert carillon_server.fanout("a").mode == "read", "within the hysteresis"
    carillon_server.remove_members("a", ["user-2"])
    assert carillon_server.fanout("a") == FanOut("hybrid", "write", 10, 7, 0, 2)
    carillon_server.set_fanout("a", "read")
    assert carillon_server.fanout("a").mode == "read"
    assert carillon_server.fanout("a").threshold == 10_000
    carillon_server.set_fanout("a", None)
    assert carillon_server.fanout("a").strategy == "write", "as configured"


@pytest.mark.parametrize("strategy", ["write", "read"])
def test_fifty_thousand_members_all_of_them_offline(
    carillon_server_factory: Callable[..., Server], strategy: fanout.Strategy
) -> None:
    server = carillon_server_factory(channels={"*": Channel(fanout=strategy)})
    users = [f"user-{number}" for number in range(MANY)]
    assert server.add_members("a", users) == MANY
    for number in range(1, 4):
        server.publish("a", number)
    assert server.stats()["inbox_entries"] == (3 * MANY if strategy == "write" else 0)
    assert server.fanout("a").members == MANY
    for user in users[::97]:
        assert offsets(server.inbox(user), "a") == [1, 2, 3]
    assert server.remove_members("a", users[:20_000]) == MANY - 20_000
    server.publish("a", 4)
    assert server.unread(users[0]) == {"a": 3}
    assert server.unread(users[-1]) == {"a": 4}
    listed: list[str] = []
    while page := server.members("a", limit=9_999, after=listed[-1] if listed else None):
        listed += page
    assert listed == sorted(users[20_000:])


def test_others_run_while_fifty_thousand_are_added_and_written_to(carillon_server: Server) -> None:
    users = [f"user-{number}" for number in range(MANY)]
    ticks: list[float] = []
    is_over = threading.Event()

    def tick() -> None:
        while not is_over.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.0005)

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        began = time.monotonic()
        carillon_server.add_members("a", users)
        for number in range(10):
            carillon_server.publish("a", number)
        ended = time.monotonic()
    finally:
        is_over.set()
        ticking.join()
    within = [at for at in ticks if began < at < ended]
    assert len(within) >= 5, "the GIL is released"


def test_publishing_to_an_inbox_is_acknowledged_when_it_is_in(carillon_server: Server) -> None:
    users = [f"user-{number}" for number in range(5_000)]
    carillon_server.add_members("a", users)
    for number in range(1, 6):
        carillon_server.publish("a", number)
        assert carillon_server.unread(users[-1]) == carillon_server.unread(users[0]) == {"a": number}
        assert carillon_server.stats()["inbox_merges"] == 0


async def test_every_way_to_publish_waits_for_the_inboxes(carillon_server: Server) -> None:
    users = [f"user-{number}" for number in range(3_000)]
    carillon_server.add_members("a", users)
    await carillon_server.publish_async("a", 1)
    assert carillon_server.unread(users[-1]) == {"a": 1}
    assert [each.offset for each in carillon_server.publish_many([("a", 2), ("a", 3)])] == [2, 3]
    assert carillon_server.unread(users[-1]) == {"a": 3}
    carillon_server.publish_nowait("a", 4)
    carillon_server.publish("a", 5)
    assert carillon_server.unread(users[-1]) == {"a": 5}


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda server: server.add_members("live", ["ann"]), "'live' keeps no history.*history_size"),
        (lambda server: server.add_members("a", ["ann", ""]), r"users\[1\]: is empty"),
        (lambda server: server.add_members("", ["ann"]), "channel: '' is not a channel name"),
        (lambda server: server.members("a", limit=0), "limit: 0 is too small; the minimum is 1"),
        (lambda server: server.inbox(""), "user: is empty"),
        (lambda server: server.inbox("ann", limit=1_001), r"limit: 1001 .*limits\.inbox_items \(1000\)"),
        (lambda server: server.unread(""), "user: is empty"),
        (lambda server: server.mark_read("ann", "a", 2), "offset: 2 is above the newest publication of 'a'"),
        (
            lambda server: server.set_fanout("a", "push"),
            "strategy: 'push' is not known; use write, read, hyb",
        ),
        (lambda server: server.set_fanout("a", "hybrid", threshold=0), "threshold: 0 is too small"),
        (lambda server: server.fanout(""), "is not a channel name"),
        (lambda server: server.publish("a\0b", 1), r"channel: 'a\\x00b' is not a channel name"),
        (
            lambda server: server.add_members("a" + "\N{BELL}" * 100, ["ann"]),
            "\N{BELL}…' is not a channel name",
        ),
        (lambda server: server.mark_read("ann", "a" + "\N{BELL}" * 40, 1), "\N{BELL}…'; give the offset"),
        (lambda server: server.mark_read("ann", "a", -1), "offset: -1 is too small"),
    ],
)
def test_a_refusal_says_field_value_and_remedy(
    carillon_server_factory: Callable[..., Server], ask: Callable[[Server], Any], words: str
) -> None:
    server = carillon_server_factory(channels={"live": {"history_size": 0}})
    server.add_members("a", ["ann"])
    server.publish("a", 1)
    with pytest.raises(ValueError, match=words):
        ask(server)
    assert server.inbox("ann").unread == {"a": 1}


def test_what_is_no_list_of_users_or_no_running_server_is_refused(carillon_server: Server) -> None:
    with pytest.raises(TypeError, match="users: 'ann' is one str"):
        carillon_server.add_members("a", "ann")
    with pytest.raises(TypeError, match=r"users\[1\]: 1 is an int; give a str"):
        carillon_server.add_members("a", ["ann", 1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"^offset: '7+… is a str; give a whole number$") as refused:
        carillon_server.mark_read("ann", "a", "7" * 1_000)  # type: ignore[arg-type]
    assert len(str(refused.value)) < 200, "arguments can be long"
    carillon_server.stop()
    for ask in (
        lambda: carillon_server.add_members("a", ["ann"]),
        lambda: carillon_server.inbox("ann"),
        lambda: carillon_server.fanout("a"),
    ):
        with pytest.raises(ServerStopped):
            ask()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fanout": "push"}, r'fanout: "push" is not known; use "write", "read", "hybrid" or "adaptive"'),
        ({"fanout_threshold": 0}, "fanout_threshold: 0 is too small; the minimum is 1"),
        ({"fanout_hysteresis": 101}, "fanout_hysteresis: 101 is too large; the maximum is 100"),
        ({"sweep_interval": "0s"}, r'sweep_interval: "0s" is too small; the minimum is 1ms'),
        ({"batch_interval": 50}, r'batch_interval: 50 has no unit; write it as "25s"'),
        ({"conflate": 1}, "conflate: 1 is neither true nor false"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    for settings in (options, Channel(**options)):
        with pytest.raises(ConfigError, match=words) as refused:
            Server(channels={"news": settings})
        assert 'channels."news".' in str(refused.value)


def test_options_come_back_from_the_settings() -> None:
    options = Channel(
        fanout="hybrid",
        fanout_threshold=500,
        fanout_hysteresis=10,
        sweep_interval="50ms",
        batch_interval="20ms",
        conflate=True,
    )
    news = Server(channels={"news": options}).settings["channels"]["news"]
    assert {name: news[name] for name in options.to_dict()} == options.to_dict()
    usual = Server(channels={"news": {}}).settings["channels"]["news"]
    assert (usual["fanout"], usual["fanout_threshold"], usual["fanout_hysteresis"]) == ("write", 10_000, 20)
    assert (usual["sweep_interval"], usual["batch_interval"], usual["conflate"]) == ("100ms", "0s", False)


def test_stats_count_the_work_of_both_sides(carillon_server: Server) -> None:
    carillon_server.add_members("a", ["ann", "bob"])
    carillon_server.publish("a", 1)
    carillon_server.set_fanout("a", "read")
    carillon_server.publish("a", 2)
    carillon_server.inbox("ann")
    stats = carillon_server.stats()
    assert (stats["inbox_entries"], stats["inbox_reads"], stats["inbox_merges"]) == (2, 1, 1)
    assert stats["fanout_write_ns"] > 0
    assert stats["fanout_read_ns"] > 0
    assert stats["adaptive_factor"] == 1.0
    assert stats["sweeps"] == 0


def test_publishers_and_a_stop_at_the_same_time(carillon_server_factory: Callable[..., Server]) -> None:
    for _ in range(5):
        server = carillon_server_factory()
        server.add_members("a", [f"user-{number}" for number in range(5_000)])
        told: list[BaseException] = []
        has_published = threading.Event()

        def publish(
            server: Server = server,
            told: list[BaseException] = told,
            has_published: threading.Event = has_published,
        ) -> None:
            try:
                while True:
                    server.publish("a", 1)
                    has_published.set()
            except carillon.CarillonError as error:
                told.append(error)

        publishers = [threading.Thread(target=publish) for _ in range(3)]
        for each in publishers:
            each.start()
        assert has_published.wait(10)
        server.stop()
        for each in publishers:
            each.join(10)
            assert not each.is_alive()
        assert len(told) == 3
