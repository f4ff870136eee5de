"""`carillon serve --takeover`, with real processes and clients that are not ours: nobody notices anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from carillon import Server, TakeoverError
from carillon.testing import wait_until
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from serve_process import Process

pytestmark = pytest.mark.wire

Json = dict[str, Any]

CONNECTIONS = int(os.environ.get("CARILLON_TAKEOVER_CONNECTIONS", "300"))
INTERVAL_S = 0.1
PAUSE_S = 0.5
CHANNEL = "room"
SUCCESSOR = Path(__file__).resolve().parents[2] / "bench" / "silent_successor.py"


@dataclass
class Journal:
    """What one subscriber has received."""

    offsets: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    closes: int = 0

    def take(self, offset: int) -> None:
        self.offsets.append(offset)
        self.times.append(time.monotonic())

    def top(self) -> int:
        return self.offsets[-1] if self.offsets else 0

    def faults(self, top: int) -> list[str]:
        expected = list(range(1, top + 1))
        if self.offsets == expected and not self.closes:
            return []
        gaps = sorted(set(expected) - set(self.offsets))
        return [f"closes {self.closes}, gaps {gaps[:5]}, received {len(self.offsets)} of {top}"]

    def pause(self) -> float:
        """The longest time without a publication, beyond the interval of publishing."""
        return max(b - a for a, b in zip(self.times, self.times[1:], strict=False)) - INTERVAL_S


async def by_websocket(port: int, epoch: str, journal: Journal, ready: asyncio.Semaphore) -> None:
    url = f"ws://127.0.0.1:{port}/connection/websocket"
    async with connect(url, ping_interval=None, compression=None, proxy=None, max_queue=None) as socket:
        since = {"channel": CHANNEL, "recover": True, "epoch": epoch, "offset": 0}
        await socket.send(json.dumps({"id": 1, "connect": {}}))
        await socket.send(json.dumps({"id": 2, "subscribe": since}))
        async for frame in socket:
            for line in str(frame).split("\n"):
                message: Json = json.loads(line)
                if not message:
                    await socket.send("{}")
                if "subscribe" in message:
                    ready.release()
                for each in message.get("subscribe", {}).get("publications", []):
                    journal.take(each["offset"])
                if "push" in message:
                    journal.take(message["push"]["pub"]["offset"])
    journal.closes += 1


async def by_sse(port: int, epoch: str, journal: Journal, ready: asyncio.Semaphore) -> None:
    url = f"http://127.0.0.1:{port}/sse?channel={CHANNEL}&since={epoch}:0"
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
        aconnect_sse(client, "GET", url) as source,
    ):
        async for event in source.aiter_sse():
            if event.event == "status":
                assert event.json()["recovered"] or not event.json()["offset"]
                ready.release()
            elif event.data:
                journal.take(event.json()["offset"])
    journal.closes += 1


async def by_poll(port: int, epoch: str, journal: Journal, ready: asyncio.Semaphore) -> None:
    """Long-polls on one connection of plain TCP, which must never be closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    since = f"{epoch}:0"
    ready.release()
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            target = f"/poll?channel={CHANNEL}&since={since}&timeout=10"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"Content-Length: (\d+)", head)
            assert head.startswith("HTTP/1.1 200 "), head
            assert length, head
            body: Json = json.loads(await reader.readexactly(int(length[1])))
            for each in body["publications"]:
                journal.take(each["offset"])
            since = body["since"]
    journal.closes += 1


def uni_request(epoch: str) -> Json:
    return {"subs": {CHANNEL: {"recover": True, "epoch": epoch, "offset": 0}}}


def take_push(push: Json, journal: Journal, ready: asyncio.Semaphore) -> None:
    """One push of a unidirectional stream."""
    if "connect" in push:
        for each in push["connect"]["subs"][CHANNEL].get("publications", []):
            journal.take(each["offset"])
        ready.release()
    elif push:
        journal.take(push["pub"]["offset"])


