"""Writes deploy/grafana/carillon.json, the dashboard for Grafana 10; `--check` only compares it.

A panel there is a few lines here. Edits in Grafana do not come back into this file: change the panel here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

PATH = Path(__file__).parents[1] / "deploy/grafana/carillon.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# In expressions, {@} stands for the selected instances, and [@] for a window that suits the interval.
SELECTED = 'job=~"$job",instance=~"$instance"'
WINDOW = "$__rate_interval"
PANELS_PER_ROW = 3
WIDTH, HEIGHT = 24 // PANELS_PER_ROW, 7


class Panel(NamedTuple):
    """A panel: its title, its unit as Grafana names it, and its expressions by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    description: str = ""


def rate(counter: str, by: str = "", only: str = "") -> str:
    """Expression of the rate of a counter, summed over all labels but `by`."""
    matchers = f"@,{only}" if only else "@"
    return f"sum{f' by ({by})' if by else ''} (rate({counter}{{{matchers}}}[@]))"


def total(gauge: str, by: str = "") -> str:
    """Expression of the sum of a gauge over all labels but `by`."""
    return f"sum{f' by ({by})' if by else ''} ({gauge}{{@}})"


def percentiles(histogram: str, by: str = "", quantiles: tuple[float, ...] = (0.5, 0.99)) -> dict[str, str]:
    """Expressions of quantiles of a histogram, by legend; one series for each value of the label `by`."""
    labels = f"{by}, le" if by else "le"
    prefix = f"{{{{{by}}}}} " if by else ""
    return {
        f"{prefix}p{100 * quantile:g}": (
            f"histogram_quantile({quantile}, sum by ({labels}) (rate({histogram}_bucket{{@}}[@])))"
        )
        for quantile in quantiles
    }


def burn_rate(window: str) -> str:
    """Expression of the burn rate of both objectives, across the selected instances."""
    events = "carillon_objective_events_total"
    return (
        f'sum by (objective) (rate({events}{{@,result="bad"}}[{window}]))'
        f" / sum by (objective) (rate({events}{{@}}[{window}]))"
        " / (1 - max by (objective) (carillon_objective_ratio{@}))"
    )


