"""Deltas on the wire: what they save, and that only those who ask get them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from carillon import Channel
from wire_clients import open_ws

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

TEXT = "".join(f"line {number} of a page; " for number in range(100))[:1950]


def page(number: int) -> dict[str, str]:
    """2 kB, of which 20 bytes change."""
    return {"text": TEXT, "changes": f"{number:020}"}


async def test_a_delta_takes_a_twentieth_of_the_payload(serve: Callable[..., Server]) -> None:
    server = serve(channels={"c": Channel(allowed_delta_types=["fossil"])})
    async with open_ws(server) as ws, open_ws(server) as plain:
        assert (await ws.subscribe("c", delta="fossil"))["delta"] is True
        assert "delta" not in await plain.subscribe("c")
        server.publish("c", page(0), delta=True)
        pushes = [await ws.push()]  # of several in one batch, all are whole where the first is
        for number in range(1, 11):
            server.publish("c", page(number), delta=True)
        server.publish("c", page(11))
        pushes += [await ws.push() for _ in range(11)]
        whole = [await plain.push() for _ in range(12)]
        assert [push["pub"].get("delta", False) for push in pushes] == [False, *[True] * 10, False]
        assert json.loads(pushes[0]["pub"]["data"]) == page(0)
        assert json.loads(pushes[-1]["pub"]["data"]) == page(11)
        assert [push["pub"]["data"] for push in whole] == [page(number) for number in range(12)]
        deltas = sum(len(json.dumps(push)) for push in pushes[1:11])
        assert deltas <= 0.05 * sum(len(json.dumps(push)) for push in whole[1:11])


async def test_the_api_publishes_with_deltas(serve: Callable[..., Server]) -> None:
    server = serve(channels={"c": Channel(allowed_delta_types=["fossil"])})
    async with open_ws(server) as ws, httpx.AsyncClient(base_url=server.url) as api:
        await ws.subscribe("c", delta="fossil")
        for number in range(2):  # one by one: of two in one batch both are whole
            body = {"channel": "c", "data": page(number), "delta": True}
            assert (await api.post("/api/publish", json=body)).json()["result"]["offset"] == number + 1
            assert (await ws.push())["pub"].get("delta", False) == (number == 1)
