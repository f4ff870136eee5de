"""The SDKs, whose WebSockets (npm `ws`, PyPI `websockets`) negotiate permessage-deflate by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from carillon import Channel
from carillon.testing import assert_ledger_balances
from sdk import Sdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

pytestmark = pytest.mark.wire

DELTA = Channel(allowed_delta_types=["fossil"], delta_publish=True, history_size=1000)


def record(number: int) -> dict[str, Any]:
    """Some 2 kB that differ by a few bytes."""
    return {"rows": [{"name": f"row {i}", "text": "carillon"} for i in range(60)], "number": number}


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
@pytest.mark.parametrize("name", ["javascript", "python"])
def test_sdks_read_and_write_compressed_messages(
    serve: Callable[..., Server], name: str, encoding: str
) -> None:
    server = serve(
        config={"client": {"insecure": True}, "websocket": {"compression": True}},
        channels={"d*": DELTA, "*": Channel()},
    )
    sdks = [Sdk(name, encoding), Sdk(name, encoding)]
    try:
        for sdk in sdks:
            sdk.connect(server.url)
            sdk.subscribe("c")
        for number in range(10):
            sdks[number % 2].call("publish", channel="c", data=record(number))
        server.publish("c", {"short": True})
        for sdk in sdks:
            seen = [one["data"] for one in sdk.wait_for("publication", "c", count=11)]
            assert seen == [*(record(number) for number in range(10)), {"short": True}]
        stats = server.stats()
        assert stats["deflated"] == 10, "each once, for both"
        assert stats["inflated"] >= 10, "the publishes of the SDK were compressed"

        if name == "javascript":
            sdks[0].subscribe("d", delta="fossil")
            for number in range(10):
                server.publish("d", record(number))
            seen = [one["data"] for one in sdks[0].wait_for("publication", "d", count=10)]
            assert seen == [record(number) for number in range(10)], "deltas are below the threshold"
            assert server.stats()["deflated"] == 11
        assert_ledger_balances(server)
    finally:
        for sdk in sdks:
            sdk.close()