ROWS: dict[str, list[Panel]] = {
    "Objectives and budget": [
        Panel(
            "Error budget left, per instance",
            "percentunit",
            {"{{objective}} {{instance}}": "carillon_error_budget_remaining_ratio{@}"},
            "stat",
            "What is left of the bad events that the objective permits, since the start. Below 0: spent.",
        ),
        Panel(
            "Burn rate",
            "none",
            {f"{{{{objective}}}} {window}": burn_rate(window) for window in ("5m", "1h", "6h")},
            description="1 uses up exactly the budget. Alerts: 14.4 over 1h and 5m, 6 over 6h and 30m.",
        ),
        Panel(
            "Burn rate over 1h, by instance",
            "none",
            {"{{objective}} {{instance}}": 'carillon_error_budget_burn_rate{@,window="1h"}'},
            description="As each instance computes it. One that stands out is the one to look at.",
        ),
        Panel(
            "Bad events",
            "cps",
            {"{{objective}}": rate("carillon_objective_events_total", "objective", 'result="bad"')},
            description="availability: failed publications, refused connections. latency: late deliveries.",
        ),
    ],
    "Connections and subscriptions": [
        Panel("Clients", "short", {"{{transport}}": total("carillon_clients", "transport")}),
        Panel(
            "Sockets, of the maximum",
            "percentunit",
            {"{{instance}}": "carillon_connections{@} / carillon_connections_max{@}"},
        ),
        Panel(
            "Subscriptions and channels",
            "short",
            {"subscriptions": total("carillon_subscriptions"), "channels": total("carillon_channels")},
        ),
        Panel(
            "Accepted and refused connections",
            "cps",
            {
                "accepted": rate("carillon_accepted_connections_total"),
                "refused: {{reason}}": rate("carillon_refused_connections_total", "reason"),
                "pauses of accepting": rate("carillon_accept_pauses_total"),
            },
        ),
        Panel(
            "Handshakes, clogged connections, drains",
            "short",
            {
                "handshakes": total("carillon_handshakes"),
                "clogged": total("carillon_clogged_connections"),
                "instances that drain": total("carillon_draining"),
            },
        ),
        Panel("From accept to live", "s", percentiles("carillon_connect_to_live_seconds")),
        Panel(
            "Requests and commands",
            "cps",
            {
                "HTTP requests": rate("carillon_http_requests_total"),
                "commands": rate("carillon_commands_total"),
                "bad requests": rate("carillon_bad_requests_total"),
            },
        ),
        Panel("Commands under way", "short", {"{{instance}}": "carillon_commands_under_way{@}"}),
        Panel(
            "Commands over HTTP for other gateways",
            "cps",
            {"{{result}}": rate("carillon_forwarded_commands_total", "result")},
            description="By what became of them; only those that were taken were answered with 204.",
        ),
    ],
    "Deliveries, bytes and latency": [
        Panel("Publications", "cps", {"{{namespace}}": rate("carillon_publications_total", "namespace")}),
        Panel("Deliveries", "cps", {"{{transport}}": rate("carillon_deliveries_total", "transport")}),
        Panel(
            "Delivered bytes", "Bps", {"{{transport}}": rate("carillon_delivered_bytes_total", "transport")}
        ),
        Panel(
            "From publish to socket",
            "s",
            percentiles("carillon_publish_to_socket_seconds", quantiles=(0.5, 0.99, 0.999))
            | {"objective": "max(carillon_objective_latency_seconds{@})"},
            description="Until the kernel has the bytes, without subscribers that catch up.",
        ),
        Panel(
            "p99 from publish to socket, by instance",
            "s",
            percentiles("carillon_publish_to_socket_seconds", "instance", (0.99,)),
        ),
        Panel("Entries per delivery", "short", percentiles("carillon_batch_publications")),
    ],
    "Loops and turns": [
        Panel("p99 of the lag of a loop", "s", percentiles("carillon_loop_lag_seconds", "shard", (0.99,))),
        Panel("p99 of the length of a turn", "s", percentiles("carillon_turn_seconds", "shard", (0.99,))),
        Panel(
            "Share of the time in turns",
            "percentunit",
            {"{{instance}} {{shard}}": rate("carillon_turn_seconds_sum", "instance, shard")},
        ),
    ],
    "Store": [
        Panel("Store takes publications", "bool_yes_no", {"{{instance}}": "carillon_store_up{@}"}, "stat"),
        Panel(
            "p99 of an answer (Redis, SQLite)",
            "s",
            percentiles("carillon_store_call_seconds", "call", (0.99,)),
        ),
        Panel(
            "Calls and errors (Redis, SQLite)",
            "cps",
            {
                "{{call}}": rate("carillon_store_call_seconds_count", "call"),
                "error: {{error}}": rate("carillon_store_errors_total", "error"),
            },
        ),
        Panel(
            "Calls under way (Redis, SQLite)",
            "short",
            {"{{instance}}": "carillon_store_calls_under_way{@}"},
        ),
        Panel(
            "Pages of histories read from the store",
            "short",
            {
                "read per second": rate("carillon_stored_pages_read_total"),
                "publications in them per second": rate("carillon_stored_page_publications_total"),
                "in memory": total("carillon_stored_pages"),
                "waiting for room": total("carillon_stored_pages_waiting"),
                "had to wait per second": rate("carillon_stored_page_waits_total"),
            },
        ),
        Panel(
            "Memory of histories and inboxes, write-ahead log",
            "bytes",
            {
                "histories": total("carillon_history_bytes"),
                "inboxes": total("carillon_inbox_bytes"),
                "write-ahead log of SQLite": total("carillon_store_wal_bytes"),
            },
        ),
    ],
    "Hooks and backends": [
        Panel("p99 of an answer of a hook", "s", percentiles("carillon_hook_seconds", "operation", (0.99,))),
        Panel(
            "p99 of an answer of a backend", "s", percentiles("carillon_proxy_seconds", "operation", (0.99,))
        ),
        Panel(
            "Failures",
            "cps",
            {
                "hooks: {{reason}}": rate("carillon_hook_failures_total", "reason"),
                "backends: {{reason}}": rate("carillon_proxy_failures_total", "reason"),
            },
        ),
        Panel(
            "Questions",
            "cps",
            {
                "hooks: {{operation}}": rate("carillon_hook_seconds_count", "operation"),
                "backends: {{operation}}": rate("carillon_proxy_seconds_count", "operation"),
            },
        ),
        Panel(
            "Questions that wait",
            "short",
            {"hooks": total("carillon_hook_questions"), "backends": total("carillon_proxy_questions")},
        ),
        Panel(
            "New connections to backends",
            "cps",
            {"{{instance}}": rate("carillon_proxy_connections_total", "instance")},
        ),
    ],
    "Fan-out": [
        Panel(
            "Inboxes",
            "cps",
            {
                "entries": rate("carillon_inbox_entries_total"),
                "reads": rate("carillon_inbox_reads_total"),
                "ranges merged": rate("carillon_inbox_merges_total"),
                "publishers that waited in vain": rate("carillon_inbox_timeouts_total"),
            },
        ),
        Panel("Inboxes per step of a walk", "short", percentiles("carillon_walk_members")),
        Panel(
            "Sweeps of channels in read mode",
            "cps",
            {"{{instance}}": rate("carillon_sweeps_total", "instance")},
        ),
        Panel("Users with an inbox", "short", {"users": total("carillon_inbox_users")}),
    ],
    "Drops, gaps and recoveries": [
        Panel("Drops", "cps", {"{{reason}}": rate("carillon_drops_total", "reason")}),
        Panel("Gaps", "cps", {"{{instance}}": rate("carillon_gaps_total", "instance")}),
        Panel("Recoveries", "cps", {"{{result}}": rate("carillon_recoveries_total", "result")}),
        Panel("Clients given up", "cps", {"{{reason}}": rate("carillon_disconnects_total", "reason")}),
        Panel(
            "Subscriptions that are behind", "short", {"{{instance}}": "carillon_lagging_subscriptions{@}"}
        ),
        Panel(
            "Slowest subscription: age",
            "s",
            {"{{instance}}": "carillon_slowest_subscription_seconds{@}"},
        ),
        Panel(
            "Slowest subscription: publications",
            "short",
            {"{{instance}}": "carillon_slowest_subscription_publications{@}"},
        ),
    ],
    "Process": [
        Panel(
            "Processor time", "percentunit", {"{{instance}}": rate("process_cpu_seconds_total", "instance")}
        ),
        Panel("Resident memory", "bytes", {"{{instance}}": "process_resident_memory_bytes{@}"}),
        Panel(
            "Memory for clients",
            "bytes",
            {
                "kernel": total("carillon_kernel_bytes"),
                "request bodies": total("carillon_body_bytes"),
                "replies that are not read": total("carillon_unsent_bytes"),
            },
        ),
        Panel(
            "Descriptors, of the maximum",
            "percentunit",
            {"{{instance}}": "process_open_fds{@} / process_max_fds{@}"},
        ),
        Panel("Time since the start", "s", {"{{instance}}": "time() - process_start_time_seconds{@}"}),
        Panel(
            "Records for the operator",
            "cps",
            {
                "left out": rate("carillon_log_records_suppressed_total"),
                "{{event}}": rate("carillon_events_total", "event"),
                "lost": rate("carillon_log_lines_lost_total"),
            },
        ),
        Panel(
            "Versions",
            "short",
            {"{{version}}, {{flush}}": "count by (version, flush) (carillon_info{@})"},
            "stat",
        ),
    ],
}


