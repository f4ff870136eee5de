"""A backend that proxies ask: it answers as the test says, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass
class Raw:
    """A reply that is written as it is."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False
    before: bytes = b""  # comes some time earlier
    behind: bytes = b""  # comes at once, in the same packet
    after: bytes = b""  # comes some time later


Answer = Callable[[Json], "Json | Raw"]


class Backend:
    """Answers each path by a function of the request's body, on keep-alive connections."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Json]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.open: list[Any] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def setup(self) -> None:
                backend.connections += 1
                backend.open.append(self.request)
                super().setup()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                backend.asked.append((self.path, body))
                backend.headers.append({name.lower(): value for name, value in self.headers.items()})
                answer = backend.answers.get(self.path, lambda _: {"result": {}})(body)
                raw = answer if isinstance(answer, Raw) else Raw(body=json.dumps(answer).encode())
                if raw.before:
                    self.wfile.write(raw.before)
                    time.sleep(0.05)
                self.send_response(raw.status)
                for name, value in {"Content-Length": str(len(raw.body)), **raw.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw.body + raw.behind)
                if raw.after:
                    time.sleep(0.05)
                    self.wfile.write(raw.after)
                self.close_connection = raw.closes

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def of(self, path: str) -> list[Json]:
        """What was asked at a path."""
        return [body for asked, body in self.asked if asked == path]

    def close_connections(self) -> None:
        """As a backend does whose keep-alive time is over, or that starts anew."""
        import socket

        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.close_connections()


@contextlib.contextmanager
def running_backend() -> Iterator[Backend]:
    backend = Backend()
    try:
        yield backend
    finally:
        backend.close()


def proxied(backend: Backend, *operations: str, **common: Any) -> Json:
    """A configuration in which the backend decides on these; `chat:…` are the channels."""

    def endpoint(operation: str, **more: Any) -> Json:
        return {"endpoint": f"{backend.url}/{operation}", "timeout": "5s", **common, **more}

    client = {one: endpoint(one, enabled=True) for one in ("connect", "refresh") if one in operations}
    channel = {one: endpoint(one) for one in ("subscribe", "publish", "sub_refresh") if one in operations}
    namespace = {"name": "chat", "presence": True, "history_size": 10, "history_ttl": "60s"}
    namespace |= {f"{one}_proxy_enabled": True for one in channel}
    document: Json = {
        "client": {"proxy": client, "allow_anonymous_connect_without_token": True},
        "channel": {
            "proxy": channel,
            "namespaces": [
                namespace,
                {
                    "name": "open",
                    "allow_subscribe_for_client": True,
                    "allow_subscribe_for_anonymous": True,
                    "allow_publish_for_client": True,
                    "allow_publish_for_anonymous": True,
                },
            ],
        },
    }
    if "rpc" in operations:
        document["rpc"] = {
            "proxy": endpoint("rpc"),
            "without_namespace": {"proxy_enabled": True},
            "namespaces": [{"name": "room", "proxy_enabled": True}, {"name": "off"}],
        }
    return document
