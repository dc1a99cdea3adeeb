"""What is looked at when somebody asks: what there is, what there is not yet, what cannot be read."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from journal.drain import Waiting
from smtpeter import certificate
from smtpeter.host_numbers import HostNumbers
from smtpeter.mail_queue import QUEUES, Depth, depth, look

NOW = 1_800_000_000.0
CANARY = "canary@canary.example.test"
PARTS = ("spool", "queue", "certificate", "click hosts", "canary", "backup")


def numbers(folder: Path, **changed: Any) -> dict[str, float]:
    now = datetime.fromtimestamp(NOW, UTC)
    certificate.ensure(folder / "cert.pem", folder / "key.pem", hostname="mail.example.test", now=now)
    settled: dict[str, Any] = {
        "spool": lambda: Waiting(octets=10, segments=2, oldest=int(NOW) - 30, aside=1),
        "queue": lambda: Depth(messages=dict.fromkeys(QUEUES, 0), oldest=None),
        "certificate": folder / "cert.pem",
        "click_hosts": folder / "hosts.json",
        "canary": folder / "canary.json",
        "backup": folder / "backup.json",
        "clock": lambda: NOW,
    }
    found = {}
    for number in HostNumbers(**(settled | changed))():
        labels = ",".join(f"{name}={value}" for name, value in number.labels.items())
        found[f"{number.name.removeprefix('smtpeter_')}{{{labels}}}"] = number.value
    return found


def test_a_fresh_host_has_nothing_to_say_of_canary_backup_and_click_hosts(tmp_path: Path) -> None:
    found = numbers(tmp_path)
    assert all(found[f"readable{{part={part}}}"] == 1 for part in PARTS)
    assert not [name for name in found if name.startswith(("canary", "backup", "click"))]
    assert found["spool_oldest_seconds{}"] == 30
    assert found["spool_set_aside{}"] == 1
    assert found["queue_oldest_seconds{}"] == 0
    assert found["certificate_not_after_timestamp_seconds{}"] > NOW


def test_what_was_found_last_is_shown(tmp_path: Path) -> None:
    check = {"what": "587 accepted", "status": "error", "seconds": 1, "advice": "canary password"}
    (tmp_path / "canary.json").write_text(json.dumps({"time": 5, "ok": False, "seconds": 2, "checks": [check]}))
    (tmp_path / "backup.json").write_text('{"time": 6}')
    states = ("bad", "bad", "ok", "ok")
    hosts = [{"host": f"links{n}.example.com", "links": state == "ok", "state": state} for n, state in enumerate(states)]
    (tmp_path / "hosts.json").write_text(json.dumps({"checked": 7, "hosts": hosts}))
    found = numbers(tmp_path, canary_login="ab" * 16)
    assert found["canary_ok{}"] == 0
    assert found["canary_timestamp_seconds{}"] == 5
    assert found["canary_check_ok{check=587 accepted}"] == 0
    assert found[f"canary_info{{login={'ab' * 16}}}"] == 1
    assert found["backup_timestamp_seconds{}"] == 6
    assert found["click_hosts_checked_timestamp_seconds{}"] == 7
    assert (found["click_hosts{state=ok}"], found["click_hosts{state=bad}"], found["click_hosts{state=failing}"]) == (2, 2, 0)
    assert found["click_host_bad{host=links0.example.com}"] == 1
    assert "click_host_bad{host=links2.example.com}" not in found
    assert "password" not in "".join(found)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("spool", {"spool": lambda: (_ for _ in ()).throw(PermissionError("no"))}),
        ("queue", {"queue": lambda: None}),
        ("certificate", {"certificate": Path("/nowhere")}),
        ("certificate", {"certificate": Path("/etc/hostname")}),
    ],
)
def test_what_cannot_be_read_is_told_and_costs_nothing_else(tmp_path: Path, part: str, changed: dict[str, Any]) -> None:
    found = numbers(tmp_path, **changed)
    assert {name for name in PARTS if not found[f"readable{{part={name}}}"]} == {part}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"time": "x"}', '{"ok": true}'])
@pytest.mark.parametrize(("file", "part"), [("canary.json", "canary"), ("backup.json", "backup"), ("hosts.json", "click hosts")])
def test_a_damaged_file_is_told(tmp_path: Path, file: str, part: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    found = numbers(tmp_path)
    assert {name for name in PARTS if not found[f"readable{{part={name}}}"]} == {part}


def test_at_most_fifty_bad_hosts_are_named(tmp_path: Path) -> None:
    hosts = [{"host": f"links{number}.example.com", "links": False, "state": "bad"} for number in range(300)]
    (tmp_path / "hosts.json").write_text(json.dumps({"checked": 7, "hosts": hosts}))
    found = numbers(tmp_path)
    assert found["click_hosts{state=bad}"] == 300
    assert len([name for name in found if name.startswith("click_host_bad")]) == 50


def line(queue: str, arrived: int, *recipients: str) -> str:
    return json.dumps({"queue_name": queue, "arrival_time": arrived, "recipients": [{"address": each} for each in recipients]})


def test_the_queue_is_counted_without_canaries() -> None:
    lines = [
        line("deferred", 50, "a@example.com"),
        line("active", 40, "b@example.com", CANARY),
        line("deferred", 3, CANARY),
        line("hold", 60, "c@example.com"),
    ]
    found = depth(lines, CANARY)
    assert found.messages == {"active": 1, "deferred": 1, "hold": 1, "incoming": 0, "maildrop": 0}
    assert found.oldest == 40
    assert depth([]).oldest is None


@pytest.mark.parametrize(
    ("script", "error"),
    [("echo nonsense", ValueError), ("exit 3", ValueError), ("echo '{}'; exit 1", ValueError), ("kill -9 $$", ValueError)],
)
def test_a_look_that_fails_is_none(tmp_path: Path, script: str, error: type[Exception]) -> None:
    program = tmp_path / "postqueue"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(stat.S_IRWXU)
    with pytest.raises(error):
        look((str(program), "-j"))
    with pytest.raises(OSError, match="No such file"):
        look((str(tmp_path / "gone"), "-j"))


def test_a_look_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    program = tmp_path / "postqueue"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(stat.S_IRWXU)
    with pytest.raises(ValueError, match="ended with status"):
        look((str(program), "-j"), longest=0.2)
