"""The files of deploy/nginx and deploy/haproxy, over TLS, in front of two gateways that share a Redis.

Only addresses, ports, users and paths are replaced in them. Where a proxy is missing, its tests are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import getpass
import grp
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import carillon
import httpx
import pytest
from carillon import Server
from carillon.testing import wait_until, wait_until_async
from conftest import require_tool
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_ws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon.client import ConnectOptions
    from carillon.testing import RedisServer
    from serve_process import Process

DEPLOY = Path(__file__).parents[2] / "deploy"
pytestmark = pytest.mark.timeout(180)
FAR = 60.0  # of waits that end as soon as what they wait for is there: a busy machine is slow
TRANSPORTS: list[Literal["ws", "sse", "poll"]] = ["ws", "sse", "poll"]
ROOM = "room"
HISTORY = {"*": carillon.Channel(history_size=100_000)}
FAST: ConnectOptions = {"min_reconnect_delay": 0.02, "max_reconnect_delay": 0.2, "open_timeout": FAR}


@dataclass
class Proxy:
    """A proxy that runs."""

    name: str
    port: int
    folder: Path
    certificate: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"wss://127.0.0.1:{self.port}/connection/websocket"

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)

    def http(self) -> httpx.Client:
        """A client with connections of its own, as a page of this address."""
        return httpx.Client(
            base_url=self.url, verify=self.tls, timeout=FAR, trust_env=False, headers={"Origin": self.url}
        )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def figures_of(self, gateway: int) -> dict[str, str]:
        """What HAProxy says of a gateway."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.folder / "admin"))
            admin.sendall(b"show stat carillon 4 -1\n")
            answer = b"".join(iter(lambda: admin.recv(65_536), b"")).decode()
        rows = csv.DictReader(answer.removeprefix("# ").splitlines())
        return next(row for row in rows if row["svname"] == f"gateway{gateway + 1}")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this address with its key in one file, and the key in another one beside it."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        f"{require_tool('openssl')} req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both


def with_replaced(file: Path, replacements: dict[str, str]) -> str:
    text = file.read_text()
    for ours, here in replacements.items():
        assert ours in text, f"{file} has no {ours}"
        text = text.replace(ours, here)
    return text


