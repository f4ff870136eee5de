"""What all suites share: outside programs, and servers with one and with four shard threads."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carillon import Server


def require(is_there: object, what: str) -> None:
    """Skips the test if `what` is missing on a user's machine; fails it where CI=true."""
    if is_there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true: install it", pytrace=False)
    pytest.skip(f"{what} is missing on this machine")


def require_tool(*names: str) -> str:
    """Path of the first of these programs that is installed; skips or fails as `require` does."""
    path = next((found for name in names if (found := shutil.which(name))), None)
    require(path, " or ".join(names))
    assert path is not None
    return path


def require_path(path: Path, remedy: str) -> Path:
    """The path, if it exists; skips or fails as `require` does."""
    require(path.exists(), f"{path.name} ({remedy})")
    return path


@pytest.fixture(name="require_tool", scope="session")
def _require_tool() -> Callable[..., str]:
    """`require_tool`, for tests that cannot import this file."""
    return require_tool


@pytest.fixture(params=[1, 4], ids=["1 shard", "4 shards"])
def threads(request: pytest.FixtureRequest) -> int:
    """How many shard threads the server of a wire test has: every one runs with both."""
    return int(request.param)


@pytest.fixture
def serve(threads: int, carillon_server_factory: Callable[..., Server]) -> Callable[..., Server]:
    """Starts servers with `threads` shards on a free port; the ledger must balance at the end of the test.

    One shard sends with a call per connection, four send with io_uring where there is one: so every wire test
    runs over both.
    """

    def start(**settings: Any) -> Server:
        flush = "send" if threads == 1 else "auto"
        return carillon_server_factory(**{"threads": threads, "port": 0, "flush": flush, **settings})

    return start


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A server from `serve` with the default settings: everybody may do everything."""
    return serve()
