"""The log lines of an accepted message: what was decided is all there, and a message cannot fill the log."""

from filters.job import Envelope, Job, Result
from filters.mail.message import Message
from filters.overrides import MAX_TAG, MAX_TAGS
from filters.server import REPORTED, report
from journal.event import Kind
from policy.options import Options

JOB = Job(
    login="0" * 32,
    account="shop",
    envelope=Envelope(mail_from="", rcpt_to=("reader@example.net",)),
    options=Options(inlinecss=True),
    message=Message((), b""),
)


def test_all_tags_are_in_the_decision() -> None:
    tags = tuple(f"{number:0{MAX_TAG}}" for number in range(MAX_TAGS))
    job = Job(**{name: getattr(JOB, name) for name in JOB.__slots__} | {"tags": tags})
    assert f" tags={';'.join(tags)}" in report("Q", Result(job=job, edits=()))[0]


def test_a_decision_names_what_was_applied_and_why_it_is_unsigned() -> None:
    job = JOB.noting(Kind.APPLIED, "inlinecss").noting(Kind.UNSIGNED, "example.com", "no key")
    line = report("Q", Result(job=job, edits=()))[0]
    assert line.startswith(f"queue_id=Q login={JOB.login} account=shop verdict=accepted recipients=1 properties=inlinecss ")
    assert line.endswith(' applied=inlinecss unsigned="example.com: no key"')


def test_many_events_are_counted_not_listed() -> None:
    job = JOB
    for _ in range(REPORTED + 5):
        job = job.noting(Kind.WARNING, "x-smtpeter-x", "unknown control field")
    lines = report("Q", Result(job=job, edits=()))
    assert len(lines) == 1 + REPORTED + 1
    assert lines[-1] == "queue_id=Q event=more count=5"
