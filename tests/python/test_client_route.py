"""The way to a server: TLS, proxies and credentials are the same over every transport."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

import carillon
import pytest
from carillon import Message, Server
from carillon.transports.route import proxy_url, tls_context
from fake_servers import http_server, proxy_server, response, tls_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Transport = Literal["ws", "sse", "poll"]
each_transport = pytest.mark.parametrize("transport", ["ws", "sse", "poll"])

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, 127.0.0.1 and hub.example that signs itself; its key is beside it."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    command = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:hub.example"
    files = ["-keyout", str(path.with_name("key.pem")), "-out", str(path)]
    subprocess.run(
        [*command.split(), "-subj", "/CN=localhost", "-addext", names, *files],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
def identity(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


@pytest.fixture
def public_server(carillon_server_factory: Callable[..., Server]) -> Server:
    """One that may be asked for by any name, which an insecure one may not."""
    may = carillon.Channel(allow_subscribe_for_client=True, allow_history_for_client=True)
    return carillon_server_factory(
        before_start=lambda server: server.on_connect(lambda _: carillon.User("ann")),
        api_key="key",
        insecure=False,
        channels={"*": may},
    )


async def exchange(server: Server, url: str, transport: Transport, **options: Any) -> None:
    """One message over a subscription, and one command over the HTTP API."""
    async with (
        asyncio.timeout(10),
        carillon.connect(url, transport=transport, **options) as client,
        client.subscribe("c") as subscription,
    ):
        position = await client.publish("c", 1, tags={"by": "the HTTP API"})
        item = await subscription.next()
        assert isinstance(item, Message)
        assert item.position == position == server.history("c").position


# TLS.


@each_transport
@pytest.mark.parametrize(
    "how", ["file", "directory", "context", "nobody checks", "SSL_CERT_FILE", "SSL_CERT_DIR"]
)
async def test_who_is_trusted_is_said_once_for_all_transports(
    carillon_server: Server,
    certificate: Path,
    identity: ssl.SSLContext,
    transport: Transport,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed = certificate.parent / f"{hash_of(certificate)}.0"
    if not hashed.exists():
        hashed.symlink_to(certificate)
    verify: Any = True
    if how == "file":
        verify = certificate
    elif how == "directory":
        verify = str(certificate.parent)
    elif how == "context":
        verify = ssl.create_default_context(cafile=certificate)
    elif how == "nobody checks":
        verify = False
    else:
        monkeypatch.setenv(how, str(certificate if how == "SSL_CERT_FILE" else certificate.parent))
    async with tls_server(carillon_server.url, identity) as port:
        await exchange(carillon_server, f"https://127.0.0.1:{port}", transport, verify=verify)


def hash_of(certificate: Path) -> str:
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@each_transport
async def test_a_certificate_that_nobody_trusts_is_refused_by_all_transports(
    carillon_server: Server, identity: ssl.SSLContext, transport: Transport
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the terminator's, of the handshake
    async with tls_server(carillon_server.url, identity) as port:
        url = f"https://127.0.0.1:{port}"
        with pytest.raises(carillon.ConnectError, match=r"(?i)certificate"):
            await exchange(carillon_server, url, transport)
        async with carillon.connect(url, transport="poll") as client:
            with pytest.raises(carillon.ConnectError, match=r"(?i)certificate"):
                await client.publish("c", 1)


@pytest.mark.parametrize("name", ["verify", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there_are_an_error_that_says_where(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "verify":
        with pytest.raises(carillon.ConfigError, match=r"verify: .*/no/such"):
            carillon.connect("https://host", verify="/no/such")
    else:
        monkeypatch.setenv(name, "/no/such")
        with pytest.raises(carillon.ConfigError, match=rf"{name}: .*/no/such"):
            carillon.connect("https://host")


def test_plain_http_reads_no_certificates() -> None:
    assert tls_context("http://host", "/no/such") is None
    context = tls_context("https://host", True)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("options", [["--ca-file", "{certificate}"], ["--insecure-tls"]])
async def test_the_command_line_publishes_over_tls(
    carillon_server: Server, certificate: Path, identity: ssl.SSLContext, options: list[str]
) -> None:
    options = [option.format(certificate=certificate) for option in options]
    async with tls_server(carillon_server.url, identity) as port:
        command = ["-m", "carillon", "pub", "c", "1", "--url", f"https://127.0.0.1:{port}", *options]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=subprocess.PIPE)
        output, _ = await process.communicate()
    assert output.decode().strip() == str(carillon_server.history("c").position)
    assert process.returncode == 0


# Proxies.


@each_transport
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_proxy_of_the_environment_is_used_by_all_transports(
    public_server: Server, transport: Transport, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with proxy_server(public_server.port, asked) as proxy:
        monkeypatch.setenv(variable, proxy if variable == "HTTP_PROXY" else f"http://{proxy}")
        await exchange(public_server, "http://hub.example:8000", transport, api_key="key")
    assert len(asked) >= 2, "the subscription and the HTTP API"
    assert all("hub.example:8000" in each for each in asked)


@each_transport
async def test_tls_goes_through_a_proxy(
    public_server: Server,
    certificate: Path,
    identity: ssl.SSLContext,
    transport: Transport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    async with tls_server(public_server.url, identity) as port, proxy_server(port, asked) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        await exchange(public_server, "https://hub.example", transport, verify=certificate, api_key="key")
    assert set(asked) == {"CONNECT hub.example:443"}


@each_transport
async def test_this_machine_is_reached_without_the_proxy_of_the_environment_unless_asked(
    carillon_server: Server, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with proxy_server(carillon_server.port, asked) as proxy:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy}")
        await exchange(carillon_server, carillon_server.url, transport)
        assert asked == []
        await exchange(carillon_server, carillon_server.url, transport, proxy=proxy)
        assert len(asked) >= 2


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("http://hub.example", {}, None),
        ("http://hub.example", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://hub.example", {"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "http://p:1"),
        ("https://hub.example", {"HTTP_PROXY": "http://p:1", "ALL_PROXY": "q:1"}, "http://q:1"),
        ("https://hub.example", {"ALL_PROXY": "http://q:1", "NO_PROXY": "example"}, None),
        (
            "https://hub.example:8443",
            {"ALL_PROXY": "http://q:1", "NO_PROXY": "hub.example:443"},
            "http://q:1",
        ),
        ("http://hub.example", {"ALL_PROXY": "http://q:1", "NO_PROXY": "*"}, None),
        ("http://[::1]:8000", {"ALL_PROXY": "http://q:1"}, None),
        ("http://localhost:8000", {"ALL_PROXY": "http://q:1"}, None),
    ],
)
def test_one_rule_says_which_proxy(
    url: str, environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_url(url, True) == expected
    assert proxy_url(url, None) is None
    assert proxy_url(url, "other:3128") == "http://other:3128"


@pytest.mark.parametrize("proxy", ["ftp://p:1", "http://", "http://p:99999"])
def test_a_proxy_with_a_wrong_address_is_an_error_that_names_it(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(carillon.ConfigError, match=r"proxy: .* is not the address of a proxy"):
        carillon.connect("http://hub.example", proxy=proxy)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(carillon.ConfigError, match="HTTP_PROXY: "):
        carillon.connect("http://hub.example")


@each_transport
async def test_a_proxy_that_nobody_can_speak_with_is_an_error(transport: Transport) -> None:
    client = carillon.connect("http://hub.example", transport=transport, proxy="socks5h://127.0.0.1:1")
    with pytest.raises(carillon.ConnectError, match=r"(?i)socks"):
        async with client, client.subscribe("c"):
            pass


# Credentials.


@each_transport
@pytest.mark.parametrize(("given", "sent"), [("token@", "dG9rZW46"), ("ann:se%3Acret@", "YW5uOnNlOmNyZXQ=")])
async def test_credentials_in_the_address_are_sent_by_all_transports(
    transport: Transport, given: str, sent: str
) -> None:
    heads: list[bytes] = []
    async with http_server(response("401 Unauthorized"), heads) as url:
        client = carillon.connect(url.replace("//", f"//{given}"), transport=transport)
        assert client.url == url, "shown without them"
        with pytest.raises(carillon.CarillonError, match="401"):
            async with client, client.subscribe("c"):
                pass
    assert f"authorization: basic {sent}".lower() in heads[0].decode().lower()


def test_connect_says_what_is_wrong_with_an_address() -> None:
    wrong: Callable[[str], object] = carillon.connect
    for url in ("http://127.0.0.1:99999", "http://host:0", "http://", "http://host?x=1", "http://[::1"):
        with pytest.raises(carillon.ConfigError, match="is not the address of a server"):
            wrong(url)
