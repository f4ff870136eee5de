"""The files of deploy/container and deploy/kubernetes: what can be known without an engine and a cluster.

They are linted. What they say of `carillon serve` (configuration, probes, signals) is tried on one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from carillon import config
from carillon.testing import wait_until
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from carillon import Server
    from carillon.testing import RedisServer
    from serve_process import Process

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "deploy/container/Containerfile"
INSTRUCTIONS = {
    *("FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "EXPOSE"),
    *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
}
pytestmark = pytest.mark.timeout(180)
FAR = 60.0  # of waits that end as soon as what they wait for is there

Json = dict[str, Any]


# Kubernetes.


@pytest.fixture(scope="module")
def objects() -> dict[str, Json]:
    """The objects of the manifest, by kind: there is one of each."""
    every = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/carillon.yaml").read_text()))
    by_kind = {each["kind"]: each for each in every}
    assert len(by_kind) == len(every)
    assert {each["metadata"]["name"] for each in every} == {"carillon"}
    return by_kind


@pytest.fixture(scope="module")
def pod(objects: dict[str, Json]) -> Json:
    return dict(objects["Deployment"]["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def container(pod: Json) -> Json:
    (only,) = pod["containers"]
    return dict(only)


@pytest.fixture(scope="module")
def toml(objects: dict[str, Json]) -> str:
    return str(objects["ConfigMap"]["data"]["carillon.toml"])


@pytest.fixture
def settings(tmp_path: Path, toml: str) -> Json:
    """All options with the values that they have in the manifest."""
    (tmp_path / "carillon.toml").write_text(toml)
    return config.normalise(config.load(tmp_path / "carillon.toml"))


@pytest.fixture(scope="module")
def secrets(container: Json) -> dict[str, str]:
    """A value for every variable that comes from a Secret."""
    return {
        each["name"]: "of-a-secret-" * 3
        for each in container["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }


def command(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "carillon", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=FAR,
    )


def test_the_configuration_and_the_names_of_the_secrets_are_valid(
    tmp_path: Path, toml: str, secrets: dict[str, str]
) -> None:
    (tmp_path / "carillon.toml").write_text(toml)
    checked = command("config", "check", str(tmp_path / "carillon.toml"), environment=secrets)
    assert checked.returncode == 0, checked.stderr
    assert not checked.stderr, "a warning"
    for name in secrets:
        assert name in checked.stdout, f"{name} sets no option"


def test_ports_and_paths_are_those_of_the_configuration(
    objects: dict[str, Json], container: Json, pod: Json, settings: Json
) -> None:
    server = settings["http_server"]
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == {
        "clients": server["port"],
        "operators": server["internal_port"],
    }
    (port,) = objects["Service"]["spec"]["ports"]
    assert port["targetPort"] == "clients", "operators are not public"
    annotations = objects["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(server["internal_port"]),
        "prometheus.io/path": "/metrics",
    }
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert f"{mounts['configuration']}/carillon.toml" in container["args"]
    assert {each["name"] for each in pod["volumes"]} == set(mounts)
    assert {"name": "XDG_RUNTIME_DIR", "value": mounts["runtime"]} in container["env"]


def test_the_labels_of_the_pods_are_those_that_are_selected(objects: dict[str, Json]) -> None:
    deployment = objects["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_a_pod_has_the_time_that_its_drain_takes(pod: Json, container: Json, settings: Json) -> None:
    stop = container["lifecycle"]["preStop"]["exec"]["command"]
    assert stop[0] == "sleep"
    drain = settings["shutdown"]
    assert config.seconds(drain["pace"]) < config.seconds(drain["timeout"])
    until_killed = pod["terminationGracePeriodSeconds"]
    assert until_killed >= int(stop[1]) + config.seconds(drain["timeout"]) + 5
    # The Service forgets the pod first.
    assert int(stop[1]) > container["readinessProbe"]["periodSeconds"]


def test_a_rollout_takes_no_gateway_away_before_there_is_another(objects: dict[str, Json]) -> None:
    deployment = objects["Deployment"]["spec"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert deployment["strategy"]["rollingUpdate"]["maxSurge"] > 0
    assert 0 < objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] < deployment["replicas"]


UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def test_the_limits_fit_into_the_memory_of_the_container(container: Json, settings: Json) -> None:
    memory = container["resources"]["limits"]["memory"]
    limits = settings["limits"]
    allowed = sum(value for name, value in limits.items() if name.endswith("_bytes_total"))
    assert allowed < 0.75 * int(memory[:-2]) * UNITS[memory[-2:]]


def test_the_container_may_do_nothing_that_it_need_not(pod: Json, container: Json) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_drain_fails_the_readiness_and_not_the_liveness(
    tmp_path: Path,
    toml: str,
    container: Json,
    secrets: dict[str, str],
    carillon_redis: RedisServer,
    launch: Callable[..., Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server with the manifest's configuration answers its probes as Kubernetes shall see it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        operators = free.getsockname()[1]
    for ours, here in (
        ("internal_port = 9100", f"internal_port = {operators}"),
        ('address = "0.0.0.0"', 'address = "127.0.0.1"'),
        ('"redis://redis:6379"', f'"{carillon_redis.url}"'),
        ('timeout = "30s"', 'timeout = "3600s"'),  # so that the drain does not end before it has been seen
        ('pace = "20s"', 'pace = "1800s"'),
        ("allow_subscribe_for_client", "allow_subscribe_for_anonymous = true\nallow_subscribe_for_client"),
        ("[client]", "[client]\nallow_anonymous_connect_without_token = true"),
    ):
        assert ours in toml
        toml = toml.replace(ours, here)
    (tmp_path / "carillon.toml").write_text(toml)
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CARILLON_STORE_PASSWORD")  # this Redis has none
    server = launch(0, "--config", str(tmp_path / "carillon.toml"))
    ports = {"clients": server.port, "operators": operators}

    def status_of(probe: str) -> int:
        get = container[probe]["httpGet"]
        address = f"http://127.0.0.1:{ports[get['port']]}{get['path']}"
        return httpx.get(address, trust_env=False, timeout=FAR).status_code

    probes = ["startupProbe", "readinessProbe", "livenessProbe"]
    assert [status_of(each) for each in probes] == [200, 200, 200]
    address = f"ws://127.0.0.1:{server.port}/connection/websocket"
    with contextlib.ExitStack() as clients:
        for _ in range(8):
            client = clients.enter_context(connect(address, proxy=None, close_timeout=0.1))
            client.send('{"id":1,"connect":{}}')
            assert "connect" in json.loads(client.recv(FAR))
        server.child.terminate()
        wait_until(lambda: status_of("readinessProbe") == 503, FAR)
        assert status_of("livenessProbe") == 200
    assert server.child.wait(FAR) == 0


def test_both_times_of_the_watchdog_in_the_unit_are_one() -> None:
    unit = (ROOT / "deploy/systemd/carillon.service").read_text()
    (expected,) = re.findall(r"^WatchdogSec=(\d+)s$", unit, re.MULTILINE)
    (told,) = re.findall(r"WATCHDOG_USEC=(\d+) ", unit)
    assert int(told) == int(expected) * 1_000_000


# The image.


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Containerfile with its arguments; comments and line breaks are gone."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in found]


def stage(number: int) -> list[tuple[str, str]]:
    every = instructions()
    starts = [at for at, (name, _) in enumerate(every) if name == "FROM"]
    return every[starts[number] : [*starts, len(every)][number + 1]]


def last_of(name: str) -> str:
    (only,) = [rest for each, rest in stage(1) if each == name]
    return only


def test_the_image_builds_its_own_extensions() -> None:
    """A checkout may have those of another machine, the simulator among them."""
    (removed,) = [rest for name, rest in instructions() if name == "RUN" and "rm -f" in rest]
    assert "rm -f python/carillon/_*.so" in removed


def test_every_instruction_is_known_and_complete() -> None:
    every = instructions()
    assert {name for name, _ in every} <= INSTRUCTIONS
    assert all(rest for _, rest in every)
    assert not CONTAINERFILE.read_text().rstrip().endswith("\\")
    for name, rest in every:
        if name == "RUN":
            checked = subprocess.run(["sh", "-n"], input=rest, text=True, capture_output=True)
            assert checked.returncode == 0, checked.stderr


def test_the_second_stage_has_the_wheel_and_no_compiler() -> None:
    every = instructions()
    assert every[0][0] == "FROM"
    assert every[0][1].endswith(" AS build")
    assert [name for name, _ in every].count("FROM") == 2
    assert "pip wheel" in " ".join(rest for _, rest in stage(0))
    final = " ".join(rest for _, rest in stage(1))
    assert re.findall(r"--from=(\w+)", final) == ["build"]
    assert not re.search(r"g\+\+|cmake|-dev\b", final)


def test_what_is_copied_exists() -> None:
    for name, rest in stage(0):
        if name == "COPY":
            *sources, _ = shlex.split(rest)
            assert all((ROOT / source).exists() for source in sources), rest
    needed = re.findall(r'(?:readme = |license-files = \[)"([^"]+)"', (ROOT / "pyproject.toml").read_text())
    copied = " ".join(rest for name, rest in stage(0) if name == "COPY").split()
    assert len(needed) == 2
    assert set(needed) <= set(copied)


def test_it_is_not_root_and_has_no_secrets(pod: Json) -> None:
    user, _, group = last_of("USER").partition(":")
    assert int(user) == pod["securityContext"]["runAsUser"] > 0
    assert int(group) == pod["securityContext"]["runAsGroup"] > 0
    assert f"--uid {user}" in " ".join(rest for _, rest in stage(1))
    order = [name for name, _ in stage(1)]
    assert order.index("USER") > max(at for at, name in enumerate(order) if name in ("RUN", "COPY"))
    assert not re.search("key|secret|password|token", " ".join(rest for _, rest in instructions()), re.I)


def test_process_1_gets_the_signals(container: Json, settings: Json) -> None:
    assert last_of("STOPSIGNAL") == "SIGTERM", "which drains"
    assert json.loads(last_of("ENTRYPOINT")) == ["carillon"], "no shell between"
    assert "command" not in container, "which would replace it"
    assert json.loads(last_of("CMD")) == container["args"]
    ports = {settings["http_server"][name] for name in ("port", "internal_port")}
    assert set(map(int, last_of("EXPOSE").split())) == ports


def test_the_health_check_sees_a_drain(carillon_server: Server, settings: Json) -> None:
    check = json.loads(last_of("HEALTHCHECK").partition("CMD ")[2])
    ours = f"127.0.0.1:{settings['http_server']['port']}/health"
    assert check[:2] == ["python", "-c"]
    assert ours in check[2]
    here = check[2].replace(ours, f"127.0.0.1:{carillon_server.port}/health")

    def is_healthy() -> bool:
        return subprocess.run([sys.executable, "-c", here], stderr=subprocess.DEVNULL).returncode == 0

    assert is_healthy()
    carillon_server.drain()
    assert not is_healthy()
