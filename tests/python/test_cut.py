"""The fault `cut(connection)`: the connection ends without a word, and the client comes back by itself."""

import asyncio
from collections.abc import Callable
from typing import Any

import carillon
import pytest
from carillon.testing import cut


async def test_a_cut_client_comes_back_with_its_position(
    carillon_server: carillon.Server, carillon_client: Callable[..., Any], carillon_cut: Callable[..., Any]
) -> None:
    async with carillon_client() as client, client.subscribe("c") as subscription:
        first = client.client_id
        carillon_server.publish("c", 0)
        carillon_cut(client)
        carillon_server.publish("c", 1)
        assert [(await subscription.next(5)).json() for _ in range(2)] == [0, 1]
        assert client.client_id not in (None, first)


async def test_the_blocking_client_can_be_cut(carillon_server: carillon.Server) -> None:
    def use() -> None:
        with carillon.sync.connect(carillon_server.url) as client, client.subscribe("c") as subscription:
            cut(carillon_server, client)
            carillon_server.publish("c", 2)
            assert subscription.next(5).json() == 2

    await asyncio.to_thread(use)


async def test_a_stream_is_cut_by_its_id(
    carillon_server: carillon.Server, carillon_client: Callable[..., Any], carillon_cut: Callable[..., Any]
) -> None:
    async with carillon_client(transport="sse") as client, client.subscribe("c") as subscription:
        with pytest.raises(ValueError, match="no such connection"):
            carillon_cut(client)
        (one,) = carillon_server.connections()
        carillon_cut(one)
        carillon_server.publish("c", 3)
        assert (await subscription.next(5)).json() == 3


def test_connections_without_an_id_are_not_named_together(carillon_server: carillon.Server) -> None:
    for end in (carillon_server.cut, carillon_server.disconnect):
        with pytest.raises(ValueError, match="client: '' is not the id"):
            end("")
