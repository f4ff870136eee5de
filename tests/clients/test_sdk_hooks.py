"""Hooks that renew, carry out calls and are told of disconnects, as SDKs that others wrote see them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from carillon import Deny, DisconnectContext, Grant, Server, User
from carillon.testing import wait_until
from sdk import CommandFailed, Sdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import ConnectContext, RefreshContext, RpcContext, SubRefreshContext, SubscribeContext

pytest_plugins = ["sdk_kinds"]
pytestmark = pytest.mark.wire


class Application:
    def __init__(self) -> None:
        self.renewed: list[str] = []
        self.gone: list[DisconnectContext] = []

    def __call__(self, server: Server) -> None:
        @server.on_connect
        def identify(ctx: ConnectContext) -> User:
            return User(ctx.claimed_user, expires_at=time.time() + 1)

        @server.on_refresh
        def renew(ctx: RefreshContext) -> User:
            self.renewed.append(ctx.user)
            return User(ctx.user, expires_at=time.time() + 1)

        @server.on_subscribe("short")
        def join(ctx: SubscribeContext) -> Grant:
            return Grant(ctx.channel, expires_at=time.time() + 1)

        @server.on_sub_refresh("short")
        def stay(ctx: SubRefreshContext) -> Grant:
            self.renewed.append(ctx.channel)
            return Grant(ctx.channel, expires_at=time.time() + 1)

        @server.on_rpc("echo")
        def echo(ctx: RpcContext) -> object:
            return {"user": ctx.user, "said": ctx.json()}

        server.on_rpc("bytes")(lambda ctx: b"\x00\xff" + ctx.data)
        server.on_rpc("no")(lambda ctx: Deny(470, "no"))
        server.on_disconnect(self.gone.append)


@pytest.fixture
def threads() -> int:
    """What an SDK sees is the same with one shard."""
    return 4


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def server(serve: Callable[..., Server], application: Application) -> Server:
    return serve(before_start=application)


def test_what_hooks_renew_goes_on(sdk: Sdk, server: Server, application: Application) -> None:
    sdk.connect(server.url, user="ann")
    sdk.subscribe("short")
    wait_until(lambda: application.renewed.count("ann") >= 2 and application.renewed.count("short") >= 2, 15)
    server.publish("short", 1)
    sdk.wait_for("publication", "short")
    assert len(sdk.events("connected")) == 1, "it was never away"
    assert len(sdk.events("subscribed", "short")) == 1


def test_hooks_carry_out_calls(sdk: Sdk, server: Server) -> None:
    sdk.connect(server.url, user="ann")
    assert sdk.call("rpc", method="echo", data={"a": [1]}) == {"user": "ann", "said": {"a": [1]}}
    assert "b64" in sdk.call("rpc", method="bytes", data=1)
    for method, code in (("no", 470), ("nothing", 104)):
        with pytest.raises(CommandFailed) as refused:
            sdk.call("rpc", method=method)
        assert refused.value.code == code


def test_the_application_is_told_who_has_gone(
    make_sdk: Callable[[], Sdk], server: Server, application: Application
) -> None:
    sdk = make_sdk().connect(server.url, user="ann")
    sdk.wait_for("connected")
    (client,) = server.connections()
    sdk.close()
    wait_until(lambda: application.gone, 15)
    assert (application.gone[0].client, application.gone[0].user) == (client, "ann")
