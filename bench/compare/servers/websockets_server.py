"""PyPI `websockets` with its `broadcast`. Speaks the raw protocol of cpp/load/web_dialects.hpp."""

import asyncio
import signal
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

subscribers: dict[str, set[ServerConnection]] = {}


async def handle(connection: ServerConnection) -> None:
    joined: list[str] = []
    try:
        async for text in connection:
            if text.startswith("s "):
                for channel in text[2:].split(" "):
                    subscribers.setdefault(channel, set()).add(connection)
                    joined.append(channel)
            else:
                _, channel, data = text.split(" ", 2)
                broadcast(subscribers.get(channel, ()), data)
            await connection.send("ok")
    finally:
        for channel in joined:
            subscribers[channel].discard(connection)


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = {"compression": None, "ping_interval": None, "backlog": 4096}
    server = await serve(handle, "127.0.0.1", int(sys.argv[1]), **settings)
    await stop.wait()
    server.close(close_connections=False)


asyncio.run(main())
