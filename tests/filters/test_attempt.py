"""The records of an accepted message: one for each recipient, with what became of each feature and who decided it."""

import pytest

from filters.attempt import LONGEST_MESSAGE_ID, explained, message_id, records
from filters.job import Envelope, Job, Result, Site, Tracking
from filters.mail.message import Message
from filters.pipeline import transform
from journal.event import Decision, Event, Kind
from journal.records import CopyRecord, MessageRecord, decode, encode
from journal.seal import Ring, SealingKey
from policy.options import OPTIONS, Images, Options

RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"}))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=1)
HTML = b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n<a href=http://www.example.com/>x</a>\r\n"
TEXT = b"From: a@example.com\r\n\r\ntext\r\n"


def job(raw: bytes = HTML, *recipients: str, copy: bool = False, **options: bool | Images) -> Job:
    return Job(
        login="0" * 32,
        account="shop",
        envelope=Envelope(mail_from="news@example.com", rcpt_to=recipients or ("reader@example.net",)),
        options=Options(**options),
        message=Message.parse(raw),
        seed=b"a seed of octets",
        queue_id="4FIRST" if copy else "",
        copy=copy,
    )


def decided(raw: bytes, *recipients: str, **options: bool | Images) -> dict[str, tuple[str, str, str]]:
    """By feature: what became of it, who decided that, and why."""
    done = transform(job(raw, *recipients, **options), SITE).job
    return {feature: (outcome, by, reason) for feature, outcome, by, reason in explained(done)}


def test_every_feature_is_decided_by_the_login_where_nothing_else_says_otherwise() -> None:
    found = decided(HTML, trackclicks=True, trackopens=True)
    assert found == {option.name: ("off", "login", "") for option in OPTIONS} | {
        "trackclicks": ("applied", "login", ""),
        "trackopens": ("applied", "login", ""),
    }
    assert list(found) == [option.name for option in OPTIONS]


def test_the_header_decides_in_both_directions() -> None:
    found = decided(b"X-SMTPeter-TrackClicks: 1\r\nX-SMTPeter-TrackOpens: 0\r\n" + HTML, trackopens=True)
    assert found["trackclicks"] == ("applied", "header", "")
    assert found["trackopens"] == ("off", "header", "")
    found = decided(b"X-SMTPeter-TrackClicks: maybe\r\n" + HTML, trackclicks=True)
    assert found["trackclicks"] == ("applied", "login", "")


@pytest.mark.parametrize(
    ("raw", "options", "feature", "reason"),
    [
        (TEXT, {"trackclicks": True}, "trackclicks", "no HTML part"),
        (TEXT, {"trackopens": True}, "trackopens", "no HTML part"),
        (TEXT, {"images": Images.HOSTED}, "images", "no HTML part"),
        (TEXT, {"trackclicks": True, "preventscam": True}, "preventscam", "no link was looked at"),
        (HTML, {"preventscam": True}, "preventscam", "trackclicks is off"),
        (HTML, {"trackclicks": True, "preventscam": True}, "preventscam", "no label shows its link"),
        (HTML, {"images": Images.HOSTED}, "images", "no embedded image"),
        (HTML, {"inlinecss": True}, "inlinecss", "no style sheet"),
        (HTML, {"trackbounces": True}, "trackbounces", "not available in this release"),
        (HTML.replace(b"http:", b"mailto:"), {"trackclicks": True}, "trackclicks", "no link to the web"),
        (HTML.replace(b"www", b"u@www"), {"trackclicks": True}, "trackclicks", "1 link: a user name in the address"),
    ],
)
def test_a_rule_decides_where_a_feature_cannot_be_applied(raw: bytes, options, feature: str, reason: str) -> None:
    assert decided(raw, **options)[feature] == ("skipped", "rule", reason)
    header = "".join(f"X-SMTPeter-{name}: {'hosted' if value is Images.HOSTED else 1}\r\n" for name, value in options.items())
    assert decided(header.encode() + raw)[feature] == ("skipped", "rule", reason)


