"""Installs the servers that Carillon is compared with, at pinned versions, outside the source tree.

    python -m bench.compare.install [PEER ...]

They go to $XDG_CACHE_HOME/carillon-bench (~/.cache/carillon-bench), from package registries only, and are not
started here. What cannot be had is noted there with the reason, and named as such in the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carillon-bench"
STATE = CACHE / "peers.json"

CENTRIFUGO = "6.9.1"
WS = "8.23.0"
SOCKET_IO = "4.8.4"
WEBSOCKETS = "17.4"
SOCKETIFY = "0.0.31"
NGINX_PACKAGES = ("nginx", "libnginx-mod-nchan")


class InstallError(Exception):
    """A peer cannot be had; says why in a line."""


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """Runs a command and returns what it printed; its last line of error is why it failed."""
    if shutil.which(command[0]) is None:
        raise InstallError(f"{command[0]} is missing on this machine")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise InstallError(f"{command[0]}: {lines[-1] if lines else done.returncode}")
    return done.stdout


def install_centrifugo() -> str:
    """Built by Go: takes minutes."""
    package = f"github.com/centrifugal/centrifugo/v6@v{CENTRIFUGO}"
    run("go", "install", package, GOBIN=str(CACHE / "bin"))
    return CENTRIFUGO


def install_node_package(name: str, version: str) -> str:
    """Into a folder of its own."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps({"private": True}))
    run("npm", "install", "--no-audit", "--no-fund", "--save-exact", f"{name}@{version}", cwd=folder)
    return version


def install_python_package(name: str, version: str) -> str:
    """Into an environment of its own."""
    folder = CACHE / name
    if not (folder / "bin" / "python").exists():
        run(sys.executable, "-m", "venv", str(folder))
    pip = str(folder / "bin" / "pip")
    run(pip, "install", "-q", "--disable-pip-version-check", f"{name}=={version}")
    run(str(folder / "bin" / "python"), "-c", f"import {name}")
    return version


def install_nchan() -> str:
    """Debian's packages, unpacked and not installed: no service is started on the machine."""
    root = CACHE / "nginx"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # apt downloads as a user of its own
        run("apt-get", "download", *NGINX_PACKAGES, cwd=Path(folder))
        archives = sorted(Path(folder).glob("*.deb"))
        for archive in archives:
            run("dpkg-deb", "-x", str(archive), str(root))
        versions = [run("dpkg-deb", "-f", str(archive), "Version").strip() for archive in archives]
    run(str(root / "usr" / "sbin" / "nginx"), "-v")
    return f"{versions[0]} on nginx {versions[1]}"


PEERS: dict[str, Callable[[], str]] = {
    "Centrifugo": install_centrifugo,
    "uWebSockets": lambda: install_python_package("socketify", SOCKETIFY),
    "nchan": install_nchan,
    "ws": lambda: install_node_package("ws", WS),
    "socket.io": lambda: install_node_package("socket.io", SOCKET_IO),
    "websockets": lambda: install_python_package("websockets", WEBSOCKETS),
}


def state() -> dict[str, dict[str, str]]:
    """By peer: its `version`, or the `reason` why there is none."""
    known: dict[str, dict[str, str]] = json.loads(STATE.read_text()) if STATE.exists() else {}
    absent = {"reason": "not installed: python -m bench.compare.install"}
    return {name: known.get(name, absent) for name in PEERS}


def main() -> int:
    """Runs the command line; exit code 1 if a peer cannot be had."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)} (default: all)")
    wanted = parser.parse_args().peers or list(PEERS)
    if unknown := [name for name in wanted if name not in PEERS]:
        parser.error(f"no such peer: {', '.join(unknown)} (there are {', '.join(PEERS)})")
    CACHE.mkdir(parents=True, exist_ok=True)
    known = json.loads(STATE.read_text()) if STATE.exists() else {}
    failures = 0
    for name in wanted:
        print(f"{name}: installing", file=sys.stderr, flush=True)
        try:
            known[name] = {"version": PEERS[name]()}
            print(f"{name}: {known[name]['version']}")
        except InstallError as error:
            known[name] = {"reason": str(error)}
            failures += 1
            print(f"{name}: cannot be had: {error}")
        STATE.write_text(json.dumps(known, indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