async def by_uni_websocket(port: int, epoch: str, journal: Journal, ready: asyncio.Semaphore) -> None:
    url = f"ws://127.0.0.1:{port}/connection/uni_websocket"
    async with connect(url, ping_interval=None, compression=None, proxy=None, max_queue=None) as socket:
        await socket.send(json.dumps(uni_request(epoch)))
        async for frame in socket:
            take_push(json.loads(frame), journal, ready)
    journal.closes += 1


async def by_uni_sse(port: int, epoch: str, journal: Journal, ready: asyncio.Semaphore) -> None:
    params = {"cf_connect": json.dumps(uni_request(epoch))}
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
        aconnect_sse(client, "GET", f"http://127.0.0.1:{port}/connection/uni_sse", params=params) as source,
    ):
        async for event in source.aiter_sse():
            take_push(event.json(), journal, ready)
    journal.closes += 1


async def by_uni_http_stream(port: int, epoch: str, journal: Journal, ready: asyncio.Semaphore) -> None:
    url = f"http://127.0.0.1:{port}/connection/uni_http_stream"
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
        client.stream("POST", url, json=uni_request(epoch)) as response,
    ):
        async for line in response.aiter_lines():
            take_push(json.loads(line), journal, ready)
    journal.closes += 1


class Publisher:
    """Publishes at a steady rate, over one connection that must never be closed."""

    def __init__(self, port: int) -> None:
        self.top = 0
        self.is_over = asyncio.Event()
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    async def publish(self) -> str:
        """One publication; its epoch."""
        request = {"channel": CHANNEL, "data": {"n": self.top}}
        answer: Json = (await self._client.post("/api/publish", json=request)).json()
        self.top += 1
        assert answer["result"]["offset"] == self.top, answer
        return str(answer["result"]["epoch"])

    async def close(self) -> None:
        await self._client.aclose()

    async def run(self) -> None:
        """Until `is_over`."""
        due = time.monotonic()
        while not self.is_over.is_set():
            await self.publish()
            due = max(due + INTERVAL_S, time.monotonic() - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))


async def watch(port: int, act: Callable[[], Any]) -> None:
    """Subscribers on six transports and a publisher, while `act` runs in a thread: they notice nothing."""
    publisher = Publisher(port)
    epoch = await publisher.publish()
    journals = [Journal() for _ in range(CONNECTIONS)]
    ready = asyncio.Semaphore(0)
    subscribe = (by_websocket, by_sse, by_poll, by_uni_websocket, by_uni_sse, by_uni_http_stream)
    readers = [
        asyncio.create_task(subscribe[i % len(subscribe)](port, epoch, journal, ready))
        for i, journal in enumerate(journals)
    ]
    async with asyncio.timeout(60):
        for _ in journals:
            await ready.acquire()
    for journal in journals:  # what came while they connected says nothing
        journal.times.clear()
    publishing = asyncio.create_task(publisher.run())

    def all_have_more() -> None:
        goal = publisher.top + 20
        wait_until(lambda: all(each.top() >= goal for each in journals), 30)

    await asyncio.to_thread(all_have_more)
    await asyncio.to_thread(act)
    with contextlib.suppress(TimeoutError):  # who has stopped is told below, by name
        await asyncio.to_thread(all_have_more)
    publisher.is_over.set()
    await publishing
    with contextlib.suppress(TimeoutError):
        await asyncio.to_thread(wait_until, lambda: all(each.top() >= publisher.top for each in journals), 30)
    faults = [fault for journal in journals for fault in journal.faults(publisher.top)]
    pauses = [journal.pause() for journal in journals if len(journal.times) > 1]
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await publisher.close()
    assert not faults, f"{len(faults)} of {CONNECTIONS}: {faults[:5]}"
    print(f"{CONNECTIONS} connections, {publisher.top} publications, pause {max(pauses) * 1000:.0f} ms")
    assert max(pauses) <= PAUSE_S


