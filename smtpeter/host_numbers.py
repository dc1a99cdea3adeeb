"""What is looked at in the moment somebody asks for metrics: spool, queue, certificate, click hosts, canary, backups.

Nothing here waits for another process: what takes longer is looked at beforehand (mail_queue.py). What cannot be read is left
out, and a number says so.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography import x509

from journal.drain import Waiting
from smtpeter.mail_queue import Depth

BAD_HOSTS = 50  # click hosts that are named; all are counted
STATES = ("ok", "warning", "failing", "bad")  # as in policy.click_hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One value, as Prometheus gets it: `name` is the metric's, `meaning` the same for all of that name."""

    name: str
    meaning: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNumbers:
    """Where the numbers of this host are. `queue` gives the last look at Postfix's queue, None where none has succeeded.

    `click_hosts`, `canary` and `backup` are files with what was found or done last; `canary_login` is who sends canaries.
    """

    spool: Callable[[], Waiting]
    queue: Callable[[], Depth | None]
    certificate: Path
    click_hosts: Path
    canary: Path
    backup: Path
    canary_login: str = ""
    clock: Callable[[], float] = field(default=time.time)

    def __call__(self) -> Iterator[Number]:
        """All that can be read now, and for each part whether it could."""
        parts: tuple[tuple[str, Callable[[], Iterable[Number]]], ...] = (
            ("spool", self._spool),
            ("queue", self._queue),
            ("certificate", self._certificate),
            ("click hosts", self._click_hosts),
            ("canary", self._canary),
            ("backup", self._backup),
        )
        yield _number("build_info", "The version that runs.", 1, version=version("smtpeter"))
        for name, look in parts:
            try:
                found = tuple(look())
            except (OSError, ValueError, KeyError, TypeError):
                found, readable = (), 0
            else:
                readable = 1
            yield from found
            yield _number("readable", "Whether a part of the metrics could be read.", readable, part=name)

    def _spool(self) -> Iterable[Number]:
        left = self.spool()
        yield _number("spool_octets", "Octets of records that wait for the journal's database.", left.octets)
        yield _number("spool_segments", "Files of the spool with such records.", left.segments)
        age = 0.0 if left.oldest is None else max(0.0, self.clock() - left.oldest)
        yield _number("spool_oldest_seconds", "Age of the oldest record that waits; 0 where none does.", age)
        yield _number("spool_set_aside", "Files of records that no database can take and that need a look.", left.aside)

    def _queue(self) -> Iterable[Number]:
        found = self.queue()
        if found is None:
            raise ValueError("no look has succeeded")
        for name, count in found.messages.items():
            yield _number("queue_messages", "Messages in Postfix's queue.", count, queue=name)
        age = 0.0 if found.oldest is None else max(0.0, self.clock() - found.oldest)
        yield _number("queue_oldest_seconds", "Age of the oldest message in Postfix's queue; 0 for an empty one.", age)

    def _certificate(self) -> Iterable[Number]:
        first = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        ends = first.not_valid_after_utc.timestamp()
        yield _number("certificate_not_after_timestamp_seconds", "When the certificate of the mail host ends.", ends)

    def _click_hosts(self) -> Iterable[Number]:
        if not self.click_hosts.exists():  # nobody has looked at any
            return
        found = json.loads(self.click_hosts.read_text())
        hosts: list[dict[str, Any]] = found["hosts"]
        counted = Counter(host["state"] for host in hosts)
        for state in STATES:
            yield _number("click_hosts", "Click hosts by state; links lead to all but bad ones.", counted[state], state=state)
        meaning = "When all click hosts were looked at last (UTC, since 1970)."
        yield _number("click_hosts_checked_timestamp_seconds", meaning, float(found["checked"]))
        for host in [host["host"] for host in hosts if not host["links"]][:BAD_HOSTS]:
            yield _number("click_host_bad", "A click host that links may not lead to.", 1, host=str(host))

    def _canary(self) -> Iterable[Number]:
        if self.canary_login:
            meaning = "The login that canaries are sent with: its mail is no customer's."
            yield _number("canary_info", meaning, 1, login=self.canary_login)
        if not self.canary.exists():  # none was ever sent
            return
        last = json.loads(self.canary.read_text())
        yield _number("canary_timestamp_seconds", "When the last canary was sent (UTC, since 1970).", float(last["time"]))
        yield _number("canary_ok", "Whether all was well with the last canary.", float(last["ok"]))
        yield _number("canary_seconds", "How long the last canary took until its last check.", float(last["seconds"]))
        for row in last["checks"]:
            meaning = "Whether that check of the last canary was passed."
            yield _number("canary_check_ok", meaning, float(row["status"] == "ok"), check=str(row["what"]))

    def _backup(self) -> Iterable[Number]:
        if self.backup.exists():  # else none was ever made
            last = json.loads(self.backup.read_text())
            yield _number("backup_timestamp_seconds", "When the last backup was made (UTC, since 1970).", float(last["time"]))


def _number(name: str, meaning: str, value: float, **labels: str) -> Number:
    return Number(name=f"smtpeter_{name}", meaning=meaning, value=value, labels=labels)
