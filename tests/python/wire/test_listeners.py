"""A server that listens at more than one address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from carillon import AddressInUse, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire


def test_what_a_second_address_may_be(serve: Callable[..., Server]) -> None:
    server = serve()
    second = server.listen("127.0.0.1")
    assert httpx.get(f"{second.url}/health").status_code == 200
    with pytest.raises(AddressInUse, match=f"{second.port} is taken"):
        server.listen(port=second.port)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        server.listen("0.0.0.0")
    assert second.drain(1)
    with pytest.raises(ValueError, match="closed already"):
        second.drain()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{second.url}/health")
    assert httpx.get(f"{server.url}/health").status_code == 200
