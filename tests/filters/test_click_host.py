"""A click host that is not in order: the message goes out with its own links and pictures, and the reason is kept."""

from dataclasses import replace

import pytest

from filters.attempt import explained
from filters.job import Envelope, Job, Result, Site, Tracking
from filters.mail.message import Message
from filters.pipeline import transform
from filters.report import report
from journal.event import Decision, Kind
from journal.seal import Ring, SealingKey
from policy.options import Images, Options

REASON = "click host clicks.example.com: its certificate is not valid"
GOOD = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"}))
BAD = replace(GOOD, refusal=REASON)
RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
ALL = Options(trackclicks=True, trackopens=True, inlinecss=True, images=Images.HOSTED)
RAW = b"""\
From: News <news@example.com>\r
MIME-Version: 1.0\r
Content-Type: multipart/related; boundary="b"\r
\r
--b\r
Content-Type: text/html; charset=utf-8\r
\r
<style>p { color: red }</style><p><a href="http://www.example.com/a" clicktracking="off">x</a>\
<a href="http://www.example.com/b">y</a><img src="cid:picture@example.com"><img src="http://img.example.com/c"></p>\r
--b\r
Content-Type: image/gif\r
Content-ID: <picture@example.com>\r
Content-Transfer-Encoding: base64\r
\r
R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7\r
--b--\r
"""
PLAIN = b"From: News <news@example.com>\r\nContent-Type: text/plain\r\n\r\nhttp://www.example.com/\r\n"
TWO = ("anna@example.net", "bob@example.net")


def run(raw: bytes, tracking: Tracking, *recipients: str, options: Options = ALL, copy: bool = False) -> Result:
    site = Site(signers=lambda address: (), tracking=lambda domain: tracking, ring=RING, now=1)
    envelope = Envelope(mail_from="news@example.com", rcpt_to=recipients or TWO[:1])
    message = Message.parse(raw)
    return transform(Job(login="0" * 32, account="shop", envelope=envelope, options=options, message=message, copy=copy), site)


def test_without_the_click_host_everything_else_is_done() -> None:
    result = run(RAW, BAD)
    untracked = run(RAW, GOOD, options=Options(inlinecss=True))
    assert bytes(result.job.message) == bytes(untracked.job.message)
    assert b"style=" in result.job.message.body
    assert (result.job.links, result.job.images) == ((), ())
    assert b"clicks.example.com" in run(RAW, GOOD).job.message.body


def test_each_feature_says_why_in_the_journal_and_in_the_log() -> None:
    job = run(RAW, BAD).job
    told = {decision.feature: decision for decision in explained(job)}
    for feature in ("trackclicks", "trackopens", "images"):
        assert told[feature] == Decision(feature, "skipped", "rule", REASON)
    assert told["inlinecss"].outcome == "applied"
    events = [event for event in job.events if event.kind is Kind.UNTRACKED]
    assert [event.subject for event in events] == ["images", "trackopens", "trackclicks"]
    assert {event.reason for event in events} == {REASON}
    lines = report("4XyZ", Result(job=job, edits=()))
    assert f'queue_id=4XyZ event=untracked subject=trackclicks reason="{REASON}"' in lines


def test_who_asked_for_nothing_is_told_nothing() -> None:
    assert not [event for event in run(RAW, BAD, options=Options()).job.events if event.kind is Kind.UNTRACKED]
    assert not [event for event in run(PLAIN, BAD).job.events if event.kind is Kind.UNTRACKED]


@pytest.mark.parametrize("tracking", [GOOD, BAD])
def test_a_message_is_split_only_where_copies_would_differ(tracking: Tracking) -> None:
    result = run(RAW, tracking, *TWO)
    assert result.split == (tracking is GOOD)
    if tracking is BAD:  # nothing is left for a second pass
        assert {decision.feature for decision in explained(result.job)} >= {"trackclicks", "trackopens", "images", "inlinecss"}
        assert bytes(result.job.message) == bytes(run(RAW, BAD).job.message)


def test_a_copy_whose_click_host_went_bad_in_between_goes_out_as_the_first_pass_left_it() -> None:
    first = run(RAW, GOOD, *TWO).job
    assert len(first.images) == 1  # which stay where the first pass put them
    second = run(bytes(first.message), BAD, TWO[0], copy=True).job
    assert second.message.body == first.message.body
    decided = {decision.feature: decision for decision in explained(second)}
    assert decided["trackclicks"] == Decision("trackclicks", "skipped", "rule", REASON)
    assert "images" not in decided
