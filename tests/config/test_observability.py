"""Alerts, dashboard and log rotation: what promtool and Postfix themselves make of the files."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROLE = Path("ansible") / "roles" / "smtpeter" / "files"


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("promtool", *words), capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def rules(root: Path) -> Path:
    return root / ROLE / "prometheus" / "smtpeter.rules.yml"


def test_the_rules_can_be_read(rules: Path) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_are_to(root: Path) -> None:
    done = promtool("test", "rules", str(root / "tests" / "config" / "prometheus_alerts.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_says_how_bad_it_is_and_what_to_do(rules: Path) -> None:
    alerts = rules.read_text().split("      - alert: ")[1:]
    assert len(alerts) >= 20
    for alert in alerts:
        assert re.search(r"labels: \{severity: (critical|warning)\}", alert), alert
        assert re.search(r'summary: "[A-Z{].+"', alert), alert
        description = alert.partition("description:")[2]
        assert len(description) > 60, alert


def test_the_dashboard_is_whole(root: Path) -> None:
    board = json.loads((root / ROLE / "grafana" / "smtpeter.json").read_text())
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Mail", "Sign-in", "Tracking", "Queue", "Health"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert 'instance=~"$instance"' in target["expr"]


def test_prometheus_reads_every_question_of_the_dashboard(root: Path, tmp_path: Path) -> None:
    """As rules, since promtool takes those without a server."""
    board = json.loads((root / ROLE / "grafana" / "smtpeter.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(asked) > 40
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for number, text in enumerate(asked)
    ]
    file = tmp_path / "questions.yml"
    file.write_text(json.dumps({"groups": [{"name": "questions", "rules": rules}]}))
    done = promtool("check", "rules", "--lint=none", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