def nginx_command(proxy: Proxy, gateways: dict[str, str]) -> list[str]:
    folder, certificate = proxy.folder, proxy.certificate
    ours = with_replaced(
        DEPLOY / "nginx/carillon.conf",
        {
            **gateways,
            "listen 443": f"listen 127.0.0.1:{proxy.port}",
            "/etc/nginx/tls/app.example.com.pem": str(certificate),
            "/etc/nginx/tls/app.example.com.key": str(certificate.with_name("key.pem")),
            "/var/log/nginx/carillon.log": str(folder / "log"),
        },
    )
    bodies = " ".join(
        f"{each}_temp_path {folder};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Gateways ask nginx not to buffer their streams. Here it does not listen, so the file must say so, too.
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; worker_processes 2; events {{}}\n"
        f"http {{ proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_types *;\n"
        f"{bodies}\n{ours} }}\n"
    )
    program = require_tool("nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx")
    return [program, "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "errors")]


def haproxy_command(proxy: Proxy, gateways: dict[str, str]) -> list[str]:
    ours = with_replaced(
        DEPLOY / "haproxy/carillon.cfg",
        {
            **gateways,
            "bind :443": f"bind 127.0.0.1:{proxy.port}",
            "/etc/haproxy/tls/app.example.com.pem": str(proxy.certificate),
            "/run/haproxy/carillon.sock": str(proxy.folder / "admin"),
            "user haproxy": f"user {getpass.getuser()}",
            "group haproxy": f"group {grp.getgrgid(os.getgid()).gr_name}",
        },
    )
    (proxy.folder / "haproxy.cfg").write_text(ours)
    program = require_tool("haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy")
    return [program, "-db", "-f", str(proxy.folder / "haproxy.cfg")]


COMMANDS = {"nginx": nginx_command, "haproxy": haproxy_command}


@pytest.fixture(params=list(COMMANDS))
def front(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Path
) -> Iterator[Callable[..., Proxy]]:
    """Starts the proxy in front of gateways at these two ports."""
    with contextlib.ExitStack() as running:

        def start(first: int, second: int) -> Proxy:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            folder = tmp_path / request.param
            folder.mkdir()
            proxy = Proxy(request.param, port, folder, certificate)
            gateways = {
                "10.0.0.11:8000": f"127.0.0.1:{first}",
                "10.0.0.12:8000": f"127.0.0.1:{second}",
            }
            command = COMMANDS[request.param](proxy, gateways)
            log = running.enter_context((folder / "log").open("a"))
            errors = running.enter_context((folder / "stderr").open("w+"))
            process = running.enter_context(subprocess.Popen(command, stdout=log, stderr=errors))
            running.callback(process.terminate)
            wait_until(lambda: is_open(port) or process.poll() is not None, FAR)
            assert process.poll() is None, (folder / "stderr").read_text()
            return proxy

        yield start


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def gateways(carillon_redis: RedisServer, carillon_server_factory: Callable[..., Server]) -> list[Server]:
    """Two servers on one Redis. No comment in an event stream pushes out what a proxy holds back."""
    return [
        carillon_server_factory(
            port=0,
            insecure=True,
            store=carillon_redis.url,
            channels=HISTORY,
            threads=1,
            config={"heartbeat": {"comment_interval_ms": 0}, "limits": {"close_timeout_ms": 60_000}},
        )
        for _ in range(2)
    ]


@pytest.fixture
def proxy(front: Callable[..., Proxy], gateways: list[Server]) -> Proxy:
    return front(*(server.port for server in gateways))


# What passes.


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_transport_passes(
    proxy: Proxy, gateways: list[Server], transport: Literal["ws", "sse", "poll"]
) -> None:
    one, two = gateways
    since = one.publish(ROOM, 1)
    two.publish(ROOM, 2)
    with (
        carillon.sync.connect(
            proxy.url, transport=transport, verify=proxy.tls, headers={"Origin": proxy.url}, open_timeout=FAR
        ) as client,
        client.subscribe(ROOM, since=since) as room,
    ):
        assert room.next(timeout=FAR).json() == 2
        for number, server in enumerate([one, two], 3):
            server.publish(ROOM, number)
            assert room.next(timeout=FAR).json() == number  # nothing comes behind it that would push it out


SUBSCRIBE = '{"id":2,"subscribe":{"channel":"room"}}'
CONNECT = f'{{"id":1,"connect":{{}}}}\n{SUBSCRIBE}'
UNI = '{"subs":{"room":{}}}'


STREAMS: list[tuple[str, str, dict[str, str], str]] = [
    ("GET", "/sse", {"channel": ROOM}, ""),
    ("GET", "/connection/sse", {"cf_connect": '{"id":1,"connect":{}}'}, ""),
    ("POST", "/connection/sse", {}, CONNECT),
    ("POST", "/connection/http_stream", {}, CONNECT),
    ("GET", "/connection/uni_sse", {"cf_connect": UNI}, ""),
    ("POST", "/connection/uni_sse", {}, UNI),
    ("POST", "/connection/uni_http_stream", {}, UNI),
]


def test_an_event_comes_though_none_follows(proxy: Proxy, gateways: list[Server]) -> None:
    with contextlib.ExitStack() as streams:
        all_lines = {}
        for method, path, query, body in STREAMS:
            client = streams.enter_context(proxy.http())
            response = streams.enter_context(client.stream(method, path, params=query, content=body.encode()))
            assert response.status_code == 200, (path, response.read())
            all_lines[method, path] = lines = response.iter_lines()
            if (method, path) == ("GET", "/connection/sse"):
                hello = json.loads(next(line for line in lines if "connect" in line).removeprefix("data: "))
                session = {name: hello["connect"][name] for name in ("session", "node")}
                assert client.post("/emulation", json={**session, "data": SUBSCRIBE}).status_code == 204
        wait_until(lambda: sum(each.stats()["subscriptions"] for each in gateways) == len(STREAMS), FAR)
        for word in ("first", "second"):
            gateways[0].publish(ROOM, word)
            for stream, lines in all_lines.items():
                assert any(word in line for line in lines), f"{stream} has ended"


def test_http_2_towards_the_client(proxy: Proxy, gateways: list[Server]) -> None:
    """One connection carries more event streams than a browser opens connections over HTTP/1.1 (6)."""
    count = 12
    curl = [require_tool("curl"), "-sSNi", "--http2", "--parallel", "--cacert", str(proxy.certificate)]
    command = [*curl, "-H", f"Origin: {proxy.url}", *[f"{proxy.url}/sse?channel={ROOM}"] * count]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        wait_until(lambda: sum(server.stats()["subscriptions"] for server in gateways) == count, FAR)
        assert all(server.stats()["subscriptions"] for server in gateways), "one gateway has them all"
        gateways[0].publish(ROOM, "here it is")
        assert process.stdout
        heads = events = 0
        while events < count:
            line = process.stdout.readline()
            assert line, "curl has ended"
            heads += line.startswith("HTTP/2 200")
            events += "here it is" in line
        process.terminate()
        process.stdout.read()
    assert heads == count


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_client_that_leaves_is_gone_at_its_gateway(
    proxy: Proxy, gateways: list[Server], version: str
) -> None:
    """Nothing is sent to it meanwhile, which would tell as well."""
    curl = [require_tool("curl"), "-sSN", version, "--cacert", str(proxy.certificate)]
    for query in ("sse?channel=room", "poll?channel=room&timeout=60"):
        with subprocess.Popen([*curl, f"{proxy.url}/{query}"], stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: any(server.stats()["subscriptions"] for server in gateways), FAR)
            process.terminate()
        wait_until(lambda: not any(server.stats()["subscriptions"] for server in gateways), FAR / 2)


def test_commands_of_sdks_over_http_find_their_gateway(proxy: Proxy, gateways: list[Server]) -> None:
    """Without sticky sessions: the gateway that gets a command passes it on."""
    sent = 0
    with contextlib.ExitStack() as open_streams:
        kept = []  # an iterator that is forgotten closes its stream
        for _ in range(6):
            client = open_streams.enter_context(proxy.http())
            start = client.stream("POST", "/connection/http_stream", content=b'{"id":1,"connect":{}}')
            lines = open_streams.enter_context(start).iter_lines()
            kept.append(lines)
            hello = json.loads(next(lines))["connect"]
            for _ in range(3):  # so that each gateway is asked first by some
                padding = " " * (60_000 if sent < 3 else 0)  # about as long as a command may be
                data = {"n": sent, "padding": padding}
                command = json.dumps({"id": 2, "publish": {"channel": ROOM, "data": data}})
                session = {name: hello[name] for name in ("session", "node")}
                answer = client.post("/emulation", json={**session, "data": command})
                assert answer.status_code == 204, answer.text
                assert "publish" in json.loads(next(lines))
                sent += 1
        assert all(server.stats()["emulated"] for server in gateways), "one gateway has them all"
        history = gateways[0].history(ROOM, last=100).messages
        assert [message.json()["n"] for message in history] == list(range(sent)), "lost or doubled"
        lost = {**session, "node": "elsewhere", "data": command}
        assert client.post("/emulation", json=lost).status_code == 404


def test_nothing_else_is_public(proxy: Proxy) -> None:
    """Nor by another spelling: the gateways would carry the requests out, as they are insecure."""
    paths = ["/", "/health", "/metrics", "/api/info", "/ssep", "/sse/x", "/connection/websocket/x"]
    with proxy.http() as client:
        for path in paths:
            for target in (
                path,
                f"/{path}",
                f"/sse/..{path}",
                f"/sse/%2e%2e{path}",
                path.replace("/", "/%2e/", 1),
            ):
                for response in (
                    client.post(f"{proxy.url}{target}", json={}),
                    client.get(f"{proxy.url}{target}"),
                ):
                    assert response.status_code in (404, 400), target


def test_hooks_get_the_address_of_the_client_and_the_log_no_token(
    front: Callable[..., Proxy], carillon_server_factory: Callable[..., Server]
) -> None:
    seen: list[tuple[str, str]] = []

    def register(server: Server) -> None:
        @server.on_connect
        def note(context: Any) -> bool:
            seen.append((context.headers["x-forwarded-for"], context.headers["x-forwarded-proto"]))
            return True

    servers = [carillon_server_factory(before_start=register, channels=HISTORY) for _ in range(2)]
    proxy = front(*(server.port for server in servers))
    with proxy.http() as client:
        forged = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}
        query = {"channel": ROOM, "timeout": "0", "token": "secret-of-ann"}
        client.get("/poll", params=query, headers=forged)
        connect_query = {"cf_connect": '{"token":"secret-of-ann"}'}
        with client.stream("GET", "/connection/uni_sse", params=connect_query, headers=forged) as response:
            assert any("connect" in line for line in response.iter_lines())
    assert seen == [("127.0.0.1", "https")] * len(seen)
    assert seen
    wait_until(lambda: "/connection/uni_sse" in proxy.log() and "/poll" in proxy.log(), FAR)
    assert "secret-of-ann" not in proxy.log()


