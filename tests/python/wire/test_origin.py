"""Which web pages may talk to a server, and by which names it is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import carillon
import pytest
import websockets
from wire_clients import open_http, open_sse, open_tcp, open_ws
from wire_frames import HANDSHAKE_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from carillon import Server

pytestmark = pytest.mark.wire

PATHS = [
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/poll?channel=c&timeout=0"),
    ("GET", "/sse?channel="),
    ("GET", "/connection/websocket"),
    ("POST", "/api/publish"),
    ("POST", "/api/info"),
    ("GET", "/nothing"),
]


async def request(client: httpx.AsyncClient, method: str, path: str, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.request(method, path, headers=names, json={} if method == "POST" else None)


async def test_foreign_pages_are_refused_on_every_path(server: Server) -> None:
    async with open_http(server) as client:
        for origin in (
            "https://evil.test",
            "null",
            f"http://127.0.0.1.evil.test:{server.port}",
            "http://localhost",
        ):
            for method, path in [*PATHS, ("OPTIONS", "/api/publish"), ("OPTIONS", "/sse")]:
                response = await request(client, method, path, Origin=origin)
                assert response.status_code == 403, (method, path, origin)
                assert "access-control-allow-origin" not in response.headers
    with pytest.raises(websockets.InvalidStatus):
        async with open_ws(server, origin="https://evil.test"):
            pass
    assert server.channels() == {}


async def test_no_origin_and_the_own_one_are_taken(server: Server) -> None:
    own = f"http://127.0.0.1:{server.port}"
    async with open_http(server) as client:
        for method, path in PATHS:
            assert (await request(client, method, path)).status_code != 403
            response = await request(client, method, path, Origin=own)
            assert response.status_code != 403
            assert response.headers["access-control-allow-origin"] == own
            assert "origin" in response.headers["vary"].lower()
    async with open_ws(server, origin=own) as ws, open_sse(server, "c", headers={"Origin": own}) as sse:
        await ws.subscribe("c")
        await sse.status()
        assert sse.response.headers["access-control-allow-origin"] == own


@pytest.mark.parametrize(
    ("allowed", "good", "bad"),
    [
        (
            ["https://*.example.com"],
            ["https://a.example.com", "https://A.Example.COM", "https://a.b.example.com"],
            ["https://example.com", "http://a.example.com", "https://a.example.com.evil.test"],
        ),
        (
            ["http://localhost:*", "https://app.test"],
            ["http://localhost:5173", "https://app.test"],
            ["https://app.test:8443", "http://localhost"],
        ),
        (["*"], ["https://anything.test", "null"], []),
    ],
    ids=["subdomains", "ports", "all"],
)
async def test_allowed_origins(
    serve: Callable[..., Server], allowed: list[str], good: list[str], bad: list[str]
) -> None:
    server = serve(allowed_origins=allowed)
    async with open_http(server) as client:
        for origin in good:
            response = await request(client, "GET", "/poll?channel=c&timeout=0", Origin=origin)
            assert response.status_code == 200, origin
            assert response.headers["access-control-allow-origin"] == origin
            assert response.headers["vary"] == "Origin"
            async with open_ws(server, origin=origin):
                pass
        for origin in bad:
            response = await request(client, "GET", "/poll?channel=c&timeout=0", Origin=origin)
            assert response.status_code == 403, origin


async def test_preflight(serve: Callable[..., Server]) -> None:
    server = serve(allowed_origins=["https://app.test"], api_key="k")
    ask = {
        "Origin": "https://app.test",
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "content-type,x-api-key",
    }
    async with open_http(server) as client:
        for path in ("/api/publish", "/poll", "/sse"):
            response = await request(client, "OPTIONS", path, **ask)
            assert response.status_code == 204
            assert response.content == b""
            assert response.headers["access-control-allow-origin"] == "https://app.test"
            assert "POST" in response.headers["access-control-allow-methods"]
            assert response.headers["access-control-allow-headers"] == "content-type,x-api-key"
            assert int(response.headers["access-control-max-age"]) > 0
        response = await request(client, "OPTIONS", "/api/publish", **{**ask, "Origin": "https://b.test"})
        assert response.status_code == 403
        assert "access-control-allow-methods" not in response.headers


async def test_headers_cannot_be_injected_by_a_preflight(serve: Callable[..., Server]) -> None:
    server = serve(allowed_origins=["*"])
    async with open_tcp(server) as tcp:
        await tcp.write(
            "OPTIONS /poll HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.test\r\n"
            "Access-Control-Request-Headers: x\rSet-Cookie: a=b\r\n\r\n"
        )
        assert b"Set-Cookie: a=b\r\n" not in (await tcp.read_until(b"\r\n\r\n"))


async def statuses_for(server: Server, host: str) -> set[int]:
    statuses = set()
    for method, path in PATHS:
        async with open_tcp(server) as tcp:
            body = "\r\nContent-Length: 2\r\n\r\n{}" if method == "POST" else "\r\n\r\n"
            await tcp.write(f"{method} {path} HTTP/1.1\r\nHost: {host}{body}")
            statuses.add((await tcp.read_response())[0])
    async with open_tcp(server) as tcp:
        headers = HANDSHAKE_HEADERS.replace("Host: localhost", f"Host: {host}")
        await tcp.write(f"GET /connection/websocket HTTP/1.1\r\n{headers}\r\n")
        statuses.add(int((await tcp.read_until(b"\r\n\r\n")).split()[1]))
    return statuses


async def test_insecure_mode_serves_loopback_names_only(server: Server) -> None:
    for host in (
        "evil.test",
        "evil.test:8000",
        "127.0.0.1.evil.test",
        "localhost.evil.test",
        "10.0.0.1",
        "[::2]",
    ):
        assert await statuses_for(server, host) == {421}, host
    for host in ("localhost", "LOCALHOST:1234", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "a.localhost"):
        assert 421 not in await statuses_for(server, host), host


async def test_a_secure_server_is_reached_by_any_name(serve: Callable[..., Server]) -> None:
    server = serve(api_key="k")
    assert 421 not in await statuses_for(server, "bells.example.com")


def test_insecure_mode_on_every_address_is_refused() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "bells.example.com"):
        with pytest.raises(carillon.ConfigError, match="insecure"):
            carillon.Server(host=host, insecure=True)
    assert carillon.Server(host="0.0.0.0").settings["client"]["insecure"] is False
