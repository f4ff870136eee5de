"""What a delivery, a connect and an idle connection cost by encoding, transport, delta and token.

    python -m bench.variants                     (everything)
    python -m bench.variants delivery connect memory

Every part starts its servers once and takes all of its variants one after another in the same process, so
that they stand beside each other in one run. User instructions are counted by callgrind between two of its
commands (start and handshakes are not in them), system calls by strace in a window of their own, and CPU time
in a third run without either; what the server does in idle time of the same length (ticks) is subtracted.
CPU times mean something only beside each other. Needs valgrind, strace and PyJWT.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .loads import NamedLoad
from .serving import CARILLON, Contestant, Running, ServingError, end_on_sigterm, machine, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KEY = "bench"
SECRET = "a secret of the benchmark, 32 bytes or more"
CONFIG = f"""
[client]
ping_interval = "0s"
allow_anonymous_connect_without_token = true
[client.token]
hmac_secret_key = "{SECRET}"
ecdsa_public_key = '''
@PEM@'''
[http_api]
key = "{KEY}"
[channel.without_namespace]
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
history_size = 100
history_ttl = "300s"
allowed_delta_types = ["fossil"]
delta_publish = @DELTA@
presence = true
"""
TIMEOUT_S = 120.0
CHANGED_BYTES = 20


@dataclass(frozen=True)
class Variant:
    """One kind of subscriber.

    Attributes:
        name: For the tables.
        transport: `ws` or `http_stream`.
        encoding: `json` or `protobuf`.
        has_delta: It asks for deltas.
        token: Makes the token that it connects with.
        payload_bytes: Of a publication, a JSON string.
    """

    name: str
    transport: str = "ws"
    encoding: str = "json"
    has_delta: bool = False
    token: str = ""
    payload_bytes: int = 128


def varint(number: int) -> bytes:
    """Base 128, as Protobuf has it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def delimited(number: int, content: bytes) -> bytes:
    """A Protobuf field of a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def commands_of(variant: Variant, channel: str) -> bytes:
    """Connect and subscribe, in one message."""
    if variant.encoding == "json":
        subscribe = {"channel": channel, **({"delta": "fossil"} if variant.has_delta else {})}
        connect = {"token": variant.token} if variant.token else {}
        commands: list[dict[str, object]] = [{"id": 1, "connect": connect}]
        if channel:
            commands.append({"id": 2, "subscribe": subscribe})
        return "\n".join(json.dumps(each) for each in commands).encode()
    connected = delimited(4, delimited(1, variant.token.encode()) if variant.token else b"")
    parts = [b"\x08\x01" + connected]
    if channel:
        wish = delimited(1, channel.encode()) + (delimited(12, b"fossil") if variant.has_delta else b"")
        parts.append(b"\x08\x02" + delimited(5, wish))
    return b"".join(varint(len(each)) + each for each in parts)


class Subscriber:
    """A connection that counts what comes: replies first, then publications. It knows frames, lines and
    lengths, and does not look into what they hold, but for errors."""

    def __init__(self, port: int, variant: Variant, channel: str, source: str = "127.0.0.1") -> None:
        self.variant = variant
        self.messages = 0
        self.bytes = 0
        self.newest = b""
        self._buffer = b""
        self._has_head = False
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        commands = commands_of(variant, channel)
        if variant.transport == "ws":
            query = "?format=protobuf" if variant.encoding == "protobuf" else ""
            self.socket.sendall(
                f"GET /connection/websocket{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
                + _frame(0x81 if variant.encoding == "json" else 0x82, commands)
            )
        else:
            kind = "application/octet-stream" if variant.encoding == "protobuf" else "application/json"
            self.socket.sendall(
                f"POST /connection/http_stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(commands)}\r\n\r\n".encode()
                + commands
            )

    def read(self) -> None:
        """Takes what is there."""
        data = self.socket.recv(65536)
        if not data:
            raise ServingError(f"{self.variant.name}: closed by the server: {self.newest!r}")
        self.bytes += len(data)
        self._buffer += data
        if not self._has_head:
            head, mark, rest = self._buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            if b" 101 " not in head[:32] and b" 200 " not in head[:32]:
                raise ServingError(f"{self.variant.name}: {head!r}")
            self._has_head = True
            self._buffer = rest
        while True:
            found = self._next()
            if found is None:
                return
            self.newest = found
            self.messages += self._count(found)

    def _next(self) -> bytes | None:
        """The next frame, or what there is of whole lines and messages."""
        if self.variant.transport == "ws":
            if len(self._buffer) < 2:
                return None
            size, start = self._buffer[1], 2
            if size == 126:
                size, start = int.from_bytes(self._buffer[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(self._buffer[2:10], "big"), 10
            if len(self._buffer) < start + size:
                return None
            if self._buffer[0] == 0x88:
                raise ServingError(f"{self.variant.name}: {self._buffer[start:]!r}")
            found, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
            return found
        if self.variant.encoding == "json":
            lines, mark, rest = self._buffer.rpartition(b"\n")
            if not mark:
                return None
            self._buffer = rest
            return lines
        size, start = _read_varint(self._buffer)
        if start == 0 or len(self._buffer) < start + size:
            return None
        found, self._buffer = self._buffer[: start + size], self._buffer[start + size :]
        return found

    def _count(self, found: bytes) -> int:
        if self.variant.encoding == "json":
            if b'"error":' in found:
                raise ServingError(f"{self.variant.name}: {found!r}")
            return found.count(b"\n") + 1
        count = 0
        while found:
            size, start = _read_varint(found)
            message, found = found[start : start + size], found[start + size :]
            if message[:1] == b"\x08" and message[2:3] == b"\x12":
                raise ServingError(f"{self.variant.name}: {message!r}")
            count += 1
        return count


def _read_varint(data: bytes) -> tuple[int, int]:
    """The number at the start, and its size; size 0: it is not whole."""
    number = 0
    for i, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return number, i + 1
    return 0, 0


def _frame(head: int, payload: bytes) -> bytes:
    """A frame of a client, masked with zeros."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0xFE,)) + size.to_bytes(2, "big")
    return bytes((head,)) + length + bytes(4) + payload


