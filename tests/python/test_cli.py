"""The `carillon` command, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import carillon
import httpx
import pytest
from carillon import Channel, Server, config
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "carillon"]


def run(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environment},
    )


class Serving:
    """A `carillon serve` and what it has said."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = next((word for word in self.line.split() if word.startswith("http://")), "")

    def end(self, *signals: int) -> tuple[int, str]:
        for number in signals:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def serving() -> Iterator[Serving]:
    serving = Serving("--port", "0")
    yield serving
    if serving.process.poll() is None:
        serving.end(signal.SIGTERM)


def test_serve_says_where_and_that_it_is_insecure(serving: Serving) -> None:
    assert "Carillon" in serving.line
    assert "(Press CTRL+C to quit)" in serving.line
    code, errors = serving.end(signal.SIGTERM)
    assert code == 0
    assert "INSECURE" in errors
    assert "started, with room for" in errors
    assert "channels are kept in the memory of this process" in errors
    assert serving.url not in errors, "it has been said on standard output"
    assert "Traceback" not in errors


def test_serve_ends_cleanly_with_ctrl_c_and_a_client(serving: Serving) -> None:
    with carillon.sync.connect(serving.url) as client, client.subscribe("c"):
        assert serving.end(signal.SIGINT)[0] == 0


def test_serve_drains_when_its_terminal_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may themselves run under nohup
    serving = Serving("--port", "0")
    signal.signal(signal.SIGHUP, before)
    with carillon.sync.connect(serving.url) as client, client.subscribe("c"):
        code, errors = serving.end(signal.SIGHUP, signal.SIGHUP)
    assert code == 0
    assert "SIGHUP: draining" in errors
    assert "asked to leave: 1, left: 1" in errors


def test_serve_stays_when_it_is_to_ignore_that_its_terminal_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does, and a child inherits
    serving = Serving("--port", "0")
    signal.signal(signal.SIGHUP, before)
    code, errors = serving.end(signal.SIGHUP, signal.SIGTERM)
    assert code == 0
    assert "SIGTERM: draining" in errors


def test_serve_publishes_the_load_of_the_machine(serving: Serving) -> None:
    with carillon.sync.connect(serving.url) as client, client.subscribe("machine") as subscription:
        for _ in range(3):
            item = subscription.next(timeout=5)
            assert isinstance(item, carillon.Message)
            assert 0 <= item.json()["cpu"] <= 100
            assert 0 < item.json()["memory"] <= 100


def test_serve_tells_that_the_address_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 98
    assert "is taken by another process" in result.stderr
    assert "give another --port" in result.stderr
    assert "--takeover" in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_refuses_a_demo_that_others_can_reach() -> None:
    result = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert result.returncode == 3
    assert "Traceback" not in result.stderr
    assert "so the demo listens on this machine only" in result.stderr
    assert "client.insecure" not in result.stderr, "which nobody has set"


def test_serve_refuses_a_host_that_is_not_an_address() -> None:
    result = run("serve", "--host", "nosuch", "--port", "0")
    assert result.returncode == 3
    assert "host: 'nosuch' is not an IP address" in result.stderr
    assert "demo" not in result.stderr


def test_no_first_line_of_help_is_cut() -> None:
    for group in ((), ("config",)):
        assert "..." not in run(*group, "--help").stdout.partition("Commands:")[2]


def test_serve_says_that_it_listens_at_every_address() -> None:
    serving = Serving("--host", "0.0.0.0", "--port", "0", CARILLON_HTTP_API_KEY="k")
    code, errors = serving.end(signal.SIGTERM)
    assert code == 0
    assert "every other address of this machine (0.0.0.0)" in errors


def test_serve_is_found_at_localhost_by_both_of_its_addresses(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"client": {"insecure": true}}')
    serving = Serving("--config", str(file), "--port", "0")
    try:
        port = httpx.URL(serving.url).port
        for host in ("127.0.0.1", "[::1]", "localhost"):
            assert httpx.get(f"http://{host}:{port}/health").json() == {}
    finally:
        code, _ = serving.end(signal.SIGTERM)
    assert code == 0
    chosen = Serving("--config", str(file), "--port", "0", "--host", "127.0.0.1")
    try:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://[::1]:{httpx.URL(chosen.url).port}/health")
    finally:
        chosen.end(signal.SIGTERM)


def test_serve_goes_on_where_the_second_address_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        serving = Serving("--port", str(port))
        code, errors = serving.end(signal.SIGTERM)
    assert code == 0
    assert f"no listener at [::1]:{port}: " in errors