def test_all_that_is_asked_for_is_told_of_in_one_of_the_passes() -> None:
    asked = {"inlinecss": True, "trackclicks": True, "trackopens": True, "trackbounces": True, "preventscam": True}
    result = transform(job(HTML, "a@example.net", "b@example.net", **asked, images=Images.HOSTED), SITE)
    assert result.split
    first = {decision.feature for decision in explained(result.job)}
    assert first == {"inlinecss", "trackbounces", "images"}
    copy = job(bytes(result.job.message), "a@example.net", copy=True, **asked, images=Images.HOSTED)
    second = {decision.feature for decision in explained(transform(copy, SITE).job)}
    assert second == {"trackclicks", "trackopens", "preventscam"}


def result_of(done: Job) -> Result:
    return Result(job=done, edits=())


def test_one_record_for_each_recipient() -> None:
    done = job(HTML, "a@example.net", "B@example.net", "b@EXAMPLE.net", trackclicks=True)
    done = done.noting(Kind.SKIPPED, "trackclicks", "for a reason")
    found = records(result_of(done), 17, "4OWN")
    assert [(each.recipient, each.id) for each in found] == [(name, each.hex()) for name, each in done.recipients.items()]
    assert [each.recipient for each in found] == ["a@example.net", "B@example.net"]
    assert len({each.id for each in found}) == 2
    for each in found:
        assert isinstance(each, MessageRecord)
        assert (each.time, each.login, each.account, each.envelope) == (17, "0" * 32, "shop", "news@example.com")
        assert (each.queue_id, each.properties) == ("4OWN", ("trackclicks",))
        assert Decision("trackclicks", "skipped", "rule", "for a reason") in each.decisions
        assert decode(encode(each)) == each


def test_a_copy_has_the_record_of_its_recipient_and_one_of_its_own() -> None:
    done = job(HTML, "a@example.net", copy=True, trackclicks=True).noting(Kind.APPLIED, "trackclicks")
    message, copy = records(result_of(done), 17, "4OWN", copied=400)
    assert isinstance(message, MessageRecord)
    assert isinstance(copy, CopyRecord)
    assert (message.queue_id, message.decisions, message.time) == ("4FIRST", (), 17)
    assert (copy.message, copy.queue_id, copy.time) == (message.id, "4OWN", 400)
    assert Decision("trackclicks", "applied", "login") in copy.decisions


def test_a_message_to_nobody_has_no_record() -> None:
    nobody = Job(
        login="", account="", envelope=Envelope(mail_from="", rcpt_to=()), options=Options(), message=Message.parse(HTML)
    )
    assert records(result_of(nobody), 17, "4OWN") == ()


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b"Message-ID: <a@example.com>\r\n", "<a@example.com>"),
        (b"message-id:\r\n <a@example.com>\r\n", "<a@example.com>"),
        (b"Message-ID: <gr\xc3\xbcn@example.com>\r\n", "<gr\xfcn@example.com>"),
        (b"Message-ID: <gr\xfcn@example.com>\r\n", "<gr\ufffdn@example.com>"),
        (b"Message-ID: <a@x>\r\nMessage-ID: <b@x>\r\n", "<a@x>"),
        (b"Message-ID: " + b"x" * 2000 + b"\r\n", "x" * LONGEST_MESSAGE_ID),
        (b"", ""),
    ],
)
def test_the_message_id_as_it_is_written(field: bytes, text: str) -> None:
    assert message_id(job(field + HTML)) == text


def test_events_of_no_feature_are_no_decision() -> None:
    done = transform(job(TEXT), SITE).job
    assert any(event == Event(kind=Kind.ATTEMPT, subject="message") for event in done.events)
    assert {decision.outcome for decision in explained(done)} == {"off"}