# Gateways that go.


async def test_a_gateway_that_drains_gets_no_new_clients_and_keeps_its_own(
    proxy: Proxy, gateways: list[Server]
) -> None:
    one, two = gateways
    async with contextlib.AsyncExitStack() as clients:

        async def come(count: int) -> list[ClientConnection]:
            options: dict[str, Any] = {"ssl": proxy.tls, "proxy": None, "open_timeout": FAR}
            came = [
                await clients.enter_async_context(connect_ws(proxy.ws_url, **options)) for _ in range(count)
            ]
            for client in came:
                await client.send(CONNECT)
                assert "connect" in json.loads(str(await client.recv()).split("\n")[0])
            return came

        early = await come(16)
        await wait_until_async(lambda: one.stats()["subscriptions"] + two.stats()["subscriptions"] == 16, FAR)
        before = one.stats()["websocket"]
        assert before > 0
        # Each of its clients is to leave at some moment of ten hours.
        drain = threading.Thread(target=one.drain, kwargs={"deadline": 36_000, "pace": 36_000})
        drain.start()
        clients.callback(drain.join)
        clients.callback(one.stop)
        await wait_until_async(lambda: one.is_draining, FAR)
        if proxy.name == "haproxy":
            await wait_until_async(lambda: proxy.figures_of(0)["status"] == "DOWN", FAR)
            assert proxy.figures_of(0)["check_code"] == "503"
            assert proxy.figures_of(1)["status"] == "UP"
            assert int(proxy.figures_of(0)["scur"]) == before, "its clients stay"
        late = await come(8)
        with proxy.http() as http:
            for _ in range(8):
                assert http.get("/poll", params={"channel": ROOM, "timeout": 0}).status_code == 200
        assert one.stats()["websocket"] == before
        two.publish(ROOM, "for all")
        for client in [*early, *late]:
            while "for all" not in str(await client.recv()):
                pass


