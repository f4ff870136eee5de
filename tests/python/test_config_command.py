"""What `carillon config check`, `serve` and `token` make of a file and the environment together."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from carillon import ConfigError, Server, config
from test_cli import Serving, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "a secret of thirty-two bytes or more"


def written(tmp_path: Path, document: dict[str, Any]) -> str:
    file = tmp_path / "carillon.json"
    file.write_text(json.dumps(document, indent=1))
    return str(file)


# ---- one check for the file and the environment


@pytest.mark.parametrize("command", [("config", "check"), ("serve",), ("config", "show"), ("token",)])
def test_all_mistakes_are_told_wherever_they_stand(tmp_path: Path, command: tuple[str, ...]) -> None:
    token = {"rsa_public_key": "no key", "jwks_file": str(tmp_path / "missing.json"), "leeway": 1}
    place = str(tmp_path / "nowhere" / "carillon.sock")
    file = written(tmp_path, {"client": {"token": token}, "takeover": {"socket": place}})
    result = run(
        *command,
        *(("--config",) if command == ("token",) else ()),
        file,
        CARILLON_HTTP_SERVER_PORT="70000",
        CARILLON_THREADS="many",
        CARILLON_HTTP_APIKEY="k",
    )
    assert (result.returncode, result.stdout) == (3, "")
    first, *told = result.stderr.splitlines()
    is_of_server = command in (("config", "check"), ("serve",))  # others do not offer a takeover
    assert first == f"Error: {file} and the environment have {7 if is_of_server else 6} mistakes:"
    takeover = f"{file}:10: takeover.socket: '{tmp_path}/nowhere' is not a directory"
    assert is_of_server == any(line.startswith(takeover) for line in told)
    for beginning in (
        "CARILLON_HTTP_APIKEY: unknown variable; did you mean",
        "CARILLON_THREADS: 'many' is not a whole number",
        "http_server.port: 70000 is too large; the maximum is 65535 (set by CARILLON_HTTP_SERVER_PORT)",
        f"{file}:4: client.token.rsa_public_key: ",
        f"{file}:5: client.token.jwks_file: cannot be read: No such file",
        f"{file}:6: client.token.leeway: ",
    ):
        assert sum(line.startswith(beginning) for line in told) == 1, (beginning, told)


def test_check_says_what_the_environment_has_set(tmp_path: Path) -> None:
    file = written(tmp_path, {"http_server": {"port": 70000}})
    assert run("config", "check", file).returncode == 3
    result = run("config", "check", file, CARILLON_HTTP_SERVER_PORT="7000")
    assert result.stdout == f"{file} is valid, with CARILLON_HTTP_SERVER_PORT of the environment\n"
    assert run("config", "check", written(tmp_path, {})).stdout == f"{file} is valid\n"


# ---- secrets


def secrets() -> list[str]:
    return [option["name"] for option in config.schema() if option["secret"]]


def test_no_command_shows_a_wrong_value_of_a_secret(tmp_path: Path) -> None:
    assert len(secrets()) > 15
    document: dict[str, Any] = {}
    for option in secrets():
        config.put(document, option, ["hush"])
    file = written(tmp_path, document)
    for command in (("config", "check"), ("config", "show"), ("serve",)):
        result = run(*command, file)
        assert result.returncode == 3
        assert "hush" not in result.stdout + result.stderr
        for option in secrets():
            assert f" {option}: " in result.stderr, option


def test_no_reload_shows_a_wrong_value_of_a_secret(
    carillon_server_factory: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good: dict[str, Any] = {"http_api": {"key": "of the API"}}
    file = written(tmp_path, good)
    server = carillon_server_factory(port=0, config=file)
    for option in secrets():
        for value in (["hush"], {"Authorization: hush": "x"}, {"Authorization": "hush\nhush"}):
            wrong = json.loads(json.dumps(good))
            config.put(wrong, option, value)
            written(tmp_path, wrong)
            answer = httpx.post(
                f"{server.url}/api/reload", json={}, headers={"X-API-Key": "of the API"}, trust_env=False
            )
            assert answer.status_code == 400, option
            assert option in answer.text
            assert "hush" not in answer.text
            with pytest.raises(ConfigError) as caught:
                Server(config=wrong)
            assert "hush" not in str(caught.value)
    assert "reload_refused" in {getattr(record, "event", "") for record in caplog.records}
    assert "hush" not in "".join(str(record.__dict__) for record in caplog.records)


def test_a_good_value_of_a_secret_is_not_shown_either(tmp_path: Path) -> None:
    headers = {"static_headers": {"Authorization": "hush"}}
    proxy = {"connect": {"enabled": True, "endpoint": "http://127.0.0.1:1/x?key=hush", "http": headers}}
    file = written(tmp_path, {"client": {"proxy": proxy}})
    shown = run("config", "show", file)
    assert shown.returncode == 0, shown.stderr
    assert "hush" not in shown.stdout
    assert json.loads(shown.stdout)["client"]["proxy"]["connect"]["http"]["static_headers"] == "(set)"


def test_a_password_of_redis_is_not_shown(tmp_path: Path) -> None:
    store = {"url": "redis+sentinel://ann:hush@one,two/main", "sentinel_password": "hush"}
    shown = run("config", "show", written(tmp_path, {"store": store}))
    assert shown.returncode == 0, shown.stderr
    assert "hush" not in shown.stdout
    assert json.loads(shown.stdout)["store"]["url"] == "redis+sentinel://ann:***@one,two/main"
    wrong = run("config", "check", written(tmp_path, {"store": {"url": "redis://ann:hush@host:x"}}))
    assert wrong.returncode != 0
    assert "store.url: has a port that is none from 1 to 65535" in wrong.stderr
    assert "hush" not in wrong.stderr


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)])
def test_files_of_the_store_that_cannot_be_used_are_told(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "empty").write_text("\n")
    store = {
        "url": "rediss+sentinel://one/main",
        "password_file": "/hush",
        "sentinel_password_file": str(tmp_path / "empty"),
        "ca_file": str(tmp_path),
        "certificate_file": "/nope/a.pem",
        "key_file": "/nope/a.key",
    }
    result = run(*command, written(tmp_path, {"store": store}))
    assert result.returncode == 3, result.stderr
    for sentence in (
        "store.password_file: the file cannot be used: No such file or directory",
        "store.sentinel_password_file: the file cannot be used: its first line is empty",
        f"store.ca_file: '{tmp_path}' cannot be used: Is a directory",
        "store.certificate_file: '/nope/a.pem' cannot be used: No such file or directory",
        "store.key_file: '/nope/a.key' cannot be used: No such file or directory",
    ):
        assert sentence in result.stderr
    assert "hush" not in result.stderr
    assert "Traceback" not in result.stderr
    result = run(*command, written(tmp_path, {"store": {"url": "sqlite:/nope/carillon.db"}}))
    assert result.returncode == 3
    assert "store.url: '/nope' is not a directory" in result.stderr


def test_a_password_file_that_cannot_be_read_is_a_sentence_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(carillon.StoreError, match=r"store\.password_file: the file cannot be read"):
        Server(store={"url": "redis://127.0.0.1:1", "password_file": "/hush"})  # type: ignore[arg-type]


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_an_option_of_another_store_is_refused(tmp_path: Path, durability: str) -> None:
    of_redis = {"url": "redis://127.0.0.1", "durability": durability}
    of_sqlite = {"url": "sqlite:carillon.db", "durability": durability, "password": "hush", "prefix": "shop"}
    for store, names in ((of_redis, ["durability"]), (of_sqlite, ["password", "prefix"])):
        result = run("config", "check", written(tmp_path, {"store": store}))
        assert result.returncode == 3, result.stdout
        assert "hush" not in result.stderr
        assert all(f"store.{name}: is of " in result.stderr for name in names)
        assert ("store.durability" in result.stderr) is ("durability" in names)
        with pytest.raises(ConfigError, match=names[0]):
            Server(store=store)  # type: ignore[arg-type]
    with Server(store="memory") as server:  # the defaults are of no other store
        assert server.reload() == []


@pytest.mark.parametrize(
    "store",
    [
        "memory",
        {"url": "sqlite:carillon.db", "durability": "normal"},
        {"url": "redis://ann:hush@127.0.0.1:1/2", "prefix": "shop", "loss": "never", "wait_ms": 2_000},
        {"url": "redis+cluster://127.0.0.1:1", "password": "hush"},
    ],
)
def test_a_server_takes_the_settings_of_another(store: Any, tmp_path: Path) -> None:
    first = Server(
        store=store,
        limits={"connections": 9},
        channels={"news": carillon.Channel(history_size=3, history_ttl="5m", fanout="hybrid")},
    )
    again = Server(config=first.settings)
    assert again.settings == first.settings
    assert Server(config=first.settings, threads=2).settings["threads"] == 2
    result = run("config", "check", written(tmp_path, first.settings))
    assert result.returncode == 0, result.stderr
    shown = run("config", "show", written(tmp_path, first.settings))
    assert set(json.loads(shown.stdout)["store"]) == set(first.settings["store"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("REDIS://Ann:Hush@127.0.0.1:1", "redis://Ann:Hush@127.0.0.1:1"),
        ("Redis+Unix:///Run/Redis.sock", "redis+unix:///Run/Redis.sock"),
        ("SQLITE:Carillon.db", "sqlite:Carillon.db"),
    ],
)
def test_the_scheme_of_a_store_may_have_capital_letters(given: str, meant: str) -> None:
    assert Server(store=given).settings["store"]["url"] == meant


def test_a_file_of_sqlite_is_used_whichever_letters_its_scheme_has(tmp_path: Path) -> None:
    for scheme in ("SQLITE", "sqlite"):
        with Server(store=f"{scheme}:{tmp_path / 'Log.db'}") as server:
            server.publish("a", 1)
    with Server(store=f"sqlite:{tmp_path / 'Log.db'}") as server:
        assert server.history("a").position.offset == 2
    with pytest.raises(ConfigError, match="has // behind sqlite:"):
        Server(store="Sqlite://x")
    result = run("config", "check", written(tmp_path, {"store": {"url": "SQLITE:/nope/x.db"}}))
    assert "store.url: '/nope' is not a directory" in result.stderr


WEAK = {"http_api": {"key": "hush"}, "client": {"token": {"hmac_secret_key": "hushhush"}}}


def test_secrets_that_can_be_guessed_are_warned_of(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": [{"kty": "oct", "k": "aHVzaA"}]}')
    document = json.loads(json.dumps(WEAK))
    document["client"]["token"]["jwks_file"] = str(keys)
    file = written(tmp_path, document)
    checked = run("config", "check", file)
    assert checked.returncode == 0
    serving = Serving(file, "--port", "0")
    code, log = serving.end(signal.SIGTERM)
    assert code == 0
    for said in (checked.stderr, log):
        assert "client.token.hmac_secret_key: has 8 bytes; " in said
        assert "client.token.jwks_file: key 1: has 4 bytes; " in said
        assert "http_api.key: has 4 bytes; " in said
        assert "openssl rand -hex 32" in said
        assert "hush" not in said
    strong = {"http_api": {"key": "k" * 16}, "client": {"token": {"hmac_secret_key": "s" * 32}}}
    assert run("config", "check", written(tmp_path, strong)).stderr == ""


def test_a_reload_warns_of_what_is_new(
    carillon_server_factory: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = carillon_server_factory(port=0, config={"http_api": {"key": "k" * 16}})
    for _ in range(2):
        server.reload(WEAK)
    told = [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "weak_secret"]
    assert len(told) == 2
    assert not any("hush" in text for text in told)


# ---- tokens


@pytest.mark.parametrize("is_apart", [False, True])
@pytest.mark.parametrize("channel", [None, "$room"])
def test_a_token_of_the_command_is_accepted_by_a_server_with_the_same_file(
    carillon_server_factory: Callable[..., Server], tmp_path: Path, is_apart: bool, channel: str | None
) -> None:
    rules = {"issuer": "https://id.example", "audience": "chat", "user_id_claim": "uid"}
    client: dict[str, Any] = {"token": {"hmac_secret_key": SECRET, **rules}}
    client["disallow_anonymous_connection_tokens"] = True
    if is_apart:
        own = {"hmac_secret_key": f"another, {SECRET}", "issuer": "https://other.example", "audience": "sub"}
        client["subscription_token"] = {"enabled": True, "user_id_claim": "who", **own}
    file = written(tmp_path, {"client": client})
    server = carillon_server_factory(port=0, config=file)
    arguments = ("--channel", channel) if channel else ("--subscribe", "news")
    made = run("token", "--user", "ann", *arguments, "--config", file)
    assert made.returncode == 0, made.stderr
    answer = httpx.get(
        f"{server.url}/poll",
        params={"channel": channel or "news", "timeout": 0},
        headers={"Authorization": f"Bearer {made.stdout.strip()}"},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    if channel is None:
        refused = run("token", "--config", file)
        assert refused.returncode == 1
        assert "client.disallow_anonymous_connection_tokens: give the token a --user" in refused.stderr


def test_the_environment_counts_for_a_token_as_it_does_for_the_server(
    carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    other = {"enabled": True, "hmac_secret_key": f"another, {SECRET}"}
    file = written(tmp_path, {"client": {"subscription_token": other}})
    variables = {
        "CARILLON_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
        "CARILLON_CLIENT_TOKEN_ISSUER": "https://id.example",
    }
    token = {"hmac_secret_key": SECRET, "issuer": "https://id.example"}
    server = carillon_server_factory(port=0, config={"client": {"token": token, "subscription_token": other}})
    for arguments in (("--subscribe", "news"), ("--channel", "news")):
        made = run("token", "--user", "ann", *arguments, "--config", file, **variables).stdout.strip()
        query = {"channel": "news", "timeout": 0, "token": made}
        assert httpx.get(f"{server.url}/poll", params=query, trust_env=False).status_code == 200, arguments
    variables["CARILLON_LIMITS_TOKEN_BYTES"] = "300"
    long = run("token", "--info", json.dumps("x" * 300), "--user", "ann", "--config", file, **variables)
    assert (long.returncode, "limits.token_bytes: " in long.stderr) == (1, True)


def test_the_claims_of_a_token_can_be_those_of_the_configuration_in_python(
    carillon_server_factory: Callable[..., Server],
) -> None:
    rules = {"issuer": "https://id.example", "audience": "chat", "user_id_claim": "uid"}
    server = carillon_server_factory(
        port=0, config={"client": {"token": {"hmac_secret_key": SECRET, **rules}}}
    )
    claims = {"iss": "https://id.example", "aud": "chat", "uid": "ann"}
    made = carillon.token(SECRET, channels=["news"], claims=claims)
    query = {"channel": "news", "timeout": 0, "token": made}
    assert httpx.get(f"{server.url}/poll", params=query, trust_env=False).status_code == 200


def test_keys_that_are_no_objects_and_a_pasted_set_harm_nobody(tmp_path: Path) -> None:
    jwks = tmp_path / "keys.json"
    jwks.write_text('{"keys": ["?", {"kty": "oct", "kid": "a", "k": "c2hvcnQ"}]}')
    file = tmp_path / "carillon.toml"
    file.write_text(f'[client.token]\njwks_file = "{jwks}"\n')
    checked = run("config", "check", str(file))
    assert checked.returncode == 0, checked.stderr
    assert "jwks_file: key 2" in checked.stderr
    pasted = '\\n {\\"keys\\": [{\\"k\\": \\"U0VDUkVU\\"}]}'
    file.write_text(f'[client.token]\njwks_file = "{pasted}"\n')
    refused = run("config", "check", str(file))
    assert refused.returncode == 3
    assert "U0VDUkVU" not in refused.stdout + refused.stderr


def test_a_token_needs_no_place_for_a_takeover(tmp_path: Path) -> None:
    file = tmp_path / "carillon.toml"
    file.write_text(
        f'[client.token]\nhmac_secret_key = "{"s" * 32}"\n[takeover]\nsocket = "/nowhere/at/all.sock"\n'
    )
    assert run("token", "--user", "ann", "--config", str(file)).returncode == 0
    assert run("config", "check", str(file)).returncode == 3


def test_a_reload_warns_of_a_weak_key_in_a_file_that_has_changed(
    carillon_server_factory: Callable[..., Server], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def set_of(secret: str) -> str:
        return json.dumps({"keys": [{"kty": "oct", "kid": "a", "alg": "HS256", "k": secret}]})

    jwks = tmp_path / "keys.json"
    jwks.write_text(set_of("c" * 64))
    server = carillon_server_factory(port=0, config={"client": {"token": {"jwks_file": str(jwks)}}})
    jwks.write_text(set_of("c2hvcnQ"))
    for times in (1, 1):  # told once
        server.reload()
        told = [record for record in caplog.records if getattr(record, "event", "") == "weak_secret"]
        assert len(told) == times
