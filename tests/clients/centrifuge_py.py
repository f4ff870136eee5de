"""The PyPI package `centrifuge-python`, driven from outside: see centrifuge_js.mjs, its twin."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

from centrifuge import (
    Client,
    ClientEventHandler,
    DeltaType,
    FilterNode,
    ReplyError,
    StreamPosition,
    Subscription,
    SubscriptionEventHandler,
)

IS_PROTOBUF = sys.argv[1] == "protobuf"


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def encoded(value: Any) -> Any:
    """What the SDK takes for a value: bytes over Protobuf."""
    return json.dumps(value).encode() if IS_PROTOBUF else value


def decoded(data: Any) -> Any:
    """The value that the SDK gives."""
    if not IS_PROTOBUF:
        return data
    try:
        return json.loads(data)
    except ValueError:
        return {"b64": base64.b64encode(data).decode()}


def publication(channel: str, pub: Any) -> None:
    say(
        event="publication",
        channel=channel,
        data=decoded(pub.data),
        offset=pub.offset,
        publisher=pub.info.client if pub.info else None,
        tags=pub.tags or {},
    )


class ClientEvents(ClientEventHandler):
    """Of the client, and of the subscriptions that the server makes for it."""

    async def on_connected(self, ctx: Any) -> None:
        say(event="connected", client=ctx.client)

    async def on_connecting(self, ctx: Any) -> None:
        say(event="connecting", code=ctx.code, reason=ctx.reason)

    async def on_disconnected(self, ctx: Any) -> None:
        say(event="disconnected", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx: Any) -> None:
        say(
            event="subscribed",
            channel=ctx.channel,
            wasRecovering=ctx.was_recovering,
            recovered=ctx.recovered,
            epoch=ctx.stream_position.epoch if ctx.stream_position else None,
            data=decoded(ctx.data) if ctx.data else None,
        )

    async def on_unsubscribed(self, ctx: Any) -> None:
        say(event="unsubscribed", channel=ctx.channel)

    async def on_publication(self, ctx: Any) -> None:
        publication(ctx.channel, ctx.pub)


class Events(SubscriptionEventHandler):
    def __init__(self, channel: str) -> None:
        self.channel = channel

    async def on_subscribed(self, ctx: Any) -> None:
        say(
            event="subscribed",
            channel=self.channel,
            wasRecovering=ctx.was_recovering,
            recovered=ctx.recovered,
            epoch=ctx.stream_position.epoch if ctx.stream_position else None,
            data=decoded(ctx.data) if ctx.data else None,
        )

    async def on_unsubscribed(self, ctx: Any) -> None:
        say(event="unsubscribed", channel=self.channel, code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx: Any) -> None:
        publication(self.channel, ctx.pub)

    async def on_join(self, ctx: Any) -> None:
        say(event="join", channel=self.channel, client=ctx.info.client)

    async def on_leave(self, ctx: Any) -> None:
        say(event="leave", channel=self.channel, client=ctx.info.client)


def giver(tokens: list[str | None] | None, **of: str) -> Any:
    """Gives one token after the other, and says so; None is a failure of the application."""
    if tokens is None:
        return None

    async def give(*_: str) -> str:
        say(event="token", **of)
        token = tokens.pop(0)
        if token is None:
            raise RuntimeError("the application has no token at the moment")
        return token

    return give


def state_giver(channel: str, states: list[dict[str, Any]] | None) -> Any:
    """Gives one position after the other, and says so."""
    if states is None:
        return None

    async def give(_: str) -> StreamPosition:
        say(event="state", channel=channel)
        return StreamPosition(**states.pop(0))

    return give


class Commands:
    client: Client

    async def connect(
        self,
        url: str,
        pingSlackMs: int = 10000,  # noqa: N803
        token: str = "",
        tokens: list[str | None] | None = None,
    ) -> None:
        self.client = Client(
            url,
            events=ClientEvents(),
            min_reconnect_delay=0.01,
            max_reconnect_delay=0.1,
            max_server_ping_delay=pingSlackMs / 1000,
            proxy=None,
            use_protobuf=IS_PROTOBUF,
            token=token,
            get_token=giver(tokens),
        )
        await self.client.connect()
        await self.client.ready()

    def subscription(
        self,
        channel: str,
        joinLeave: bool = False,  # noqa: N803
        delta: str | None = None,
        tagsFilter: dict[str, Any] | None = None,  # noqa: N803
        token: str = "",
        tokens: list[str | None] | None = None,
        states: list[dict[str, Any]] | None = None,
    ) -> Subscription:
        known: Subscription | None = self.client.get_subscription(channel)
        return known or self.client.new_subscription(
            channel,
            events=Events(channel),
            positioned=True,
            recoverable=True,
            join_leave=joinLeave,
            delta=DeltaType(delta) if delta else None,
            tags_filter=FilterNode(tagsFilter) if tagsFilter else None,
            token=token,
            get_token=giver(tokens, channel=channel),
            get_state=state_giver(channel, states),
            min_resubscribe_delay=0.01,
            max_resubscribe_delay=0.1,
        )

    async def subscribe(self, **options: Any) -> None:
        await self.subscription(**options).subscribe()

    async def storm(self, rounds: int, **options: Any) -> None:
        """Subscribes and unsubscribes without a pause, and remains subscribed."""
        subscription = self.subscription(**options)
        steps = [subscription.subscribe, subscription.unsubscribe] * rounds
        await asyncio.gather(*(step() for step in [*steps, subscription.subscribe]))

    async def unsubscribe(self, channel: str) -> None:
        await self.client.get_subscription(channel).unsubscribe()

    async def publish(self, channel: str, data: Any) -> None:
        await self.client.publish(channel, encoded(data))

    async def history(
        self, channel: str, limit: int, since: dict[str, Any] | None = None, reverse: bool = False
    ) -> dict[str, Any]:
        position = StreamPosition(**since) if since else None
        result = await self.client.history(channel, limit=limit, since=position, reverse=reverse)
        return {
            "publications": [
                {"offset": one.offset, "data": decoded(one.data)} for one in result.publications
            ],
            "offset": result.offset,
            "epoch": result.epoch,
        }

    async def presence(self, channel: str) -> dict[str, str]:
        result = await self.client.presence(channel)
        return {client: info.user for client, info in result.clients.items()}

    async def presenceInfo(self, channel: str) -> dict[str, Any]:  # noqa: N802
        result = await self.client.presence(channel)
        return {
            client: decoded(info.chan_info) if info.chan_info else None
            for client, info in result.clients.items()
        }

    async def presenceStats(self, channel: str) -> dict[str, int]:  # noqa: N802
        result = await self.client.presence_stats(channel)
        return {"clients": result.num_clients, "users": result.num_users}

    async def rpc(self, method: str, data: Any = None) -> Any:
        return decoded((await self.client.rpc(method, encoded(data))).data)

    async def disconnect(self) -> None:
        await self.client.disconnect()


async def answer(commands: Commands, line: bytes) -> None:
    options = json.loads(line)
    number, command = options.pop("id"), options.pop("command")
    try:
        say(id=number, result=await getattr(commands, command)(**options))
    except ReplyError as error:
        say(id=number, error=error.code)
    except Exception as error:
        say(id=number, error=repr(error))


async def main() -> None:
    commands = Commands()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async with asyncio.TaskGroup() as tasks:
        async for line in reader:
            tasks.create_task(answer(commands, line))
    await commands.disconnect()


asyncio.run(main())
