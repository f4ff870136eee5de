"""Read by type checkers only: the lines that end with `# error` must be errors, and no others."""

from typing import Any, assert_type

import carillon
from carillon import Channel, Client, Cursor, Gap, Message, Position, Server, Subscription, lab
from carillon.sync import Subscription as SyncSubscription
from carillon.testing import ClientFactory, ServerFactory, SyncClientFactory, wait_until_async


async def get_token() -> str:
    return carillon.token("secret", "ann", expires=300)


async def get_number() -> int:
    return 1


async def read(client: Client, server: Server) -> None:
    async for message in client.subscribe("news", since="epoch:1"):
        print(message.offset, message.json())
    assert_type(client.subscribe("news"), Subscription[Message])
    assert_type(client.subscribe("news", on_gap="raise"), Subscription[Message])
    assert_type(client.subscribe("news", on_gap="yield"), Subscription[Message | Gap])
    assert_type(server.subscribe("news"), Cursor[Message])
    assert_type(server.subscribe("news", on_gap="yield"), Cursor[Message | Gap])
    assert_type(await server.subscribe("news").next(), Message)
    assert_type(client.subscribe("news", get_token=get_token), Subscription[Message])
    assert_type(client.subscribe("news", token="x", get_token=lambda: "x"), Subscription[Message])
    assert_type(client.subscribe("news", on_gap="yield", token="x"), Subscription[Message | Gap])
    client.subscribe("news", get_token=get_number)  # error
    assert_type(await client.presence_stats("news"), carillon.PresenceStats)
    await client.rpc("add", {"to": 1})
    async for item in server.subscribe("news", on_gap="yield"):
        print(item.offset)  # error
        match item:
            case Message():
                print(item.offset)
            case Gap():
                print(item.lost_to)
    server.subscribe("news", on_gap="ignore")  # error
    for message in server.subscribe("news"):  # error
        print(message)
    await wait_until_async(lambda: True)


def read_and_block(url: str) -> None:
    with carillon.sync.connect(url, transport="sse") as client:
        assert_type(client.subscribe("news"), SyncSubscription[Message])
        assert_type(client.subscribe("news", on_gap="yield"), SyncSubscription[Message | Gap])
        for message in client.subscribe("news"):
            print(message.offset)
        assert_type(client.publish("news", 1, idempotency_key="k"), Position | None)
        client.publish("news", 1, idempotencykey="k")  # error
        client.subscribe("news").next(timeout="5")  # error
    carillon.sync.connect(url, transport="sess")  # error
    carillon.sync.connect(url, token="x", get_token=get_token)
    carillon.sync.connect(url, get_token=lambda: "x").rpc("add", 1)
    carillon.sync.connect(url, get_token="x")  # error
    carillon.sync.connect(url, min_reconect_delay=1)  # error


def misspell(server: Server) -> None:
    carillon.Sever()  # error
    carillon.Chanel(history_size=3)  # error
    Channel(fanout="x")  # error
    lab.comparee()  # error
    server.publish("news", 1, tags={"a": 1})  # error
    carillon.connect("http://h", transport="sess")  # error
    carillon.connect("http://h", get_token=get_number)  # error


def use_fixtures(servers: ServerFactory, clients: ClientFactory, blocking: SyncClientFactory) -> None:
    assert_type(servers(channels={"*": Channel(history_size=3)}), Server)
    assert_type(clients(transport="poll"), Client)
    assert_type(blocking("http://h"), carillon.sync.Client)
    servers(history_size=3)  # error
    clients(transprt="poll")  # error
    blocking(transport="pol")  # error


def catch(data: Any) -> None:
    try:
        print(data)
    except carillon.ConnectDenied as denied:
        print(denied.code, denied.reason)
    except carillon.CommandError as refused:
        print(refused.code, refused.reason)
    except carillon.GapError as gap:
        assert_type(gap.position, Position | None)
