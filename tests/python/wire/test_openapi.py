"""The OpenAPI document is that of the handlers: the same methods and fields, and their real answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from wire_clients import open_ws

if TYPE_CHECKING:
    from carillon import Server

pytestmark = pytest.mark.wire


def document_of(server: Server) -> dict[str, Any]:
    response = httpx.get(f"{server.url}/api/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    document: dict[str, Any] = response.json()
    return document


def schema_of(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of a schema of the document, whose references lead into it."""
    whole = {**schema, "components": document["components"]}
    Draft202012Validator.check_schema(whole)
    return Draft202012Validator(whole)


def operation(document: dict[str, Any], method: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][f"/api/{method}"]["post"]
    return found


def request_schema(document: dict[str, Any], method: str) -> dict[str, Any]:
    found: dict[str, Any] = operation(document, method)["requestBody"]["content"]["application/json"][
        "schema"
    ]
    return found


def answer_schema(document: dict[str, Any], method: str) -> dict[str, Any]:
    content = operation(document, method)["responses"]["200"]["content"]
    found: dict[str, Any] = content["application/json"]["schema"]
    return found


def known_names(server: Server, path: str, body: dict[str, Any]) -> set[str]:
    """The names that the server lists where one is unknown."""
    message = httpx.post(f"{server.url}/api/{path}", json=body).json()["error"]["message"]
    _, found, known = message.partition("known: ")
    return set(known.split(", ")) if found else set()


def test_it_needs_no_key(carillon_server_factory: Any) -> None:
    guarded = carillon_server_factory(api_key="secret")
    assert document_of(guarded)["openapi"] == "3.1.0"
    assert httpx.post(f"{guarded.url}/api/openapi.json").status_code == 405


def test_its_methods_and_fields_are_those_of_the_handlers(server: Server) -> None:
    document = document_of(server)
    methods = {path.removeprefix("/api/") for path in document["paths"]}
    assert methods == known_names(server, "no_such_method_at_all", {})
    for method in methods:
        assert operation(document, method)["summary"]
        properties = request_schema(document, method)["properties"]
        assert set(properties) == known_names(server, method, {"no such field at all": 1}), method
        whole = next(body for name, body in CALLS if name == method)
        for field in request_schema(document, method).get("required", []):
            body = {name: value for name, value in whole.items() if name != field}
            error = httpx.post(f"{server.url}/api/{method}", json=body).json()["error"]
            assert (error["code"], error["message"].split(": ")[1]) == (107, field), method
    commands = document["components"]["schemas"]["Commands"]["items"]["properties"]
    assert set(commands) == methods - {"batch"}


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("publish", {"channel": "a", "data": {"n": 1}, "tags": {"lang": "en"}}),
    ("publish", {"channel": "a", "b64data": "AAH/"}),
    ("publish", {"channel": "a", "data": 1, "skip_history": True}),
    ("publish", {"channel": "a", "data": 1, "expected_offset": 99}),
    ("publish", {"channel": "a", "data": 1, "version": 2}),
    ("publish", {"channel": "a", "data": 1, "version": 2, "version_epoch": ""}),
    ("publish", {"channel": "a"}),
    ("broadcast", {"channels": ["a", "\n"], "data": 2}),
    ("history", {"channel": "a", "limit": 10}),
    ("history", {"channel": "a", "since": {"offset": 1, "epoch": "another1"}}),
    ("presence", {"channel": "watched"}),
    ("presence_stats", {"channel": "watched"}),
    ("channels", {"pattern": "w*"}),
    ("info", {}),
    ("stats", {}),
    ("ledger", {"limit": 5}),
    ("subscribe", {"user": "ann", "channel": "b", "override": {"presence": {"value": True}}}),
    ("subscribe", {"user": "ann", "channel": "b", "recover_since": {"offset": 0, "epoch": ""}}),
    ("unsubscribe", {"user": "ann", "channel": "b"}),
    ("add_members", {"channel": "a", "users": ["ann"]}),
    ("publish", {"channel": "a", "data": 1}),
    ("members", {"channel": "a"}),
    ("inbox", {"user": "ann"}),
    ("unread", {"user": "ann"}),
    ("mark_read", {"user": "ann", "channel": "a", "offset": 1}),
    ("remove_members", {"channel": "a", "users": ["ann"]}),
    ("set_fanout", {"channel": "a", "strategy": "hybrid", "threshold": 5}),
    ("fanout", {"channel": "a"}),
    ("rpc", {"method": "sum", "params": [1, 2]}),
    ("history_remove", {"channel": "a"}),
    (
        "batch",
        {
            "commands": [
                {"publish": {"channel": "a", "data": 1}},
                {"info": {}},
                {"history_remove": {"channel": "a"}},
                {"rpc": {"method": "sum"}},
            ],
            "parallel": True,
        },
    ),
    ("refresh", {"user": "ann", "expire_at": 2_000_000_000, "info": {"name": "Ann"}}),
    ("disconnect", {"user": "ann", "disconnect": {"code": 4500, "reason": "bye"}}),
    ("reload", {}),
    ("drain", {"deadline_ms": 100}),
]


async def test_real_requests_and_answers_are_as_it_says(server: Server) -> None:
    document = document_of(server)
    assert {method for method, _ in CALLS} == {path.removeprefix("/api/") for path in document["paths"]}
    async with open_ws(server, "?user=ann") as ws:
        await ws.subscribe("watched")
        async with httpx.AsyncClient(base_url=server.url) as client:
            for method, body in CALLS:
                if body != {"channel": "a"} or method != "publish":  # one that is wrong
                    schema_of(document, request_schema(document, method)).validate(body)
                response = await client.post(f"/api/{method}", json=body)
                assert response.status_code == 200, response.text
                schema_of(document, answer_schema(document, method)).validate(response.json())


def test_it_refuses_other_answers(server: Server) -> None:
    document = document_of(server)
    for method, answer in (
        ("publish", {"result": {"offset": "1"}}),
        ("publish", {"result": {"other": 1}}),
        ("history", {"result": {"publications": []}}),
        ("info", {"result": {"nodes": [{}]}}),
        ("batch", {"result": {}}),
        ("batch", {"replies": [{"publish": {"offset": []}}]}),
    ):
        assert not schema_of(document, answer_schema(document, method)).is_valid(answer), (method, answer)