Log = list[list[int]]


async def follow(proxy: Proxy, transport: Any, got: list[int]) -> None:
    """Reads the channel from its beginning to LAST; a gap raises an error."""
    options: ConnectOptions = {**FAST, "transport": transport, "verify": proxy.tls}
    client = carillon.connect(proxy.url, **options)
    async with client, client.subscribe(ROOM, since="oldest") as room:
        async for message in room:
            got.append(message.json())
            if got[-1] == LAST:
                return


LAST = 10_000


async def publish_until(url: str, is_over: Callable[[], bool], got: Log) -> int:
    """Publishes 1, 2, 3 … until the condition holds and every client has come once more, and then LAST."""
    async with carillon.connect(url, **FAST) as client:
        number = 0
        while not is_over() or number < 20:
            number += 1
            await client.publish(ROOM, number)
            await asyncio.sleep(0.01)
        await wait_until_async(lambda: all(each and each[-1] == number for each in got), FAR)
        await client.publish(ROOM, LAST)
        return number


@pytest.fixture
def processes(tmp_path: Path, carillon_redis: RedisServer, launch: Callable[..., Process]) -> list[Process]:
    """Two `carillon serve` on one Redis."""
    file = tmp_path / "carillon.toml"
    file.write_text(
        f"[store]\nurl = '{carillon_redis.url}'\n[client]\ninsecure = true\n[http_api]\ninsecure = true\n"
        "[shutdown]\npace = '1s'\n[heartbeat]\nsse_retry_ms = 100\n[channels.'*']\nhistory_size = 100_000\n"
    )
    both = [launch(0, "--config", str(file), waits=False) for _ in range(2)]
    for each in both:
        each.port = each.started()
    return both


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_clients_of_a_gateway_that_goes_resume_at_the_other(
    front: Callable[..., Proxy], processes: list[Process], how: signal.Signals
) -> None:
    proxy = front(*(each.port for each in processes))
    gone, stays = processes
    there = f"http://127.0.0.1:{stays.port}"
    got: Log = [[] for _ in range(12)]
    tasks = [
        asyncio.create_task(follow(proxy, TRANSPORTS[number % 3], each)) for number, each in enumerate(got)
    ]

    def clients_at(port: int) -> int:
        answer = httpx.post(f"http://127.0.0.1:{port}/api/stats", json={}, trust_env=False, timeout=FAR)
        return int(answer.json()["result"]["connections"])

    await asyncio.to_thread(
        wait_until, lambda: clients_at(gone.port) >= 3 and clients_at(stays.port) >= 3, FAR
    )
    publishing = asyncio.create_task(
        publish_until(there, lambda: gone.child.poll() is not None and clients_at(stays.port) >= 8, got)
    )
    await wait_until_async(lambda: all(got), FAR)
    gone.child.send_signal(how)
    published = await publishing
    await asyncio.gather(*tasks)
    assert got == [[*range(1, published + 1), LAST]] * len(got), "lost or doubled"
    assert gone.ended() == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    if proxy.name == "haproxy":
        wait_until(lambda: proxy.figures_of(0)["status"] == "DOWN", FAR)


