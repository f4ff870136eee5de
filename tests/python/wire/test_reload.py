"""`POST /api/reload` and `Server.reload`: what a running server reads again, and how it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

import carillon
import httpx
import jwt
import pytest
from backend_double import proxied, running_backend
from carillon.testing import wait_until
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carillon import Server

pytestmark = pytest.mark.wire

OLD, NEW = "the secret that tokens have now, of 32 bytes", "the secret that comes after it, of 32 bytes"
KEY = "the-api-key-of-now"


class Served:
    """A server with a configuration file that the test writes."""

    def __init__(self, make: Callable[..., Server], file: Path, settings: dict[str, Any]) -> None:
        self.file = file
        self.settings = settings
        self.write()
        self._make = make
        self.key = KEY
        self.server = make(config=file)

    def restarted(self) -> Server:
        """Another server, with the file as it is now."""
        self.server.stop()
        self.server = self._make(config=self.file)
        return self.server

    def write(self) -> None:
        self.file.write_text(json.dumps(self.settings, indent=2))

    def post(self, method: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        headers.setdefault("x-api-key", self.key)
        url = f"{self.server.url}/api/{method}"
        return httpx.post(url, json=body or {}, headers=headers, trust_env=False, timeout=20)

    def changes(self) -> list[dict[str, Any]]:
        self.write()
        answer = self.post("reload")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["result"]["changes"]
        return found

    def refusal(self) -> tuple[int, list[str]]:
        self.write()
        before = self.server.settings
        answer = self.post("reload")
        assert self.server.settings == before
        error = answer.json()["error"]
        assert error["message"] == "\n".join(error["mistakes"])
        return answer.status_code, error["mistakes"]

    def poll(self, secret: str = OLD, channel: str = "news", user: str = "ann", **headers: str) -> int:
        headers["Authorization"] = f"Bearer {carillon.token(secret, user)}"
        url = f"{self.server.url}/poll?channel={channel}&timeout=0"
        return httpx.get(url, headers=headers, trust_env=False).status_code


@pytest.fixture
def served(carillon_server_factory: Callable[..., Server], tmp_path: Path) -> Served:
    settings: dict[str, Any] = {
        "http_server": {"port": 0},
        "http_api": {"key": KEY},
        "client": {"token": {"hmac_secret_key": OLD}, "allowed_origins": ["https://old.example"]},
        "channel": {"without_namespace": {"allow_subscribe_for_client": True}},
    }
    return Served(carillon_server_factory, tmp_path / "carillon.json", settings)


def test_nothing_differs(served: Served) -> None:
    assert served.changes() == []


def test_it_needs_the_key(served: Served) -> None:
    assert served.post("reload", **{"x-api-key": "wrong"}).status_code == 401
    assert httpx.get(f"{served.server.url}/api/reload", trust_env=False).status_code == 405


def test_a_key_is_rotated(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "carillon")
    assert (served.poll(OLD), served.poll(NEW)) == (200, 401)
    token = served.settings["client"]["token"]
    token.update(hmac_secret_key=NEW, hmac_previous_secret_key=OLD)
    assert served.changes() == [
        {"option": "client.token.hmac_secret_key", "old": "(set)", "new": "(changed)"},
        {"option": "client.token.hmac_previous_secret_key", "old": "", "new": "(set)"},
    ]
    assert (served.poll(OLD), served.poll(NEW)) == (200, 200)
    del token["hmac_previous_secret_key"]
    assert served.changes() == [
        {"option": "client.token.hmac_previous_secret_key", "old": "(set)", "new": ""}
    ]
    assert (served.poll(OLD), served.poll(NEW)) == (401, 200)
    records = [record for record in caplog.records if getattr(record, "event", "") == "reload"]
    assert [record.levelname for record in records] == ["INFO", "INFO"]
    assert 'client.token.hmac_secret_key: "(set)" -> "(changed)"' in records[0].getMessage()
    everything = "\n".join(record.getMessage() + str(record.__dict__) for record in caplog.records)
    assert OLD not in everything
    assert NEW not in everything
    assert KEY not in everything


async def test_a_client_stays_and_those_who_come_need_a_token_of_the_new_key(served: Served) -> None:
    url = served.server.url
    async with (
        carillon.connect(url, token=carillon.token(OLD, "ann")) as client,
        client.subscribe("news") as news,
    ):
        served.settings["client"]["token"]["hmac_secret_key"] = NEW
        await asyncio.to_thread(served.changes)
        served.server.publish("news", 1)
        assert (await news.next(10)).json() == 1
        async with client.subscribe("other"):
            pass
        with pytest.raises(carillon.ConnectDenied):
            async with carillon.connect(url, token=carillon.token(OLD, "bob")) as late:
                await late.history("news")
        async with (
            carillon.connect(url, token=carillon.token(NEW, "bob")) as other,
            other.subscribe("news", last=1) as again,
        ):
            assert (await again.next(10)).json() == 1


def test_the_api_key_changes(served: Served) -> None:
    served.settings["http_api"]["key"] = "the-next-one"
    assert served.changes() == [{"option": "http_api.key", "old": "(set)", "new": "(changed)"}]
    assert served.post("info").status_code == 401
    served.key = "the-next-one"
    assert served.post("info").status_code == 200


def test_the_errors_of_the_api_change(served: Served) -> None:
    assert served.post("publish", {"data": 1}).status_code == 200
    served.settings["http_api"]["error_mode"] = "transport"
    served.changes()
    assert served.post("publish", {"data": 1}).status_code == 400


def test_namespaces_and_their_options_change(served: Served) -> None:
    namespaces: list[dict[str, Any]] = []
    served.settings["channel"]["namespaces"] = namespaces
    assert served.poll(channel="chat:1") == 400, "an unknown channel"
    namespaces.append({"name": "chat", "allow_subscribe_for_client": True, "history_size": 5})
    assert served.changes() == [
        {
            "option": "channel.namespaces[chat]",
            "old": None,
            "new": {"allow_subscribe_for_client": True, "history_size": 5, "presence": False},
        }
    ]
    assert served.poll(channel="chat:1") == 200
    for number in range(4):
        served.server.publish("chat:1", number)
    namespaces[0]["history_size"] = 2
    assert served.changes() == [{"option": "channel.namespaces[chat].history_size", "old": 5, "new": 2}]
    assert [message.json() for message in served.server.history("chat:1").messages] == [2, 3]
    namespaces.clear()
    assert [change["new"] for change in served.changes()] == [None]
    assert served.poll(channel="chat:1") == 400, "an unknown channel"


def test_origins_change(served: Served) -> None:
    assert served.poll(Origin="https://old.example") == 200
    served.settings["client"]["allowed_origins"] = ["https://new.example"]
    assert served.changes() == [
        {"option": "client.allowed_origins", "old": ["https://old.example"], "new": ["https://new.example"]}
    ]
    assert served.poll(Origin="https://old.example") == 403
    assert served.poll(Origin="https://new.example") == 200


def test_limits_change(served: Served) -> None:
    big = {"channel": "news", "data": "x" * 1000}
    assert "result" in served.post("publish", big).json()
    served.settings["limits"] = {"publication_bytes": 500, "connections": 7, "body_bytes": 5000}
    assert {change["option"] for change in served.changes()} == {
        "limits.publication_bytes",
        "client.connection_limit",
        "limits.body_bytes",
    }
    assert "limits.publication_bytes (500)" in served.post("publish", big).json()["error"]["message"]
    with pytest.raises(carillon.PayloadTooLarge):
        served.server.publish("news", "x" * 1000)
    assert served.post("publish", {"data": "x" * 6000}).status_code == 413
    assert served.server.stats()["connections_max"] == 7
    del served.settings["limits"]
    assert len(served.changes()) == 3
    assert "result" in served.post("publish", big).json()


def test_who_is_expected_in_a_token_and_its_cookie_change(served: Served) -> None:
    served.settings["client"]["token"].update(issuer="us", cookie="session", user_id_claim="uid")
    assert {change["option"] for change in served.changes()} == {
        "client.token.issuer",
        "client.token.cookie",
        "client.token.user_id_claim",
    }
    assert served.poll() == 401
    token = jwt.encode({"uid": "ann", "iss": "us"}, OLD)
    url = f"{served.server.url}/poll?channel=news&timeout=0"
    cookie = {"Cookie": f"session={token}"}
    assert httpx.get(url, headers=cookie, trust_env=False).status_code == 200


def test_mistakes_are_all_listed_with_their_lines_and_nothing_changes(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.settings["http_api"]["key"] = "a-good-one"
    served.settings["limits"] = {"poll_bytes": 0, "poll_byte": 5}
    served.settings["client"]["allowed_origins"] = ["no origin"]
    status, mistakes = served.refusal()
    assert status == 400
    lines = served.file.read_text().split("\n")
    at = {
        name: next(i for i, line in enumerate(lines, 1) if f'"{name}"' in line)
        for name in ("poll_bytes", "poll_byte", "allowed_origins")
    }
    assert [mistake.split(": ", 1)[0] for mistake in mistakes] == [
        f"{served.file}:{line}" for line in sorted(at.values())
    ]
    assert served.poll() == 200
    assert served.post("info").status_code == 200, "the key is still the old one"
    (record,) = [each for each in caplog.records if getattr(each, "event", "") == "reload_refused"]
    assert record.levelname == "WARNING"
    assert "poll_bytes" in record.getMessage()
    served.file.write_text("{")
    answer = served.post("reload")
    assert answer.status_code == 400
    assert "is not valid JSON" in answer.json()["error"]["message"]
    served.file.unlink()
    assert "cannot read the configuration" in served.post("reload").json()["error"]["message"]


def test_an_option_of_the_start_is_refused_with_both_values_and_the_remedy(served: Served) -> None:
    served.settings["threads"] = 3
    served.settings["client"]["ping_interval"] = "10s"
    served.settings["http_api"]["key"] = "a-good-one"
    status, reasons = served.refusal()
    assert status == 409
    assert [reason.split(" while")[0] for reason in reasons] == [
        "threads: is 0 and cannot become 3",
        'client.ping_interval: is "25s" and cannot become "10s"',
    ]
    assert all("carillon serve --takeover" in reason for reason in reasons)
    assert all("nothing was reloaded. Set it back to reload the rest, or start " in each for each in reasons)
    served.settings["http_server"] = {"port": 1}
    reasons = served.refusal()[1]
    (port,) = [reason for reason in reasons if reason.startswith("http_server.port: ")]
    assert "start the server anew: a new process cannot take over with another value" in port
    assert "--takeover" not in port
    del served.settings["http_server"]
    assert served.post("info").status_code == 200


def test_it_can_stand_in_a_batch(served: Served) -> None:
    served.settings["limits"] = {"poll_bytes": 5000}
    served.write()
    commands = [{"reload": {}}, {"publish": {"channel": "news", "data": 1}}]
    replies = served.post("batch", {"commands": commands}).json()["replies"]
    assert [change["option"] for change in replies[0]["reload"]["changes"]] == ["limits.poll_bytes"]
    assert "offset" in replies[1]["publish"]


def test_it_is_refused_during_a_drain(served: Served) -> None:
    with (
        carillon.sync.connect(served.server.url, token=carillon.token(OLD, "ann")) as client,
        client.subscribe("news"),
    ):
        day = {"deadline_ms": 86_400_000, "pace_ms": 86_400_000}  # nobody is asked before the test is over
        assert served.post("drain", day).status_code == 200
        served.settings["http_api"]["key"] = "a-good-one"
        status, reasons = served.refusal()
        assert status == 409
        assert "clients are being asked to leave" in reasons[0]


def test_several_at_once_are_each_done_or_refused(served: Served) -> None:
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(served.post("reload"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert any(answer.status_code == 200 for answer in answers)
    for answer in answers:
        if answer.status_code == 409:
            assert "another reload is under way" in answer.json()["error"]["message"]


def jwks_of(kid: str, key: ec.EllipticCurvePrivateKey) -> str:
    made = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
    return json.dumps({"keys": [{**made, "kid": kid}]})


def test_a_file_of_keys_is_read_again(served: Served, tmp_path: Path) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    file = tmp_path / "keys.json"
    file.write_text(jwks_of("a", keys[0]))
    served.settings["client"]["token"] = {"jwks_file": str(file)}
    served.changes()

    def poll(key: Any) -> int:
        token = jwt.encode({"sub": "ann"}, key, "ES256", headers={"kid": "a"})
        url = f"{served.server.url}/poll?channel=news&timeout=0&token={token}"
        return httpx.get(url, trust_env=False).status_code

    assert [poll(key) for key in keys] == [200, 401]
    file.write_text(jwks_of("a", keys[1]))
    assert served.changes() == [
        {"option": "client.token.jwks_file", "old": str(file), "new": f"{file} (its keys have changed)"}
    ]
    assert [poll(key) for key in keys] == [401, 200]
    assert served.changes() == []
    file.write_text("no keys")
    status, mistakes = served.refusal()
    assert status == 400
    assert "client.token.jwks_file" in mistakes[0]
    assert [poll(key) for key in keys] == [401, 200]


class KeyEndpoint(http.server.BaseHTTPRequestHandler):
    """Gives out sets of keys by path."""

    sets: ClassVar[dict[str, str]] = {}
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        body = self.sets.get(self.path, "").encode()
        self.send_response(200 if body else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    KeyEndpoint.sets, KeyEndpoint.requests = {}, 0
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeyEndpoint)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_keys_of_an_endpoint(served: Served, endpoint: str) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    KeyEndpoint.sets = {"/a": jwks_of("a", keys[0]), "/b": jwks_of("b", keys[1])}

    def poll(number: int) -> int:
        token = jwt.encode({"sub": "ann"}, keys[number], "ES256", headers={"kid": "ab"[number]})
        url = f"{served.server.url}/poll?channel=news&timeout=0&token={token}"
        return httpx.get(url, trust_env=False).status_code

    served.settings["client"]["token"] = {"jwks_public_endpoint": f"{endpoint}/a"}
    served.changes()
    assert poll(0) == 200, "its keys were there before it came into use"
    served.settings["limits"] = {"poll_bytes": 5000}
    asked = KeyEndpoint.requests
    served.changes()
    assert poll(0) == 200, "they stay"
    wait_until(lambda: KeyEndpoint.requests > asked, timeout=10)
    served.settings["client"]["token"] = {"jwks_public_endpoint": f"{endpoint}/c"}
    status, mistakes = served.refusal()
    assert status == 400
    assert "client.token.jwks_public_endpoint" in mistakes[0]
    assert poll(0) == 200
    served.settings["client"]["token"] = {"jwks_public_endpoint": f"{endpoint}/b"}
    served.changes()
    assert poll(1) == 200
    assert poll(0) != 200


def test_a_backend_follows_whether_anonymous_clients_are_allowed(served: Served) -> None:
    with running_backend() as backend:
        backend.answers["/connect"] = lambda asked: {}
        served.settings["channel"]["without_namespace"]["allow_subscribe_for_anonymous"] = True
        served.settings["client"]["proxy"] = proxied(backend, "connect")["client"]["proxy"]
        served.write()
        server = served.restarted()

        def poll() -> int:
            return httpx.get(f"{server.url}/poll?channel=news&timeout=0", trust_env=False).status_code

        assert poll() == 401, "the backend has named nobody"
        for is_allowed in (True, False):
            served.settings["client"]["allow_anonymous_connect_without_token"] = is_allowed
            assert served.changes() != []
            assert poll() == (200 if is_allowed else 401)


def test_the_pace_of_a_drain_changes(served: Served) -> None:
    served.settings["shutdown"] = {"timeout": "20s", "pace": "15s"}
    served.write()
    served.restarted()
    served.settings["shutdown"]["pace"] = "10ms"
    assert [change["option"] for change in served.changes()] == ["shutdown.pace"]
    url = f"{served.server.url}/sse?channel=news&token={carillon.token(OLD, 'ann')}"
    with httpx.Client(trust_env=False, timeout=20) as client, contextlib.ExitStack() as streams:
        opened = [streams.enter_context(client.stream("GET", url)) for _ in range(10)]
        assert [stream.status_code for stream in opened] == [200] * 10
        began = time.monotonic()
        assert served.post("drain").json()["result"]["connections"] >= 10
        for stream in opened:
            assert stream.read().endswith(b"\n\n")
        assert time.monotonic() - began < 5


# From Python.


def test_a_server_takes_new_arguments(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(api_key="old", channels={"a": {"history_size": 3}})
    assert server.reload() == []
    assert server.reload(api_key="new", limits={"poll_bytes": 5000}) == [
        {"option": "http_api.key", "old": "(set)", "new": "(changed)"},
        {"option": "limits.poll_bytes", "old": 131072, "new": 5000},
    ]
    assert server.settings["limits"]["poll_bytes"] == 5000
    url = f"{server.url}/api/reload"
    assert httpx.post(url, headers={"x-api-key": "old"}, trust_env=False).status_code == 401
    again = httpx.post(url, headers={"x-api-key": "new"}, trust_env=False)
    assert again.json() == {"result": {"changes": []}}, "arguments stay"
    with pytest.raises(carillon.ConfigError, match=r"limits\.poll_bytes: 0 is too small"):
        server.reload(limits={"poll_bytes": 0})
    with pytest.raises(carillon.ReloadError, match=r"threads: is 0 and cannot become 2"):
        server.reload({"threads": 2})
    assert server.reload() == [], "a refused one leaves nothing behind"


def test_a_server_reads_its_function_again(carillon_server_factory: Callable[..., Server]) -> None:
    settings: dict[str, Any] = {"http_server": {"port": 0}, "limits": {"poll_bytes": 5000}}
    server = carillon_server_factory(config=lambda: settings, limits={"body_bytes": 9000})
    settings["limits"] = {"poll_bytes": 6000, "body_bytes": 8000}
    assert server.reload() == [{"option": "limits.poll_bytes", "old": 5000, "new": 6000}], "arguments win"


def test_an_insecure_server_can_become_secure_but_not_the_other_way(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory()
    url = f"{server.url}/poll?channel=a&timeout=0"
    assert httpx.get(url, trust_env=False).status_code == 200
    assert [change["option"] for change in server.reload(api_key="k")] == ["client.insecure", "http_api.key"]
    assert httpx.get(url, trust_env=False).status_code == 403
    with pytest.raises(carillon.ReloadError, match=r"client\.insecure: is false and cannot become true"):
        server.reload({"client": {"insecure": True}})


def test_only_a_running_server_reloads(carillon_server_factory: Callable[..., Server]) -> None:
    with pytest.raises(carillon.ServerStopped, match="not started"):
        carillon.Server().reload()
    server = carillon_server_factory()
    server.stop()
    with pytest.raises(carillon.ServerStopped):
        server.reload()


def test_publishers_go_on_meanwhile(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(channels={"a": {"history_size": 50_000, "history_bytes": 1 << 26}})
    is_over = threading.Event()
    counts = [0, 0, 0]

    def publish(number: int) -> None:
        while not is_over.is_set():
            server.publish_many([("a", {"n": counts[number]})] * 3)
            counts[number] += 3

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        assert len(server.reload(limits={"poll_bytes": 5000 + number})) == 1
    is_over.set()
    for thread in threads:
        thread.join()
    assert server.history("a", limit=0).position.offset == sum(counts)
