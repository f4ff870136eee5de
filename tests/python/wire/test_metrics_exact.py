"""Metrics: known traffic has exact values."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from carillon import Channel, Server
from test_metrics import page_of, value
from wire_clients import open_sse, open_ws, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import carillon

pytestmark = pytest.mark.wire


async def test_known_traffic_has_exact_values(tmp_path: Path) -> None:
    server = Server(
        port=0,
        threads=2,
        insecure=True,
        store=f"sqlite:{tmp_path / 'log.db'}",
        channels={"chat:*": Channel(allow_tags_filter=True), "team": Channel(fanout="write"), "*": Channel()},
    )

    @server.on_subscribe("*")
    async def on_subscribe(ctx: carillon.SubscribeContext) -> bool:
        return ctx.channel != "forbidden"

    with server:
        server.add_members("team", ["ann", "bob", "cyd"])
        async with (
            open_ws(server) as one,
            open_ws(server) as two,
            open_sse(server, "chat:a") as sse,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as http,
        ):
            await one.subscribe("chat:a")
            await two.subscribe("b")
            await one.command(subscribe={"channel": "forbidden"})
            wanted = {"key": "kind", "cmp": "eq", "val": "wanted"}
            await two.command(subscribe={"channel": "chat:f", "tf": wanted})
            await sse.status()
            first = server.publish("chat:a", 0)
            for number in range(1, 3):
                server.publish("chat:a", number)
            server.publish("b", 1)
            server.publish("chat:f", 1, tags={"kind": "other"})
            server.publish("chat:f", 2, tags={"kind": "wanted"})
            for number in range(2):
                server.publish("team", number)
            await one.publications(3)
            await two.publications(2)
            await sse.publications(3)
            for since, count in ((str(first), 2), ("other:1", 3)):
                asked = {"channel": "chat:a", "since": since, "timeout": 0}
                answer = await http.get("/poll", params=asked)
                assert len(answer.json()["publications"]) == count
            assert (await http.get("/nowhere")).status_code == 404
            assert (await http.get("/poll", params={"channel": ""})).status_code == 400
            assert server.inbox("ann").messages
            await until(lambda: value(page_of(server), "carillon_deliveries_total") == 3 + 2 + 3 + 2 + 3)
            page = page_of(server)
            exact: dict[tuple[str, str], float] = {
                ("carillon_clients", "transport=websocket"): 2,
                ("carillon_clients", "transport=sse"): 1,
                ("carillon_clients", ""): 3,
                ("carillon_connections", ""): 4,
                ("carillon_handshakes", ""): 0,
                ("carillon_clogged_connections", ""): 0,
                ("carillon_accepted_connections_total", ""): 4,
                ("carillon_refused_connections_total", ""): 0,
                ("carillon_accept_pauses_total", ""): 0,
                ("carillon_disconnects_total", ""): 0,
                ("carillon_http_requests_total", ""): 2 + 1 + 4,
                ("carillon_bad_requests_total", ""): 1,
                ("carillon_commands_total", ""): 2 + 4,
                ("carillon_commands_under_way", ""): 0,
                ("carillon_forwarded_commands_total", ""): 0,
                ("carillon_connect_to_live_seconds_count", ""): 3,
                ("carillon_draining", ""): 0,
                ("carillon_subscriptions", ""): 4,
                ("carillon_channels", ""): 3,
                ("carillon_publications_total", "namespace=chat:*"): 5,
                ("carillon_publications_total", "namespace=team"): 2,
                ("carillon_publications_total", ""): 8,
                ("carillon_deliveries_total", "transport=websocket"): 5,
                ("carillon_deliveries_total", "transport=sse"): 3,
                ("carillon_deliveries_total", "transport=poll"): 2 + 3,
                ("carillon_deliveries_total", "transport=in_process"): 0,
                ("carillon_batch_publications_sum", ""): 8,
                ("carillon_drops_total", "reason=filtered"): 1,
                ("carillon_drops_total", ""): 1,
                ("carillon_gaps_total", ""): 0,
                ("carillon_recoveries_total", "result=recovered"): 1,
                ("carillon_recoveries_total", "result=not_recovered"): 1,
                ("carillon_lagging_subscriptions", ""): 0,
                ("carillon_slowest_subscription_publications", ""): 0,
                ("carillon_slowest_subscription_seconds", ""): 0,
                ("carillon_inbox_entries_total", ""): 2 * 3,
                ("carillon_walk_members_sum", ""): 2 * 3,
                ("carillon_inbox_reads_total", ""): 1,
                ("carillon_inbox_users", ""): 3,
                ("carillon_store_up", ""): 1,
                ("carillon_store_call_seconds_count", "call=append"): 8,
                ("carillon_store_calls_under_way", ""): 0,
                ("carillon_store_errors_total", ""): 0,
                ("carillon_stored_pages_read_total", ""): 0,
                ("carillon_stored_pages_waiting", ""): 0,
                ("carillon_hook_seconds_count", "operation=subscribe"): 4 + 1 + 2,
                ("carillon_hook_questions", ""): 0,
                ("carillon_hook_failures_total", ""): 0,
                ("carillon_proxy_questions", ""): 0,
                ("carillon_proxy_failures_total", ""): 0,
                ("carillon_proxy_connections_total", ""): 0,
                ("carillon_body_bytes", ""): 0,
                ("carillon_unsent_bytes", ""): 0,
                ("carillon_log_lines_lost_total", ""): 0,
                ("carillon_log_records_suppressed_total", ""): 0,
                ("carillon_events_total", "event=store"): 1,
                ("carillon_objective_events_total", "objective=availability,result=good"): 8 + 4,
                ("carillon_objective_events_total", "objective=availability,result=bad"): 0,
                ("carillon_info", ""): 1,
            }
            found = {
                (name, labels): value(
                    page, name, **dict(pair.split("=") for pair in labels.split(",") if pair)
                )
                for name, labels in exact
            }
            assert found == exact
        await until(lambda: value(page_of(server), "carillon_connections") == 0)
        page = page_of(server)
        for name in ("carillon_clients", "carillon_subscriptions", "carillon_channels"):
            assert value(page, name) == 0, name
        assert value(page, "carillon_accepted_connections_total") == 4, "a counter never falls"
        assert await asyncio.to_thread(server.drain, 20)
        page = page_of(server)
        assert value(page, "carillon_draining") == 1
        assert value(page, "carillon_events_total", event="draining") == 1
        assert value(page, "carillon_events_total", event="drain") == 1


async def test_pages_that_were_read_from_the_store(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    server = carillon_server_factory(
        store=f"sqlite:{tmp_path / 'log.db'}",
        threads=1,
        limits={"history_bytes_total": 65_536},
        channels={"*": {"history_size": 5_000}},
    )
    first = server.publish("a", 0)
    for begin in range(1, 1_001, 250):
        server.publish_many([("a", {"n": n, "text": "x" * 200}) for n in range(begin, begin + 250)])
    async with open_sse(server, "a", since=f"{first.epoch}:0") as sse:
        assert (await sse.status())["recovered"] is True
        await sse.publications(1_001)
        page = page_of(server)
        read = value(page, "carillon_stored_pages_read_total")
        publications = value(page, "carillon_stored_page_publications_total")
        assert 1 <= read <= -(-1_001 // 256), "each part of the history is read once"
        assert 256 * (read - 1) < publications <= 256 * read
        assert value(page, "carillon_stored_pages_waiting") == 0
        assert value(page, "carillon_stored_page_waits_total") == 0
        assert 0 <= value(page, "carillon_stored_pages") <= read
        stats = server.stats()
        assert (stats["stored_pages_read"], stats["stored_page_publications"]) == (read, publications)
    # With room for one page, a second client has to wait for it.
    narrow = carillon_server_factory(
        store=f"sqlite:{tmp_path / 'narrow.db'}",
        threads=1,
        limits={"history_bytes_total": 65_536, "stored_pages": 1},
        channels={"*": {"history_size": 5_000}},
    )
    first = narrow.publish("a", 0)
    for begin in range(1, 1_001, 250):
        narrow.publish_many([("a", {"n": n, "text": "x" * 200}) for n in range(begin, begin + 250)])
    async with (
        open_sse(narrow, "a", since=f"{first.epoch}:0") as one,
        open_sse(narrow, "a", since=f"{first.epoch}:300") as two,
    ):
        for sse, count in ((one, 1_001), (two, 701)):
            assert (await sse.status())["recovered"] is True
            await sse.publications(count)
        page = page_of(narrow)
        assert value(page, "carillon_stored_page_waits_total") == narrow.stats()["stored_page_waits"] > 0
        assert value(page, "carillon_stored_pages") <= 1
