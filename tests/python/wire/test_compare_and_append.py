"""A publication that is stored only if the channel is as its publisher believes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire


def publish(server: Server, **fields: Any) -> dict[str, Any]:
    body = {"channel": "c", "data": 1, **fields}
    return dict(httpx.post(f"{server.url}/api/publish", json=body).json())


def test_only_one_of_two_that_saw_the_same_top_is_stored(carillon_server: Server) -> None:
    first = carillon_server.publish("c", 1, expected_offset=0)
    assert first.offset == 1
    with pytest.raises(carillon.StoreConflict) as conflict:
        carillon_server.publish("c", 2, expected_offset=0)
    assert conflict.value.top == first
    assert carillon_server.publish("c", 2, expected_offset=conflict.value.top.offset).offset == 2
    assert [message.json() for message in carillon_server.history("c", limit=-1).messages] == [1, 2]


async def test_a_conflict_is_told_to_those_who_wait_on_a_loop(carillon_server: Server) -> None:
    top = await carillon_server.publish_async("c", 1)
    with pytest.raises(carillon.StoreConflict) as conflict:
        await carillon_server.publish_async("c", 2, expected_offset=7)
    assert conflict.value.top == top


async def test_of_many_writers_who_compare_each_change_is_made_once(carillon_server: Server) -> None:
    async def count(times: int) -> None:
        for _ in range(times):
            while True:
                seen = carillon_server.history("c", last=1)
                number = seen.messages[0].json() if seen.messages else 0
                with_that = seen.position.offset
                try:
                    await carillon_server.publish_async("c", number + 1, expected_offset=with_that)
                    break
                except carillon.StoreConflict:
                    await asyncio.sleep(0)

    await asyncio.gather(*(count(20) for _ in range(8)))
    assert carillon_server.history("c", last=1).messages[0].json() == 160


def test_http_answers_a_conflict_with_the_top(carillon_server: Server) -> None:
    top = publish(carillon_server)["result"]
    error = publish(carillon_server, expected_offset=5)["error"]
    assert (error["code"], error["offset"], error["epoch"]) == (113, 1, top["epoch"])
    assert "expected_offset" in error["message"]
    assert publish(carillon_server, expected_offset=1)["result"]["offset"] == 2


def test_an_old_version_is_skipped_as_in_the_family(carillon_server: Server) -> None:
    assert publish(carillon_server, version=7)["result"]["offset"] == 1
    skipped = publish(carillon_server, version=7)["result"]
    assert (skipped["offset"], skipped["skipped"]) == (1, True)
    assert publish(carillon_server, version=3)["result"]["skipped"] is True
    assert publish(carillon_server, version=8)["result"] == {"offset": 2, "epoch": skipped["epoch"]}
    assert publish(carillon_server, version=1, version_epoch="new")["result"]["offset"] == 3
    assert publish(carillon_server)["result"]["offset"] == 4
    assert publish(carillon_server, version=2, version_epoch="new")["result"]["offset"] == 5
    with pytest.raises(carillon.StoreConflict) as conflict:
        carillon_server.publish("c", 1, version=2, version_epoch="new")
    assert conflict.value.top.offset == 5


def test_each_channel_of_a_broadcast_has_its_own_answer(carillon_server: Server) -> None:
    carillon_server.publish("a", 1)
    body = {"channels": ["a", "b"], "data": 2, "expected_offset": 1}
    reply = httpx.post(f"{carillon_server.url}/api/broadcast", json=body).json()["result"]["responses"]
    assert reply[0]["result"]["offset"] == 2
    assert (reply[1]["error"]["code"], reply[1]["error"]["offset"]) == (113, 0)


@pytest.mark.parametrize("error_mode", ["", "transport"])
async def test_a_client_has_the_same_conflicts(
    carillon_server_factory: Callable[..., Server], error_mode: str
) -> None:
    server = carillon_server_factory(config={"http_api": {"error_mode": error_mode, "insecure": True}})
    async with carillon.connect(server.url) as client:
        first = await client.publish("c", 1, expected_offset=0)
        with pytest.raises(carillon.StoreConflict, match="expected_offset") as conflict:
            await client.publish("c", 2, expected_offset=0)
        assert conflict.value.top == first
        top = await client.publish("c", 2, expected_offset=conflict.value.top.offset, version=7)
        with pytest.raises(carillon.StoreConflict, match="version") as conflict:
            await client.publish("c", 3, version=7)
        assert conflict.value.top == top
        assert server.history("c").position == top


def test_an_epoch_of_no_version_is_refused(carillon_server: Server) -> None:
    with pytest.raises(ValueError, match="version_epoch: has no version"):
        carillon_server.publish("c", 1, version_epoch="new")
    for fields in ({"version_epoch": "new"}, {"version_epoch": "new", "version": 0}):
        error = publish(carillon_server, **fields)["error"]
        assert error["code"] == 107
        assert "version_epoch: has no version that it belongs to; give version" in error["message"]
        body = {"channels": ["a", "b"], "data": 1, **fields}
        reply = httpx.post(f"{carillon_server.url}/api/broadcast", json=body).json()
        assert "give version as well" in str(reply)
        assert "offset" not in str(reply)
    assert publish(carillon_server, version=0, version_epoch="")["result"]["offset"] == 1, "both are none"


@pytest.mark.parametrize("fields", [{"expected_offset": -1}, {"version": -1}, {"version_epoch": "x" * 300}])
def test_what_is_no_offset_or_version_is_refused(carillon_server: Server, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        carillon_server.publish("c", 1, **fields)
    assert "error" in publish(carillon_server, **fields)
