"""Batches, error modes and keys of the HTTP API (protocol.md section 21)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from wire_clients import open_http, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire


async def replies_of(server: Server, *commands: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    async with open_http(server) as client:
        response = await client.post("/api/batch", json={"commands": list(commands), **fields})
    assert response.status_code == 200, response.text
    (answer,) = response.json().items()
    assert answer[0] == "replies"
    replies: list[dict[str, Any]] = answer[1]
    return replies


@pytest.mark.parametrize("parallel", [False, True])
async def test_a_batch_answers_in_order(server: Server, parallel: bool) -> None:
    replies = await replies_of(
        server,
        {"publish": {"channel": "a", "data": 1}},
        {"presence": {"channel": "a"}},
        {"no_such_method": {}},
        {"publish": {"channel": "a"}},
        {"publish": {"channel": 7}},
        {"batch": {"commands": []}},
        {},
        {"publish": None, "history": {"channel": "a", "limit": 5}},
        {"broadcast": {"channels": ["a", "\n"], "data": 2}},
        {"subscribe": {"user": "nobody", "channel": "a"}},
        parallel=parallel,
    )
    assert [next(iter(reply)) for reply in replies] == [
        *("publish", "presence", "error", "error", "error", "error", "error", "history", "broadcast"),
        "subscribe",
    ]
    epoch = server.history("a").position.epoch
    assert replies[0] == {"publish": {"offset": 1, "epoch": epoch}}
    assert replies[1] == {"presence": {"presence": {}}}
    assert [reply["error"]["code"] for reply in replies[2:7]] == [104, 107, 400, 107, 104]
    assert replies[8]["broadcast"]["responses"][1]["error"]["code"] == 107
    assert replies[9] == {"subscribe": {"connections": 0}}


async def test_commands_of_a_batch_follow_one_another(server: Server) -> None:
    count = 200  # several turns
    replies = await replies_of(
        server,
        *({"publish": {"channel": "a", "data": number}} for number in range(count)),
        {"history": {"channel": "a", "limit": -1}},
    )
    assert [reply["publish"]["offset"] for reply in replies[:-1]] == list(range(1, count + 1))
    assert [one["data"] for one in replies[-1]["history"]["publications"]] == list(range(count))


async def test_a_batch_has_a_limit(serve: Callable[..., Server]) -> None:
    server = serve(limits={"batch_commands": 2})
    assert await replies_of(server) == []
    assert len(await replies_of(server, {"info": {}}, {"info": {}})) == 2
    async with open_http(server) as client:
        answer = (await client.post("/api/batch", json={"commands": [{"info": {}}] * 3})).json()
    assert answer["error"]["code"] == 107
    assert "limits.batch_commands (2)" in answer["error"]["message"]


ERRORS = [
    ("publish", {"channel": "a"}, 107, 400),
    ("publish", {"channel": "other:a", "data": 1}, 102, 404),
    ("rpc", {"method": "sum", "params": {"a": 1}}, 104, 404),
    ("history", {"channel": "chat:live"}, 108, 400),
    ("history", {"channel": "chat:a", "since": {"offset": 1, "epoch": "another1"}}, 112, 416),
]
NAMESPACES = {
    "channel": {"namespaces": [{"name": "chat"}], "without_namespace": {}},
    "channels": {"chat:live": {"history_size": 0}},
}


@pytest.mark.parametrize(("method", "body", "code", "status"), ERRORS)
async def test_an_error_has_a_status_where_that_is_asked_for(
    serve: Callable[..., Server],
    method: str,
    body: dict[str, Any],
    code: int,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "carillon.access")
    server = serve(config=NAMESPACES, insecure=True)
    always = serve(config={**NAMESPACES, "http_api": {"error_mode": "transport"}}, insecure=True)
    async with open_http(server) as client, open_http(always) as other:
        plain = await client.post(f"/api/{method}", json=body)
        assert (plain.status_code, plain.json()["error"]["code"]) == (200, code)
        asked = await client.post(
            f"/api/{method}", json=body, headers={"X-Centrifugo-Error-Mode": "transport"}
        )
        for response in (asked, await other.post(f"/api/{method}", json=body)):
            assert (response.status_code, response.json()["code"]) == (status, code)
            assert set(response.json()) == {"code", "message"}
        message = asked.json()["message"]
        await until(lambda: sum(message in record.getMessage() for record in caplog.records) >= 2)
        fine = await other.post("/api/publish", json={"channel": "a", "data": 1})
        assert (fine.status_code, fine.json()["result"]["offset"]) == (200, 1)


async def test_every_way_to_give_the_key(serve: Callable[..., Server]) -> None:
    server = serve(api_key="secret")
    async with open_http(server) as client:
        for headers, query in (
            ({"X-API-Key": "secret"}, ""),
            ({"Authorization": "apikey secret"}, ""),
            ({"Authorization": "ApiKey secret"}, ""),
            ({}, "?api_key=secret"),
        ):
            assert (await client.post(f"/api/info{query}", headers=headers)).status_code == 200
        for headers, query in (
            ({"X-API-Key": "wrong"}, ""),
            ({"Authorization": "Bearer secret"}, ""),
            ({}, "?api_key="),
        ):
            assert (await client.post(f"/api/info{query}", headers=headers)).status_code == 401


async def test_history_remove(server: Server) -> None:
    server.publish("a", 1)
    async with open_http(server) as client:
        assert (await client.post("/api/history_remove", json={"channel": "a"})).json() == {"result": {}}
    assert server.history("a").messages == []
    assert server.publish("a", 2).offset == 2


async def test_who_acts_on_connections_must_say_on_which(server: Server) -> None:
    async with open_http(server) as client:
        for method in ("subscribe", "unsubscribe", "disconnect"):
            body = {"user": ""} if method == "disconnect" else {"user": "", "channel": "a"}
            answer = (await client.post(f"/api/{method}", json=body)).json()
            assert answer["error"]["code"] == 107
            assert "user: missing or empty" in answer["error"]["message"]
        for body, problem in (
            ({"b64info": "e30"}, "not base64"),
            ({"b64info": "ew=="}, "b64info: not JSON"),
            ({"b64data": "ew=="}, "b64data: not JSON"),
            ({"expire_at": 5}, "expire_at: not in the future"),
            ({"recover_since": "nowhere"}, "recover_since: not a position"),
        ):
            answer = (await client.post("/api/subscribe", json={"user": "a", "channel": "a", **body})).json()
            assert problem in answer["error"]["message"]
        for body in ({"override": {"presence": True}}, {"override": {"history": {"value": True}}}):
            response = await client.post("/api/subscribe", json={"user": "a", "channel": "a", **body})
            assert response.status_code == 400
