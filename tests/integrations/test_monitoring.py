"""Dashboard and alert rules: every metric and label that they name is one that the service really exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from ethogram.schema import ALERT_KINDS, ALERT_STATES, DEVICE_STATES, SEVERITIES, ServiceHealth
from tests.serve.web_made import NOW, FakeService, RunningPage, running_page

ROOT = Path(__file__).parents[2] / "integrations"
DASHBOARD = ROOT / "grafana" / "ethogram.json"
RULES = ROOT / "prometheus" / "ethogram.rules.yml"
SELECTOR = re.compile(r"(ethogram_\w+)(?:\{([^}]*)\})?")
BY = re.compile(r"(?:by|on) \(([^)]*)\)")
TARGET_LABELS = {"instance", "job"}


def expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    rules = RULES.read_text("utf-8")
    return found + re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n        (?:for|labels):", rules)


def metrics_of(page: RunningPage) -> str:
    answer = httpx.get(f"{page.url}metrics", headers={"Authorization": f"Bearer {page.token}"}, timeout=60)
    assert answer.status_code == 200
    return answer.text


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Metrics of a running service, with the labels that they have."""
    sink = ServiceHealth("sink log", "running", "", NOW,
                         {"sent": 1.0, "failed": 2.0, "refused": 0.0, "dropped": 0.0, "waiting": 3.0})  # fmt: skip
    with running_page(3, FakeService(parts=(*FakeService.parts, sink))) as page:
        text = metrics_of(page)
    metrics: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            metrics.setdefault(line.split()[2], set())
        elif match := re.match(r"(\w+)\{(.*)\} ", line):
            metrics[match[1]] |= set(re.findall(r"(\w+)=\"", match[2]))
    assert 'ethogram_sink_events_total{sink="log",outcome="failed"} 2' in text
    assert 'ethogram_sink_waiting{sink="log"} 3' in text
    return metrics


def test_every_metric_and_label_exists(exported: dict[str, set[str]]) -> None:
    used = [match for text in expressions() for match in SELECTOR.finditer(text)]
    assert len(used) > 20
    for match in used:
        assert match[1] in exported, match[1]
        names = set(re.findall(r"(\w+)=", match[2] or "")) - TARGET_LABELS
        assert names <= exported[match[1]] or not exported[match[1]], match[0]


def test_values_of_labels_exist() -> None:
    states = {"running", "starting", "degraded", "stopped", "failed", *DEVICE_STATES, *ALERT_STATES}
    known: dict[str, set[str]] = {
        "state": states, "severity": set(SEVERITIES), "kind": set(ALERT_KINDS),
        "outcome": {"dropped", "failed", "refused", "sent"}, "part": {"judge"}, "figure": {"lag_s"},
    }  # fmt: skip
    for text in expressions():
        for name, value in re.findall(r"(\w+)=~?\"([^\"]*)\"", text):
            assert name == "instance" or set(value.split("|")) <= known[name], (name, value)


def test_the_dashboard_has_numbered_panels_that_do_not_overlap() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [(place["x"] + i, place["y"] + j) for place in places for i in range(place["w"]) for j in range(place["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def check_rules(path: Path) -> None:
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules_and_the_expressions(tmp_path: Path) -> None:
    check_rules(RULES)
    board = json.loads(DASHBOARD.read_text("utf-8"))
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for panel in board["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            lines += [f"  - record: panel_{panel['id']}_{target['refId']}", f"    expr: {json.dumps(expression)}"]
    (tmp_path / "dashboard.yml").write_text("\n".join(lines) + "\n")
    check_rules(tmp_path / "dashboard.yml")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_service_exports_what_promtool_reads() -> None:
    with running_page(3) as page:
        text = metrics_of(page)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    assert "error" not in done.stderr.lower(), done.stderr
