"""The two passes with a real store, ring, spool and folder of images: what is known in the second, and what is kept."""

import fcntl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from filters.copies import FIELD
from filters.job import Envelope
from filters.mail.edits import apply
from filters.mail.message import Field, Message
from filters.passes import Accepted, Passes, Received
from filters.senders import Sender, Senders
from journal.images import ImageStore
from journal.records import CopyRecord, MessageRecord, Record, decode
from journal.ring_file import RingFile
from journal.seal import KEY_LENGTH, Ring, SealingKey
from journal.segment import read_segment
from journal.spool import SEGMENT_SECONDS, Writer
from policy.access import Session
from policy.account import Account, State
from policy.limiter import Limiter
from policy.limits import Limits
from policy.login import Login, Password
from policy.options import Images, Options
from policy.reply import Refused
from policy.stores.migrate import USAGE, migrate
from policy.stores.sql import SqlStore
from policy.stores.usage import UsageStore
from policy.usage import holders

NAME = "0" * 32
HERE = Session(address="192.0.2.1", port=587, now=1_700_000_000)
HTML = b'<html><body><p>See <a href="https://www.example.com/x">this</a>.</p></body></html>\r\n'
TRACKED = Options(trackclicks=True, trackopens=True)
RECIPIENTS = ("a@example.net", "B@example.net", "b@EXAMPLE.net", "c@example.org")


def message(*fields: Field, body: bytes = HTML) -> Message:
    header = (
        Field(b"From", b" news@example.com"),
        Field(b"Message-ID", b" <1@example.com>"),
        Field(b"MIME-Version", b" 1.0"),
        Field(b"Content-Type", b" text/html; charset=utf-8"),
    )
    return Message((*header, *fields), body)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    migrate(url)
    found = SqlStore(url)
    found.add_account(Account(name="shop", state=State.APPROVED, created=1))
    found.add_login(
        Login(name=NAME, account="shop", passwords=(Password(number=1, hash="h", created=1),), options=TRACKED, created=1)
    )
    yield found
    found.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def limiter(tmp_path: Path) -> Limiter:
    url = f"sqlite:///{tmp_path / 'usage.db'}"
    migrate(url, USAGE)
    return Limiter(UsageStore(url))


@pytest.fixture
def passes(store: SqlStore, spool: Path, tmp_path: Path, limiter: Limiter) -> Passes:
    key = SealingKey(id=1, secret=bytes(KEY_LENGTH), created=1, active=1)
    (tmp_path / "keys.ring").write_text(Ring((key,), 2).format())
    senders = Senders(
        store,
        master_key=bytes(64),
        postmaster="postmaster@example.com",
        ring=RingFile(tmp_path / "keys.ring"),
        click_host="clicks.example.com",
        https=True,
    )
    return Passes(senders, journal=Writer(spool, "test"), images=ImageStore(tmp_path / "images"), limiter=limiter)


def received(found: Message, *recipients: str, queue_id: str = "FIRST") -> Received:
    return Received(queue_id=queue_id, envelope=Envelope(mail_from="news@example.com", rcpt_to=recipients), message=found)


def first(passes: Passes, found: Message, *recipients: str) -> Accepted:
    return passes.first(passes.senders.authorise(NAME, HERE), received(found, *recipients))


def left(found: Message, accepted: Accepted) -> Message:
    return apply(found, accepted.result.edits)


def kept(spool: Path) -> list[Record]:
    segments = sorted(spool.iterdir())
    return [decode(line) for segment in segments for _, line in read_segment(segment, 0).lines]


def test_a_copy_is_the_same_whenever_it_is_made(passes: Passes) -> None:
    split = first(passes, message(), *RECIPIENTS)
    assert split.result.split
    copy = left(message(), split)
    made = [passes.second(received(copy, "a@example.net", queue_id=name)) for name in ("SECOND", "THIRD")]
    assert made[0].result == made[1].result
    assert b"https://clicks.example.com/" in left(copy, made[0]).body
    assert not [field for field in left(copy, made[0]).fields if field.name == FIELD]