@dataclass
class Audience:
    """Subscribers of one variant, and their publisher.

    Attributes:
        subscribers: All of them are live.
    """

    port: int
    variant: Variant
    channel: str
    subscribers: list[Subscriber] = field(default_factory=list)

    def connect(self, count: int) -> None:
        """Connects, subscribes, and waits until all are live."""
        self._selector = selectors.EpollSelector()
        for i in range(count):
            source = f"127.0.{1 + hash(self.channel) % 200}.{1 + i // 10_000}"
            each = Subscriber(self.port, self.variant, self.channel, source)
            self.subscribers.append(each)
            self._selector.register(each.socket, selectors.EVENT_READ, each)
            if i % 50 == 49:
                self._wait(self.subscribers[-50:], 2)
        self._wait(self.subscribers, 2)
        self._publisher = socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        letters = random.Random(1).choices("abcdefghijklmnopqrstuvwxyz     ", k=self.variant.payload_bytes)
        self._text = "".join(letters)
        self._published = 0

    def publish(self, messages: int) -> None:
        """One in flight: the next message follows when every subscriber has the one before."""
        for _ in range(messages):
            self._published += 1
            middle = len(self._text) // 2
            number = "".join(random.Random(self._published).choices("0123456789", k=CHANGED_BYTES))
            data = self._text[: middle - CHANGED_BYTES] + number + self._text[middle:]
            body = json.dumps(
                {"channel": self.channel, "data": data[: self.variant.payload_bytes - 2]}
            ).encode()
            self._publisher.sendall(
                f"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nX-API-Key: {KEY}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            answer = self._publisher.recv(4096)
            if b'"result"' not in answer:
                raise ServingError(f"publish: {answer!r}")
            self._wait(self.subscribers, 2 + self._published)

    def received(self) -> int:
        """Bytes that all have received."""
        return sum(each.bytes for each in self.subscribers)

    def close(self) -> None:
        """Closes everything."""
        for each in self.subscribers:
            each.socket.close()
        self._publisher.close()
        self._selector.close()

    def _wait(self, subscribers: Sequence[Subscriber], messages: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        missing = sum(each.messages < messages for each in subscribers)
        while missing:
            if time.monotonic() > deadline:
                raise ServingError(f"{self.variant.name}: {missing} subscribers lack message {messages}")
            for key, _ in self._selector.select(1.0):
                each: Subscriber = key.data
                before = each.messages
                each.read()
                missing -= before < messages <= each.messages and each in subscribers
        return


# ---- what counts


class Callgrind:
    """Counts the instructions of a server that runs under callgrind, between two commands to it."""

    def __init__(self, pid: int, out: Path) -> None:
        self._pid = pid
        self._out = out
        self._dumps = 0
        self._command("instrumentation", "on")

    def count(self, work: Callable[[], None]) -> int:
        """Instructions of the server while `work` runs."""
        self._command("zero")
        work()
        self._command("dump")
        self._dumps += 1
        text = self._out.with_name(f"{self._out.name}.{self._dumps}").read_text()
        found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if not found:
            raise ServingError("callgrind counted nothing")
        return int(found[1])

    def _command(self, *words: str) -> None:
        subprocess.run(
            ["vgdb", f"--pid={self._pid}", *words], check=True, capture_output=True, timeout=TIMEOUT_S
        )


def system_calls(pid: int, work: Callable[[], None]) -> int:
    """System calls of a running process while `work` runs."""
    with tempfile.NamedTemporaryFile("r") as out:
        tracer = subprocess.Popen(
            ["strace", "-c", "-f", "-p", str(pid), "-o", out.name], stderr=subprocess.PIPE, text=True
        )
        assert tracer.stderr is not None
        tracer.stderr.readline()  # attached
        work()
        tracer.send_signal(signal.SIGINT)
        tracer.wait(TIMEOUT_S)
        rows = [line.split() for line in out.read().splitlines() if line.endswith(" total")]
    if not rows:
        raise ServingError("strace counted nothing")
    return int(rows[0][3])


def cpu_s(pid: int) -> float:
    """CPU time of a process, by its clock."""
    return time.clock_gettime((~pid << 3) | 2)


def private_bytes(pid: int) -> int:
    """Private memory that the process has written to."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(size) for size in re.findall(r"^Private_Dirty:\s+(\d+)", text, re.MULTILINE))


@contextmanager
def server(pem: str, *, has_delta: bool = False, prefix: Sequence[str] = ()) -> Iterator[Running]:
    """Carillon of this tree with rules, keys of tokens and an API key."""
    config = CONFIG.replace("@PEM@", pem).replace("@DELTA@", str(has_delta).lower())
    contestant = Contestant("carillon", CARILLON, files={"carillon.toml": config})
    with serving(contestant, NamedLoad("variants", ""), prefix=list(prefix), timeout_s=600) as running:
        yield running


# ---- the parts

DELIVERIES = (
    Variant("JSON over WebSocket"),
    Variant("Protobuf over WebSocket", encoding="protobuf"),
    Variant("JSON over http_stream", transport="http_stream"),
    Variant("Protobuf over http_stream", transport="http_stream", encoding="protobuf"),
    Variant("2 kB, JSON over WebSocket", payload_bytes=2048),
    Variant("2 kB, the same with delta", payload_bytes=2048, has_delta=True),
)


def deliveries(args: argparse.Namespace, pem: str) -> None:
    """A row per variant: what one delivery costs, one message in flight."""
    print(
        f"\nper delivery, {args.subscribers} subscribers, 1 in flight, {args.messages} publishes by POST;\n"
        f"128 bytes of data if nothing else is said; of 2 kB, {CHANGED_BYTES} bytes change"
    )
    columns = ("user instructions", "system calls", "CPU, µs", "bytes received")
    rows: dict[str, list[float]] = {variant.name: [] for variant in DELIVERIES}
    delivered = args.subscribers * args.messages

    def each_variant(running: Running, count: Callable[[Callable[[], None]], float]) -> None:
        for variant in DELIVERIES:
            audience = Audience(running.port, variant, f"c{DELIVERIES.index(variant)}")
            audience.connect(args.subscribers)
            audience.publish(20)
            before = audience.received()
            began = time.monotonic()
            total = count(partial(audience.publish, args.messages))
            took = time.monotonic() - began
            quiet = min(took, args.quiet_seconds)
            total -= count(partial(time.sleep, quiet)) * took / quiet
            rows[variant.name].append(total / delivered)
            wire[variant.name] = (audience.received() - before) / delivered
            audience.close()

    wire: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "callgrind.out"
        prefix = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        with server(pem, has_delta=True, prefix=prefix) as running:
            each_variant(running, Callgrind(running.pid, out).count)
    with server(pem, has_delta=True) as running:
        each_variant(running, lambda work: system_calls(running.pid, work))

    def cpu_us(pid: int, work: Callable[[], None]) -> float:
        before = cpu_s(pid)
        work()
        return 1e6 * (cpu_s(pid) - before)

    with server(pem, has_delta=True) as running:
        each_variant(running, lambda work: cpu_us(running.pid, work))
    print(f"{'':<28}" + "".join(f"{column:>18}" for column in columns))
    for name, row in rows.items():
        print(f"{name:<28}{row[0]:>18.1f}{row[1]:>18.3f}{row[2]:>18.2f}{wire[name]:>18.1f}", flush=True)


def connects(args: argparse.Namespace, tokens: dict[str, str], pem: str) -> None:
    """A row per kind of token: what one connect costs the server."""
    print(
        f"\nper connect over WebSocket, JSON, without a subscription; {args.connects} each, one after another"
    )
    print(f"{'':<28}{'user instructions':>18}{'CPU, µs':>18}{'a second and core':>20}")
    variants = [Variant("without a token"), *(Variant(name, token=text) for name, text in tokens.items())]

    def connect(running: Running, variant: Variant, count: int) -> None:
        for _ in range(count):
            audience = Subscriber(running.port, variant, "")
            while audience.messages < 1:
                audience.read()
            audience.socket.close()

    instructions = []
    counted = max(1, args.connects // 10)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "callgrind.out"
        prefix = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        with server(pem, prefix=prefix) as running:
            callgrind = Callgrind(running.pid, out)
            for variant in variants:
                connect(running, variant, 10)
                total = callgrind.count(partial(connect, running, variant, counted))
                instructions.append(total / counted)
    cpu = [0.0] * len(variants)
    with server(pem) as running:
        for _ in range(args.rounds):
            for i, variant in enumerate(variants):
                before = cpu_s(running.pid)
                connect(running, variant, args.connects // args.rounds)
                cpu[i] += cpu_s(running.pid) - before
    for variant, count, seconds in zip(variants, instructions, cpu, strict=True):
        each = seconds / (args.connects // args.rounds * args.rounds)
        print(f"{variant.name:<28}{count:>18,.0f}{1e6 * each:>18.1f}{1 / each:>20,.0f}", flush=True)


def memory(args: argparse.Namespace, token: str, pem: str) -> None:
    """A row per kind of connection: what it takes while it is idle."""
    print(f"\nbytes per idle connection with one subscription, {args.connections} connections, a server each")
    kinds = (
        *(replace(each, name=each.name) for each in DELIVERIES[:4]),
        Variant("JSON over WebSocket, token", token=token),
    )
    for variant in kinds:
        with server(pem) as running:
            first = Audience(running.port, variant, "idle")
            first.connect(100)
            before = private_bytes(running.pid)
            rest = Audience(running.port, variant, "idle")
            rest.connect(args.connections)
            time.sleep(2.0)
            print(
                f"{variant.name:<28}{(private_bytes(running.pid) - before) / args.connections:>18.0f}",
                flush=True,
            )
            first.close()
            rest.close()


def keys_and_tokens() -> tuple[str, dict[str, str]]:
    """The public key, and a token of each algorithm."""
    import jwt  # of the tests' requirements
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    private = ec.generate_private_key(ec.SECP256R1())
    claims = {"sub": "ann", "exp": int(time.time()) + 86_400}
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return pem, {
        "HS256": jwt.encode(claims, SECRET, algorithm="HS256"),
        "ES256": jwt.encode(claims, private, algorithm="ES256"),
    }


def main() -> int:
    """Runs the command line; exit code 1 if a run failed, 2 if a tool is missing."""
    end_on_sigterm()
    parts = ("delivery", "connect", "memory")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)} (default: all)")
    parser.add_argument("--subscribers", default=1_000, type=int, help="delivery (default 1000)")
    parser.add_argument("--messages", default=200, type=int, help="delivery: counted (default 200)")
    parser.add_argument(
        "--quiet-seconds", default=10.0, type=float, help="delivery: idle, to subtract (default 10)"
    )
    parser.add_argument("--connects", default=2_000, type=int, help="connect: of each kind (default 2000)")
    parser.add_argument("--rounds", default=4, type=int, help="connect: the kinds in turn (default 4)")
    parser.add_argument("--connections", default=5_000, type=int, help="memory (default 5000)")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in parts]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(parts)}")
    for tool in ("valgrind", "vgdb", "strace"):
        if shutil.which(tool) is None:
            print(
                f"{tool} is missing: apt-get install {'strace' if tool == 'strace' else 'valgrind'}",
                file=sys.stderr,
            )
            return 2
    print("; ".join(f"{name}: {value}" for name, value in machine().items()))
    pem, tokens = keys_and_tokens()
    try:
        for part in args.parts or parts:
            if part == "delivery":
                deliveries(args, pem)
            elif part == "connect":
                connects(args, tokens, pem)
            else:
                memory(args, tokens["HS256"], pem)
    except (OSError, ServingError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
