"""Tokens over the wire. PyPI `PyJWT` makes them: a library that we did not write."""

from __future__ import annotations

import base64
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
from carillon.testing import wait_until
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from websockets.sync.client import connect as websocket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carillon import Server

pytestmark = pytest.mark.wire

SECRET = "a secret of sixty-four bytes or more, because HS512 is to have one"
RSA = rsa.generate_private_key(65537, 2048)
P256, P384, P521 = (ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
ED25519 = ed25519.Ed25519PrivateKey.generate()

PUBLIC: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512"), ("rsa_public_key", RSA)),
    "ES256": ("ecdsa_public_key", P256),
    "ES384": ("ecdsa_public_key", P384),
    "ES512": ("ecdsa_public_key", P521),
    "EdDSA": ("eddsa_public_key", ED25519),
}


def pem_of(key: Any) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    text: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, kind)
    return text.decode()


def status(server: Server, token: str, channel: str = "a") -> int:
    answer = httpx.get(
        f"{server.url}/poll",
        params={"channel": channel, "timeout": 0},
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )
    return answer.status_code


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "ann", "exp": int(time.time()) + 60, "channels": ["a"], **more}


@pytest.fixture
def serve(carillon_server_factory: Callable[..., Server]) -> Callable[..., Server]:
    def start(**token: Any) -> Server:
        return carillon_server_factory(port=0, config={"client": {"token": token}})

    return start


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_secret(serve: Callable[..., Server], algorithm: str) -> None:
    server = serve(hmac_secret_key=SECRET)
    assert status(server, jwt.encode(claims(), SECRET, algorithm)) == 200
    assert status(server, jwt.encode(claims(), SECRET + "x", algorithm)) == 401
    assert status(server, carillon.token(SECRET, "ann", channels=["a"], algorithm=algorithm)) == 200  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_public_key(serve: Callable[..., Server], algorithm: str) -> None:
    option, key = PUBLIC[algorithm]
    server = serve(**{option: pem_of(key)})
    good = jwt.encode(claims(), key, algorithm)
    assert status(server, good) == 200
    head, payload, signature = good.split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims(sub="admin")).encode()).rstrip(b"=").decode()
    assert status(server, f"{head}.{other}.{signature}") == 401
    assert status(server, f"{head}.{payload}.{signature[:-4]}AAAA") == 401
    assert status(server, f"{head}.{payload}.") == 401
    # The public key is no secret: who signs with it by HMAC proves nothing.
    assert status(server, carillon.token(pem_of(key), "admin", channels=["a"])) == 401


def test_a_key_verifies_only_the_algorithms_of_its_kind(serve: Callable[..., Server]) -> None:
    server = serve(ecdsa_public_key=pem_of(P384), rsa_public_key=pem_of(RSA))
    for algorithm, (_, key) in PUBLIC.items():
        expected = 200 if algorithm in ("ES384", "RS256", "RS384", "RS512") else 401
        assert status(server, jwt.encode(claims(), key, algorithm)) == expected, algorithm


def test_a_set_of_keys(serve: Callable[..., Server], tmp_path: Path) -> None:
    keys = {"r": RSA, "p": P256, "q": P521, "e": ED25519}
    names = {"r": "RS256", "p": "ES256", "q": "ES512", "e": "EdDSA"}
    jwks = []
    for kid, key in keys.items():
        made = jwt.get_algorithm_by_name(names[kid]).to_jwk(key.public_key(), as_dict=True)
        jwks.append({**made, "kid": kid, "use": "sig"})
    jwks.append(
        {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="), "kid": "s"}
    )
    jwks.append({"kty": "RSA", "n": jwks[0]["n"], "e": jwks[0]["e"], "kid": "for encryption", "use": "enc"})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": jwks}))
    server = serve(jwks_file=str(file))
    for kid, key in keys.items():
        assert status(server, jwt.encode(claims(), key, names[kid], headers={"kid": kid})) == 200, kid
        assert status(server, jwt.encode(claims(), key, names[kid], headers={"kid": "x"})) == 401, kid
    assert status(server, jwt.encode(claims(), SECRET, "HS256", headers={"kid": "s"})) == 200
    assert status(server, jwt.encode(claims(), SECRET, "HS256", headers={"kid": "r"})) == 401
    assert status(server, jwt.encode(claims(), RSA, "RS256", headers={"kid": "for encryption"})) == 401


def test_the_time_counts(serve: Callable[..., Server]) -> None:
    server = serve(hmac_secret_key=SECRET, leeway="10s")
    now = time.time()
    for exp, expected in ((now - 5, 200), (now - 15, 401)):
        assert status(server, jwt.encode(claims(exp=exp), SECRET)) == expected
    for nbf, expected in ((now + 5, 200), (now + 15, 401)):
        assert status(server, jwt.encode(claims(nbf=nbf), SECRET)) == expected


def test_the_log_says_whether_a_token_has_expired_or_is_not_valid_yet(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "carillon.access")
    server = serve(hmac_secret_key=SECRET)
    now = time.time()
    for token in (jwt.encode(claims(nbf=now + 60), SECRET), jwt.encode(claims(exp=now - 60), SECRET)):
        with websocket(f"{server.url.replace('http', 'ws', 1)}/connection/websocket", proxy=None) as socket:
            socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
            assert json.loads(socket.recv(5))["error"]["code"] == 109
        assert status(server, token) == 401
    wait_until(lambda: sum(getattr(each, "event", "") == "refuse" for each in caplog.records) == 4)
    early, early_poll, late, late_poll = (
        each.getMessage() for each in caplog.records if getattr(each, "event", "") == "refuse"
    )
    for text in (early, early_poll):
        assert "token expired; it is not expired, but not valid yet: its nbf is in the future" in text
    for text in (late, late_poll):
        assert "token expired" in text
        assert "nbf" not in text


def test_health_says_that_there_are_no_keys_yet(serve: Callable[..., Server]) -> None:
    def health(server: Server) -> tuple[int, Any]:
        answer = httpx.get(f"{server.url}/health", trust_env=False)
        return answer.status_code, answer.json()

    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=provider.serve_forever)
    thread.start()
    try:
        Provider.keys = []
        url = f"http://127.0.0.1:{provider.server_address[1]}/keys"
        server = serve(jwks_public_endpoint=url, jwks_retry_pause="1s")
        assert health(server) == (200, {"keys": "none yet"})
        Provider.keys = [jwk_of("1", P256)]
        wait_until(lambda: health(server) == (200, {}), timeout=20)
        Provider.keys = []
        assert health(server) == (200, {}), "those that it has stay"
    finally:
        provider.shutdown()
        thread.join()
        provider.server_close()
    assert health(serve(hmac_secret_key=SECRET)) == (200, {})


