"""What is read in Postfix's log, in its own words."""

import gzip
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from smtpeter.mail_log import Delivery, deliveries, log_lines

LOG = """\
Nov 22 18:01:28 mail smtpeter/smtpd[20809]: connect from localhost[127.0.0.1]
Nov 22 18:01:37 mail smtpeter/smtpd[21030]: 4jXcMk0jpgzKr67: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=0011
Nov 22 18:01:38 mail smtpeter/cleanup[21040]: 4jXcMk0jpgzKr67: message-id=<status=sent@example.com>
Nov 22 18:01:38 mail smtpeter/smtp[21049]: 4jXcMk0jpgzKr67: to=<a@example.net>, relay=mx.example.net[192.0.2.1]:25, \
delay=0.05, delays=0.01/0.02/0/0.02, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued (as) 17)
Nov 22 18:01:39 mail smtpeter/smtp[21049]: 4jXcMk0jpgzKr67: to=<x@example.org>, orig_to=<b@example.net>, relay=none, \
delay=30, delays=0/0/30/0, dsn=4.4.1, status=deferred (connect to mx.example.org[192.0.2.2]:25: Connection timed out)
Nov 22 18:01:39 mail smtpeter/smtp[21049]: 4jXcMk0other0: to=<a@example.net>, relay=none, \
delay=30, delays=0/0/30/0, dsn=4.4.1, status=deferred (no)
Nov 27 18:01:40 mail smtpeter/qmgr[21000]: 4jXcMk0jpgzKr67: from=<news@example.com>, status=expired, returned to sender
Nov 22 18:01:41 mail smtpeter/smtp[21049]: 4jXcMk0jpgzKr67: conversation with mx.example.net status=odd
"""


def utc(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp())


@pytest.fixture(params=["UTC", "Europe/Amsterdam", "Pacific/Auckland", "America/Los_Angeles"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_each_attempt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    identifier = "4jXcMk0jpgzKr67"
    accepted = int(time.mktime((2026, 11, 22, 18, 1, 37, 0, 0, -1)))
    found = list(deliveries(LOG.splitlines(keepends=True), {identifier: accepted}))
    assert found == [
        Delivery(
            time=accepted + 1,
            queue_id=identifier,
            recipient="a@example.net",
            relay="mx.example.net[192.0.2.1]:25",
            dsn="2.0.0",
            status="sent",
            text="250 2.0.0 Ok: queued (as) 17",
        ),
        Delivery(
            time=accepted + 2,
            queue_id=identifier,
            recipient="b@example.net",
            relay="none",
            dsn="4.4.1",
            status="deferred",
            text="connect to mx.example.org[192.0.2.2]:25: Connection timed out",
        ),
        Delivery(
            time=accepted + 5 * 86400 + 3,
            queue_id=identifier,
            recipient="",
            relay="",
            dsn="",
            status="expired",
            text="returned to sender",
        ),
    ]
    assert list(deliveries(LOG.splitlines(), {})) == []


@pytest.mark.parametrize("recipient", ['"a>b"@example.org', '"a, b"@example.org', "jürgen@example.org", "a=b@example.org", ""])
def test_every_address_is_read(recipient: str) -> None:
    (found,) = deliveries([line("Jan  1 00:00:00", recipient)], {"4ABC": 0})
    assert found.recipient == recipient


def test_a_long_line_takes_no_long_time() -> None:
    began = time.monotonic()
    assert list(deliveries([line("Jan  1 00:00:00", ">, orig_to=<" * 5000)[:-60]], {"4ABC": 0})) == []
    assert time.monotonic() - began < 2


def line(stamp: str, recipient: str = "a@b") -> str:
    return (
        f"{stamp} mail smtpeter/smtp[1]: 4ABC: to=<{recipient}>, relay=none, delay=1, delays=0, dsn=4.0.0, status=deferred (no)"
    )


@pytest.mark.parametrize("after", [0, 1, 3600, 4 * 86400, 360 * 86400])
@pytest.mark.parametrize(
    "accepted", [utc(2023, 12, 31, 23, 59, 59), utc(2024, 2, 29, 12), utc(2024, 2, 28, 23, 30), utc(2025, 6, 1)]
)
def test_the_year_and_the_zone_are_found(zone: str, accepted: int, after: int) -> None:
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime(accepted + after))
    (found,) = deliveries([line(stamp)], {"4ABC": accepted})
    assert found.time == accepted + after


def test_a_time_with_its_zone_is_taken_as_it_is() -> None:
    (found,) = deliveries([line("2026-01-31T23:00:00.123456+01:00")], {"4ABC": 0})
    assert found.time == utc(2026, 1, 31, 22)


@pytest.mark.parametrize("stamp", ["Feb 30 00:00:00", "Xyz 10 00:00:00"])
def test_a_time_that_is_none_is_that_of_the_message(stamp: str) -> None:
    (found,) = deliveries([line(stamp)], {"4ABC": 17})
    assert found.time == 17


def test_older_logs_are_read_as_far_as_they_matter(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    names = ("mail.log-20261101.gz", "mail.log.3.gz", "mail.log.20261120-000000.gz", "mail.log.1", "mail.log")
    for age, name in enumerate(reversed(names)):
        path = tmp_path / name
        content = f"from {name}\n".encode() + b"\xff\n"
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        os.utime(path, (1_000_000 - age * 100,) * 2)
    for other in ("mail.log.lock", "mail.logs", "mail.err", "mail.log.gz.part", "other.mail.log.1"):
        (tmp_path / other).write_text("from elsewhere\n")
    found = [line.strip() for line in log_lines(log, 0) if "\ufffd" not in line]
    assert found == [f"from {name}" for name in names]
    assert [line.strip() for line in log_lines(log, 999_900)] == ["from mail.log.1", "\ufffd", "from mail.log", "\ufffd"]
    log.unlink()
    with pytest.raises(FileNotFoundError):
        list(log_lines(log, 0))
