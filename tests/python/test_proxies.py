"""The nginx configuration of docs/proxies.md, in front of a server, over TLS; skipped without nginx."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import carillon
import pytest
from carillon.testing import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carillon import Server

PAGE = Path(__file__).parents[2] / "docs/proxies.md"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@pytest.fixture
def certificate(tmp_path: Path, require_tool: Callable[..., str]) -> Path:
    path = tmp_path / "cert.pem"
    command = (
        f"{require_tool('openssl')} req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    )
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(path)]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return path


@pytest.fixture
def proxied(carillon_server: Server, certificate: Path, tmp_path: Path) -> Iterator[str]:
    """The address of nginx in front of `carillon_server`."""
    if NGINX is None:
        pytest.skip("nginx is missing on this machine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = re.search(r"^```nginx\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    block = found[1]
    for ours, here in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("127.0.0.1:8000", f"127.0.0.1:{carillon_server.port}"),
        ("/etc/ssl/app.example.com.pem", str(certificate)),
        ("/etc/ssl/app.example.com.key", str(certificate.with_name("key.pem"))),
    ):
        assert ours in block
        block = block.replace(ours, here)
    bodies = " ".join(
        f"{each}_temp_path {tmp_path};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {bodies}\n{block} }}\n"
    )
    command = [NGINX, "-p", str(tmp_path), "-c", "nginx.conf", "-e", str(tmp_path / "errors")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        wait_until(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield f"https://127.0.0.1:{port}"
        process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
def test_every_transport_passes_nginx(
    carillon_server: Server, proxied: str, certificate: Path, transport: Literal["ws", "sse", "poll"]
) -> None:
    since = carillon_server.publish("news", 1)
    carillon_server.publish("news", 2)
    with (
        carillon.sync.connect(proxied, transport=transport, verify=str(certificate)) as client,
        client.subscribe("news", since=since) as news,
    ):
        assert news.next(timeout=5).json() == 2
        carillon_server.publish("news", 3)
        assert news.next(timeout=5).json() == 3  # at once: nothing is buffered on the way


def test_the_http_api_does_not_pass(carillon_server: Server, proxied: str, certificate: Path) -> None:
    with (
        carillon.sync.connect(proxied, transport="poll", verify=str(certificate)) as client,
        pytest.raises(carillon.CarillonError),
    ):
        client.publish("news", 1)
