"""`smtpeter trace`: one message's life, found by anything that names it."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from journal import links
from journal.event import Decision
from journal.migrate import migrate
from journal.records import CopyRecord, MessageRecord, Record, VisitKind, VisitRecord
from journal.seal import Ring
from journal.spool import Writer
from journal.store import JournalStore
from smtpeter.__main__ import run

NOW = 1_790_000_000  # 2026-09-21 14:13:20 UTC
BOB, EVE = bytes(range(9)), bytes(range(1, 10))

MESSAGE = MessageRecord(
    id=BOB.hex(),
    time=NOW,
    login="00112233445566778899aabbccddeeff",
    account="shop",
    envelope="news@example.com",
    recipient="Bob@example.org",
    queue_id="4jXcMk0jpgzKr67",
    message_id="<one@example.com>",
    properties=("inlinecss", "trackclicks"),
    tags=("spring", "sale"),
    decisions=(
        Decision("inlinecss", "applied", "login"),
        Decision("trackclicks", "applied", "header", "3 links left: a placeholder in the address"),
        Decision("trackopens", "off", "login"),
        Decision("images", "skipped", "rule", "the message is signed"),
    ),
)
COPY = CopyRecord(
    message=MESSAGE.id,
    time=NOW + 1,
    queue_id="4jXcMl1abczKr99",
    decisions=(Decision("inlinecss", "applied", "login"), Decision("trackbounces", "applied", "login")),
)
CLICK = VisitRecord(
    kind=VisitKind.CLICK,
    message=MESSAGE.id,
    time=NOW + 3600,
    number=2,
    url="/shop-ID",
    destination="https://www.example.com/shop?a=1#top",
    ip="192.0.2.0",
    protocol="https",
    headers="user-agent: x",
    machine=False,
)
OPEN = replace(CLICK, kind=VisitKind.OPEN, time=NOW + 1800, number=0, destination="", machine=True)


@pytest.fixture
def journal(shop, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Adds records to the journal of the command."""
    url = f"sqlite:///{tmp_path}/data/journal.db"
    migrate(url)
    store = JournalStore(url)
    added = 0

    def add(*records: Record) -> None:
        nonlocal added
        for record in records:
            added += 1
            store.insert([(f"record-{added}", record)])

    yield add
    store.close()


@pytest.fixture
def log(tmp_path: Path, shop) -> Path:
    path = tmp_path / "data" / "postfix" / "log" / "mail.log"
    path.parent.mkdir(parents=True)
    return path


def log_line(
    after: int, queue_id: str, recipient: str, status: str, text: str, relay: str = "mx.example.org[192.0.2.1]:25"
) -> str:
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime(NOW + after))
    code = "2.0.0" if status == "sent" else "4.4.1"
    return (
        f"{stamp} mail smtpeter/smtp[7]: {queue_id}: to=<{recipient}>, relay={relay}, delay=1, delays=0/0/0/1,"
        f" dsn={code}, status={status} ({text})\n"
    )


@pytest.fixture
def ring(shop, tmp_path: Path) -> Ring:
    return Ring.parse((tmp_path / "data" / "keys.ring").read_text(), NOW)


def ids(printed: str) -> list[str]:
    return [message["id"] for message in json.loads(printed)["messages"]]


def test_a_life_is_told_in_order(shop, journal, log: Path) -> None:
    journal(MESSAGE, COPY, CLICK, OPEN)
    log.write_text(
        log_line(
            1, MESSAGE.queue_id, "Bob@example.org", "sent", f"250 2.0.0 Ok: queued as {COPY.queue_id}", "127.0.0.1[127.0.0.1]:1"
        )
        + log_line(1, MESSAGE.queue_id, "eve@example.org", "sent", "250 2.0.0 Ok: queued as 4other", "127.0.0.1[127.0.0.1]:1")
        + log_line(2, COPY.queue_id, "Bob@example.org", "deferred", "connection timed out", "none")
        + log_line(300, COPY.queue_id, "Bob@example.org", "sent", "250 accepted")
    )
    assert (
        shop("trace", MESSAGE.queue_id)
        == """\
<one@example.com> to Bob@example.org
  2026-09-21 14:13:20  accepted   from <news@example.com> as 4jXcMk0jpgzKr67
                                  login 00112233445566778899aabbccddeeff of account shop
                                  options: inlinecss trackclicks
                                  tags: spring, sale
                                  inlinecss applied (login)
                                  trackclicks applied (header): 3 links left: a placeholder in the address
                                  trackopens off (login)
                                  images skipped (rule): the message is signed
  2026-09-21 14:13:21  copied     for this recipient, as 4jXcMl1abczKr99
                                  trackbounces applied (login)
  2026-09-21 14:13:22  deferred   4.4.1 (connection timed out), 4jXcMl1abczKr99
  2026-09-21 14:18:20  delivered  by mx.example.org[192.0.2.1]:25 2.0.0 (250 accepted), 4jXcMl1abczKr99
  2026-09-21 14:43:20  opened     pixel, a machine at 192.0.2.0
  2026-09-21 15:13:20  clicked    link 2 to https://www.example.com/shop?a=1#top, a person at 192.0.2.0

"""
    )


