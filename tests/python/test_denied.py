"""A connect that the server refuses: one exception with code and reason, over every transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import ConnectDenied, Deny, Server
from fake_servers import http_server, response
from websockets.asyncio.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon.client import TransportName

pytestmark = pytest.mark.wire

each_transport = pytest.mark.parametrize("transport", ["ws", "sse", "poll"])


@pytest.fixture
def denying(carillon_server_factory: Callable[..., Server]) -> Callable[[Any], Server]:
    def make(answer: Any) -> Server:
        return carillon_server_factory(before_start=lambda server: server.on_connect(lambda _: answer))

    return make


async def connect_and_subscribe(url: str, transport: TransportName, **options: Any) -> None:
    async with (
        asyncio.timeout(10),
        carillon.connect(url, transport=transport, **options) as client,
        client.subscribe("c"),
    ):
        pass


@each_transport
@pytest.mark.parametrize(
    ("answer", "code"), [(False, 3507), (Deny(4503, "banned"), 4503), (Deny(1001, "banned"), 1001)]
)
async def test_a_client_that_is_denied_gets_code_and_reason(
    denying: Callable[[Any], Server], transport: TransportName, answer: Any, code: int
) -> None:
    server = denying(answer)
    with pytest.raises(ConnectDenied) as raised:
        await connect_and_subscribe(server.url, transport)
    if transport == "ws":
        assert raised.value.code == code
    assert raised.value.code in (code, 401)
    if isinstance(answer, Deny):
        assert (raised.value.reason, "banned" in str(raised.value)) == ("banned", True)


def test_a_client_that_blocks_gets_the_same(denying: Callable[[Any], Server]) -> None:
    server = denying(Deny(4503, "banned"))
    with pytest.raises(ConnectDenied, match="banned") as raised:
        carillon.sync.connect(server.url).open()
    assert isinstance(raised.value, carillon.ConnectError)


async def test_a_client_that_is_denied_when_it_comes_back_gets_the_same(
    carillon_server_factory: Callable[..., Server],
) -> None:
    answers: list[Any] = [Deny(4503, "banned"), True]
    server = carillon_server_factory(before_start=lambda server: server.on_connect(lambda _: answers.pop()))
    async with (
        carillon.connect(server.url, min_reconnect_delay=0.01) as client,
        client.subscribe("c") as subscription,
    ):
        carillon.testing.cut(server, client)
        with pytest.raises(ConnectDenied, match="banned"):
            await subscription.next(10)


async def test_a_code_that_makes_clients_come_back_does_not_hang_the_connect() -> None:
    comes = 0

    async def send_back(socket: Any) -> None:
        nonlocal comes
        comes += 1
        await socket.recv()
        await socket.close(4403, "forbidden")

    async with serve(send_back, "127.0.0.1", 0) as server, asyncio.timeout(10):
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        with pytest.raises(carillon.ConnectError, match=r"within 0\.5 s: forbidden \(code 4403\)"):
            await carillon.connect(url, open_timeout=0.5, min_reconnect_delay=0.01)
    assert comes > 1


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (response("401 Unauthorized", "who are you?", "Content-Type: text/plain"), 401, "who are you?"),
        (
            response(
                "401 Unauthorized",
                '{"error":{"code":109,"message":"token expired"}}',
                "Content-Type: application/json",
            ),
            109,
            "token expired",
        ),
        (response("401 Unauthorized", "<html>", "Content-Type: text/html"), 401, "Unauthorized"),
        (response("401 Unauthorized", '{"error":7}', "Content-Type: application/json"), 401, "Unauthorized"),
    ],
)
@each_transport
async def test_an_answer_of_401_is_a_denied_connect(
    transport: TransportName, answer: bytes, code: int, reason: str
) -> None:
    async with http_server(answer) as url:
        with pytest.raises(ConnectDenied) as raised:
            await connect_and_subscribe(url, transport)
    assert (raised.value.code, raised.value.reason) == (code, reason)
