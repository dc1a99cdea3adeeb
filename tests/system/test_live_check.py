"""`smtpeter check --live` on a real service: all is well; then one thing after the other is not, and the right row says so."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from smtpeter import live
from smtpeter.canary_inbox import listening
from smtpeter.settings import load

pytestmark = pytest.mark.system

STEPS = ("accepted", "delivered", "stripped", "signed", "tracked", "redirected", "recorded", "once")
SOON = 3.0  # seconds; for what never happens


def settings_text(service: Any, **changed: str) -> str:
    canary = {
        "login": service.canary.name,
        "password_file": str(service.folder / "password"),
        "sender": "canary@mail.example.test",
    }
    web = {"host": "clicks.example.test"}
    lines = ['hostname = "mail.example.test"', *(f'{key} = "{changed[key]}"' for key in ("sockets",) if key in changed)]
    lines += ["[canary]", *(f'{key} = "{changed.get(key, value)}"' for key, value in canary.items())]
    lines += ["[web]", "https = false", f"port = {changed.get('port', service.web)}", f'host = "{web["host"]}"']
    if "certificate" in changed:
        lines += ["[tls]", f'certificate = "{changed["certificate"]}"', f'key = "{changed["certificate"]}"']
    return "\n".join((*lines, ""))


@pytest.fixture(scope="module")
def running(make_service: Callable[..., Any]) -> Any:
    """A service with a canary of its own account."""
    made = make_service(started=False)
    made.run("account", "add", "canary", "--approve")
    made.domain("mail.example.test", "--clicks", "", account="canary")
    made.canary = made.login(account="canary")
    (made.folder / "password").write_text(made.canary.password + "\n")
    made.settings = made.folder / "settings.toml"
    made.settings.write_text(settings_text(made))
    made.start()
    return made


def rows(service: Any, *words: str, status: int = 0) -> dict[str, dict[str, Any]]:
    """What the command prints, by row."""
    command = service.command("check", "--live", "--json", *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "smtpeter.canary[" in line]
    assert f"verdict={'failed' if status else 'ok'}" in line
    return {row["what"]: row for row in json.loads(done.stdout)}


def with_changed(service: Any, **changed: str) -> Any:
    """The same service, asked with other settings."""
    path = service.folder / "changed.toml"
    path.write_text(settings_text(service, **changed))
    return path


def tried(service: Any, patience: float = SOON, **changed: str) -> dict[str, str]:
    """What is wrong, by row, asked with other settings and little patience."""
    found = live.run(load(with_changed(service, **changed), service.data), patience=patience)
    return {check.what: check.advice for check in found if check.status != "ok"}


def test_everything_is_well(running: Any) -> None:
    found = rows(running)
    assert set(found) == {f"{port} {step}" for port in (running.submission, running.submissions) for step in STEPS}
    assert {row["status"] for row in found.values()} == {"ok"}
    kept = json.loads((running.data / "web" / "canary.json").read_text())
    assert kept["ok"] is True
    assert kept["checks"] == list(found.values())
    assert kept["left"] == []
    assert not (running.data / "run" / "canary").exists()
    assert running.canary.password not in running.log + json.dumps(kept)


def test_it_counts_as_nobody(running: Any) -> None:
    rows(running)
    today = "date -u +%F"
    date = subprocess.run(today.split(), capture_output=True, text=True, check=True).stdout.strip()
    visits = running.run("journal", "export", "--type", "clicks", "--date", date, "--people")
    assert "canary" not in visits


def test_two_at_once_do_not_take_each_others(running: Any) -> None:
    both = [subprocess.Popen(running.command("check", "--live", "--json"), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0, out
        assert {row["status"] for row in json.loads(out)} == {"ok"}


def test_an_option_that_is_not_obeyed_is_told(running: Any) -> None:
    running.run("login", "set", running.canary.name, "trackclicks=forced-off")
    try:
        found = rows(running, status=1)
    finally:
        running.run("login", "set", running.canary.name, "trackclicks=false")
    wrong = {what for what, row in found.items() if row["status"] != "ok"}
    assert wrong == {f"{running.submission} tracked", f"{running.submissions} tracked"}
    assert "smtpeter trace" in found[f"{running.submission} tracked"]["advice"]
    assert json.loads((running.data / "web" / "canary.json").read_text())["ok"] is False


def test_a_wrong_password_is_told_and_not_shown(running: Any) -> None:
    (running.folder / "wrong").write_text("not the password")
    wrong = tried(running, password_file=str(running.folder / "wrong"))
    assert set(wrong) == {f"{running.submission} accepted", f"{running.submissions} accepted"}
    assert all(advice.startswith("AUTH: 535 ") for advice in wrong.values())
    assert "not the password" not in json.dumps(wrong)


def test_a_web_process_that_is_not_there_is_told(running: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        wrong = tried(running, port=str(nobody.getsockname()[1]))
    assert set(wrong) == {f"{running.submission} redirected", f"{running.submissions} redirected"}
    assert all(advice.startswith("no answer: ") for advice in wrong.values())


def test_a_domain_without_a_key_is_told(running: Any) -> None:
    wrong = tried(running, sender="canary@unsigned.invalid")
    assert set(wrong) == {f"{running.submission} signed", f"{running.submissions} signed"}


def test_a_journal_that_stands_still_is_told(running: Any) -> None:
    (process,) = re.findall(r"journal: started, pid (\d+)", running.log)
    os.kill(int(process), signal.SIGSTOP)
    try:
        wrong = tried(running)
    finally:
        os.kill(int(process), signal.SIGCONT)
    assert set(wrong) == {f"{running.submission} recorded", f"{running.submissions} recorded"}


def test_another_certificate_is_told(running: Any, authority: Any) -> None:
    certificate, _ = authority.issue("mail.example.test")
    wrong = tried(running, certificate=str(certificate))
    assert set(wrong) == {f"{running.submission} accepted", f"{running.submissions} accepted"}
    assert all("certificate verify failed" in advice or "self-signed" in advice for advice in wrong.values()), wrong


def test_a_canary_that_does_not_come_back_is_told_and_called_back_by_the_next(running: Any, wait: Callable[..., Any]) -> None:
    with TemporaryDirectory(dir="/tmp") as folder:  # Postfix looks elsewhere
        (Path(folder) / "ports").write_text((running.data / "run" / "ports").read_text())
        wrong = tried(running, sockets=folder)
    assert set(wrong) == {f"{running.submission} delivered", f"{running.submissions} delivered"}
    left = json.loads((running.data / "web" / "canary.json").read_text())["left"]
    assert len(left) == 2

    def deferred() -> set[str]:
        found = map(json.loads, running.postfix("postqueue", "-j").splitlines())
        return {message["queue_id"] for message in found if message["queue_name"] == "deferred"}

    wait(lambda: deferred() >= set(left), "that Postfix gives up for now")
    assert {row["status"] for row in rows(running).values()} == {"ok"}
    wait(lambda: not deferred() & set(left), "the end of those left behind")


def test_nobody_but_postfix_may_bring_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o711)
    path = tmp_path / "canary"
    program = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        " s.sendall(b'LHLO x\\r\\n'); print(s.recv(100))"
    )
    command = (sys.executable, "-I", "-S", "-c", program, str(path))
    with listening(path, None):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert "PermissionError" in done.stderr
        path.chmod(0o666)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "250" not in done.stdout
    assert done.stdout == "b''\n" or "Error" in done.stderr
    assert not path.exists()


def test_without_a_canary_it_says_what_to_set(running: Any) -> None:
    path = running.folder / "bare.toml"
    path.write_text('hostname = "mail.example.test"\n')
    command = (sys.executable, "-m", "smtpeter", "--settings", str(path), "--data", str(running.data), "check", "--live")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "[canary]" in done.stderr
