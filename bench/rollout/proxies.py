"""HAProxy and nginx with the files of deploy/, in front of any number of gateways.

Addresses, ports, users and paths are replaced, and a listener without TLS is added: the subscribers of the
load use that one, and the SDKs use TLS.
"""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEPLOY = Path(__file__).parents[2] / "deploy"
START_S = 20.0


@dataclass(frozen=True)
class Front:
    """A proxy that runs.

    Attributes:
        port: Port with TLS.
        plain_port: Port without TLS.
        certificate: Certificate to trust.
    """

    port: int
    plain_port: int
    certificate: Path


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def make_certificate(folder: Path) -> Path:
    """Makes a certificate of 127.0.0.1, with its key behind it in the same file."""
    command = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return folder / "cert.pem"


def _replaced(file: Path, replacements: dict[str, str]) -> str:
    text = file.read_text()
    for ours, here in replacements.items():
        if ours not in text:
            raise SystemExit(f"{file} has no {ours!r} any more: change bench/rollout/proxies.py")
        text = text.replace(ours, here)
    return text


def _with_gateways(text: str, ports: Sequence[int]) -> str:
    """Repeats each line of the first gateway for all of them, and removes those of the second."""
    lines = []
    for line in text.splitlines():
        if "10.0.0.11:8000" in line:
            for number, port in enumerate(ports, 1):
                here = line.replace("10.0.0.11:8000", f"127.0.0.1:{port}")
                lines.append(here.replace("gateway1", f"gateway{number}"))
        elif "10.0.0.12:8000" not in line:
            lines.append(line)
    if f"127.0.0.1:{ports[0]}" not in "\n".join(lines):
        raise SystemExit(
            "the files of deploy/ have other gateways than before: change bench/rollout/proxies.py"
        )
    return "\n".join(lines) + "\n"


def haproxy(folder: Path, port: int, plain_port: int, gateways: Sequence[int]) -> list[str]:
    """Writes its configuration, and returns its command."""
    text = _replaced(
        DEPLOY / "haproxy/carillon.cfg",
        {
            "bind :443": f"bind 127.0.0.1:{plain_port}\n    bind 127.0.0.1:{port}",
            "/etc/haproxy/tls/app.example.com.pem": str(folder / "both.pem"),
            "/run/haproxy/carillon.sock": str(folder / "admin"),
            "user haproxy": f"user {getpass.getuser()}",
            "group haproxy": f"group {grp.getgrgid(os.getgid()).gr_name}",
        },
    )
    text = _with_gateways(text, gateways)
    (folder / "haproxy.cfg").write_text(text)
    return [_program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def nginx(folder: Path, port: int, plain_port: int, gateways: Sequence[int]) -> list[str]:
    """Writes its configuration, and returns its command."""
    text = _replaced(
        DEPLOY / "nginx/carillon.conf",
        {
            "listen 443": f"listen 127.0.0.1:{plain_port}; listen 127.0.0.1:{port}",
            "/etc/nginx/tls/app.example.com.pem": str(folder / "cert.pem"),
            "/etc/nginx/tls/app.example.com.key": str(folder / "key.pem"),
            "/var/log/nginx/carillon.log": str(folder / "log"),
        },
    )
    text = _with_gateways(text, gateways)
    bodies = " ".join(
        f"{each}_temp_path {folder};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; worker_processes 2; worker_rlimit_nofile 20000;\n"
        f"events {{ worker_connections 19900; }}\nhttp {{ {bodies}\n{text} }}\n"
    )
    return [_program("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "errors")]


COMMANDS = {"haproxy": haproxy, "nginx": nginx}


@contextlib.contextmanager
def front(name: str, folder: Path, gateways: Sequence[int]) -> Iterator[Front]:
    """Runs a proxy in front of gateways at these ports of 127.0.0.1."""
    place = Front(free_port(), free_port(), make_certificate(folder))
    command = COMMANDS[name](folder, place.port, place.plain_port, gateways)
    with (
        (folder / "proxy.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + START_S
            while not _is_open(place.plain_port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} does not start: {(folder / 'proxy.log').read_text()[-2000:]}")
                time.sleep(0.05)
            yield place
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def version_of(name: str) -> str:
    """What the program says of its version."""
    done = subprocess.run([_program(name), "-v"], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise SystemExit(f"{name} is missing: install it")
    return path


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