def expression(text: str) -> str:
    """The expression with the variables of the dashboard."""
    return text.replace("{@", "{" + SELECTED).replace("[@]", f"[{WINDOW}]")


def panel_json(panel: Panel, number: int, at: tuple[int, int]) -> dict[str, Any]:
    """The panel as Grafana reads it, with its place (x, y)."""
    options: dict[str, Any] = (
        {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        if panel.kind == "timeseries"
        else {"reduceOptions": {"calcs": ["lastNotNull"]}}
    )
    return {
        "datasource": DATASOURCE,
        "description": panel.description,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": at[0], "y": at[1]},
        "id": number,
        "options": options,
        "targets": [
            {
                "datasource": DATASOURCE,
                "expr": expression(text),
                "legendFormat": legend,
                "refId": chr(ord("A") + i),
            }
            for i, (legend, text) in enumerate(panel.queries.items())
        ],
        "title": panel.title,
        "type": panel.kind,
    }


def panels_json() -> list[dict[str, Any]]:
    """All rows, with the panels of each after it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        position = {"h": 1, "w": 24, "x": 0, "y": y}
        panels.append(
            {
                "collapsed": False,
                "gridPos": position,
                "id": len(panels) + 1,
                "panels": [],
                "title": title,
                "type": "row",
            }
        )
        y += 1
        for i, panel in enumerate(row):
            at = (i % PANELS_PER_ROW * WIDTH, y + i // PANELS_PER_ROW * HEIGHT)
            panels.append(panel_json(panel, len(panels) + 1, at))
        y += -(-len(row) // PANELS_PER_ROW) * HEIGHT
    return panels


def variable(name: str, query: str) -> dict[str, Any]:
    """A variable of which several values, or all, can be selected."""
    return {
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": DATASOURCE,
        "includeAll": True,
        "label": name,
        "multi": True,
        "name": name,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "type": "query",
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    return {
        "description": "Carillon, from its metrics at /metrics. Written by tools/grafana_dashboard.py.",
        "editable": True,
        "graphTooltip": 1,
        "panels": panels_json(),
        "refresh": "30s",
        "schemaVersion": 38,
        "tags": ["carillon"],
        "templating": {
            "list": [
                {"label": "data source", "name": "datasource", "query": "prometheus", "type": "datasource"},
                variable("job", "label_values(carillon_info, job)"),
                variable("instance", 'label_values(carillon_info{job=~"$job"}, instance)'),
            ]
        },
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "title": "Carillon",
        "uid": "carillon",
        "version": 1,
    }


def dashboard_text() -> str:
    """The file: sorted keys, 2 spaces."""
    return json.dumps(dashboard(), indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Writes the file, or compares it."""
    text = dashboard_text()
    if sys.argv[1:] == ["--check"]:
        if text != PATH.read_text():
            sys.exit(
                "deploy/grafana/carillon.json differs from tools/grafana_dashboard.py: call make dashboard"
            )
        return
    PATH.write_text(text)


if __name__ == "__main__":
    main()
