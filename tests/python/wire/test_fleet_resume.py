"""Unidirectional clients resume at any gateway, with their token and their position, when theirs is killed.

The other transports: test_client_addresses.py (the client of this package, over each of its transports), and
clients/test_fleet_sdks.py (SDKs over WebSockets, http_stream and SSE).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from carillon import sync
from websockets.sync.client import connect as connect_ws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carillon.testing import RedisServer
    from serve_process import Process

pytestmark = pytest.mark.wire

ROOM = "room"
SECRET = "known to the application and to all gateways"


def pushes(transport: str, port: int, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a client of this transport gets, until its connection is lost."""
    asked = json.dumps(request)
    if transport == "uni_websocket":
        with connect_ws(f"ws://127.0.0.1:{port}/connection/{transport}", proxy=None) as ws:
            ws.send(asked)
            for frame in ws:
                yield from map(json.loads, str(frame).splitlines())
        return
    url = f"http://127.0.0.1:{port}/connection/{transport}"
    with httpx.stream("POST", url, content=asked, timeout=30, trust_env=False) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith(("data: {", "{")):
                yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize("transport", ["uni_websocket", "uni_sse", "uni_http_stream"])
def test_kill_9(
    carillon_redis: RedisServer, launch: Callable[..., Process], tmp_path: Path, transport: str
) -> None:
    config = tmp_path / "carillon.toml"
    config.write_text(
        f'[store]\nurl = "{carillon_redis.url}"\n[client.token]\nhmac_secret_key = "{SECRET}"\n'
        "[uni_websocket]\nenabled = true\n[uni_sse]\nenabled = true\n[uni_http_stream]\nenabled = true\n"
        '[http_api]\ninsecure = true\n[channels."*"]\nhistory_size = 100\n'
        "allow_subscribe_for_client = true\n"
    )
    killed, other = (launch(0, "--config", str(config)) for _ in range(2))
    token = carillon.token(SECRET, "ann")
    with sync.connect(f"http://127.0.0.1:{other.port}", transport="poll") as backend:
        live = pushes(transport, killed.port, {"token": token, "subs": {ROOM: {}}})
        start = next(push for push in live if "connect" in push)["connect"]["subs"][ROOM]
        for number in range(5):
            backend.publish(ROOM, number)
        seen = []
        for push in live:
            seen += [push["pub"]] if "pub" in push else []
            if len(seen) == 3:
                break
        killed.child.kill()
        killed.child.wait()
        backend.publish(ROOM, 5)
        since = {"recover": True, "epoch": start["epoch"], "offset": seen[-1]["offset"]}
        again = pushes(transport, other.port, {"token": token, "subs": {ROOM: since}})
        resumed = next(push for push in again if "connect" in push)["connect"]["subs"][ROOM]
        assert resumed["recovered"]
        backend.publish(ROOM, 6)
        missed = [each["data"] for each in resumed["publications"]]
        live_again = next(push["pub"]["data"] for push in again if "pub" in push)
        assert [each["data"] for each in seen] + missed + [live_again] == list(range(7))
        denied = pushes(transport, other.port, {"token": "forged", "subs": {}})
        assert next(denied)["disconnect"]["code"] == 3500