def test_a_file_of_the_family_with_maps_is_served_and_the_log_has_its_level(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    board = {"name": "board", "subscription_type": "map", "map": {"mode": "ephemeral"}}
    levels = {"log": {"level": "error"}}
    file.write_text(json.dumps({**levels, "map_broker": {}, "channel": {"namespaces": [board]}}))
    checked = run("config", "check", str(file))
    assert checked.returncode == 0
    assert (
        "channel.namespaces[board].subscription_type: map subscriptions are not available" in checked.stderr
    )
    told = {}
    for level in ("error", "warn"):
        serving = Serving("--config", str(file), "--port", "0", CARILLON_LOG_LEVEL=level)
        code, told[level] = serving.end(signal.SIGTERM)
        assert code == 0
    assert told["error"] == ""
    assert "clients that subscribe get error 103" in told["warn"]
    assert "INFO" not in told["warn"]


def test_with_a_key_in_the_environment_there_is_no_demo() -> None:
    serving = Serving("--port", "0", CARILLON_HTTP_API_KEY="k", CARILLON_SHUTDOWN_TIMEOUT="1s")
    try:
        denied = run("pub", "c", "1", "--url", serving.url)
        assert denied.returncode == 1
        assert "give --api-key" in denied.stderr
        assert run("pub", "c", "1", "--url", serving.url, CARILLON_HTTP_API_KEY="k").returncode == 0
    finally:
        code, errors = serving.end(signal.SIGTERM)
    assert code == 0
    assert "INSECURE" not in errors


def test_options_come_from_the_line_then_the_environment_then_the_file(tmp_path: Path) -> None:
    file = tmp_path / "carillon.toml"
    file.write_text("threads = 1\n[http_server]\nport = 1\n[client]\ninsecure = true\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--config", str(file), CARILLON_HTTP_SERVER_PORT=port)
        assert f":{port} is taken" in result.stderr
        result = run("serve", "--config", str(file), "--port", port, CARILLON_HTTP_SERVER_PORT="2")
        assert f":{port} is taken" in result.stderr


def test_pub_and_sub_meet(carillon_server: Server) -> None:
    since = str(carillon_server.publish("c", 0))
    url = carillon_server.url
    assert run("pub", "c", '{"n": 1.10}', "--url", url).returncode == 0
    assert run("pub", "c", "-", "--url", url, stdin="hello\nNaN\n").returncode == 0
    for transport in ("ws", "sse", "poll"):
        result = run("sub", "c", "--since", since, "--count", "3", "--transport", transport, CARILLON_URL=url)
        assert result.stdout.splitlines() == ['{"n": 1.10}', '"hello"', '"NaN"'], result.stderr
        assert f"position {since.split(':')[0]}:4" in result.stderr
    result = run("sub", "c", "--since", since, "--count", "1", "--json", "--url", url)
    assert json.loads(result.stdout) == {
        "channel": "c",
        "offset": 2,
        "epoch": since.split(":")[0],
        "data": {"n": 1.1},
    }


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize("key", [(), ("--api-key", "k")])
def test_pub_tells_the_position(carillon_server: Server, scheme: str, key: tuple[str, ...]) -> None:
    result = run("pub", "c", "1", "--url", carillon_server.url.replace("http", scheme, 1), *key)
    assert result.stdout.strip() == str(carillon_server.history("c").position)


def test_pub_and_sub_present_a_token(carillon_server_factory: Callable[..., Server]) -> None:
    allowed = Channel(allow_publish_for_client=True, allow_subscribe_for_client=True, history_size=9)
    server = carillon_server_factory(
        api_key="k", channels={"*": allowed}, config={"client": {"token": {"hmac_secret_key": "s"}}}
    )
    token = carillon.token("s", "ann")
    since = str(server.publish("c", 0))
    at = ("--url", server.url)
    for line, environment in (
        (("--token", token), {"CARILLON_HTTP_API_KEY": "wrong"}),
        ((), {"CARILLON_TOKEN": f"{token}\n"}),
    ):
        done = run("pub", "c", "1", *at, *line, **environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("pub", "c", "1", *at, CARILLON_HTTP_API_KEY="k", CARILLON_TOKEN="none")
    assert (done.returncode, done.stdout) == (0, f"{server.history('c').position}\n"), "the key wins"
    for transport in ("ws", "sse", "poll"):
        arguments = ("sub", "c", *at, "--transport", transport, "--since", since, "--count", "3")
        assert run(*arguments, CARILLON_TOKEN=token).stdout == "1\n1\n1\n"
        denied = run(*arguments, "--token", carillon.token("other", "ann"))
        assert (denied.returncode, denied.stdout) == (1, "")
        assert "invalid token" in denied.stderr
    both = run("pub", "c", "1", *at, "--token", token, "--api-key", "k")
    assert (both.returncode, "give --api-key or --token, not both" in both.stderr) == (2, True)


def test_pub_tells_that_its_key_is_wrong(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(api_key="k")
    result = run("pub", "c", "1", "--url", server.url, "--api-key", "other")
    assert result.returncode == 1
    assert "refuses this API key: give the http_api.key of the server by --api-key" in result.stderr


@pytest.mark.parametrize("arguments", [("sub", "c"), ("pub", "c", "1"), ("sub", "c", "--transport", "sse")])
def test_a_server_that_is_not_there_is_told_in_a_sentence(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--url", "http://127.0.0.1:1")
    assert result.returncode == 1
    assert "cannot reach http://127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [("sub", "c"), ("pub", "c", "1")])
@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://127.0.0.1"])
def test_an_address_that_is_none_is_told_in_a_sentence(command: tuple[str, ...], url: str) -> None:
    result = run(*command, "--url", url)
    assert result.returncode == 2
    assert "write it as http://host:port" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [("sub", ""), ("pub", "", "1")])
def test_an_empty_channel_is_told_in_a_sentence(command: tuple[str, ...], carillon_server: Server) -> None:
    result = run(*command, "--url", carillon_server.url)
    assert result.returncode == 2
    assert "'' is not a channel name" in result.stderr


def test_pub_tells_which_limit_a_message_is_beyond(carillon_server: Server) -> None:
    result = run("pub", "c", "-", "--url", carillon_server.url, stdin="x" * 5_000_000)
    assert result.returncode == 1
    assert "limits.body_bytes" in result.stderr


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_sub_tells_why_it_is_refused(carillon_server_factory: Callable[..., Server], transport: str) -> None:
    server = carillon_server_factory(port=0, config={"channel": {"namespaces": [{"name": "chat"}]}})
    result = run("sub", "foo:a", "--transport", transport, "--url", server.url)
    assert result.returncode == 1
    assert ("unknown channel" if transport == "ws" else "'foo:a' belongs to no configured") in result.stderr


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_sub_tells_that_the_server_went_and_came_back(serving: Serving, transport: str) -> None:
    port = serving.url.rsplit(":", 1)[1]
    command = [*COMMAND, "sub", "c", "--transport", transport, "--since", "none:1", "--url", serving.url]
    listening = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert listening.stderr is not None
    assert "another log" in listening.stderr.readline()
    serving.end(signal.SIGKILL)
    assert "trying again in" in listening.stderr.readline()
    again = Serving("--port", port)
    while "connected again" not in (line := listening.stderr.readline()):
        assert "trying again in" in line
    assert "another log" in listening.stderr.readline()
    listening.send_signal(signal.SIGTERM)
    assert "position" in listening.communicate(timeout=20)[1]
    assert listening.returncode == 0
    again.end(signal.SIGTERM)


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_sub_that_is_stopped_prints_its_position_and_nothing_else(
    carillon_server: Server, transport: str
) -> None:
    position = carillon_server.publish("c", "hello")
    command = [
        *COMMAND,
        "sub",
        "c",
        "--since",
        "oldest",
        "--transport",
        transport,
        "--url",
        carillon_server.url,
    ]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert following.stdout is not None
    assert following.stdout.readline() == '"hello"\n'
    following.send_signal(signal.SIGTERM)
    assert following.communicate(timeout=20) == ("", f"position {position}\n")
    assert following.returncode == 0


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_sub_starts_with_the_oldest_or_the_newest(carillon_server: Server, transport: str) -> None:
    for n in range(1, 6):
        carillon_server.publish("c", n)
    arguments = ("sub", "c", "--transport", transport, "--url", carillon_server.url)
    assert run(*arguments, "--since", "oldest", "--count", "5").stdout.split() == ["1", "2", "3", "4", "5"]
    assert run(*arguments, "--last", "2", "--count", "2").stdout.split() == ["4", "5"]


def test_usage_errors_have_their_code() -> None:
    wrong = run("sub", "c", "--since", "nonsense")
    assert wrong.returncode == 2
    assert "--since: 'nonsense' is not a position" in wrong.stderr
    both = run("sub", "c", "--since", "oldest", "--last", "2")
    assert both.returncode == 2
    assert "--since and --last are both given" in both.stderr
    assert run("serve", "--port", "x").returncode == 2


def test_config_check_show_and_schema(tmp_path: Path) -> None:
    good, bad, broken = tmp_path / "good.toml", tmp_path / "bad.json", tmp_path / "broken.toml"
    good.write_text(
        '[http_server]\nport = 9000\n[http_api]\nkey = "hush1"\n[client.token]\nhmac_secret_key = "hush2"\n'
    )
    bad.write_text('{"http_server": {"prot": 1}}')
    broken.write_text("port =")
    assert run("config", "check", str(good)).returncode == 0
    shown = run("config", "show", str(good)).stdout
    assert json.loads(shown)["http_server"]["port"] == 9000
    assert "hush" not in shown
    assert run("token", "--user", "ann", "--config", str(good)).stdout.count(".") == 2
    assert run("token", "--user", "ann", "--expires", "soon").returncode == 2
    assert "no secret: give --secret" in run("token").stderr
    assert json.loads(run("config", "show").stdout)["http_server"]["address"] == "127.0.0.1"
    for file, word in (
        (bad, "http_server.prot: unknown option; did you mean 'http_server.port'?"),
        (broken, "not valid TOML"),
        (tmp_path / "none.toml", "cannot read"),
    ):
        result = run("config", "check", str(file))
        assert (result.returncode, word in result.stderr) == (3, True), result.stderr
    assert "client.allowed_origins" in run("config", "schema").stdout


# Each with a word of what is said against it, and its line.
TEN_MISTAKES = {
    "toml": """\
# A configuration with ten mistakes.
[http_server]
port = "8000"

[client]
allowed_origins = [
  "https://app.example.com",
  "app.example.com",
]
ping_interval = 25
token = { audience_regex = "s" }

[channel]
private_prefix = "@"

[channel.without_namespace]
history_sise = 10

[[channel.namespaces]]
name = "chat"
presence = "yes"

[[channel.namespaces]]
history_size = 1

[channels."ticker:*"]
history_ttl = "5 minutes"
slow_consumer = "drop"
""",
    "json": """\
{
  "http_server": {
    "port": "8000"
  },
  "client": {"allowed_origins": ["https://app.example.com",
      "app.example.com"],
    "ping_interval": 25,
    "token": {"audience_regex": "s: {\\"[,"}},
  "channel": {"private_prefix": "@",
    "without_namespace": {
      "history_sise": 10},
    "namespaces": [
      {"name": "chat",
       "presence": "yes"},
      {"history_size": 1}
    ]
  },
  "channels": {"ticker:*": {
      "history_ttl": "5 minutes",
      "slow_consumer": "drop"}}
}
""",
}
TEN_PLACES = {
    "http_server.port": (3, 3),
    "client.allowed_origins": (6, 5),
    "client.ping_interval": (10, 7),
    "client.token.audience_regex": (11, 8),
    "channel.private_prefix": (14, 9),
    "channel.without_namespace.history_sise": (17, 11),
    "channel.namespaces[chat].presence": (21, 14),
    "channel.namespaces[1]": (23, 15),
    'channels."ticker:*".history_ttl': (27, 19),
    'channels."ticker:*".slow_consumer': (28, 20),
}


@pytest.mark.parametrize(
    "command", [("config", "check"), ("config", "check", "--config"), ("serve",), ("serve", "--config")]
)
@pytest.mark.parametrize("kind", ["toml", "json"])
def test_all_mistakes_are_told_with_their_lines(tmp_path: Path, kind: str, command: tuple[str, ...]) -> None:
    file = tmp_path / f"carillon.{kind}"
    file.write_text(TEN_MISTAKES[kind])
    result = run(*command, str(file))
    assert (result.returncode, result.stdout) == (3, "")
    first, *told = result.stderr.splitlines()
    assert first == f"Error: {file} has 10 mistakes:"
    lines = {path: places[kind == "json"] for path, places in TEN_PLACES.items()}
    assert [line.split(": ")[:2] for line in told] == [
        [f"{file}:{line}", path] for path, line in lines.items()
    ]


def test_a_mistake_that_stands_in_no_file_is_told_without_a_line(tmp_path: Path) -> None:
    file = tmp_path / "carillon.toml"
    file.write_text("[http_server]\nport = 9000\n")
    result = run("serve", "--config", str(file), CARILLON_HTTP_SERVER_PORT="70000")
    assert result.returncode == 3
    assert result.stderr.startswith("Error: http_server.port: 70000 is too large")


FAMILY = """
[client]
ping_interval = "20s"
channel_limit = 64
[channel.without_namespace]
history_size = 10
[[channel.namespaces]]
name = "chat"
history_ttl = "10m"
allow_subscribe_for_client = true
"""


def test_what_config_show_prints_is_a_configuration(tmp_path: Path) -> None:
    file, again = tmp_path / "carillon.toml", tmp_path / "again.json"
    file.write_text(FAMILY)
    shown = run("config", "show", str(file)).stdout
    again.write_text(shown)
    assert run("config", "show", str(again)).stdout == shown
    (chat,) = json.loads(shown)["channel"]["namespaces"]
    assert (chat["name"], chat["history_ttl"]) == ("chat", "600s")


def test_every_single_value_can_come_from_the_environment() -> None:
    values = {"text": "memory", "flag": "true", "number": "1", "duration": "10s", "list": "a b"}
    names = {
        option["name"]: config.environment_variable(option["name"])
        for option in config.schema()
        if option["type"] != "table"
    }
    assert len(set(names.values())) == len(names)
    for option in config.schema():
        if option["type"] != "table":
            document = config.from_environment({names[option["name"]]: values[option["type"]]})
            assert config.get(document, option["name"]) is not None, option["name"]
    shown = run(
        "config",
        "show",
        CARILLON_CLIENT_INSECURE="true",
        CARILLON_CLIENT_ALLOWED_ORIGINS="https://a.test https://b.test",
        CARILLON_CHANNEL_WITHOUT_NAMESPACE_HISTORY_TTL="7s",
        CARILLON_LIMITS_MESSAGE_BYTES="1000",
        CARILLON_SHUTDOWN_TIMEOUT="3s",
    )
    settings = json.loads(shown.stdout)
    assert settings["client"]["insecure"] is True
    assert settings["client"]["allowed_origins"] == ["https://a.test", "https://b.test"]
    assert settings["channel"]["without_namespace"]["history_ttl"] == "7s"
    assert settings["websocket"]["message_size_limit"] == 1000
    assert settings["shutdown"]["timeout"] == "3s"


def test_a_wrong_value_in_the_environment_names_its_variable() -> None:
    for name, value in (("CARILLON_HTTP_SERVER_PORT", "http"), ("CARILLON_CLIENT_INSECURE", "maybe")):
        result = run("config", "show", **{name: value})
        assert (result.returncode, name in result.stderr, value in result.stderr) == (3, True, True)


def test_doctor_prints_what_a_bug_report_needs() -> None:
    result = run("doctor")
    assert result.returncode == 0, result.stderr
    for word in ("carillon", "python", "open files", "boost", "io_uring"):
        assert word in result.stdout
    for library in ("openssl", "sqlite"):
        assert re.search(rf"^{library} +3\.\d+\.\d+$", result.stdout, re.MULTILINE), result.stdout


# Streams that are closed, full, or of another encoding.


def shell(script: str, url: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a script of the shell, where `carillon` is the command."""
    command = f'carillon() {{ {sys.executable} -m carillon "$@"; }}\n{script}'
    return subprocess.run(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        env={**os.environ, "CARILLON_URL": url, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (r"printf 'a\n\xff\nb\n' | carillon pub c -", "line 2 of standard input, byte 1: not UTF-8"),
        (r"carillon pub c $'caf\xe9'", "DATA: is not UTF-8"),
        (
            r"{ printf '%0100d' 0 | tr 0 '['; printf '%0100d\n' 0 | tr 0 ']'; } | carillon pub c -",
            "nested deeper than 64 arrays and objects",
        ),
        (r"carillon pub c - <&-", "standard input is closed"),
        (r"carillon sub c --count 1 >&-", "standard output is closed"),
        (r"carillon config schema >/dev/full", "No space left on device"),
        (r"carillon pub c 1 >/dev/full", "No space left on device"),
    ],
    ids=["input not UTF-8", "argument not UTF-8", "deep", "no input", "no output", "full", "full, by pub"],
)
def test_what_is_wrong_with_a_stream_is_said_in_a_sentence(
    carillon_server: Server, script: str, said: str
) -> None:
    done = shell(script, carillon_server.url)
    assert done.returncode in (1, 2)
    last = done.stderr.decode().splitlines()[-1]
    assert said in last
    assert "Traceback" not in done.stderr.decode()


def test_a_reader_that_has_enough_is_no_error(carillon_server: Server) -> None:
    done = shell("seq 99 | carillon pub c - | head -1", carillon_server.url)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


def test_what_the_terminal_cannot_show_is_escaped_as_in_json(carillon_server: Server) -> None:
    since = f"{carillon_server.publish('c', 0).epoch}:1"
    text = "h\u00e9 \U0001f389"
    carillon_server.publish("c", text)
    done = shell(f"carillon sub c --since {since} --count 1", carillon_server.url, PYTHONIOENCODING="latin-1")
    assert json.loads(done.stdout.decode("latin-1")) == text, done.stderr


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_a_server_runs_without_an_output_and_ends_with_0_however_many_signals_come(where: str) -> None:
    command = ["bash", "-c", f"exec {sys.executable} -m carillon serve --port 0 {where}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert any("started at http://" in line for line in process.stderr)
        while process.poll() is None:  # also while the interpreter ends
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGHUP)
            time.sleep(0.0005)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


# Ctrl-C.

AT_AN_IMPORT = """
import os, signal, sys
from carillon.cli import main

class Interrupt:
    def __init__(self, imports):
        self.left = imports

    def find_spec(self, *_):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt(int(sys.argv[1])))
main(sys.argv[2:])
"""


@pytest.mark.parametrize("imports", [1, 2, 60, 110])
@pytest.mark.parametrize(
    "command",
    [("serve", "--port", "0"), ("sub", "c"), ("pub", "c", "1"), ("bench",), ("top", "http://127.0.0.1:1")],
    ids=lambda each: each[0],
)
def test_ctrl_c_during_an_import_ends_a_command_without_a_traceback(
    command: tuple[str, ...], imports: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_AN_IMPORT, str(imports), *command],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_little_is_imported_before_ctrl_c_is_handled() -> None:
    code = "import sys; before = set(sys.modules); import carillon.cli; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert not {"click", "logging", "asyncio", "json", "typing"} & set(done.stdout.split())


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_ctrl_c_while_a_server_starts_ends_it_without_a_traceback(after_s: float) -> None:
    code = """
from carillon.cli import main
from carillon.cli.interrupts import leave_at_once
leave_at_once()
print(flush=True)
main(["serve", "--port", "0"])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        time.sleep(after_s)  # the moment is what is tested
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
        assert "Traceback" not in process.stderr.read()


def test_ctrl_c_ends_a_publisher_that_waits_for_its_input(carillon_server: Server) -> None:
    command = [*COMMAND, "pub", "c", "-", "--url", carillon_server.url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, bufsize=1, **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write("1\n")
        wait_until(lambda: carillon_server.stats()["published"] == 1, 20)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == ""


def test_ctrl_c_ends_a_subscriber_that_waits_for_its_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        command = [*COMMAND, "sub", "c", "--url", f"http://127.0.0.1:{mute.getsockname()[1]}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            connection, _ = mute.accept()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr.read() == ""
            connection.close()


def test_variables_of_kubernetes_are_ignored() -> None:
    variables = {
        "CARILLON_SERVER_PORT": "tcp://10.96.0.7:80",
        "CARILLON_SERVER_PORT_80_TCP": "tcp://10.96.0.7:80",
        "CARILLON_SERVER_PORT_80_TCP_ADDR": "10.96.0.7",
        "CARILLON_SERVER_PORT_80_TCP_PORT": "80",
        "CARILLON_SERVER_PORT_80_TCP_PROTO": "tcp",
        "CARILLON_SERVER_SERVICE_HOST": "10.96.0.7",
        "CARILLON_SERVER_SERVICE_PORT": "80",
        "CARILLON_SERVER_SERVICE_PORT_HTTP": "80",
        "CARILLON_HTTP_SERVER_PORT": "tcp://10.96.0.8:80",
    }
    assert config.from_environment(variables) == {}
    with pytest.raises(carillon.ConfigError, match="CARILLON_HTTP_SERVER_PORT"):
        config.from_environment({"CARILLON_SERVER_PORT": "80"})


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python itself refuses it")
def test_a_subinterpreter_is_told_that_it_cannot_import_it() -> None:
    code = """
import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), "import carillon._core")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert "cannot be used in a subinterpreter" in done.stderr