def kill_a_successor(runtime: Path, port: int) -> None:
    """A new process takes all that there is, and is killed before it says so."""
    path = runtime / f"carillon-{os.geteuid()}-{port}.sock"
    with subprocess.Popen([sys.executable, SUCCESSOR, path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        kind, descriptors = child.stdout.readline().split()
        assert (kind, int(descriptors) >= CONNECTIONS + 2) == ("3", True)
        child.send_signal(signal.SIGKILL)


@pytest.mark.alone  # it measures pauses
@pytest.mark.slow
def test_five_takeovers_one_of_them_killed(launch: Callable[..., Process], tmp_path: Path) -> None:
    server = launch(0, "--threads", "2")
    port = server.port

    def act() -> None:
        nonlocal server
        for threads in (2, 3, 0, 1, 2):
            if threads == 0:
                kill_a_successor(tmp_path, port)
                server.wait_for("this server continues")
                assert server.child.poll() is None
                continue
            old, server = server, launch(port, "--takeover", "--threads", str(threads))
            assert server.port == port, server.log
            assert old.ended() == 0
            print(next(line for line in server.log if "took over" in line).strip())
            assert not [line for line in old.log if " close " in line], "nobody has left"

    asyncio.run(watch(port, act))
    assert server.child.poll() is None


@pytest.mark.alone  # it measures pauses
def test_a_successor_that_says_nothing_is_given_up(launch: Callable[..., Process], tmp_path: Path) -> None:
    config = tmp_path / "short.json"
    config.write_text('{"takeover": {"timeout_ms": 300}, "client": {"insecure": true}}')
    server = launch(0, "--config", str(config))
    path = tmp_path / f"carillon-{os.geteuid()}-{server.port}.sock"

    def act() -> None:
        with subprocess.Popen([sys.executable, SUCCESSOR, path], stdout=subprocess.PIPE) as child:
            assert child.stdout
            child.stdout.readline()
            server.wait_for("this server continues")
            child.kill()
        (told,) = [line for line in server.log if "takeover" in line]
        assert "within takeover.timeout_ms" in told

    asyncio.run(watch(server.port, act))


def test_both_processes_log_the_pause(launch: Callable[..., Process]) -> None:
    old = launch(0, "--log-format", "json")
    new = launch(old.port, "--log-format", "json", "--takeover")
    assert old.ended() == 0
    old.stop()  # and so all of its log is read
    for process, event, other in ((old, "handed_over", new), (new, "taken_over", old)):
        (record,) = [one for one in map(json.loads, process.log) if one.get("event") == event]
        assert record["other_process"] == other.child.pid
        assert record["connections"] == 0
        assert 0 <= record["pause_ms"] < 5_000
        assert f"which paused for {record['pause_ms']} ms" in record["message"]


def test_signals_that_come_late_do_not_change_how_the_old_process_ends(
    launch: Callable[..., Process],
) -> None:
    old = launch()
    new = launch(old.port, "--takeover")
    while old.child.poll() is None:  # until the very end of its interpreter
        old.child.send_signal(signal.SIGTERM)
        old.child.send_signal(signal.SIGHUP)
        time.sleep(0.0005)
    assert old.ended() == 0
    assert httpx.get(f"http://127.0.0.1:{new.port}/health", trust_env=False).status_code == 200


@pytest.mark.parametrize("path", ["http_stream", "sse"])
def test_commands_of_an_sdk_over_http_find_it_in_the_new_process(
    launch: Callable[..., Process], path: str
) -> None:
    old = launch()
    url = f"http://127.0.0.1:{old.port}"
    connect_command = '{"id":1,"connect":{}}'
    with (
        httpx.Client(trust_env=False, timeout=20) as client,
        client.stream("POST", f"{url}/connection/{path}", content=connect_command) as response,
    ):
        lines = (json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line)
        replies = filter(None, lines)  # without pings
        hello = next(replies)["connect"]
        launch(old.port, "--takeover")
        assert old.ended() == 0
        command = {"id": 2, "subscribe": {"channel": "a"}}
        body = {"session": hello["session"], "node": hello["node"], "data": json.dumps(command)}
        assert httpx.post(f"{url}/emulation", json=body, trust_env=False).status_code == 204
        assert "subscribe" in next(replies)


def test_members_inboxes_and_a_strategy_chosen_at_run_time_move(launch: Callable[..., Process]) -> None:
    old = launch()
    with httpx.Client(base_url=f"http://127.0.0.1:{old.port}/api", trust_env=False) as client:

        def api(method: str, **fields: Any) -> Json:
            answer: Json = client.post(method, json=fields).json()
            assert "result" in answer, answer
            result: Json = answer["result"]
            return result

        users = [f"user-{number}" for number in range(3_000)]
        api("add_members", channel="a", users=users)
        api("add_members", channel="b", users=users[:9])
        for number in range(1, 6):
            api("publish", channel="a", data=number)
        api("mark_read", user=users[0], channel="a", offset=3)
        api("set_fanout", channel="a", strategy="read")
        api("set_fanout", channel="b", strategy="hybrid", threshold=10)
        api("remove_members", channel="a", users=users[2_000:])
        api("publish", channel="a", data=6)
        api("publish", channel="b", data=1, tags={"lang": "en"})
        asked = [
            *(("inbox", {"user": user}) for user in (users[0], users[1_500], users[-1], "nobody")),
            *(("fanout", {"channel": channel}) for channel in "ab"),
            ("members", {"channel": "a", "limit": 5, "after": "user-7"}),
        ]
        before = [api(method, **fields) for method, fields in asked]
        assert before[0]["unread"] == {"a": 3, "b": 1}
        assert before[2]["unread"] == {"a": 5}, "who left keeps what was published until then"
        launch(old.port, "--takeover")
        assert old.ended() == 0
        assert [api(method, **fields) for method, fields in asked] == before
        api("publish", channel="a", data=7)
        api("publish", channel="b", data=2)
        assert api("unread", user=users[0])["unread"] == {"a": 4, "b": 2}
        assert api("unread", user=users[-1])["unread"] == {"a": 5}
        assert api("stats")["inbox_entries"] == 9, "b still writes, a still reads"


@pytest.mark.slow
def test_inboxes_are_whole_after_takeovers_in_the_middle_of_writing_them(
    launch: Callable[..., Process], tmp_path: Path
) -> None:
    config = tmp_path / "long.json"
    config.write_text('{"client": {"insecure": true}, "channels": {"a": {"history_size": 100000}}}')
    server = launch(0, "--config", str(config))
    url = f"http://127.0.0.1:{server.port}/api"
    users = [f"user-{number}" for number in range(10_000)]
    is_over = threading.Event()
    errors: list[Json] = []

    def publish(publisher: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=15) as client:
            for number in range(1_000_000):
                request = {"channel": "a", "data": number, "idempotency_key": f"{publisher}-{number}"}
                answer = client.post("publish", json=request).json()
                if "error" in answer:
                    errors.append(answer)
                if is_over.is_set():
                    return

    with httpx.Client(base_url=url, trust_env=False) as client:
        client.post("add_members", json={"channel": "a", "users": users})
        publishers = [threading.Thread(target=publish, args=(number,)) for number in range(3)]
        for each in publishers:
            each.start()
        try:
            for turn, threads in enumerate((2, 1, 3)):
                time.sleep(0.3)
                strategy = "write" if turn % 2 else "read"
                client.post("set_fanout", json={"channel": "a", "strategy": strategy})
                time.sleep(0.3)
                old = server
                server = launch(old.port, "--config", str(config), "--takeover", "--threads", str(threads))
                assert old.ended() == 0
        finally:
            is_over.set()
            for each in publishers:
                each.join()
        assert not errors, errors[:3]
        top = client.post("history", json={"channel": "a"}).json()["result"]["offset"]
        for user in (users[0], users[-1]):
            read: list[int] = []
            has_more = True
            while has_more:
                inbox = client.post("inbox", json={"user": user, "limit": 1000}).json()["result"]
                read += [item["offset"] for item in inbox["items"]]
                client.post("mark_read", json={"user": user, "channel": "a", "offset": read[-1]})
                has_more = inbox["has_more"]
            assert read == list(range(1, top + 1)), user


def run_takeover(runtime: Path, port: int, *arguments: str, **options: Any) -> tuple[int, str]:
    """`carillon serve --takeover` that fails: exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "carillon", "serve", "--takeover", "--port", str(port), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        **options,
    )
    return done.returncode, done.stderr


def test_nobody_there(tmp_path: Path) -> None:
    code, text = run_takeover(tmp_path, 1)
    assert code == 1
    assert f"carillon-{os.geteuid()}-1.sock" in text
    assert "start without --takeover" in text


def test_a_new_process_that_cannot_start_leaves_the_old_one_alone(
    launch: Callable[..., Process], tmp_path: Path
) -> None:
    server = launch()
    waiting = [httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) for _ in range(40)]
    for client in waiting:
        assert client.get("/health").status_code == 200
    assert run_takeover(tmp_path, server.port, "--host", "localhost")[0] == 1  # the socket moves as it is
    server.wait_for("gave up or died")
    assert run_takeover(tmp_path, server.port, "--store", "nonsense")[0] == 3

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    code, text = run_takeover(tmp_path, server.port, preexec_fn=few_descriptors)
    assert code == 1
    assert "ulimit -n" in text, text
    for client in waiting:
        assert client.get("/health").status_code == 200
    assert server.child.poll() is None
    for client in waiting:
        client.close()


def test_a_second_server_at_the_same_socket_says_that_it_cannot_be_taken_over(tmp_path: Path) -> None:
    config = {"takeover": {"socket": str(tmp_path / "here.sock")}}
    with Server(port=0, config=config) as first, Server(port=0, config=config) as second:
        first.offer_takeover()
        with pytest.raises(TakeoverError, match="another server listens"):
            second.offer_takeover()
        assert not first.is_given_away


class Ws:
    """A subscriber for the tests within one process."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def command(self, number: int, **fields: Any) -> None:
        await self.socket.send(json.dumps({"id": number, **fields}))

    async def next(self) -> Json:
        async with asyncio.timeout(15):
            answer: Json = json.loads(await self.socket.recv())
            return answer


@contextlib.asynccontextmanager
async def open_ws(port: int) -> Any:
    url = f"ws://127.0.0.1:{port}/connection/websocket"
    async with connect(url, ping_interval=None, compression=None, proxy=None, close_timeout=2) as socket:
        client = Ws(socket)
        await client.command(1, connect={})
        assert "connect" in await client.next()
        yield client


def with_hook(port: int, path: Path, answer_after_s: float, timeout_ms: int, pattern: str = "*") -> Server:
    server = Server(
        port=port,
        insecure=True,
        config={
            "takeover": {
                "socket": str(path),
                "timeout_ms": timeout_ms,
                "answer_timeout_ms": timeout_ms // 2,
            }
        },
    )

    @server.on_subscribe(pattern)
    async def decide(_: carillon.SubscribeContext) -> bool:
        await asyncio.sleep(answer_after_s)
        return True

    return server


def test_a_call_that_waits_for_a_hook_is_finished_first(tmp_path: Path) -> None:
    async def play() -> None:
        with with_hook(0, tmp_path / "s", 0.6, 5_000).start() as old:
            old.offer_takeover()
            async with open_ws(old.port) as client:
                await client.command(2, subscribe={"channel": "a"})
                await asyncio.to_thread(wait_until, lambda: old.stats()["hook_questions"] == 1)
                new = with_hook(old.port, tmp_path / "s", 0, 5_000)
                with await asyncio.to_thread(new.take_over):
                    assert "subscribe" in await client.next()
                    assert new.stats()["websocket"] == 1
                    new.publish("a", 1)
                    assert (await client.next())["push"]["pub"]["data"] == 1
                    assert new.ledger()["is_balanced"]

    asyncio.run(play())


def test_who_waits_too_long_for_a_hook_is_drained_and_comes_back(tmp_path: Path) -> None:
    async def play() -> None:
        old = with_hook(0, tmp_path / "s", 30, 600, "a").start()
        old.offer_takeover()
        async with open_ws(old.port) as slow, open_ws(old.port) as quick:
            for client in (slow, quick):
                await client.command(2, subscribe={"channel": "b"})
                assert "subscribe" in await client.next()
            await slow.command(3, subscribe={"channel": "a"})
            await asyncio.to_thread(wait_until, lambda: old.stats()["hook_questions"] == 1)
            new = with_hook(old.port, tmp_path / "s", 0, 5_000)
            with await asyncio.to_thread(new.take_over):
                await asyncio.to_thread(wait_until, lambda: old.is_given_away)
                assert len(new.presence("b")) == 1  # who stays behind is not there any more
                await asyncio.to_thread(old.drain, 3)
                await asyncio.to_thread(old.stop)
                async with asyncio.timeout(10):
                    await slow.socket.wait_closed()
                assert slow.socket.close_code == 3001  # makes SDKs come back
                await quick.command(2, ping={})
                assert (await quick.next())["id"] == 2
                assert new.stats()["websocket"] == 1

    asyncio.run(play())


def test_parts_of_requests_are_completed_in_the_new_process(
    launch: Callable[..., Process], tmp_path: Path
) -> None:
    body = json.dumps({"channel": "a", "data": "x" * 50_000}).encode()
    request = (
        b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body

    async def play() -> None:
        nonlocal server
        cuts = (10, len(request) - len(body) + 1, len(request) - 1)
        links = [await asyncio.open_connection("127.0.0.1", server.port) for _ in cuts]
        for (_, writer), cut in zip(links, cuts, strict=True):
            writer.write(request[:cut])
            await writer.drain()
        url = f"http://127.0.0.1:{server.port}/api/stats"
        async with httpx.AsyncClient(trust_env=False) as client:
            while (await client.post(url, json={})).json()["result"]["body_bytes"] < 2 * len(body):
                pass  # of two of them the head is there
        old, server = server, await asyncio.to_thread(launch, server.port, "--takeover")
        assert await asyncio.to_thread(old.ended) == 0
        for offset, ((reader, writer), cut) in enumerate(zip(links, cuts, strict=True), 1):
            writer.write(request[cut:])
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            answer = await reader.readexactly(int(re.search(r"Content-Length: (\d+)", head)[1]))  # type: ignore[index]
            assert json.loads(answer)["result"]["offset"] == offset
            writer.close()

    server = launch()
    asyncio.run(play())


def test_all_listeners_move_with_their_connections(tmp_path: Path) -> None:
    async def play() -> None:
        config = {"takeover": {"socket": str(tmp_path / "s")}}
        old = Server(port=0, insecure=True, config=config).start()
        second = old.listen()
        gone = old.listen()
        assert gone.drain(1)
        third = old.listen()
        old.offer_takeover()
        async with open_ws(old.port) as one, open_ws(second.port) as two, open_ws(third.port) as three:
            for client in (one, two, three):
                await client.command(2, subscribe={"channel": "a"})
                assert (await client.next())["id"] == 2
            new = Server(port=old.port, insecure=True, config=config)
            with await asyncio.to_thread(new.take_over):
                await asyncio.to_thread(old.stop)
                assert [each.port for each in new.listeners] == [old.port, second.port, third.port]
                new.publish("a", 1)
                for client in (one, two, three):
                    assert (await client.next())["push"]["pub"]["data"] == 1
                # A drain of one asks those that came in there, and only them.
                assert await asyncio.to_thread(new.listeners[1].drain, 5)
                await asyncio.wait_for(two.socket.wait_closed(), 5)
                assert two.socket.close_code == 3001
                new.publish("a", 2)
                for client in (one, three):
                    assert (await client.next())["push"]["pub"]["data"] == 2
                async with open_ws(third.port):
                    assert new.stats()["listeners"][1]["connections"] == 2

    asyncio.run(play())


def test_nobody_takes_over_while_a_listener_is_drained(tmp_path: Path) -> None:
    async def play() -> None:
        config = {"takeover": {"socket": str(tmp_path / "s")}}
        with Server(port=0, insecure=True, config=config) as old:
            second = old.listen()
            old.offer_takeover()
            async with open_ws(second.port):
                draining = asyncio.create_task(asyncio.to_thread(second.drain, 3, 3))
                await asyncio.to_thread(wait_until, lambda: old.stats()["listeners"][1]["is_draining"])
                with pytest.raises(TakeoverError, match="being drained"):
                    await asyncio.to_thread(Server(port=old.port, insecure=True, config=config).take_over)
                await draining

    asyncio.run(play())