# What the files say.

PATHS = [
    "/emulation",
    "/sse",
    "/poll",
    *(f"/connection/{uni}{name}" for uni in ("", "uni_") for name in ("websocket", "http_stream", "sse")),
]


def test_all_files_pass_the_same_paths() -> None:
    nginx, haproxy, caddy = (
        (DEPLOY / each).read_text()
        for each in ("nginx/carillon.conf", "haproxy/carillon.cfg", "caddy/Caddyfile")
    )
    (pattern,) = re.findall(r"location ~ (\S+)", nginx)
    assert all(re.search(pattern, path) for path in PATHS)
    clients = " ".join(re.findall(r"acl is_client path (.*)", haproxy)).split()
    assert sorted(clients) == sorted(PATHS)
    assert sorted(" ".join(re.findall(r"@\w+ path (.*)", caddy)).split()) == sorted(PATHS)


def test_the_files_wait_longer_than_the_gateways_are_silent() -> None:
    """With the default options, which are those that the comments of the files name."""
    settings = carillon.config.normalise({})
    limits = settings["limits"]
    longest = max(
        limits["poll_timeout_ms"] / 1000,
        carillon.config.seconds(settings["client"]["ping_interval"])
        + carillon.config.seconds(settings["client"]["pong_timeout"]),
        settings["heartbeat"]["comment_interval_ms"] / 1000,
    )
    nginx = (DEPLOY / "nginx/carillon.conf").read_text()
    haproxy = (DEPLOY / "haproxy/carillon.cfg").read_text()
    waits = re.findall(r"proxy_(?:read|send)_timeout +(\d+)s", nginx)
    waits += re.findall(r"timeout (?:client|server|tunnel) (\d+)s", haproxy)
    assert len(waits) == 5
    assert all(longest + 5 < int(wait) for wait in waits)
    (idle,) = re.findall(r"keepalive_timeout (\d+)s", nginx)
    assert int(idle) < limits["keepalive_timeout_ms"] / 1000, "a request would meet a connection that closes"
    command = settings["websocket"]["message_size_limit"]
    assert int(re.findall(r"client_body_buffer_size (\d+)k", nginx)[0]) * 1024 > command
