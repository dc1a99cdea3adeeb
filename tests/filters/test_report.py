"""The log lines of an accepted message: what was decided is all there, and a message cannot fill the log."""

from dataclasses import replace

from filters.job import Envelope, Job, Result
from filters.mail.message import Message
from filters.report import REPORTED, report
from filters.tags import MAX_TAG, MAX_TAGS
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
    assert f" tags={';'.join(tags)}" in report("Q", Result(job=replace(JOB, tags=tags), edits=()))[0]


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


def test_a_split_message_and_its_copies_are_told_apart_and_found_together() -> None:
    job = replace(JOB, queue_id="FIRST")
    assert " recipients=1 split=yes properties=" in report("FIRST", Result(job=job, edits=(), split=True))[0]
    copied = report("SECOND", Result(job=replace(job, copy=True), edits=()))[0]
    assert copied.startswith("queue_id=SECOND ")
    assert " recipients=1 copy_of=FIRST properties=" in copied


def test_what_a_feature_left_as_it_is_has_a_line() -> None:
    job = JOB.noting(Kind.KEPT, "trackclicks", "2 links: a user name in the address")
    assert report("Q", Result(job=job, edits=()))[1] == (
        'queue_id=Q event=kept subject=trackclicks reason="2 links: a user name in the address"'
    )
