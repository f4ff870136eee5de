"""Checks the rules that compilers do not: who may include whom, and how files are named.

Arrows of docs/design.md point down only: bindings -> server -> gateway -> loop -> transports -> client ->
session -> requests -> protocol, hub -> store; session -> deflate; and server -> token, proxy -> session.
The simulator stands above the gateway, whose HTTP parser it uses: bindings -> sim -> gateway.
The load generator stands beside them and uses none of them: bindings -> load. The laboratory measures the hub
alone: bindings -> lab -> session, load.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp"

CORE = {"env", "metrics", "store", "hub"}
BELOW_SESSION = {"requests", "protocol", "deflate"} | CORE
UP_TO_TRANSPORTS = {"transports", "client", "session"} | BELOW_SESSION
MAY_INCLUDE = {
    "protocol": {"protocol"},
    "env": {"env"},
    "metrics": {"metrics", "env"},
    "deflate": {"deflate"},
    "store": {"store", "metrics", "env"},
    "hub": CORE,
    "requests": {"requests", "protocol"} | CORE,
    "session": {"session"} | BELOW_SESSION,
    "token": {"token", "session"} | BELOW_SESSION,
    "proxy": {"proxy", "session"} | BELOW_SESSION,
    "client": {"client", "session"} | BELOW_SESSION,
    "transports": {"transports", "client", "session"} | BELOW_SESSION,
    "loop": {"loop"} | UP_TO_TRANSPORTS,
    "sim": {"sim", "gateway", "loop"} | UP_TO_TRANSPORTS,
    "gateway": {"gateway", "loop"} | UP_TO_TRANSPORTS,
    "server": {"server", "token", "proxy", "gateway", "loop"} | UP_TO_TRANSPORTS,
    "load": {"load"},
    "lab": {"lab", "load", "session"} | BELOW_SESSION,
    "bindings": {"bindings", "sim", "lab", "load", "server", "token", "proxy", "gateway", "loop"}
    | UP_TO_TRANSPORTS,
}

# What a header from outside is called, the layers that may include it, and whether only in a .cpp file.
EXTERNAL = [
    (re.compile(r"boost/(asio|beast)\.hpp"), set(), False),  # the umbrella headers cost seconds per unit
    (re.compile(r"boost/beast/(zlib/|core/error\.hpp)"), {"gateway", "deflate", "load", "proxy"}, True),
    (re.compile(r"boost/"), {"gateway", "proxy"}, False),
    (re.compile(r"(pybind11/|Python\.h)"), {"bindings"}, False),
    (re.compile(r"nlohmann/json_fwd\.hpp"), {"protocol", "session", "token", "server", "bindings"}, False),
    (re.compile(r"nlohmann/"), {"protocol", "session", "token", "server", "sim", "bindings"}, True),
    (re.compile(r"(sys/(socket|epoll|uio|un|eventfd)\.h|netinet/|arpa/|netdb\.h|poll\.h|liburing)"),
     {"gateway", "proxy", "server", "bindings", "load"}, False),
    (re.compile(r"openssl/"), {"token", "gateway"}, True),
    (re.compile(r"sqlite3\.h"), {"store", "sim"}, True),
    (re.compile(r"lua\.hpp"), {"sim"}, True),
    (re.compile(r"(immintrin|emmintrin|arm_neon)\.h"), {"protocol"}, True),
    (re.compile(r"(pthread|unistd)\.h"),
     {"env", "store", "gateway", "proxy", "server", "bindings", "load", "lab"}, False),
]  # fmt: skip
# Files that know what their layer does not.
MAY_KNOW = {
    "boost/": {
        "store/redis/asio_redis_dial.cpp",
        "store/redis/asio_redis_link.cpp",
        "store/redis/boost_redis_impl.cpp",
        "store/redis/asio_redis_thread.cpp",
    },
    "openssl/": {"store/redis/asio_redis_dial.cpp"},
}
PURE = {"protocol", "env"}  # beside what is above, only the standard library: <vector>, never <unistd.h>

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
FORBIDDEN_NAME = re.compile(r"(^|_)(utils?|misc|common|managers?|helpers?)(_|\.|$)", re.IGNORECASE)


def complaint_about(layer: str, file: Path, own: str | None, external: str) -> str | None:
    if own is not None:
        target = own.split("/")[0]
        if "/" not in own or target not in MAY_INCLUDE:
            return f'"{own}" is no path from cpp/, as "hub/cursor.hpp" is'
        if not (CPP / own).exists():
            return f'"{own}" does not exist'
        return None if target in MAY_INCLUDE[layer] else f"{layer} must not include {target}: {own}"
    for start, files in MAY_KNOW.items():
        if external.startswith(start) and file.relative_to(CPP).as_posix() in files:
            return None
    for pattern, layers, only_cpp in EXTERNAL:
        if pattern.match(external):
            if layer not in layers:
                return f"<{external}> is not for {layer}"
            if only_cpp and file.suffix != ".cpp":
                return f"<{external}> belongs into a .cpp file"
            return None
    if layer in PURE and ("/" in external or external.endswith((".h", ".hpp"))):
        return f"<{external}> is not of the standard library, and {layer} uses nothing else"
    return None


def check(file: Path) -> list[str]:
    where = file.relative_to(ROOT)
    found = []
    layer = file.relative_to(CPP).parts[0]
    if layer not in MAY_INCLUDE:
        return [f"{where}: {layer} is no layer that tools/check_includes.py knows"]
    lines = file.read_text(encoding="utf-8").splitlines()
    if file.suffix == ".hpp" and "#pragma once" not in lines:
        found.append(f"{where}: no #pragma once")
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match and (text := complaint_about(layer, file, match[1], match[2])):
            found.append(f"{where}:{number}: {text}")
    return found


def main() -> int:
    found = [text for file in sorted(CPP.rglob("*.[ch]pp")) for text in check(file)]
    for folder in ("cpp", "python", "tests", "bench", "tools"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and "node_modules" not in file.parts and FORBIDDEN_NAME.search(file.stem):
                found.append(f"{file.relative_to(ROOT)}: a name that says nothing")
    print("\n".join(found) if found else "includes: in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
