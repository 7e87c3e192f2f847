"""Alert rules, dashboard and configuration, as Prometheus' own tool reads them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.commands import runs
from tests.engine.faults import FAULTS
from tests.monitoring.names import FOLDER, used
from tests.monitoring.quick import DURATION, FACTOR, SECONDS, quicker
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        *zip(
            runs("docs/monitoring.md", "Scrape", "promtool"),
            ("is valid", f"{len(RULES)} rules found", "SUCCESS"),
            strict=True,
        )
    ],
)
def test_promtool_is_content(command: str, says: str) -> None:
    """Checks the configuration, checks the rules, and runs the rules' own unit tests."""
    if not shutil.which("promtool"):
        pytest.skip("no promtool: apt-get install prometheus")
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert says in done.stdout


def test_each_alert_is_tested_to_fire_and_to_end() -> None:
    checks = [
        check
        for test in yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
        for check in test["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in RULES}
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == names
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == names


def test_each_alert_has_a_fault_under_which_it_is_seen() -> None:
    """In tests/engine/test_alerts.py, which is long."""
    named = [name for names in FAULTS.values() for name in names]
    assert sorted(named) == sorted({rule["alert"] for rule in RULES})


def test_the_rules_that_are_seen_to_fire_differ_from_these_in_durations_alone() -> None:
    rules = (FOLDER / "rules.yml").read_text()
    quick = quicker(rules)
    assert quick != rules

    def in_seconds(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) * SECONDS[found[3]]}s"

    again = re.sub(r"(\d+)ms\b", lambda found: f"{int(found[1]) * FACTOR // 1000}s", quick)
    assert again == DURATION.sub(in_seconds, rules)


def test_each_alert_names_its_section_on_the_page() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    names = [rule["alert"] for rule in RULES]
    assert sorted(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == sorted(names)
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"
        # In the table by severity, too.
        [row] = re.findall(rf"^\| {rule['labels']['severity']}: .*$", page, re.MULTILINE)
        assert f"[{rule['alert']}](#{rule['alert'].lower()})" in row


def test_the_dashboards_names_are_found() -> None:
    names = used(Path("dashboard.json"))
    assert {"guard_servers", "zhub_logins_total", "proxy_requests_web"} <= names
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