def test_json_has_all_of_it(shop, journal, log: Path) -> None:
    journal(MESSAGE, COPY, CLICK)
    log.write_text(log_line(2, COPY.queue_id, "bob@EXAMPLE.org", "sent", "250 ok"))
    found = json.loads(shop("trace", COPY.queue_id, "--json"))
    assert (found["note"], found["more"], found["log"]) == ("", 0, True)
    (life,) = found["messages"]
    assert (life["id"], life["time"], life["tags"]) == (MESSAGE.id, "2026-09-21 14:13:20", ["spring", "sale"])
    assert life["decisions"][3] == {
        "feature": "images",
        "outcome": "skipped",
        "by": "rule",
        "reason": "the message is signed",
    }
    assert [copy["queue_id"] for copy in life["copies"]] == [COPY.queue_id]
    assert life["copies"][0]["decisions"][1]["feature"] == "trackbounces"
    assert life["deliveries"] == [
        {
            "time": "2026-09-21 14:13:22",
            "queue_id": COPY.queue_id,
            "recipient": "bob@EXAMPLE.org",
            "relay": "mx.example.org[192.0.2.1]:25",
            "dsn": "2.0.0",
            "status": "sent",
            "text": "250 ok",
        }
    ]
    assert (life["visits"][0]["kind"], life["visits"][0]["machine"]) == ("click", False)


@pytest.mark.parametrize(
    "what",
    [
        MESSAGE.queue_id,
        COPY.queue_id,
        MESSAGE.id,
        MESSAGE.id.upper(),
        "<one@example.com>",
        "one@example.com",
        "bob@example.ORG",
        f" {MESSAGE.queue_id}\n",
        CLICK.destination,
    ],
)
def test_anything_that_names_a_message_finds_it(shop, journal, what: str) -> None:
    journal(MESSAGE, COPY, CLICK)
    journal(replace(MESSAGE, id=EVE.hex(), recipient="eve@example.org", queue_id="4other", message_id="<two@example.com>"))
    assert ids(shop("trace", what, "--json")) == [MESSAGE.id]


def test_a_queue_file_of_several_recipients_is_several_lives(shop, journal, log: Path) -> None:
    journal(MESSAGE, replace(MESSAGE, id=EVE.hex(), recipient="eve@example.org"))
    log.write_text(
        log_line(1, MESSAGE.queue_id, "Bob@example.org", "sent", "250 ok")
        + log_line(2, MESSAGE.queue_id, "eve@example.org", "bounced", "550 no")
    )
    lives = json.loads(shop("trace", MESSAGE.queue_id, "--json"))["messages"]
    assert {life["recipient"]: [row["status"] for row in life["deliveries"]] for life in lives} == {
        "Bob@example.org": ["sent"],
        "eve@example.org": ["bounced"],
    }


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (
            lambda ring: links.tracked(ring, BOB, 2, CLICK.destination, "https://clicks.example.com"),
            f"link 2 of message {BOB.hex()}",
        ),
        (
            lambda ring: links.tracked(ring, BOB, 3, "http://example.com/%2e./?", "http://c.example"),
            f"link 3 of message {BOB.hex()}",
        ),
        (
            lambda ring: links.tracked(ring, BOB, 1, "http://example.com/a.png", "http://c.example", image=True),
            f"picture 1 of message {BOB.hex()}, which leads to http://example.com/a.png",
        ),
        (lambda ring: links.pixel(ring, BOB, "https://clicks.example.com"), f"the pixel of message {BOB.hex()}"),
        (
            lambda ring: links.hosted_tracked(ring, BOB, 4, "a" * 32 + ".png", "https://clicks.example.com"),
            f"picture 4 of message {BOB.hex()}",
        ),
    ],
    ids=["link", "link sealed whole", "picture", "pixel", "hosted"],
)
def test_a_link_tells_whose_it_is(shop, journal, ring: Ring, make: Callable[[Ring], str], note: str) -> None:
    journal(MESSAGE)
    url = make(ring)
    printed = shop("trace", url)
    assert printed.startswith(note)
    assert "<one@example.com> to Bob@example.org" in printed
    assert ids(shop("trace", url, "--json")) == [MESSAGE.id]


