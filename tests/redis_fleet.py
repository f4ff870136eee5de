"""Gateways that share a Redis: in this process to be quick, and as `carillon serve` where they are killed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from carillon import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from carillon import Server
    from carillon.testing import RedisServer
    from serve_process import Process

HISTORY = 1_000_000
# Faults of a test are short: a link is made again at once, and a silent one is given up after a second.
QUICK = {"retry_pause_ms": 50, "connect_timeout_ms": 1_000, "command_timeout_ms": 1_000}


def on_redis(url: str, **store: Any) -> dict[str, Any]:
    """Arguments of a server that keeps everything in this Redis."""
    return {
        "store": {"url": url, **QUICK, **store},
        "channels": {"*": Channel(history_size=HISTORY, presence=True)},
        "threads": 1,
    }


def serve_on_redis(launch: Callable[..., Process], folder: Path, url: str, **store: Any) -> Process:
    """A `carillon serve` on this Redis. Its `--config` is in the folder, for those that follow."""
    return launch(0, "--config", str(config_of(folder, url, **store)))


def config_of(folder: Path, url: str, **store: Any) -> Path:
    """A config file for gateways on this Redis."""
    options = {"url": url, **QUICK, **store}
    lines = [
        f"{name} = {str(value) if isinstance(value, int) else repr(value)}" for name, value in options.items()
    ]
    config = folder / "carillon.toml"
    config.write_text(
        "[store]\n" + "\n".join(lines) + "\n[client]\ninsecure = true\n[http_api]\ninsecure = true\n"
        f'[channels."*"]\nhistory_size = {HISTORY}\npresence = true\n'
    )
    return config


def ports_of(servers: list[Server] | list[Process]) -> list[int]:
    """Where they listen."""
    return [server.port for server in servers]


@contextlib.asynccontextmanager
async def a_stranger(redis: RedisServer, node: str = "") -> AsyncIterator[None]:
    """Counts as a gateway, or as this node, and owes an answer to every question."""
    stranger = await asyncio.create_subprocess_exec(
        "redis-cli",
        "-p",
        str(redis.port),
        "subscribe",
        f"carillon:1:told:{node}",
        stdout=asyncio.subprocess.PIPE,
    )
    assert stranger.stdout is not None
    await stranger.stdout.readline()
    try:
        yield
    finally:
        stranger.kill()
        await stranger.wait()
