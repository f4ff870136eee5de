"""bench/rollout at a small load: a fleet behind a proxy is replaced, and nothing is lost or doubled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from carillon.testing import RedisServer
from conftest import require, require_tool

ROOT = Path(__file__).resolve().parents[2]
SCALE = (
    "--gateways 3 --clients 60 --channels 6 --sdks 0 --workers 1 --before 1 --after 1 --pace 500ms --pause 0s "
    "--interval 200ms --expect 0.8"
)


@pytest.mark.wire
@pytest.mark.timeout(180)
def test_a_fleet_behind_haproxy_is_replaced_and_nothing_is_lost() -> None:
    require_tool("haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy")
    require_tool("openssl")
    require(not RedisServer.missing(), "redis-server")
    done = subprocess.run(
        [sys.executable, "-m", "bench.rollout", "--proxy", "haproxy", *SCALE.split()],
        cwd=ROOT, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0, other data than at its offset 0, not recovered 0" in done.stdout
    assert done.stdout.count(" -> ") == 3, "gateways have been replaced"
