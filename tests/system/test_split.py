"""A message for several recipients through the real service: each gets a copy of his own, and nobody learns of another."""

import json
import re
import smtplib
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

THREE = ("anna@example.net", "bob@example.org", "hidden@example.net")


@pytest.fixture(scope="module")
def page(several: bytes) -> bytes:
    """The HTML of that message."""
    return several.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


@pytest.fixture(scope="module")
def tracking(service):
    """A login with everything on that makes copies."""
    return service.login("trackclicks=true", "trackopens=true")


def test_each_recipient_gets_one_copy_with_identifiers_of_his_own(service, tracking, several: bytes) -> None:
    queue_id = service.send(tracking, several, THREE)
    copies = service.copies(queue_id, 3)
    assert sorted(copy.recipient for copy in copies) == sorted(THREE)
    assert {len(copy.identifiers) for copy in copies} == {3}  # two links and the pixel
    assert len(frozenset().union(*(copy.identifiers for copy in copies))) == 9
    assert all(service.signed(copy) for copy in copies)
    assert len(service.passed_on(queue_id)) == 3
    decisions = [line for line in service.log.splitlines() if f"copy_of={queue_id} " in line]
    assert len(decisions) == 3
    assert " recipients=3 split=yes " in service.events(queue_id)[0]


def test_the_journal_has_each_recipient_once(service, tracking, wait, several: bytes) -> None:
    people = tuple(f"journal{number}@example.net" for number in range(3))
    queue_id = service.send(tracking, several, people)
    service.copies(queue_id, 3)
    day = datetime.now(UTC).strftime("%Y-%m-%d")

    def attempts() -> list[str]:
        rows = json.loads(service.run("journal", "export", "--type", "attempts", "--date", day, "--format", "json"))
        return sorted(row["recipient"] for row in rows if row["recipient"].startswith("journal"))

    wait(lambda: len(attempts()) >= 3, "the records of three recipients")
    life = wait(lambda: (text := service.run("trace", queue_id)).count(" copied ") >= 3 and text, "the records of three copies")
    assert attempts() == sorted(people)
    assert life.count(" accepted ") == life.count(" copied ") == 3
    assert life.count("trackclicks applied (login)") == life.count("trackopens applied (login)") == 3


def test_nothing_of_the_way_to_the_copies_is_left_in_them(service, tracking, page: bytes, several: bytes) -> None:
    for copy in service.copies(service.send(tracking, several, THREE), 3):
        assert b"x-smtpeter" not in copy.raw.lower()
        assert re.sub(rb'https://clicks\.[^/]+(/[^"?]*)-[^"?]+', rb"https://www.example.com\1", copy.body).startswith(page[:-14])


def test_who_is_a_blind_recipient_stands_in_no_other_copy(service, tracking, several: bytes) -> None:
    blind = ("hidden@example.net", "hidden2@example.org", "visible@example.net")
    for copy in service.copies(service.send(tracking, several, blind), 3):
        header = copy.header.replace(b"anna@example.net, bob@example.org", b"")
        assert [name for name in blind if name.encode() in header] == [copy.recipient]
        assert header.count(copy.recipient.encode()) == 1  # the trace field of his own copy
        assert b"\r\nbcc:" not in copy.header.lower()