def test_each_recipient_has_identifiers_of_his_own(passes: Passes) -> None:
    copy = left(message(), first(passes, message(), *RECIPIENTS))
    bodies = {left(copy, passes.second(received(copy, recipient))).body for recipient in RECIPIENTS}
    assert len(bodies) == 3  # B and b are one


def test_two_messages_share_nothing(passes: Passes) -> None:
    made = [first(passes, message(), "a@example.net") for _ in range(2)]
    assert made[0].records[0] != made[1].records[0]
    assert left(message(), made[0]).body != left(message(), made[1]).body


def test_one_record_for_each_recipient_and_the_same_again_in_its_copy(passes: Passes, spool: Path) -> None:
    split = first(passes, message(), *RECIPIENTS)
    passes.keep(split)
    messages = kept(spool)
    assert [record.recipient for record in messages if isinstance(record, MessageRecord)] == [
        "a@example.net",
        "B@example.net",
        "c@example.org",
    ]
    copy = left(message(), split)
    passes.keep(passes.second(received(copy, "c@example.org", queue_id="SECOND")))
    record, copied = kept(spool)[3:]
    assert isinstance(record, MessageRecord)
    assert isinstance(copied, CopyRecord)
    assert (record.id, record.time, record.queue_id) == (messages[2].id, messages[2].time, "FIRST")
    assert (record.login, record.account, record.envelope) == (NAME, "shop", "news@example.com")
    assert (copied.message, copied.queue_id) == (record.id, "SECOND")


def test_options_tags_and_who_decided_reach_the_copy(passes: Passes, store: SqlStore) -> None:
    mail = message(Field(b"X-SMTPeter-Tags", b" spring"), Field(b"X-SMTPeter-TrackOpens", b" no"))
    copy = left(mail, first(passes, mail, *RECIPIENTS))
    store.change_login(NAME, lambda login: replace(login, options=Options()))  # which is too late for this message
    job = passes.second(received(copy, "a@example.net")).result.job
    assert job.options == replace(TRACKED, trackopens=False)
    assert job.tags == ("spring",)
    assert job.decided_by == {"trackopens": "header"}


def test_a_login_that_was_disabled_meanwhile_does_not_stop_the_copies(passes: Passes, store: SqlStore) -> None:
    copy = left(message(), first(passes, message(), *RECIPIENTS))
    store.change_login(NAME, lambda login: replace(login, enabled=False))
    store.change_account("shop", lambda account: replace(account, state=State.SUSPENDED))
    assert passes.second(received(copy, "a@example.net")).result.job.account == "shop"
    with pytest.raises(Refused):
        passes.senders.authorise(NAME, HERE)


def test_without_our_ticket_a_copy_is_refused(passes: Passes) -> None:
    for mail in (message(), message(Field(FIELD, b" AAAA")), message(Field(b"X-SMTPeter-TrackOpens", b" no"))):
        with pytest.raises(Refused, match=r"^550 5\.7\.1 "):
            passes.second(received(mail, "a@example.net"))


def test_the_first_pass_takes_no_ticket(passes: Passes) -> None:
    copy = left(message(), first(passes, message(), *RECIPIENTS))
    again = first(passes, copy, "x@example.net")
    assert not again.result.job.copy
    assert again.records[0].queue_id == "FIRST"
    assert FIELD not in [field.name for field in left(copy, again).fields]


@pytest.mark.parametrize("recipients", [(), ("a@example.net", "c@example.org")])
def test_a_copy_has_one_recipient(passes: Passes, recipients: tuple[str, ...]) -> None:
    copy = left(message(), first(passes, message(), *RECIPIENTS))
    with pytest.raises(ValueError, match="^a copy has . recipients"):
        passes.second(received(copy, *recipients))


