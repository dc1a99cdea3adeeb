"""What is counted of a message, and what of it is in the labels."""

from collections.abc import Callable

from prometheus_client import REGISTRY

from filters import metrics
from filters.job import Envelope, Job, Result
from filters.mail.message import Message
from journal.event import Event, Kind
from policy.options import Options
from policy.reply import TROUBLE, malformed

LOGIN = "ab" * 16


def growth(name: str, **labels: str) -> Callable[[], float]:
    """How much a number has grown since."""
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    return lambda: (REGISTRY.get_sample_value(name, labels) or 0.0) - before


def result(*events: Event, copy: bool = False) -> Result:
    recipients = ("a@example.net", "A@example.net", "b@example.net")
    job = Job(
        login=LOGIN,
        account="shop",
        envelope=Envelope(mail_from="", rcpt_to=recipients),
        options=Options(),
        message=Message((), b""),
        events=events,
        copy=copy,
    )
    return Result(job=job, edits=())


def test_a_message_is_counted_with_its_recipients_and_a_copy_is_not() -> None:
    messages = growth("smtpeter_messages_total", login=LOGIN, verdict="accepted")
    recipients = growth("smtpeter_message_recipients_total", login=LOGIN)
    copies = growth("smtpeter_copies_total", verdict="accepted")
    metrics.accepted(result())
    metrics.accepted(result(copy=True))
    assert (messages(), recipients(), copies()) == (1, 2, 1)


def test_a_refusal_counts_by_its_code() -> None:
    verdicts = ("refused", "deferred", "failed")
    found = {verdict: growth("smtpeter_messages_total", login=LOGIN, verdict=verdict) for verdict in verdicts}
    copies = growth("smtpeter_copies_total", verdict="deferred")
    metrics.refused(LOGIN, malformed("x"))
    metrics.refused(LOGIN, TROUBLE)
    metrics.refused(LOGIN, None)
    metrics.refused(None, TROUBLE)
    assert {verdict: count() for verdict, count in found.items()} == {"refused": 1, "deferred": 1, "failed": 1}
    assert copies() == 1


def test_what_cannot_be_a_login_is_in_no_label() -> None:
    nameless = growth("smtpeter_messages_total", login="", verdict="failed")
    metrics.refused("no login\nat all", None)
    assert nameless() == 1


def test_reasons_are_counted_without_their_numbers_and_hosts() -> None:
    skipped = growth("smtpeter_features_total", feature="inlinecss", outcome="skipped", reason="more than N rules")
    applied = growth("smtpeter_features_total", feature="inlinecss", outcome="applied", reason="")
    untracked = growth("smtpeter_features_total", feature="trackclicks", outcome="untracked", reason="click host")
    unsigned = growth("smtpeter_signatures_total", outcome="unsigned")
    metrics.accepted(
        result(
            Event(kind=Kind.SKIPPED, subject="inlinecss", reason="more than 12 rules"),
            Event(kind=Kind.SKIPPED, subject="inlinecss", reason="more than 7000 rules"),
            Event(kind=Kind.APPLIED, subject="inlinecss", reason="3 links"),
            Event(kind=Kind.UNTRACKED, subject="trackclicks", reason="click host links.example.com: no address"),
            Event(kind=Kind.UNSIGNED, subject="example.com", reason="the account has no key for this domain"),
            Event(kind=Kind.WARNING, subject="X-Anything", reason="text of somebody else"),
        )
    )
    assert (skipped(), applied(), untracked(), unsigned()) == (2, 1, 1, 1)
