"""What Python calls meanwhile does not stop the interpreter while a takeover holds a server still."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from carillon import Server

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.wire

SUCCESSOR = Path(__file__).resolve().parents[2] / "bench" / "silent_successor.py"

CALLS: dict[str, Callable[[Server], Any]] = {
    "publish": lambda server: server.publish("c", 1),
    "publish_nowait": lambda server: server.publish_nowait("c", 1),
    "publish_many": lambda server: server.publish_many([("c", 1), ("d", 1)]),
    "history": lambda server: server.history("c"),
    "presence": lambda server: server.presence("c"),
    "add_members": lambda server: server.add_members("c", ["u"]),
    "stats": lambda server: server.stats(),
}


def test_other_threads_run_while_a_call_waits_for_a_takeover(tmp_path: Path) -> None:
    path = tmp_path / "s"
    config = {"takeover": {"socket": str(path), "timeout_ms": 800}}
    with Server(port=0, insecure=True, config=config) as server:
        server.publish("c", 0)
        server.offer_takeover()
        with subprocess.Popen([sys.executable, SUCCESSOR, path], stdout=subprocess.PIPE) as successor:
            assert successor.stdout
            successor.stdout.readline()  # it has everything, says nothing, and all stands still
            began = threading.Barrier(len(CALLS) + 1)

            def call(name: str) -> None:
                began.wait()
                CALLS[name](server)

            callers = [threading.Thread(target=call, args=(name,)) for name in CALLS]
            for each in callers:
                each.start()
            began.wait()
            turns = 0
            while callers[0].is_alive():
                turns += 1
                time.sleep(0.001)
            successor.kill()
            for each in callers:
                each.join(10)
            assert not any(each.is_alive() for each in callers)
        assert turns > 20, "the interpreter stood still"
        assert server.history("c").position.offset == 4
        assert not server.is_given_away
