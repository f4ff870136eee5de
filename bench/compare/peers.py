"""How the other servers are started, once they are installed."""

from __future__ import annotations

import os
import shlex
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..serving import Contestant, ServingError
from .install import CACHE, state

if TYPE_CHECKING:
    from ..loads import NamedLoad

SERVERS = Path(__file__).resolve().parent / "servers"
WEB = frozenset({"ws"})


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _centrifugo(version: str) -> Contestant:
    return Contestant(
        "Centrifugo",
        f"{_quoted(CACHE / 'bin' / 'centrifugo')} --config {{folder}}/centrifugo.json",
        transports=WEB,
        version=version,
        environment={"GOMAXPROCS": "1"},
        files={"centrifugo.json": (SERVERS / "centrifugo.json").read_text().replace('"{port}"', "{port}")},
    )


def _publish_primer(port: int, load: NamedLoad) -> None:
    """A first message, so that a poll without a position is answered and has one then."""
    if load.transport != "poll":
        return
    request = urllib.request.Request(f"http://127.0.0.1:{port}/pub/bench", data=b'"first"', method="POST")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(request, timeout=5).close()
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise ServingError("nchan did not take a first message")


def _nchan(version: str) -> Contestant:
    root = CACHE / "nginx"
    module = root / "usr" / "lib" / "nginx" / "modules" / "ngx_nchan_module.so"
    nginx = _quoted(root / "usr" / "sbin" / "nginx")
    # With this module nginx insists on /var/lib/nginx, which is there only where it is installed: it gets a
    # /var/lib of its own, which nobody else sees.
    own_lib = "mkdir -p {folder}/lib/nginx && mount --bind {folder}/lib /var/lib"
    server = f"exec {nginx} -p {{folder}} -c {{folder}}/nginx.conf -e {{folder}}/log"
    unshare = "unshare --mount" if os.geteuid() == 0 else "unshare --map-root-user --mount"
    return Contestant(
        "nchan",
        f"{unshare} sh -c {shlex.quote(f'{own_lib} && {server}')}",
        protocol="nchan",
        publish_by="post",
        version=version,
        prepare=_publish_primer,
        files={"nginx.conf": (SERVERS / "nginx.conf").read_text().replace("{module}", str(module))},
    )


def _node(name: str, server: str, protocol: str, version: str) -> Contestant:
    # The program stands beside its package, where Node looks for it.
    program = CACHE / name / server
    program.write_text((SERVERS / server).read_text())
    return Contestant(
        name, f"node {_quoted(program)} {{port}}", protocol=protocol, transports=WEB, version=version
    )


def _python(name: str, package: str, server: str, version: str) -> Contestant:
    python = CACHE / package / "bin" / "python"
    command = f"{_quoted(python)} {_quoted(SERVERS / server)} {{port}}"
    return Contestant(name, command, protocol="raw", transports=WEB, version=version)


_MAKERS = {
    "Centrifugo": _centrifugo,
    "uWebSockets": lambda version: _python(
        "uWebSockets", "socketify", "uwebsockets_server.py", f"in socketify {version}"
    ),
    "nchan": _nchan,
    "ws": lambda version: _node("ws", "ws_server.mjs", "raw", version),
    "socket.io": lambda version: _node("socket.io", "socketio_server.mjs", "socketio", version),
    "websockets": lambda version: _python("websockets", "websockets", "websockets_server.py", version),
}


def peers_with_recovery() -> tuple[list[Contestant], dict[str, str]]:
    """Those of `peers`, and what has to be switched on to recover as a contestant of its own."""
    present, absent = peers()
    for each in list(present):
        if each.name == "socket.io":
            present.append(replace(each, name="socket.io, recovery", command=f"{each.command} recovery"))
    return present, absent


def peers() -> tuple[list[Contestant], dict[str, str]]:
    """Those that are installed, and by name of the others why they are not."""
    known = state()
    present = [_MAKERS[name](entry["version"]) for name, entry in known.items() if "version" in entry]
    absent = {name: entry["reason"] for name, entry in known.items() if "reason" in entry}
    return present, absent
