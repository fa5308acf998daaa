# SPDX-License-Identifier: Apache-2.0
"""The dashboard and the rules speak of metrics that exist, with labels that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from python.everything import exercise

import anya_engine as anya

DOCS = Path(__file__).resolve().parents[2] / "docs"
DASHBOARD, RULES = DOCS / "grafana" / "anya-engine.json", DOCS / "prometheus" / "anya-engine.rules.yml"
METRIC = re.compile(r"(?<![:\w])(?:anya|process)_[a-z0-9_]+(?![\w:])")
#: What only psutil or prometheus_client's own collector gives, where it is installed.
STANDARD = {
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"),
    *("anya_host_cpu_utilization_ratio", "anya_host_memory_available_bytes"),
}
OWN_LABELS = {"job", "instance", "le"}


def expressions() -> list[str]:
    """Every expression of dashboard and rules."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.extend(value for key, value in node.items() if key in ("expr", "query") and isinstance(value, str))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(json.loads(DASHBOARD.read_text()))
    rules = re.findall(r"expr: (?:\|\n((?:[ ]{10}.*\n)+)|(.*)\n)", RULES.read_text())
    found.extend(block or line for block, line in rules)
    return found


@pytest.fixture
def scraped(engine: anya.Engine, tmp_path: Path) -> dict[str, set[str]]:
    """Names of a real scrape with everything on, each with its labels."""
    exercise(engine, tmp_path)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(engine.metrics_text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_name_exists_in_a_scrape(scraped: dict[str, set[str]]) -> None:
    """No panel and no rule looks at a metric that nobody gives."""
    asked = {name for text in expressions() for name in METRIC.findall(text)}
    assert len(asked) > 40
    assert asked - scraped.keys() - STANDARD == set()


def test_every_label_exists_on_its_metric(scraped: dict[str, set[str]]) -> None:
    """A selector names labels that its metric has."""
    wrong = []
    for text in expressions():
        for name, inside in re.findall(r"((?:anya|process)_[a-z0-9_]+)\{([^}]*)\}", text):
            labels = set(re.findall(r"(\w+)\s*(?:=|!=)~?", re.sub(r'"[^"]*"', '""', inside)))
            wrong += [(name, label) for label in labels - OWN_LABELS - scraped.get(name, set()) if name in scraped]
    assert wrong == []


def test_everything_that_is_given_is_looked_at(scraped: dict[str, set[str]]) -> None:
    """A metric that no panel and no rule shows is one that was forgotten, or should not be there."""
    text = "\n".join(expressions())
    roots = {re.sub(r"_(bucket|count|sum)$", "", name) for name in scraped if name.startswith("anya_")}
    unseen = {root for root in roots if root not in text}
    assert unseen == {
        *("anya_sanitized_values_total", "anya_in_place_runs_total", "anya_model_info", "anya_build_info"),
        *("anya_model_loaded_timestamp_seconds", "anya_trace_failures_total", "anya_host_memory_total_bytes"),
    } & (roots - {root for root in roots if root in text})


def test_the_dashboard_has_its_rows() -> None:
    """Requests, resources, rollouts, predictions, resilience; panels with ids of their own and no overlap."""
    dashboard = json.loads(DASHBOARD.read_text())
    rows = [panel["title"].split(":")[0] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == ["Requests", "Resources", "Rollouts", "Predictions and drift", "Resilience"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    variables = [each["name"] for each in dashboard["templating"]["list"]]
    assert variables == ["datasource", "job", "model", "version"]
