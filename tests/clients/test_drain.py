"""A drain under full load: SDKs, event streams and pollers come back at the other listener of the same hub.

A balancer in front of both sends newcomers to whichever is ready, as `/health` says. Publishing goes on all
the time; afterwards every client has every publication once and in order.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Self

import httpx
import pytest
from carillon import Channel, Server
from carillon.testing import FaultProxy, assert_ledger_balances, wait_until
from httpx_sse import connect_sse
from sdk import Sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.wire

CHANNELS = {"*": Channel(history_size=100_000)}
PUBLISHING = 500  # a second


class Balancer(FaultProxy):
    """A load balancer: a new connection goes to the first server that is ready."""

    def __init__(self, *urls: str) -> None:
        super().__init__(urls[0])
        self._urls = urls
        self._is_over = threading.Event()
        self._looking = threading.Thread(target=self._look, name="balancer")

    def __enter__(self) -> Self:
        self._looking.start()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._looking.join()
        self.stop()

    def _look(self) -> None:
        while not self._is_over.wait(0.02):
            for url in self._urls:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{url}/health", timeout=1).status_code == 200:
                        host, port = url.removeprefix("http://").split(":")
                        self._target = host, int(port)
                        break


class Publisher(threading.Thread):
    """Publishes 1, 2, 3 … at a steady rate until `stop`."""

    def __init__(self, server: Server) -> None:
        super().__init__(name="publisher")
        self._server = server
        self._is_over = threading.Event()
        self.top = 0
        self.start()

    def run(self) -> None:
        began = time.monotonic()
        while not self._is_over.wait(max(0.0, began + self.top / PUBLISHING - time.monotonic())):
            self.top += 1
            self._server.publish("room", self.top)

    def stop(self) -> int:
        self._is_over.set()
        self.join()
        return self.top


class Stream(threading.Thread):
    """An event stream as a browser reads it: `retry` and `Last-Event-ID`, and it comes back for ever."""

    def __init__(self, url: str) -> None:
        super().__init__(name="stream", daemon=True)
        self._url = url
        self.offsets: list[int] = []
        self.statuses: list[bool] = []
        self.retries: list[int] = []
        self.has_end = False
        self.start()

    def run(self) -> None:
        last_id, retry_s = "", 3.0
        with httpx.Client(timeout=20) as client:
            while not self.has_end:
                headers = {"Last-Event-ID": last_id} if last_id else {}
                with (
                    contextlib.suppress(httpx.HTTPError),
                    connect_sse(client, "GET", f"{self._url}/sse?channel=room", headers=headers) as source,
                ):
                    assert source.response.status_code == 200  # anything else ends an EventSource for good
                    for event in source.iter_sse():
                        last_id = event.id or last_id
                        if event.retry is not None:
                            retry_s = event.retry / 1000
                            self.retries.append(event.retry)
                        if event.event == "status" and event.data:
                            self.statuses.append(event.json()["recovered"])
                        elif event.data:
                            self.take(event.json())
                if not self.has_end:
                    time.sleep(retry_s)

    def take(self, publication: dict[str, object]) -> None:
        offset = publication["offset"]
        assert isinstance(offset, int)
        self.has_end = publication["data"] == "end"
        self.offsets.append(offset)


class Poller(Stream):
    """Polls from position to position; 503 means later."""

    def run(self) -> None:
        since = ""
        with httpx.Client(timeout=40) as client:
            while not self.has_end:
                parameters = {"channel": "room", "timeout": "20", "since": since}
                if not since:
                    parameters = {"channel": "room", "timeout": "0"}
                try:
                    answer = client.get(f"{self._url}/poll", params=parameters)
                except httpx.HTTPError:
                    continue
                if answer.status_code == 503:
                    time.sleep(float(answer.headers["retry-after"]))
                    continue
                body = answer.json()
                since = body["since"]
                self.statuses += [each["recovered"] for each in body["status"]]
                for publication in body["publications"]:
                    self.take(publication)


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve(channels=CHANNELS, heartbeat={"sse_retry_ms": 200})


@pytest.fixture
def sdks(require_tool: Callable[..., str]) -> Iterator[list[Sdk]]:
    clients = [Sdk(name) for name in ("javascript", "python", "javascript", "python")]
    yield clients
    for client in clients:
        client.close()


def clients_at(url: str, sdks: list[Sdk]) -> list[Stream]:
    for sdk in sdks:
        sdk.connect(url)
        sdk.subscribe("room")
    return [*(Stream(url) for _ in range(8)), *(Poller(url) for _ in range(8))]


def assert_all_have_all(streams: list[Stream], sdks: list[Sdk], top: int) -> None:
    wait_until(lambda: all(stream.has_end for stream in streams), 20)
    wait_until(lambda: all(sdk.offsets("room")[-1:] == [top] for sdk in sdks), 20)
    for each in streams:
        assert each.offsets == list(range(each.offsets[0], top + 1)), type(each)
        assert False not in each.statuses[1:]  # recovered, each time
    for sdk in sdks:
        offsets = sdk.offsets("room")
        assert offsets == list(range(offsets[0], top + 1))
        assert all(one["recovered"] for one in sdk.events("subscribed", "room")[1:])


@pytest.mark.node
def test_clients_of_a_listener_come_back_at_the_other_one_and_miss_nothing(
    server: Server, sdks: list[Sdk]
) -> None:
    second = server.listen()
    first = server.listeners[0]
    with Balancer(first.url, second.url) as balancer:
        publisher = Publisher(server)
        streams = clients_at(balancer.url, sdks)
        wait_until(lambda: all(stream.offsets for stream in streams))
        wait_until(lambda: server.stats()["listeners"][0]["connections"] >= 20)
        assert first.drain(deadline=8, pace=1)
        assert [one.port for one in server.listeners] == [second.port]
        wait_until(lambda: server.stats()["websocket"] == 4 and server.stats()["sse"] == 8)
        more = publisher.top + PUBLISHING // 2
        wait_until(lambda: publisher.top >= more)  # clients of the second listener have something to miss
        publisher.stop()
        top = server.publish("room", "end").offset
        assert_all_have_all(streams, sdks, top)
        for sdk in sdks:
            assert [one["code"] for one in sdk.events("connecting")] == [0, 3001]
    for stream in streams[:8]:
        assert any(200 <= retry <= 400 for retry in stream.retries[1:])
    assert_ledger_balances(server)


@pytest.mark.node
def test_what_the_api_drains_is_refused_and_not_ready_while_the_others_go_on(
    server: Server, sdks: list[Sdk]
) -> None:
    second = server.listen()
    first = server.listeners[0]
    with Balancer(first.url, second.url) as balancer:
        publisher = Publisher(server)
        streams = clients_at(balancer.url, sdks)
        wait_until(lambda: all(stream.offsets for stream in streams))
        answer = httpx.post(
            f"{second.url}/api/drain", json={"port": first.port, "deadline_ms": 20000, "pace_ms": 6000}
        )
        assert answer.json()["result"]["connections"] >= 20
        again = httpx.post(f"{second.url}/api/drain", json={"port": first.port})
        assert "result" in again.json()
        # Who comes here now is told to come back, in its own way.
        health = httpx.get(f"{first.url}/health")
        assert (health.status_code, health.json()) == (503, {"draining": True})
        assert httpx.get(f"{second.url}/health").status_code == 200
        poll = httpx.get(f"{first.url}/poll?channel=room")
        assert (poll.status_code, poll.headers["retry-after"] in {"1", "2", "3"}) == (503, True)
        with httpx.stream("GET", f"{first.url}/sse?channel=room") as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            assert stream.read().startswith(b"retry:")
        wait_until(lambda: len(server.listeners) == 1, 25)
        publisher.stop()
        assert_all_have_all(streams, sdks, server.publish("room", "end").offset)
        gone = httpx.post(f"{second.url}/api/drain", json={"port": first.port})
        assert gone.json()["error"]["code"] == 107
    assert_ledger_balances(server)


def test_clients_are_asked_one_by_one_within_the_pace(server: Server) -> None:
    left: list[float] = []

    def read() -> None:
        with httpx.stream("GET", f"{server.url}/sse?channel=c", timeout=20) as stream:
            for _ in stream.iter_raw():
                pass
        left.append(time.monotonic())

    readers = [threading.Thread(target=read) for _ in range(40)]
    for reader in readers:
        reader.start()
    wait_until(lambda: server.stats()["sse"] == 40)
    began = time.monotonic()
    assert server.drain(deadline=10, pace=1)
    for reader in readers:
        reader.join()
    moments = sorted(moment - began for moment in left)
    assert moments[-1] < 3
    assert moments[30] - moments[9] > 0.1  # spread, not in one moment
    assert server.is_draining
