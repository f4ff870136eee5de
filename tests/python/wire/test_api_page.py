"""docs/http-api.md says what is so: its commands work, and its fields are those of the server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server

PAGE = (Path(__file__).parents[3] / "docs/http-api.md").read_text()
SECTIONS = {
    found[1]: found[2] for found in re.finditer(r"^### (\w+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
}


def fields_of(server: Server, method: str) -> set[str]:
    """The fields that the method says it has."""
    message = httpx.post(f"{server.url}/api/{method}", json={"no such field at all": 1}).json()["error"][
        "message"
    ]
    _, found, known = message.partition("known: ")
    return set(known.split(", ")) if found else set()


def test_every_method_and_every_field_is_there(carillon_server: Server) -> None:
    message = httpx.post(f"{carillon_server.url}/api/no_such_method_at_all").json()["error"]["message"]
    assert set(SECTIONS) == set(message.partition("known: ")[2].split(", "))
    for method, text in SECTIONS.items():
        named = set(re.findall(r"`(\w+)`", text))
        assert fields_of(carillon_server, method) <= named, method
        table = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
        assert table <= fields_of(carillon_server, method), method


def test_every_command_works(carillon_server: Server, require_tool: Callable[..., str]) -> None:
    require_tool("curl")
    for command in re.findall(r"^curl .*$", PAGE, re.MULTILINE):
        command = command.replace("http://127.0.0.1:8000", carillon_server.url)
        answer = subprocess.run(["bash", "-c", f"{command} -sS"], capture_output=True, text=True, timeout=20)
        assert answer.stdout.startswith(('{"result":', '{"replies":')), (
            command,
            answer.stdout,
            answer.stderr,
        )


@pytest.mark.parametrize("code", ["100", "102", "107", "108", "112"])
def test_the_codes_are_those_of_the_protocol(code: str) -> None:
    assert f"| 200 | {code} |" in PAGE
