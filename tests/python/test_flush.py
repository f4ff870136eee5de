"""How bytes leave: chosen at start, said by `stats()`, the same for the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import carillon
import pytest
from carillon import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

HAS_URING = _core.build_info()["io_uring"].startswith("works")


@pytest.mark.parametrize(
    ("asked", "used"), [("send", "send"), ("auto", "io_uring" if HAS_URING else "send")], ids=str
)
def test_stats_say_what_is_at_work(
    carillon_server_factory: Callable[..., Server], asked: str, used: str
) -> None:
    server = carillon_server_factory(flush=asked)
    assert server.stats()["flush"] == used
    with carillon.sync.connect(server.url) as client, client.subscribe("c") as subscription:
        server.publish("c", 1)
        item = subscription.next(timeout=5)
        assert isinstance(item, carillon.Message)
        assert item.json() == 1


def test_an_unknown_way_is_refused_with_the_ways_there_are() -> None:
    with pytest.raises(carillon.ConfigError, match=r'flush: .*"auto", "io_uring" or "send"'):
        carillon.Server(flush="pigeon")


def test_io_uring_by_name_works_or_says_why_not() -> None:
    server = carillon.Server(flush="io_uring", port=0)
    if HAS_URING:
        with server:
            assert server.stats()["flush"] == "io_uring"
    else:
        with pytest.raises(OSError, match='use "auto" or "send"'):
            server.start()
