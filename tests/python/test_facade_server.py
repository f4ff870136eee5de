"""`carillon.Server` in this process: its life, publishing, cursors, and handles that outlive it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import PayloadTooLarge, Position, Server
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.wire


def test_a_server_serves_from_start_to_stop() -> None:
    server = Server()
    assert not server.is_running
    with server:
        assert server.is_running
        assert server.port > 0
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.start() is server
    assert not server.is_running
    server.stop()
    assert server.ledger()["is_balanced"]


def test_a_stopped_server_says_so() -> None:
    server = Server().start()
    server.stop()
    with pytest.raises(carillon.ServerStopped, match="make a new Server"):
        server.start()
    with pytest.raises(carillon.ServerStopped, match="stopped"):
        server.publish("c", 1)


def test_a_server_that_was_never_started_says_so() -> None:
    with pytest.raises(carillon.ServerStopped, match="start"):
        Server().publish("c", 1)


def test_an_address_taken_by_ourselves_names_the_server_that_has_it(carillon_server: Server) -> None:
    with pytest.raises(carillon.AddressInUse, match=f"{carillon_server.url}.*of this process"):
        Server(port=carillon_server.port).start()


@pytest.mark.parametrize(
    "settings",
    [
        {"port": "x"},
        {"config": {"http_server": {"adress": "127.0.0.1"}}},
        {"host": "0.0.0.0", "insecure": True},
        {"allowed_origins": "https://app.test"},
        {"allowed_origins": ["https://app.test/"]},
    ],
)
def test_a_wrong_setting_is_refused_at_once(settings: dict[str, object]) -> None:
    with pytest.raises(carillon.ConfigError):
        Server(**settings)  # type: ignore[arg-type]


def test_arguments_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "carillon.toml"
    file.write_text('threads = 1\n[http_server]\nport = 1234\n[channels."a*"]\nhistory_size = 5\n')
    server = Server(port=0, config=file, channels={"b": carillon.Channel(history_size=7)})
    assert server.settings["http_server"]["port"] == 0
    assert server.settings["threads"] == 1
    sizes = {name: row["history_size"] for name, row in server.settings["channels"].items()}
    assert sizes.items() >= {"a*": 5, "b": 7}.items()
    assert server.settings["client"]["insecure"] is False


def test_an_argument_replaces_the_option_under_its_other_name() -> None:
    config = {"client": {"channel_limit": 5}, "channels": {"a": {"history_ttl": "9s", "history_size": 3}}}
    ttl = carillon.Channel(history_ttl_ms=1_500)
    settings = Server(config=config, limits={"channels_per_connection": 7}, channels={"a": ttl}).settings
    assert settings["client"]["channel_limit"] == 7
    assert settings["channels"]["a"]["history_ttl"] == "1500ms"
    assert settings["channels"]["a"]["history_size"] == 3
    assert config["client"] == {"channel_limit": 5}
    settings = Server(heartbeat={"ping_interval_ms": 400, "pong_timeout_ms": 90, "sse_retry_ms": 5}).settings
    assert (settings["client"]["ping_interval"], settings["client"]["pong_timeout"]) == ("400ms", "90ms")
    assert settings["heartbeat"]["sse_retry_ms"] == 5


def test_only_a_bare_server_on_this_machine_is_insecure_by_itself() -> None:
    assert Server().settings["client"]["insecure"] is True
    assert Server(api_key="k").settings["client"]["insecure"] is False
    assert Server(config={}).settings["client"]["insecure"] is False


def test_publications_are_numbered_from_one(carillon_server: Server) -> None:
    first = carillon_server.publish("c", {"n": 1})
    assert first.offset == 1
    assert carillon_server.publish("c", b"raw") == Position(2, first.epoch)
    assert carillon_server.publish_many([("c", 3), ("d", "x")])[0] == Position(3, first.epoch)
    carillon_server.publish_nowait("c", 4)
    history = carillon_server.history("c")
    assert [(m.offset, m.data, m.is_json) for m in history.messages] == [
        (1, b'{"n":1}', True),
        (2, b"raw", False),
        (3, b"3", True),
        (4, b"4", True),
    ]
    assert history.position == Position(4, first.epoch)
    assert [m.offset for m in carillon_server.history("c", limit=2, since=first).messages] == [2, 3]
    assert [m.offset for m in carillon_server.history("c", limit=2, reverse=True).messages] == [4, 3]
    with pytest.raises(carillon.PositionError):
        carillon_server.history("c", since="zzzzzzzz:1")


def test_json_text_is_passed_on_byte_for_byte(carillon_server: Server) -> None:
    carillon_server.publish("c", b'{"n": 1.10}', json=True)
    assert carillon_server.history("c").messages[0].data == b'{"n": 1.10}'
    with pytest.raises(ValueError):  # noqa: PT011
        carillon_server.publish("c", b'{"n":', json=True)


def test_an_idempotency_key_makes_two_publishes_one(carillon_server: Server) -> None:
    first = carillon_server.publish("c", 1, idempotency_key="k", tags={"lang": "en"}, key="s")
    assert carillon_server.publish("c", 1, idempotency_key="k") == first
    (message,) = carillon_server.history("c").messages
    assert (dict(message.tags), message.key) == ({"lang": "en"}, "s")


async def test_publish_async_returns_the_position(carillon_server: Server) -> None:
    positions = await asyncio.gather(*(carillon_server.publish_async("c", n) for n in range(100)))
    assert sorted(position.offset for position in positions) == list(range(1, 101))


async def test_a_cursor_yields_what_is_published_and_resumes(carillon_server: Server) -> None:
    async with carillon_server.subscribe("c") as cursor:
        for n in range(3):
            carillon_server.publish("c", n)
        assert [(await cursor.next(5)).json() for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
        position = cursor.position
    carillon_server.publish("c", 3)
    async with carillon_server.subscribe("c", since=position) as cursor:
        assert cursor.is_recovered is True
        carillon_server.publish("c", 4)
        assert [(await cursor.next(5)).json() for _ in range(2)] == [3, 4]  # type: ignore[union-attr]


async def test_a_cursor_slower_than_its_channel_misses_nothing(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(
        channels={"c": carillon.Channel(history_size=20000, history_bytes=1 << 26)}
    )
    async with server.subscribe("c") as cursor:
        for n in range(10000):
            server.publish("c", n)
            if n % 500 == 0:
                await asyncio.sleep(0)
        assert [(await cursor.next(5)).offset for _ in range(10000)] == list(range(1, 10001))  # type: ignore[union-attr]


async def test_a_cursor_that_is_left_alone_for_long_goes_on(
    carillon_server_factory: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carillon.bridge, "_LINGER_S", 0.02)
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=10_000)})
    async with server.subscribe("c") as cursor:
        server.publish_many([("c", n) for n in range(9000)])
        offsets = [(await cursor.next(5)).offset]  # type: ignore[union-attr]
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(wait_until, lambda: loop not in carillon.bridge._bridges)
        offsets += [(await cursor.next(5)).offset for _ in range(8999)]  # type: ignore[union-attr]
    assert offsets == list(range(1, 9001))


def test_publish_many_takes_any_pairs_and_publishes_all_or_nothing(carillon_server: Server) -> None:
    pairs: list[tuple[str, Any]] = [("c", b"raw"), ("c", bytearray(b"buffer")), ("c", [1]), ("d", None)]
    positions = carillon_server.publish_many(pair for pair in pairs)
    assert [position.offset for position in positions] == [1, 2, 3, 1]
    assert positions[0].epoch == positions[2].epoch != positions[3].epoch
    assert isinstance(positions[0], Position)
    assert hash(positions[0]) == hash(Position(1, positions[0].epoch))
    assert [message.data for message in carillon_server.history("c").messages] == [b"raw", b"buffer", b"[1]"]
    assert carillon_server.publish_many([]) == []
    before = carillon_server.stats()["published"]
    beyond: list[Any] = [("", 1), ("", b"1"), ("ok", b"x" * 2_000_000)]  # the core looks at these
    for bad in beyond:
        with pytest.raises((ValueError, PayloadTooLarge), match=r"channel|limits\.publication_bytes"):
            carillon_server.publish_many([("ok", b"1"), ("ok", b"2"), bad])
    assert carillon_server.stats()["published"] == before
    wrong: list[Any] = [("c", 1), ("c", object())], [("c", 1), ("c",)], [("c", 1), (7, 1)], [("c", 1), 5]
    for items in wrong:
        with pytest.raises((TypeError, ValueError), match=r"^items\[1\]: "):
            carillon_server.publish_many(items)
    assert carillon_server.history("c").position.offset == 3


async def test_a_position_that_is_gone_is_told_as_a_gap(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=3)})
    first = server.publish("c", 1)
    for n in range(2, 11):
        server.publish("c", n)
    async with server.subscribe("c", since=first, on_gap="yield") as cursor:
        gap = await cursor.next(5)
        assert isinstance(gap, carillon.Gap)
        assert (gap.lost_from, cursor.is_recovered) == (2, False)
        with pytest.raises(carillon.GapError, match=r"'c': offsets 2 to \d+ are lost"):
            gap.raise_()
        last = server.publish("c", 11)
        while (await cursor.next(5)).position != last:
            pass


async def test_a_cursor_without_history_is_live(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=0)})
    async with server.subscribe("c") as cursor:
        server.publish("c", 1)
        item = await cursor.next(5)
        assert isinstance(item, carillon.Message)
        assert (item.offset, item.position, item.json()) == (0, None, 1)


async def test_a_paused_cursor_that_is_closed_does_not_subscribe_again_while_it_is_read(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(channels={"c": carillon.Channel(history_size=6000)})
    first = server.publish("c", 0)
    server.publish_many([("c", n) for n in range(5000)])
    cursor = await server.subscribe("c", since=first).open()
    await asyncio.to_thread(wait_until, lambda: not server.channels())  # its queue fills: nobody reads
    await cursor.aclose()
    assert len([item async for item in cursor]) >= 4096
    assert server.channels() == {}


@pytest.mark.parametrize(
    ("code", "reason", "named"),
    [(42, "", "code: 42"), (5000, "", "code: 5000"), (3000, "x" * 124, "reason")],
)
def test_a_close_that_cannot_be_sent_is_refused(
    carillon_server: Server, code: int, reason: str, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        carillon_server.disconnect("nobody", code, reason)
    assert carillon_server.disconnect("nobody", 3000, "x" * 123) is False


async def test_handles_that_outlive_the_server_raise() -> None:
    server = Server().start()
    cursor = server.subscribe("c")
    await cursor.open()
    server.stop()
    with pytest.raises(carillon.ServerStopped):
        await cursor.next(5)
    await cursor.aclose()
    with pytest.raises(carillon.ServerStopped):
        server.subscribe("c")
    with pytest.raises(carillon.ServerStopped):
        await server.publish_async("c", 1)


async def test_a_cursor_that_is_let_go_leaves_its_channel(carillon_server: Server) -> None:
    async for item in _first(carillon_server):
        assert item
        break
    gc.collect()
    await asyncio.to_thread(wait_until, lambda: not carillon_server.channels().get("c"))


async def _first(server: Server):  # type: ignore[no-untyped-def]
    cursor = server.subscribe("c")
    await cursor.open()
    server.publish("c", 1)
    yield await cursor.next(5)


async def test_an_async_context_starts_and_stops() -> None:
    async with Server() as server, carillon.connect(server.url) as client:
        assert server.is_running
        assert await client.presence("c") == {}
    assert not server.is_running


def test_a_server_that_is_never_stopped_warns() -> None:
    server: Server | None = Server().start()
    assert server is not None
    with pytest.warns(ResourceWarning, match="never stopped"):
        server = None


def test_waiting_ends_when_the_server_is_stopped(carillon_server: Server) -> None:
    threading.Timer(0.1, carillon_server.stop).start()
    carillon_server.wait()
    assert not carillon_server.is_running


def test_the_card_of_a_notebook(carillon_server: Server) -> None:
    card = carillon_server._repr_html_()
    assert carillon_server.url in card
    assert "<script" not in card


def test_a_forked_child_is_told(carillon_server: Server) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            carillon_server.publish("c", 1)
        except carillon.ForkedError:
            os.write(write, b"told")
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"told"
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert carillon_server.publish("c", 1).offset == 1


def test_the_interpreter_exits_with_a_live_server() -> None:
    code = "import carillon; s = carillon.Server().start(); s.publish('c', 1); print(s.url)"
    started = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - started < 10


def test_start_and_stop_leave_nothing_behind() -> None:
    def resources() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    async def use(server: Server) -> None:
        async with server.subscribe("c") as cursor:
            await server.publish_async("c", 1)
            await cursor.next(5)

    def cycle() -> None:
        with Server(threads=1) as server, asyncio.Runner() as runner:
            runner.run(use(server))

    cycle()
    gc.collect()
    files, threads = resources()
    for _ in range(100):
        cycle()
    # A joined thread stays in /proc for a moment; what earlier tests left may be gone by now.
    wait_until(lambda: resources()[0] <= files and resources()[1] <= threads)
