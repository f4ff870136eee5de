"""What deploy/ has for operators: rules that Prometheus accepts, and a dashboard, of metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = PROMETHEUS / "carillon.rules.yml"
TESTS = sorted(PROMETHEUS.glob("*.test.yml"))
SCRAPES = PROMETHEUS / "prometheus.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/carillon.json").read_text())

OF_PROMETHEUS = {"up"}  # it writes this one itself
KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"}


@pytest.fixture(scope="session")
def promtool(require_tool: Callable[..., str]) -> Callable[..., None]:
    """Runs promtool, which must succeed."""
    path = require_tool("promtool")

    def run(*arguments: str | Path) -> None:
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_the_rules_are_valid(promtool: Callable[..., None]) -> None:
    promtool("check", "rules", RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_only_then(promtool: Callable[..., None], path: Path) -> None:
    promtool("test", "rules", path)


def test_each_alert_has_a_test_in_which_it_fires_and_says_what_to_do() -> None:
    alerts = re.split(r"^ *- alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]
    assert len(alerts) > 10
    fired = set(re.findall(r'labels: \'(?:ALERTS)?{alertname="(\w+)"', "".join(map(Path.read_text, TESTS))))
    assert {alert.split("\n")[0] for alert in alerts} == fired
    for alert in alerts:
        assert re.search(r"severity: (critical|warning)\n", alert), alert
        assert "summary: " in alert, alert
        assert "description: " in alert, alert


def test_the_example_of_a_scrape_configuration_is_valid(
    promtool: Callable[..., None], tmp_path: Path
) -> None:
    text = SCRAPES.read_text()
    promtool("check", "config", SCRAPES)
    # The part that is commented is one, too.
    text, count = re.subn(r"^  # (- job_name: carillon-public|  .*)$", r"  \1", text, flags=re.MULTILINE)
    assert count == 7
    key = tmp_path / "carillon.key"
    key.write_text("secret")
    text = text.replace("[carillon.rules.yml]", f"[{RULES}]").replace(
        "/etc/prometheus/carillon.key", str(key)
    )
    assert str(key) in text
    (tmp_path / "prometheus.yml").write_text(text)
    promtool("check", "config", tmp_path / "prometheus.yml")


# ---- metrics


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the samples at /metrics of a server with a store, a hook and a backend."""
    server = carillon.Server(
        port=0,
        api_key="secret",
        store=f"sqlite:{tmp_path_factory.mktemp('store') / 'carillon.db'}",
        config={
            "rpc": {"proxy": {"endpoint": "http://127.0.0.1:1"}, "without_namespace": {"proxy_enabled": True}}
        },
    )

    @server.on_connect
    async def admit(connection: Any) -> None:
        pass

    with server:
        # As prometheus.yml has it for the public port.
        answer = httpx.get(f"{server.url}/metrics", headers={"Authorization": "ApiKey secret"})
    assert answer.status_code == 200
    return {re.split(r"[{ ]", line)[0] for line in answer.text.splitlines() if not line.startswith("#")}


def metrics_of(expression: str) -> set[str]:
    """Names of the metrics in an expression: the names that are not functions, labels, values or keywords."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', "", expression)
    bare = re.sub(r"{[^}]*}|\[[^]]*]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])", bare)
    return set(names) - KEYWORDS


def rule_expressions() -> list[str]:
    """Of all rules."""
    found = re.findall(r"^ *expr: (.+?)(?=^ *(?:- |for:|labels:|#|$))", RULES.read_text() + "\n", re.M | re.S)
    return [re.sub(r"^\|", "", expression).strip() for expression in found]


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_names_of_metrics_are_found_in_an_expression() -> None:
    assert metrics_of('sum by (job, le) (rate(a_total{b="c", d=~"e|f"}[5m])) / on (g) h > 1e3 and i:j:k') == {
        "a_total",
        "h",
        "i:j:k",
    }


def test_the_rules_name_only_metrics_that_exist(page: set[str]) -> None:
    expressions = rule_expressions()
    assert len(expressions) == RULES.read_text().count("expr:")
    recorded = set(re.findall(r"- record: (\S+)", RULES.read_text()))
    named = set().union(*map(metrics_of, expressions))
    assert recorded <= named, "a rule is recorded for no alert"
    assert named - recorded - OF_PROMETHEUS <= page, named - recorded - OF_PROMETHEUS - page


def test_the_dashboard_names_only_metrics_that_exist_and_all_of_them(page: set[str]) -> None:
    variables = [variable["query"] for variable in DASHBOARD["templating"]["list"]]
    queries = [query["query"] for query in variables if isinstance(query, dict)]
    assert len(queries) == 2
    named = set().union(*map(metrics_of, dashboard_expressions()))
    named |= {re.split(r"[{,]", query.removeprefix("label_values("))[0] for query in queries}
    assert named <= page, named - page
    # No metric is left out: of a histogram one of its three is enough.
    family = re.compile("_(bucket|sum|count)$")
    shown = {family.sub("", name) for name in named}
    assert {family.sub("", name) for name in page} == shown


def test_every_expression_of_the_dashboard_parses(promtool: Callable[..., None], tmp_path: Path) -> None:
    expressions = dashboard_expressions()
    assert len(expressions) > 50
    rules = []
    for i, expression in enumerate(expressions):
        bare = expression.replace("$__rate_interval", "5m").replace("$job", "j").replace("$instance", "i")
        assert "$" not in bare
        rules.append({"record": f"dashboard:expression_{i}", "expr": bare})
    path = tmp_path / "dashboard.yml"  # JSON is YAML as well
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


def test_the_dashboard_is_that_of_its_generator() -> None:
    tool = ROOT / "tools/grafana_dashboard.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_their_own_numbers() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for at in (panel["gridPos"] for panel in panels):
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
