"""The SDKs, in every encoding and over every transport that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sdk import KINDS, Sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.node if "javascript" in kind else ()) for kind in KINDS]
)
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
