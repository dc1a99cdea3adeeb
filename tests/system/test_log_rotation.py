"""Postfix's log gets another name every night: no session ends, no line is lost, and what it says is still found."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

MESSAGE = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: hello\r\n\r\nhello\r\n"
UNITS = Path("ansible") / "roles" / "smtpeter" / "files" / "systemd"


def traced(service: Any, queue_id: str) -> list[str]:
    """What became of a message's deliveries."""
    (message,) = json.loads(service.run("trace", queue_id, "--json"))["messages"]
    return [delivery["status"] for delivery in message["deliveries"]]


def test_mail_before_and_after_a_rotation_is_traced(
    service: Any, login: Any, transaction: Callable[..., str], wait: Callable[..., Any], root: Path
) -> None:
    (command,) = [
        line.partition("/postfix ")[2]
        for line in (root / UNITS / "smtpeter-logrotate.service").read_text().splitlines()
        if line.startswith("ExecStart=/usr/sbin/postfix ")
    ]
    before = service.send(login, MESSAGE)
    wait(lambda: f"{before}: removed" in service.mail_log, "the end of a message")
    folder = service.data / "postfix" / "log"
    known = set(folder.iterdir())
    with service.client(login) as client:
        service.postfix("postfix", *command.split())
        during = transaction(client, MESSAGE)  # the session that was open
    after = service.send(login, MESSAGE)
    wait(lambda: all(f"{queue_id}: removed" in service.mail_log for queue_id in (during, after)), "the lines in the new log")
    assert f"{before}: removed" not in service.mail_log
    (old,) = set(folder.iterdir()) - known
    assert f"{before}: removed" in gzip.decompress(old.read_bytes()).decode()
    for queue_id in (before, during, after):
        wait(lambda queue_id=queue_id: traced(service, queue_id) == ["sent"], f"the trace of {queue_id}")