def test_no_record_has_a_word_of_a_token(
    carillon_server_factory: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "carillon")
    server = carillon_server_factory(port=0, config={"client": {"token": {"hmac_secret_key": SECRET}}})
    tokens = [
        jwt.encode(claims(sub="marker-ann"), SECRET),
        jwt.encode(claims(sub="marker-bob"), "wrong" * 16),
        jwt.encode(claims(sub="marker-eve", exp=1), SECRET),
        jwt.encode(claims(), SECRET, headers={"kid": "marker-kid"}),
    ]
    for token in tokens:
        for path in ("poll", "sse"):
            with httpx.stream(
                "GET", f"{server.url}/{path}?channel=a&timeout=0&token={token}", trust_env=False
            ) as answer:
                assert answer.status_code in (200, 401)
                if answer.status_code == 401:
                    assert all(part not in answer.read().decode() for part in token.split("."))
    server.stop()
    records = "\n".join(record.getMessage() + str(record.__dict__) for record in caplog.records)
    assert "invalid token" in records
    for token in tokens:
        assert not any(part in records for part in token.split("."))
    assert SECRET not in records


def test_the_configuration_says_which_key_is_wrong() -> None:
    with pytest.raises(
        carillon.ConfigError, match=r"client\.token\.rsa_public_key: is not a public key in PEM"
    ):
        carillon.Server(config={"client": {"token": {"rsa_public_key": "x"}}})
    with pytest.raises(carillon.ConfigError, match=r"client\.subscription_token\.enabled: .* has no key"):
        carillon.Server(config={"client": {"subscription_token": {"enabled": True}}})


async def test_a_client_is_who_its_token_says_and_sees_only_what_it_grants(
    carillon_server_factory: Callable[..., Server],
) -> None:
    server = carillon_server_factory(port=0, config={"client": {"token": {"hmac_secret_key": SECRET}}})
    token = carillon.token(SECRET, "ann", channel="$room")
    bearer = {"Authorization": f"Bearer {carillon.token(SECRET, 'ann')}"}
    assert status(server, token, "$room") == 200
    async with carillon.connect(server.url, headers=bearer) as client:
        with pytest.raises(carillon.SubscribeDenied):
            await client.subscribe("$room").open()


class Provider(http.server.BaseHTTPRequestHandler):
    """Gives out a set of keys, as an identity provider does."""

    keys: ClassVar[list[dict[str, Any]]] = []
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        body = json.dumps({"keys": self.keys}).encode()
        self.send_response(200 if self.keys else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def jwk_of(kid: str, key: Any) -> dict[str, Any]:
    made: dict[str, Any] = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid}


def test_an_endpoint_that_does_not_answer_is_told_without_the_secrets_of_its_address(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=provider.serve_forever)
    thread.start()
    try:
        Provider.keys = []  # it answers 500
        host = f"127.0.0.1:{provider.server_address[1]}"
        serve(jwks_public_endpoint=f"http://bob:hidden@{host}/keys?client_secret=hidden")
        text = caplog.text
        assert f"http://{host}/keys?… gives no keys: " in text
        assert "status" in text
        assert "tokens that need them are refused for now" in text
        assert "the earlier ones stay" not in text
        assert "hidden" not in text
    finally:
        provider.shutdown()
        thread.join()
        provider.server_close()


def test_the_keys_of_an_endpoint_are_fetched_and_follow_a_rotation(serve: Callable[..., Server]) -> None:
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=provider.serve_forever)
    thread.start()
    try:
        Provider.keys = [jwk_of("1", first)]
        url = f"http://127.0.0.1:{provider.server_address[1]}/keys"
        server = serve(jwks_public_endpoint=url, jwks_retry_pause="1s")
        token = jwt.encode(claims(), first, "ES256", headers={"kid": "1"})
        rotated = jwt.encode(claims(), second, "ES256", headers={"kid": "2"})
        assert status(server, token) == 200
        Provider.keys = [jwk_of("1", first), jwk_of("2", second)]
        asked = Provider.requests
        assert status(server, rotated) == 503, "the client is asked to try again"
        wait_until(lambda: status(server, rotated) == 200, timeout=20)
        assert Provider.requests <= asked + 4, "there is a pause between two fetches"
        Provider.keys = []  # it is down: what is known goes on
        jwt_of_nobody = jwt.encode(claims(), second, "ES256", headers={"kid": "3"})
        assert status(server, jwt_of_nobody) == 503
        wait_until(lambda: Provider.requests > asked + 1, timeout=20)
        assert status(server, token) == 200
    finally:
        provider.shutdown()
        thread.join()
        provider.server_close()