def test_a_link_of_a_message_that_is_gone_still_tells_where_it_leads(shop, journal, ring: Ring) -> None:
    url = links.tracked(ring, EVE, 7, CLICK.destination, "https://clicks.example.com")
    sentence = shop("trace", url, status=2)
    assert f"link 7 of message {EVE.hex()}, which leads to {CLICK.destination}; the journal does not have" in sentence


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("4nothing", "the journal has no message with '4nothing'"),
        ("nobody@example.org", "the journal has no message with 'nobody@example.org'"),
        ("https://www.example.com/", "nobody followed a link to 'https://www.example.com/', and it is none of ours"),
        ("https://clicks.example.com/-AAAA", "and it is none of ours"),
        ("http://[", "and it is none of ours"),
        ("https://clicks.example.com/i/" + "a" * 32 + ".png", "and it is a picture that names no recipient"),
        ("", "the journal has no message with ''"),
    ],
)
def test_what_is_not_there_is_a_sentence(shop, journal, what: str, sentence: str) -> None:
    journal(MESSAGE, CLICK)
    assert sentence in shop("trace", what, status=2)


def test_what_waits_for_the_database_is_told(shop, journal, tmp_path: Path) -> None:
    spool = tmp_path / "data" / "spool"
    spool.mkdir(exist_ok=True)
    assert "wait" not in shop("trace", MESSAGE.queue_id, status=2)
    Writer(spool, "test").append([MESSAGE], durable=False)
    assert "some records wait for the database" in shop("trace", MESSAGE.queue_id, status=2)


def test_a_destination_is_found_as_it_was_written_in_the_mail(shop, journal) -> None:
    journal(MESSAGE, replace(CLICK, destination="https://example.com/caf%C3%A9"))
    assert ids(shop("trace", " https://example.com/café ", "--json")) == [MESSAGE.id]


def test_the_newest_come_first_and_the_rest_is_counted(shop, journal) -> None:
    journal(*(replace(MESSAGE, id=f"{number:018x}", time=NOW + number) for number in range(5)))
    printed = json.loads(shop("trace", "bob@example.org", "--limit", "2", "--json"))
    assert [message["id"][-1] for message in printed["messages"]] == ["4", "3"]
    assert printed["more"] == 3
    assert "3 older; --limit 5 shows them as well" in shop("trace", "bob@example.org", "--limit", "2")
    assert " older" not in shop("trace", "bob@example.org", "--limit", "5")


def test_without_a_mail_log_it_says_so(shop, journal, log: Path) -> None:
    journal(MESSAGE)
    assert f"there is no mail log {log} to read" in shop("trace", MESSAGE.queue_id)
    assert json.loads(shop("trace", MESSAGE.queue_id, "--json"))["log"] is False
    log.write_bytes(b"\xff\x00 no log\n")
    assert "no mail log" not in shop("trace", MESSAGE.queue_id)


def test_the_log_of_the_hosts_own_postfix_is_read(shop, journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal(MESSAGE)
    (tmp_path / "log").mkdir()
    (tmp_path / "smtpeter.toml").write_text('data = "data"\n[postfix]\nconfig = "/etc/postfix"\nlog = "log/mail.log"\n')
    (tmp_path / "log" / "mail.log").touch()
    (tmp_path / "log" / "mail.log.1").write_text(log_line(2, MESSAGE.queue_id, "bob@example.org", "sent", "250 ok"))
    assert run(["--settings", str(tmp_path / "smtpeter.toml"), "trace", MESSAGE.queue_id]) == 0
    assert "delivered" in capsys.readouterr().out


def test_what_others_wrote_does_not_steer_the_terminal(shop, journal) -> None:
    evil = "\x1b]0;x\x07\r\n\x9b2J"
    journal(
        replace(MESSAGE, recipient=f"b{evil}@example.org", tags=(evil,), message_id=f"<{evil}>"),
        replace(CLICK, destination=f"http://example.com/{evil}", ip=evil),
    )
    printed = shop("trace", MESSAGE.queue_id)
    assert not [c for c in printed if not c.isprintable() and c != "\n"]
    assert r"\u{1b}" in printed


def test_without_a_journal_the_next_step_is_named(shop, tmp_path: Path) -> None:
    (tmp_path / "data" / "journal.db").unlink(missing_ok=True)
    assert "`smtpeter up` makes the journal" in shop("trace", "4abc", status=2)