def test_what_is_not_written_is_not_accepted(passes: Passes, spool: Path) -> None:
    accepted = first(passes, message(), "a@example.net")
    spool.rmdir()
    with pytest.raises(OSError, match="No such file"):
        passes.keep(accepted)


def limited(passes: Passes, store: SqlStore, **limits: int) -> Sender:
    store.change_login(NAME, lambda login: replace(login, limits=Limits(**limits)))
    return passes.senders.authorise(NAME, HERE)


def test_the_size_is_what_goes_over_the_line(passes: Passes, store: SqlStore) -> None:
    mail = message(body=b"hello\r\n")
    size = len(bytes(mail))
    assert received(mail).size == size
    sender = limited(passes, store, message_size=size)
    assert passes.first(sender, received(mail, "a@example.net")).records
    longer = message(Field(b"X", b""), body=b"hello\r\n")
    with pytest.raises(Refused, match=rf"^552 5\.3\.4 .*at most {size} octets"):
        passes.first(sender, received(longer, "a@example.net"))


def test_different_recipients_are_limited_at_the_end_of_a_message_too(passes: Passes, store: SqlStore) -> None:
    sender = limited(passes, store, recipients_message=3)
    assert len(passes.first(sender, received(message(), *RECIPIENTS)).records) == 3  # B and b are one
    with pytest.raises(Refused, match=r"^450 4\.5\.3 .*at most 3"):
        passes.first(sender, received(message(), *RECIPIENTS, "d@example.org"))


def test_neither_pass_counts(passes: Passes, store: SqlStore, limiter: Limiter) -> None:
    sender = limited(passes, store, recipients_day=3)
    copy = left(message(), passes.first(sender, received(message(), *RECIPIENTS)))
    for recipient in RECIPIENTS:
        passes.keep(passes.second(received(copy, recipient)))
    taken = limiter.take(holders(sender.login, sender.account), 3)  # which is what the milter does between them
    assert taken is not None
    with pytest.raises(Refused, match=r"^450 4\.7\.1 "):
        limiter.take(holders(sender.login, sender.account), 1)


PIXEL = b"R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="  # a GIF of one pixel


def test_images_are_there_before_the_journal_knows_of_the_message(
    passes: Passes, store: SqlStore, spool: Path, tmp_path: Path
) -> None:
    store.change_login(NAME, lambda login: replace(login, options=Options(images=Images.HOSTED)))
    body = (
        b'--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body><img src="cid:p@x"></body></html>\r\n'
        b"--b\r\nContent-Type: image/gif\r\nContent-ID: <p@x>\r\nContent-Disposition: inline\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + PIXEL + b"\r\n--b--\r\n"
    )
    fields = (*message().fields[:3], Field(b"Content-Type", b' multipart/related; boundary="b"'))
    accepted = first(passes, Message(fields, body), "a@example.net")
    (image,) = accepted.result.job.images
    (tmp_path / "images").write_text("a file where a folder must be")
    with pytest.raises(OSError, match="images"):
        passes.keep(accepted)
    assert kept(spool) == []
    (tmp_path / "images").unlink()
    passes.keep(accepted)
    assert ImageStore(tmp_path / "images").read(image.name) == image.content
    assert len(kept(spool)) == 1


def test_what_was_written_long_ago_is_left_to_the_drain(passes: Passes, spool: Path, tmp_path: Path, limiter: Limiter) -> None:
    clock = [1_000.0]
    writer = Writer(spool, "test", now=lambda: clock[0])
    resting = Passes(passes.senders, journal=writer, images=ImageStore(tmp_path / "images"), limiter=limiter)
    resting.keep(first(resting, message(), "a@example.net"))
    (segment,) = spool.iterdir()

    def is_free() -> bool:
        with segment.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    clock[0] += SEGMENT_SECONDS / 2
    resting.rest()
    assert not is_free()
    clock[0] += SEGMENT_SECONDS
    resting.rest()
    assert is_free()