def test_the_envelope_of_each_survives(service, tracking, wait, several: bytes) -> None:
    with service.client(tracking) as client:
        steps = (
            "MAIL FROM:<news@example.com> RET=HDRS ENVID=QQ+2B314 BODY=8BITMIME SMTPUTF8",
            "RCPT TO:<anna@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@example.net",
            "RCPT TO:<bob@example.org> NOTIFY=NEVER",
            'RCPT TO:<"with blank"@example.net>',
            "RCPT TO:<jürgen@example.org>",
        )
        for step in steps:
            client.send(step.encode() + b"\r\n")
            assert client.getreply()[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(several.replace(b"several", "für Jürgen".encode()) + b".\r\n")
        code, text = client.getreply()
        assert code == 250
    queue_id = text.decode().rpartition(" ")[2]
    copies = {copy.recipient: copy for copy in service.copies(queue_id, 4)}
    wait(lambda: f"{queue_id}: removed" in service.mail_log, "the end of the message in the queue")
    assert f"{queue_id}: sender delivery status notification" not in service.mail_log  # whoever delivers it tells
    for copy in copies.values():
        assert copy.envelope["mail_from"] == "news@example.com"
        expected = {"RET": "HDRS", "ENVID": "QQ+2B314", "BODY": "8BITMIME", "SMTPUTF8": ""}
        assert {name: word for name, word in copy.envelope["mail_parameters"].items() if name != "SIZE"} == expected
        assert "Subject: für Jürgen\r\n".encode() in copy.raw
        assert service.signed(copy)
    options = {recipient: copy.envelope["rcpt_to"][0]["parameters"] for recipient, copy in copies.items()}
    assert options["anna@example.net"] == {"NOTIFY": "SUCCESS,FAILURE", "ORCPT": "rfc822;first@example.net"}
    assert options["bob@example.org"]["NOTIFY"] == "NEVER"
    assert {'"with blank"@example.net', "jürgen@example.org"} < options.keys()


def test_the_null_sender_stays_null(service, tracking, several: bytes) -> None:
    queue_id = service.send(tracking, several, THREE, mail_from="")
    assert {copy.envelope["mail_from"] for copy in service.copies(queue_id, 3)} == {""}


def test_the_log_names_the_client_and_the_first_queue_id(service, tracking, several: bytes) -> None:
    queue_id = service.send(tracking, several, THREE)
    service.copies(queue_id, 3)
    assert all("orig_client=localhost[127.0.0.1]" in line for line in service.passed_on(queue_id))
    assert "loops back" not in service.mail_log


def test_addresses_that_are_written_differently_are_one_person(service, tracking, several: bytes) -> None:
    queue_id = service.send(tracking, several, ("Anna@example.net", "other@example.net", '"anna"@EXAMPLE.net'))
    copies = service.copies(queue_id, 2)
    people = {copy.recipient.lower(): copy.identifiers for copy in copies}
    assert {copy.identifiers for copy in copies} == set(people.values())
    assert len(people) == 2


@pytest.mark.parametrize(
    ("options", "field", "recipients"),
    [
        ((), b"", THREE),
        (("inlinecss=true",), b"", THREE),
        (("trackclicks=true", "trackopens=true"), b"", THREE[:1]),
        (("trackclicks=true", "trackopens=true"), b"", ("anna@example.net", "ANNA@example.net")),
        (("trackclicks=true",), b"X-SMTPeter-TrackClicks: no\r\n", THREE),
    ],
    ids=["no feature", "same for all", "one recipient", "one person", "switched off"],
)
def test_without_need_nothing_is_split(service, options, field: bytes, recipients: tuple[str, ...], several: bytes) -> None:
    queue_id = service.send(service.login(*options), field + several, recipients)
    left = service.captured(queue_id)
    assert {one["address"].lower() for one in left.envelope["rcpt_to"]} == {name.lower() for name in recipients}
    assert service.passed_on(queue_id) == []
    assert left.header.count(b"\r\nReceived:") + left.header.startswith(b"Received:") == 1
    assert service.signed(left)


def test_the_field_of_one_message_is_enough(service, several: bytes) -> None:
    queue_id = service.send(service.login(), b"X-SMTPeter-TrackClicks: yes\r\n" + several, THREE)
    assert len(frozenset().union(*(copy.identifiers for copy in service.copies(queue_id, 3)))) == 6


@pytest.mark.parametrize("field", [b"X-SMTPeter-Job: AAAA\r\n", b"x-smtpeter-job: QUFB\r\nX-SMTPeter-Job:\r\n x\r\n"])
def test_what_a_client_writes_splits_nothing_and_does_not_leave(service, login, tracking, field: bytes, several: bytes) -> None:
    queue_id = service.send(login, field + several, THREE)
    assert b"x-smtpeter" not in service.captured(queue_id).raw.lower()
    assert service.passed_on(queue_id) == []
    copies = service.copies(service.send(tracking, field + several, THREE), 3)
    assert not [copy for copy in copies if b"x-smtpeter" in copy.raw.lower()]


def test_a_hundred_recipients_get_a_hundred_different_copies(service, tracking, several: bytes) -> None:
    recipients = tuple(f"reader{number}@example.net" for number in range(100))
    queue_id = service.send(tracking, several, recipients)
    copies = service.copies(queue_id, 100)
    assert {copy.recipient for copy in copies} == set(recipients)
    assert len(frozenset().union(*(copy.identifiers for copy in copies))) == 300
    assert len(service.passed_on(queue_id)) == len(copies) == 100
    used = re.findall(rf"{queue_id}: to=<[^>]*>, relay=127\.0\.0\.1\S+, conn_use=\d+", service.mail_log)
    assert len(used) > 50  # sessions to the second listener are used again


def test_all_tags_a_message_may_have_reach_the_copies(service, tracking, several: bytes) -> None:
    tags = ", ".join(f"{number:02}" + "ü" * 126 for number in range(50))
    queue_id = service.send(tracking, b"X-SMTPeter-Tags: " + tags.encode().replace(b", ", b",\r\n ") + b"\r\n" + several, THREE)
    assert len(service.copies(queue_id, 3)) == 3
    (line,) = {line.partition(" tags=")[2] for line in service.log.splitlines() if f"copy_of={queue_id} " in line}
    assert line.count(r"\u{fc}") == 50 * 126


def test_odd_mail_is_split_as_well(service, tracking, transaction, page: bytes) -> None:
    """A ticket is bound to the fields and the body, so nothing in them may change on the way to the second listener."""
    plain = b"From: news@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n"
    odd = {
        "no end of line": plain + b"\r\n" + page,
        "empty body": plain + b"\r\n",
        "no header at all": b"\r\n" + page,
        "line that is no field": plain + b"this is no field\r\n\r\n" + page,
        "blank before the colon": plain + b"X-Odd : a  b\t\r\nX-Empty:\r\nX-Blank: \r\n\r\n" + page,
        "odd folds": plain + b"X-Fold:\r\n  a\r\n\t \r\n b\r\nSubject:  two \t blanks \r\n\r\n" + page,
        "raw 8 bit": plain + b"Subject: \xe4\xf6\xff\r\n\r\n" + page + b"\xe9\r\n",
        "long lines": plain + b"X-Long: " + b"a" * 5000 + b" " + b"b" * 5000 + b"\r\n\r\n" + page + b"c" * 100_000 + b"\r\n",
        "bare ends of line": plain + b"Subject: a\rb\r\n\r\n" + page + b"\ra\nb\r\n",
        "NUL": plain + b"Subject: a\0b\r\n\r\n" + page + b"\0\r\n",
        "dots": plain + b"\r\n.\r\n..\r\n.x\r\n" + page + b"\r\n.\r\n",
        "resent": plain
        + b"Resent-From: x@example.com\r\nResent-Bcc: y@example.com\r\nReturn-Path: <z@example.com>\r\n\r\n"
        + page,
        "many ends": plain + b"\r\n" + page + b"\r\n\r\n\r\n\r\n",
        "mailbox": b"From news@example.com Mon Feb  2 10:00:00 2026\r\n" + plain + b"\r\n" + page,
        "received before": b"Received: from a by b; Mon, 2 Feb 2026 10:00:00 +0000\r\n" + plain + b"\r\n" + page,
    }
    folders = [Path(path) / "test" / "test_email" / "data" for path in sys.path]
    for file in (file for folder in folders if folder.is_dir() for file in sorted(folder.glob("msg_*.txt"))):
        raw = re.sub(rb"\r?\n|\r", b"\r\n", file.read_bytes())
        header, blank, body = re.sub(rb"\A>?From [^\n]*\n", b"", raw).partition(b"\r\n\r\n")
        rest = re.sub(rb"(?im)^(?:from|sender|resent-from)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*\n?", b"", header + b"\r\n")
        odd[file.name] = b"From: news@example.com\r\n" + rest.removesuffix(b"\r\n") + blank + body
    queued = {}
    for name, message in odd.items():
        with service.client(tracking) as client:
            try:
                queued[name] = transaction(client, message, THREE[:2])
            except smtplib.SMTPResponseException as refusal:
                assert refusal.smtp_error.startswith(b"5.6."), (name, refusal)
    assert len(queued) > len(odd) * 0.8
    split = [name for name, queue_id in queued.items() if " split=yes " in service.events(queue_id)[0]]
    assert len(split) >= 12
    for name in split:
        assert {copy.recipient for copy in service.copies(queued[name], 2)} == set(THREE[:2]), name
    assert "listener=INTERNAL verdict=" not in service.log
