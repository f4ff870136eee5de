"""Every log record of a server has an event and fields, and docs/operations.md lists each event."""

from __future__ import annotations

import ast
import json
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from carillon.access_log import JsonFormatter, LineFormatter, emit
from carillon.repeated_log import RepeatedLog

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python/carillon"
# These write `carillon.client`: they run in the programs of clients.
OF_CLIENTS = {"lifetime.py", "transports/token.py", "transports/reconnect.py"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def documented() -> set[str]:
    page = (ROOT / "docs/operations.md").read_text()
    table = page.partition("### Events")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def calls_of_loggers() -> list[tuple[str, ast.Call]]:
    """The calls that write a record of a server, with the place of each."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        name = str(file.relative_to(PACKAGE))
        if name in OF_CLIENTS or name == "repeated_log.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            target = ast.unparse(node.func.value)
            if (target == "_log" and node.func.attr in LEVELS) or (
                target == "self._log" and node.func.attr == "write"
            ):
                found.append((f"{name}:{node.lineno}", node))
    return found


def event_of(call: ast.Call) -> str | None:
    """The event of a record: its name, or "" if that is computed. None: it has none."""
    for keyword in call.keywords:
        if keyword.arg == "event" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "event":
                    return str(value.value) if isinstance(value, ast.Constant) else ""
    return None


def events_of_python() -> set[str]:
    named = {event for _, call in calls_of_loggers() if (event := event_of(call))}
    notes = re.findall(r'_note\(\s*"(\w+)"', (PACKAGE / "cli/serve.py").read_text())
    warnings = re.findall(r'\(\("(\w+)", text\)', (PACKAGE / "config.py").read_text())
    return named | set(notes) | set(warnings)


def events_of_core() -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "cpp").rglob("*.cpp"):
        text = file.read_text()
        # tell({LogLevel::…, "event", …}), tell(LogLevel::…, "event", …), with one level or event of two.
        for told in re.findall(
            r"LogLevel::\w+(?:\s*:\s*LogLevel::\w+)?,\s*((?:[\w: =]+\?\s*)?\"\w+\"(?:\s*:\s*\"\w+\")?)", text
        ):
            found |= set(re.findall(r'"(\w+)"', told))
    names = (ROOT / "cpp/session/connection_log.cpp").read_text()
    return found | set(re.findall(r'return "(\w+)";', names))


def test_the_page_lists_every_event_and_no_other() -> None:
    written = events_of_python() | events_of_core()
    assert {"connect", "store_recovered", "hook_late", "weak_secret", "start", "drain"} <= written, (
        "found all"
    )
    assert documented() == written


def test_every_record_of_python_has_an_event() -> None:
    calls = calls_of_loggers()
    assert len(calls) > 20
    assert [place for place, call in calls if event_of(call) is None] == []


def test_both_forms_have_the_event_and_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "carillon")
    fields = {
        "event": "gap",
        "client": "c1",
        "user": "",
        "peer": "127.0.0.1:1",
        "channel": "news of\n1999",
        "lost_from": 4,
        "duration_ms": 0,
    }
    emit(("log", "access", "info", "websocket gap c1", fields))
    emit(("log", "access", "info", "sse close c2", {"event": "close", "channels": ["a b", "c"], "code": 0}))
    gap, close = caplog.records
    line = LineFormatter("%(message)s").format(gap)
    assert line == 'websocket gap c1 event=gap client=c1 channel="news of\\n1999" lost_from=4'
    assert LineFormatter("%(message)s").format(close) == 'sse close c2 event=close channels=["a b", "c"]'
    shown = json.loads(JsonFormatter().format(gap))
    assert {name: shown[name] for name in ("event", "client", "channel", "lost_from", "peer")} == {
        name: fields[name] for name in ("event", "client", "channel", "lost_from", "peer")
    }
    assert "user" not in shown
    assert json.loads(JsonFormatter().format(close))["channels"] == ["a b", "c"]


def test_the_fields_stand_before_a_traceback() -> None:
    try:
        raise RuntimeError("why")
    except RuntimeError:
        record = logging.LogRecord("carillon.server", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    record.event = "hook_failed"
    line = LineFormatter("%(message)s").format(record)
    assert line.startswith("failed event=hook_failed\\nTraceback")


async def test_repeated_records_have_their_number_as_a_field(caplog: pytest.LogCaptureFixture) -> None:
    log = RepeatedLog(logging.getLogger("carillon.server"))
    for client in ("c1", "c2", "c3"):
        log.write("kind", logging.WARNING, "late", event="hook_late", client=client)
    log.flush()
    first, later = caplog.records
    assert (first.event, first.client) == ("hook_late", "c1")  # type: ignore[attr-defined]
    assert (later.event, later.client, later.count) == ("hook_late", "c3", 2)  # type: ignore[attr-defined]
    assert not hasattr(first, "count")
