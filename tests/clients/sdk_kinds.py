"""The SDKs that a test runs with: a few kinds, or those that its mark `kinds` names.

What the hub decides does not depend on the encoding and the transport: a few kinds show it. What an SDK sees
does not depend on the number of shards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sdk import A_FEW_KINDS, Sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make_sdk" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("kinds")
        kinds = mark.args if mark else A_FEW_KINDS
        params = [
            pytest.param(kind, marks=pytest.mark.node if "javascript" in kind else ()) for kind in kinds
        ]
        metafunc.parametrize("make_sdk", params, indirect=True)
        if "threads" in metafunc.fixturenames:
            metafunc.parametrize("threads", [4], ids=["4 shards"])


@pytest.fixture
def make_sdk(request: pytest.FixtureRequest) -> Iterator[Callable[[], Sdk]]:
    """Makes clients of one kind."""
    clients: list[Sdk] = []

    def make() -> Sdk:
        clients.append(Sdk(*request.param.split("-")))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def sdk(make_sdk: Callable[[], Sdk]) -> Sdk:
    """One client."""
    return make_sdk()
