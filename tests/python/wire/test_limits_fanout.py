"""One test for each row of the table of limits that bounds members and inboxes: set small, and reached.

`test_limits.py` checks that no row is forgotten: a test here is named after its row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from wire_clients import open_http, open_ws

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire


async def api_error(server: Server, method: str, **fields: Any) -> dict[str, Any]:
    async with open_http(server) as client:
        error: dict[str, Any] = (await client.post(f"/api/{method}", json=fields)).json()["error"]
        return error


async def test_inbox_entries(serve: Callable[..., Server]) -> None:
    server = serve(limits={"inbox_entries": 5})
    server.add_members("a", ["ann"])
    for number in range(1, 13):
        server.publish("a", number)
    before = server.stats()["inbox_merges"]
    inbox = server.inbox("ann")
    assert [message.offset for message in inbox.messages] == list(range(1, 13)), "what is beyond is merged"
    assert server.stats()["inbox_merges"] > before
    server.mark_read("ann", "a", 7)
    before = server.stats()["inbox_merges"]
    assert [message.offset for message in server.inbox("ann").messages] == list(range(8, 13))
    assert server.stats()["inbox_merges"] == before, "what is within is not"


async def test_inbox_items(serve: Callable[..., Server]) -> None:
    server = serve(limits={"inbox_items": 5})
    server.add_members("a", ["ann"])
    for number in range(8):
        server.publish("a", number)
    inbox = server.inbox("ann", limit=5)
    assert (len(inbox.items), inbox.has_more, inbox.unread) == (5, True, {"a": 8})
    with pytest.raises(ValueError, match=r"limits\.inbox_items \(5\)"):
        server.inbox("ann", limit=6)
    error = await api_error(server, "inbox", user="ann", limit=6)
    assert (error["code"], "limits.inbox_items (5)" in error["message"]) == (107, True)
    async with open_ws(server, "?user=ann") as ws:
        reply = await ws.command(rpc={"method": "carillon.inbox", "data": {"limit": 6}})
        assert reply["error"]["code"] == 107
        reply = await ws.command(rpc={"method": "carillon.inbox"})  # the default gives way
        assert len(reply["rpc"]["data"]["items"]) == 5


async def test_inbox_members_per_turn(serve: Callable[..., Server]) -> None:
    server = serve(limits={"inbox_members_per_turn": 1})
    users = [f"user-{number}" for number in range(200)]
    server.add_members("a", users)
    async with open_ws(server) as ws:
        await ws.subscribe("b")
        for number in range(5):
            server.publish("a", number)  # by steps of one member, and back when all are through
            server.publish("b", number)
            assert all(server.unread(user) == {"a": number + 1} for user in users)
        assert [each["data"] for each in await ws.publications(5)] == list(range(5))
    assert server.stats()["inbox_entries"] == 1_000


async def test_members_per_request(serve: Callable[..., Server]) -> None:
    server = serve(limits={"members_per_request": 3})
    assert server.add_members("a", ["a", "b", "c"]) == 3
    for change in (server.add_members, server.remove_members):
        with pytest.raises(ValueError, match=r"limits\.members_per_request \(3\)"):
            change("a", ["a", "b", "c", "d"])
    with pytest.raises(ValueError, match=r"limits\.members_per_request \(3\)"):
        server.members("a", limit=4)
    error = await api_error(server, "add_members", channel="a", users=["a", "b", "c", "d"])
    assert (error["code"], "limits.members_per_request (3)" in error["message"]) == (107, True)
    assert server.members("a", limit=3) == ["a", "b", "c"]


async def test_fanout_overrides(serve: Callable[..., Server]) -> None:
    server = serve(limits={"fanout_overrides": 2})
    server.set_fanout("a", "read")
    server.set_fanout("b", "read")
    text = r"limits\.fanout_overrides"
    with pytest.raises(ValueError, match=text):
        server.set_fanout("c", "read")
    error = await api_error(server, "set_fanout", channel="c", strategy="read")
    assert (error["code"], "2 channels of limits.fanout_overrides" in error["message"]) == (106, True)
    server.set_fanout("a", "configured")
    server.set_fanout("c", "read")
    assert server.fanout("c").mode == "read"


async def test_inbox_bytes_total(serve: Callable[..., Server]) -> None:
    server = serve(limits={"inbox_bytes_total": 65_536})
    text = r"limits\.inbox_bytes_total \(65536\)"
    with pytest.raises(ValueError, match=text):
        server.add_members("a", [f"user-{number:03}" for number in range(1_000)])
    assert 65_536 <= server.stats()["inbox_bytes"] < 70_000
    members = server.stats()["inbox_users"]
    assert members == len(server.members("a"))
    error = await api_error(server, "add_members", channel="b", users=["ann"])
    assert error["code"] == 106
    server.publish("a", 1)
    assert [each.offset for each in server.inbox("user-000").messages] == [1], "merged from the log"
    for number in range(members):
        server.mark_read(f"user-{number:03}", "a", 1)
    server.remove_members("a", [f"user-{number:03}" for number in range(members)])
    assert server.stats()["inbox_users"] == 0
    assert server.stats()["inbox_bytes"] == 0
    server.add_members("b", ["ann"])
