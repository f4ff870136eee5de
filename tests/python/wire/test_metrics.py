"""Metrics: the page says what clients of all kinds have got, and no client decides what stands there."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from carillon import Channel, ConfigError, Server, StoreConflict, StoreError
from carillon.errors import AddressInUse
from carillon.metrics_page import Family, parse
from carillon.testing import wait_until
from journals import journals
from redis_fleet import on_redis
from wire_clients import open_sse, open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import carillon
    from carillon.testing import RedisServer
    from serve_process import Process

pytestmark = pytest.mark.wire

TOTAL = 50
# One or two of each kind; `client …`: our own client on that transport.
KINDS = ("ws", "ws", "sse", "poll", "cursor", "cursor")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


Page = dict[str, Family]


def page_of(server: Server) -> Page:
    return parse(server.metrics())


def value(page: Page, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    family = page[re.sub("_(count|sum)$", "", name)]
    return sum(
        sample.value
        for sample in family.samples
        if sample.name == name and labels.items() <= dict(sample.labels).items()
    )


def deliveries(server: Server, transport: str) -> float:
    return value(page_of(server), "carillon_deliveries_total", transport=transport)


async def test_deliveries_are_those_of_the_clients_and_of_the_ledger(serve: Callable[..., Server]) -> None:
    server = serve()
    async with journals(server, "a", KINDS) as written:
        for number in range(1, TOTAL + 1):
            server.publish("a", number)
        await until(lambda: all(len(journal.offsets) == TOTAL for journal in written))
        await until(lambda: deliveries(server, "poll") == TOTAL)
        page = page_of(server)
        for transport, clients in {"websocket": 2, "sse": 1, "poll": 1, "in_process": 2}.items():
            assert value(page, "carillon_deliveries_total", transport=transport) == clients * TOTAL, transport
        (row,) = server.ledger()["channels"]
        assert value(page, "carillon_deliveries_total") == row["delivered"] == len(KINDS) * TOTAL
        assert value(page, "carillon_publications_total") == TOTAL
        assert value(page, "carillon_clients", transport="websocket") == 2
        assert value(page, "carillon_clients", transport="sse") == 1
        # A frame is longer than its publication, which has one or two digits.
        for transport in ("websocket", "sse", "poll"):
            size = value(page, "carillon_delivered_bytes_total", transport=transport)
            assert size > 10 * value(page, "carillon_deliveries_total", transport=transport)
        # Each connection with a subscription was live once, and who is live is in the histogram.
        assert value(page, "carillon_connect_to_live_seconds_count") >= 3
        # WebSockets and the event stream: a poll is an answer, and who is in this process has no socket.
        assert value(page, "carillon_publish_to_socket_seconds_count") == 3 * TOTAL
        assert value(page, "carillon_publish_to_socket_seconds_sum") > 0
        assert value(page, "carillon_batch_publications_sum") == 3 * TOTAL


async def test_bytes_are_those_on_the_wire(serve: Callable[..., Server]) -> None:
    server = serve()
    async with open_sse(server, "a") as sse:
        await sse.status()
        server.publish("a", "x" * 100)
        event = await sse.event()
        sent = f"id: {event.id}\ndata: {event.data}\n\n"
        await until(lambda: deliveries(server, "sse") == 1)
        assert value(page_of(server), "carillon_delivered_bytes_total", transport="sse") == len(sent)


async def test_no_client_invents_a_label(serve: Callable[..., Server]) -> None:
    server = serve(channels={"chat:*": Channel()}, insecure=True)
    before = set(server.metrics().splitlines())
    async with open_ws(server, "?user=zweig") as client:
        for channel in ("zweig", "chat:zweig", 'zweig"}'):
            await client.subscribe(channel)
            await client.command(publish={"channel": channel, "data": 1})
        await client.send(rpc={"method": "zweig"})
        async with httpx.AsyncClient(base_url=server.url) as http:
            await http.get("/zweig")
            await http.post("/api/zweig")
        text = server.metrics()
    assert "zweig" not in text

    def names(lines: set[str]) -> set[str]:
        return {line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")}

    assert names(set(text.splitlines())) == names(before), "no series more than without clients"
    assert value(parse(text), "carillon_publications_total", namespace="chat:*") == 1
    assert value(parse(text), "carillon_publications_total", namespace="") == 2


def test_promtool_finds_no_fault(
    serve: Callable[..., Server], require_tool: Callable[..., str], tmp_path: Path
) -> None:
    server = serve(store=f"sqlite:{tmp_path / 'log.db'}")
    server.publish("a", 1)
    checked = subprocess.run(
        [require_tool("promtool"), "check", "metrics"],
        input=httpx.get(f"{server.url}/metrics").text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# Who may read it.


def test_on_the_public_address_the_key_is_asked_for(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(insecure=False, config={"http_api": {"key": "secret"}})
    assert httpx.get(f"{server.url}/metrics").status_code == 401
    assert httpx.get(f"{server.url}/metrics", headers={"X-API-Key": "wrong"}).status_code == 401
    for headers in ({"X-API-Key": "secret"}, {"Authorization": "ApiKey secret"}):
        answer = httpx.get(f"{server.url}/metrics", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "carillon_info{" in answer.text
    assert httpx.post(f"{server.url}/metrics", headers={"X-API-Key": "secret"}).status_code == 405


def test_an_address_of_its_own_has_nothing_else(
    carillon_server_factory: Callable[..., Server],
) -> None:
    port = free_port()
    server = carillon_server_factory(
        insecure=False,
        config={
            "http_api": {"key": "secret"},
            "http_server": {"internal_port": port},
            "client": {"allowed_origins": ["http://pages.example"]},
        },
    )
    internal = f"http://127.0.0.1:{port}"
    assert "carillon_info{" in httpx.get(f"{internal}/metrics").text
    assert httpx.get(f"{internal}/health").json() == {}
    for path in ("/", "/sse?channel=a", "/poll?channel=a", "/connection/websocket", "/api/openapi.json"):
        assert httpx.get(internal + path).status_code == 404, path
    for path in ("/api/publish", "/emulation", "/connection/http_stream"):
        answer = httpx.post(internal + path, json={}, headers={"X-API-Key": "secret"})
        assert answer.status_code == 404, path
        assert "internal_port" in answer.json()["error"]["message"]
    answer = httpx.get(f"{server.url}/metrics", headers={"X-API-Key": "secret"})
    assert answer.status_code == 404
    assert "internal_port" in answer.json()["error"]["message"]
    page = httpx.get(f"{internal}/metrics", headers={"Origin": "http://pages.example"})
    assert page.status_code == 403, "no page of a browser reads it, though it may connect as a client"

    def connections_taken() -> float:
        page = page_of(server)
        return value(page, "carillon_objective_events_total", objective="availability", result="good")

    before = connections_taken()
    for _ in range(3):
        httpx.get(f"{internal}/metrics")
    assert connections_taken() == before, "who looks on is no client"


def test_who_has_taken_the_internal_port_is_said_and_the_first_one_is_free_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, internal = free_port(), taken.getsockname()[1]
        server = Server(port=port, config={"http_server": {"internal_port": internal}})
        with pytest.raises(AddressInUse, match=f"http_server.internal_port: 127.0.0.1:{internal} is taken"):
            server.start()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    Server(port=port, config={"http_server": {"internal_port": internal}}).start().stop()


async def test_a_delivery_is_late_by_the_bound_that_was_promised(serve: Callable[..., Server]) -> None:
    def count_of(server: Server, result: str) -> float:
        page = page_of(server)
        return value(page, "carillon_objective_events_total", objective="latency", result=result)

    swept = {"*": Channel(fanout="read", sweep_interval="300ms")}
    for latency, good, bad in (("10s", 3, 0), ("1ms", 0, 3)):
        server = serve(channels=swept, insecure=True, config={"objectives": {"latency": latency}})
        async with open_sse(server, "a") as sse:
            await sse.status()
            for number in range(3):
                server.publish("a", number)
                await sse.event()
            await until(lambda server=server: count_of(server, "good") + count_of(server, "bad") == 3)  # type: ignore[misc]
            # One of them may have come right before a sweep.
            assert abs(count_of(server, "good") - good) <= 1
            assert abs(count_of(server, "bad") - bad) <= 1


async def test_a_delivery_in_the_bucket_of_the_bound_is_in_time(serve: Callable[..., Server]) -> None:
    swept = {"*": Channel(fanout="read", sweep_interval="3s")}
    server = serve(channels=swept, insecure=True, config={"objectives": {"latency": "5s"}})
    async with open_sse(server, "a") as sse:
        await sse.status()
        for number in range(2):  # the second one comes right behind a sweep: it waits for about 3 s
            server.publish("a", number)
            await sse.event()

        def good() -> float:
            page = page_of(server)
            return value(page, "carillon_objective_events_total", objective="latency", result="good")

        await until(lambda: good() == 2)


async def test_what_a_resume_gets_is_counted(serve: Callable[..., Server]) -> None:
    server = serve()
    position = server.publish("a", 1)
    server.publish("a", 2)
    async with httpx.AsyncClient(base_url=server.url) as http:
        for since in (str(position), "other:1"):
            await http.get("/poll", params={"channel": "a", "since": since, "timeout": 0})
    page = page_of(server)
    assert value(page, "carillon_recoveries_total", result="recovered") == 1
    assert value(page, "carillon_recoveries_total", result="not_recovered") == 1


async def test_a_drain_is_seen(serve: Callable[..., Server]) -> None:
    server = serve()
    assert value(page_of(server), "carillon_draining") == 0
    assert await asyncio.to_thread(server.drain, 20)
    page = page_of(server)
    assert value(page, "carillon_draining") == 1
    assert value(page, "carillon_events_total", event="draining") == 1


async def test_who_filters_everything_makes_no_delivery_quick(serve: Callable[..., Server]) -> None:
    server = serve(channels={"*": Channel(allow_tags_filter=True)})

    def dropped() -> float:
        return value(page_of(server), "carillon_drops_total", reason="filtered")

    async with open_ws(server) as client:
        await client.command(subscribe={"channel": "a", "tf": {"key": "kind", "cmp": "eq", "val": "wanted"}})
        for number in range(10):
            server.publish("a", number, tags={"kind": "other"})
            await until(lambda number=number: dropped() == number + 1)  # type: ignore[misc]
        server.publish("a", "last", tags={"kind": "wanted"})
        await client.push()
        await until(lambda: deliveries(server, "websocket") == 1)
        assert value(page_of(server), "carillon_publish_to_socket_seconds_count") == 1


def test_they_can_be_switched_off(serve: Callable[..., Server]) -> None:
    server = serve(config={"prometheus": {"enabled": False}})
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.status_code == 404
    assert "prometheus.enabled" in answer.json()["error"]["message"]


def test_a_takeover_keeps_the_address(launch: Callable[..., Process], tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "carillon.toml"
    file.write_text(
        f"[http_server]\ninternal_port = {port}\n[client]\ninsecure = true\n[http_api]\ninsecure = true\n"
    )

    def pid() -> float:
        page = parse(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text)
        return value(page, "process_start_time_seconds")

    first = launch(0, "--config", str(file))
    before = pid()
    time.sleep(0.1)
    second = launch(first.port, "--config", str(file), "--takeover")
    assert first.ended() == 0
    assert pid() > before, "another process answers there"
    assert httpx.get(f"http://127.0.0.1:{port}/sse?channel=a", trust_env=False).status_code == 404
    # Without that option the address is closed, and its connections get nothing that others do not get.
    file.write_text("[client]\ninsecure = true\n[http_api]\ninsecure = true\n")
    third = launch(first.port, "--config", str(file), "--takeover")
    assert second.ended() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert httpx.get(f"http://127.0.0.1:{third.port}/metrics", trust_env=False).status_code == 200


# Who is behind, what failed, and what was promised.


async def test_the_slowest_subscription_is_seen(serve: Callable[..., Server]) -> None:
    server = serve(limits={"kernel_backlog_bytes": 16_384})
    async with open_ws(server) as client:
        await client.subscribe("a")
        kernel = client.socket.transport.get_extra_info("socket")
        # Else it may grow and take everything. Below a segment of the loopback (64 KiB) reading is too slow.
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
        client.socket.transport.pause_reading()
        for _ in range(150):  # 3 MB: the log keeps 4 MiB, and who is further behind is unsubscribed
            server.publish("a", "x" * 20_000)
        await asyncio.sleep(1.2)
        await until(lambda: value(page_of(server), "carillon_slowest_subscription_publications") > 50)
        page = page_of(server)
        assert value(page, "carillon_lagging_subscriptions") == 1
        assert value(page, "carillon_slowest_subscription_seconds") >= 1
        client.socket.transport.resume_reading()
        await until(lambda: value(page_of(server), "carillon_slowest_subscription_publications") == 0)


def test_calls_of_a_store_and_their_errors(
    carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]
) -> None:
    server = carillon_server_factory(**on_redis(carillon_redis.url, wait_ms=300))
    for number in range(5):
        server.publish("a", number)

    def availability(result: str) -> float:
        page = page_of(server)
        return value(page, "carillon_objective_events_total", objective="availability", result=result)

    page = page_of(server)
    assert value(page, "carillon_store_call_seconds_count", call="append") == 5
    assert value(page, "carillon_store_calls_under_way") == 0
    assert value(page, "carillon_store_up") == 1
    with pytest.raises(StoreConflict):
        server.publish("a", "late", expected_offset=99)
    good = availability("good")
    assert good == 6, "a conflict is an answer"
    assert availability("bad") == 0
    carillon_redis.kill()
    for _ in range(3):
        with pytest.raises(StoreError):
            server.publish("a", "lost")
    page = page_of(server)
    errors = {
        dict(sample.labels)["error"]: sample.value for sample in page["carillon_store_errors_total"].samples
    }
    assert errors["unavailable"] + errors["outcome_unknown"] == 3
    assert availability("bad") == 3
    assert availability("good") == good, "a counter never falls"
    wait_until(lambda: value(page_of(server), "carillon_store_up") == 0)
    burn = value(page_of(server), "carillon_error_budget_burn_rate", objective="availability", window="5m")
    assert burn == pytest.approx(3 / 9 / 0.0005)
    remaining = value(page_of(server), "carillon_error_budget_remaining_ratio", objective="availability")
    assert remaining == pytest.approx(1 - 3 / 9 / 0.0005)


def test_sockets_over_the_limit_are_bad_and_never_take_a_good_one_back(serve: Callable[..., Server]) -> None:
    server = serve(limits={"connections": 3})

    def sockets(result: str) -> float:
        page = page_of(server)
        return value(page, "carillon_objective_events_total", objective="availability", result=result)

    open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    wait_until(lambda: sockets("good") == 3)
    over = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
    for one in over:
        one.sendall(b"GET /sse?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: sockets("bad") == 4)
    assert sockets("good") == 3
    for one in over:
        one.close()
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert (sockets("good"), sockets("bad")) == (4, 4), "a probe over the limit is served"
    for one in open_ones + over:
        one.close()


def test_the_internal_address_has_the_limit_of_connections_apart(serve: Callable[..., Server]) -> None:
    port = free_port()
    server = serve(limits={"connections": 1}, config={"http_server": {"internal_port": port}})
    with socket.create_connection(("127.0.0.1", server.port)):
        wait_until(lambda: server.stats()["connections"] == 1)
        answer = httpx.get(f"http://127.0.0.1:{port}/health")
        assert answer.status_code == 200
        assert "connection" not in answer.headers, "it is kept open: it is not over a limit"


def test_a_hook_is_measured(serve: Callable[..., Server]) -> None:
    server = Server(port=0, insecure=True)

    @server.on_connect
    async def on_connect(ctx: carillon.ConnectContext) -> bool:
        await asyncio.sleep(0.2)
        return True

    with server:
        assert httpx.get(f"{server.url}/poll?channel=a&timeout=0", timeout=20).status_code == 200
        page = page_of(server)
    assert value(page, "carillon_hook_seconds_count", operation="connect") == 1
    assert value(page, "carillon_hook_seconds_sum", operation="connect") >= 0.19


@pytest.mark.parametrize(
    ("objectives", "told"),
    [
        ({"availability": "99.95"}, "objectives.availability"),
        ({"availability": "100%"}, "above 0% and below 100%"),
        ({"latency_share": "x%"}, "objectives.latency_share"),
        ({"latency": "70ms"}, "use 1ms, 5ms, 10ms"),
    ],
)
def test_an_objective_that_is_none(objectives: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Server(config={"objectives": objectives})


def test_an_internal_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match="give another one"):
        Server(config={"http_server": {"port": 4711, "internal_port": 4711}})
    with pytest.raises(ConfigError, match="is empty"):
        Server(config={"http_server": {"internal_address": ""}})
    with pytest.raises(ConfigError, match="which insecure mode refuses"):
        Server(insecure=True, config={"http_server": {"internal_port": 4712, "internal_address": "0.0.0.0"}})


def test_objectives_are_those_of_the_configuration(serve: Callable[..., Server]) -> None:
    server = serve(
        config={"objectives": {"availability": "99.9%", "latency": "250ms", "latency_share": "95 %"}}
    )
    page = page_of(server)
    assert value(page, "carillon_objective_ratio", objective="availability") == pytest.approx(0.999)
    assert value(page, "carillon_objective_ratio", objective="latency") == pytest.approx(0.95)
    assert value(page, "carillon_objective_latency_seconds") == 0.25
