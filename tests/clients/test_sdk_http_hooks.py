"""A backend that is asked over HTTP, as SDKs that others wrote see its decisions."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from carillon.testing import wait_until
from sdk import CommandFailed, Sdk

sys.path.insert(0, str(Path(__file__).parents[1] / "python" / "wire"))
from backend_double import Backend, Raw, proxied, running_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

pytest_plugins = ["sdk_kinds"]
pytestmark = pytest.mark.wire
ALL = ("connect", "refresh", "subscribe", "publish", "sub_refresh", "rpc")


def soon() -> int:
    return int(time.time()) + 2


@pytest.fixture
def threads() -> int:
    """What an SDK sees is the same with one shard."""
    return 4


@pytest.fixture
def backend() -> Iterator[Backend]:
    with running_backend() as backend:
        backend.answers["/connect"] = lambda asked: {"result": {"user": "ann", "expire_at": soon()}}
        backend.answers["/refresh"] = lambda asked: {"result": {"expire_at": soon()}}
        backend.answers["/subscribe"] = lambda asked: {"result": {"data": {"n": 1}, "expire_at": soon()}}
        backend.answers["/sub_refresh"] = lambda asked: {"result": {"expire_at": soon()}}
        backend.answers["/publish"] = lambda asked: {"result": {"data": {"by": asked["user"]}}}
        backend.answers["/rpc"] = lambda asked: (
            {"error": {"code": 470, "message": "no"}}
            if asked["method"] == "no"
            else {"result": {"data": {"said": asked["data"]}}}
        )
        yield backend


@pytest.fixture
def server(serve: Callable[..., Server], backend: Backend) -> Server:
    return serve(config=proxied(backend, *ALL))


def test_each_operation(sdk: Sdk, server: Server, backend: Backend) -> None:
    sdk.connect(server.url)
    assert sdk.subscribe("chat:1")["data"] == {"n": 1}
    sdk.call("publish", channel="chat:1", data="x")
    assert sdk.wait_for("publication", "chat:1")[0]["data"] == {"by": "ann"}
    assert sdk.call("rpc", method="echo", data=[1]) == {"said": [1]}
    with pytest.raises(CommandFailed) as refused:
        sdk.call("rpc", method="no")
    assert refused.value.code == 470
    wait_until(lambda: len(backend.of("/refresh")) >= 2 and len(backend.of("/sub_refresh")) >= 2, 15)
    assert len(sdk.events("connected")) == 1, "it was never away"
    assert len(sdk.events("subscribed", "chat:1")) == 1
    protocol: dict[str, Any] = backend.of("/connect")[0]
    assert protocol["protocol"] in ("json", "protobuf")


def test_a_client_comes_back_when_its_backend_does(sdk: Sdk, server: Server, backend: Backend) -> None:
    def busy_at_first(asked: dict[str, Any]) -> dict[str, Any] | Raw:
        attempt = len(backend.of("/connect"))
        if attempt == 1:
            return Raw(503)
        if attempt == 2:
            return {"error": {"code": 450, "message": "busy", "temporary": True}}
        return {"result": {"user": "ann"}}

    backend.answers["/connect"] = busy_at_first
    sdk.connect(server.url)
    assert len(backend.of("/connect")) == 3
