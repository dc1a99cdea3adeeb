"""The whole transformation: what every message must keep, whatever it is and whatever is asked of it."""

import re
import sys
from base64 import b64encode
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

import filters.rewrite
from filters import inline_css
from filters.copies import FIELD
from filters.job import Envelope, Job, Result, Site, Tracking
from filters.mail import parts, skeleton
from filters.mail.edits import InsertField, RemoveField, ReplaceBody, apply
from filters.mail.message import Field, Message
from filters.overrides import is_control
from filters.pipeline import transform
from filters.sign_dkim import KeySigner
from journal.event import Kind
from journal.seal import Ring, SealingKey
from policy.domains import Algorithm, new_private_key, read_private_key
from policy.options import Images, Options
from policy.reply import Refused

NOW = 1_770_000_000
KEY = new_private_key(Algorithm.RSA)
RECORD = b"v=DKIM1; k=rsa; p=" + read_private_key(KEY)[1].encode()
RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=NOW)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"}))
UNSIGNED = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=NOW)
SIGNED = replace(UNSIGNED, signers=lambda address: (KeySigner.load(address.rpartition("@")[2], "s", Algorithm.RSA, KEY),))
TRACKED = {"trackclicks": True, "trackopens": True, "preventscam": True}

HTML = b"""\
From: News <news@example.com>\r
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
X-SMTPeter-Tags: a\r
Subject: hello\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
<style>p { color: red } p:hover { color: blue }</style>\r
<p class=x>gr\xc3\xbc\xc3\x9fe</p>\r
"""


LINKED = HTML.replace(
    b"</p>",
    b"<a href=\"http://www.example.com/a\">x</a><a href='http://www.example.com/b'>y</a><img src=http://img.example.com/c></p>",
)


def run(raw: bytes, site: Site = UNSIGNED, **options: bool | Images):
    message = Message.parse(raw)
    return message, transform(job(message, Options(**options)), site)


def job(message: Message, options: Options, *recipients: str) -> Job:
    envelope = Envelope(mail_from="news@example.com", rcpt_to=recipients or ("reader@example.net",))
    return Job(login="0" * 32, account="shop", envelope=envelope, options=options, message=message)


def verifies(message: Message) -> bool:
    return bool(dkim.verify(bytes(message), dnsfunc=lambda name, timeout=5: RECORD))


def test_css_is_inlined_stripped_and_signed() -> None:
    received, result = run(HTML, SIGNED, inlinecss=True)
    left = result.job.message
    assert [field.name for field in left.fields[:2]] == [b"DKIM-Signature", b"From"]
    assert not any(map(is_control, left.fields))
    content = parts.content(left, parts.scan(left).leaves[0])
    assert re.sub(rb' style="[^"]*"', b"", content) == received.body
    assert content.count(b'style="color: red') == 1
    assert left.body.isascii()
    assert verifies(left)
    kinds = [event.kind for event in result.job.events]
    assert kinds == [Kind.ATTEMPT, Kind.APPLIED, Kind.SIGNED]


def test_the_edits_are_few_and_in_the_order_the_mta_needs() -> None:
    received, result = run(HTML, SIGNED, inlinecss=True)
    assert [type(edit) for edit in result.edits] == [RemoveField, RemoveField, InsertField, InsertField, ReplaceBody]
    assert apply(received, result.edits) == result.job.message


def test_nothing_asked_nothing_changed() -> None:
    raw = HTML.replace(b"X-SMTPeter-Tags: a\r\n", b"")
    received, result = run(raw)
    assert result.edits == ()
    assert result.job.message is received
    _, signed = run(raw, SIGNED)
    assert [edit.field.name for edit in signed.edits] == [b"DKIM-Signature"]


@pytest.mark.parametrize("name", [b"DKIM-Signature", b"arc-message-signature"])
def test_a_signature_that_the_changes_break_is_told_of_and_stays(name: bytes) -> None:
    raw = name + b": v=1; a=rsa-sha256; d=example.org\r\n" + HTML
    _, changed = run(raw, inlinecss=True)
    assert [event.subject for event in changed.job.events if event.kind is Kind.WARNING] == ["dkim"]
    assert changed.job.message.fields[0].name == name
    _, unchanged = run(raw)
    assert not [event for event in unchanged.job.events if event.kind is Kind.WARNING]


def test_what_is_asked_and_not_there_yet_is_said() -> None:
    _, result = run(LINKED, **TRACKED, trackbounces=True, inlinecss=True)
    skipped = [(event.subject, event.reason) for event in result.job.events if event.kind is Kind.SKIPPED]
    assert skipped == [("trackbounces", "not available in this release"), ("preventscam", "no label shows its link")]


@pytest.mark.parametrize(
    ("raw", "options", "reason"),
    [
        (HTML, {"preventscam": True}, "trackclicks is off"),
        (HTML, {"preventscam": True, "trackclicks": True}, "no link was looked at"),
        (b"From: a@example.com\r\n\r\ntext\r\n", {"preventscam": True, "trackclicks": True}, "no link was looked at"),
        (b"X-SMTPeter-PreventScam: 1\r\n" + HTML, {"trackclicks": True}, "no link was looked at"),
        (
            HTML.replace(b"</p>", b"<a href=http://www.example.com/>x</a>"),
            {"preventscam": True, "trackclicks": True},
            "no label shows its link",
        ),
    ],
)
def test_an_option_that_only_says_how_is_never_silent(raw: bytes, options: dict[str, bool], reason: str) -> None:
    _, result = run(raw, **options)
    told = [(event.kind, event.reason) for event in result.job.events if event.subject == "preventscam"]
    assert told == [(Kind.SKIPPED, reason)]


def test_filtering_twice_changes_nothing_more() -> None:
    _, first = run(HTML, inlinecss=True)
    _, second = run(bytes(first.job.message), inlinecss=True)
    assert second.edits == ()
    _, first = run(LINKED, inlinecss=True, trackclicks=True, preventscam=True)
    _, second = run(bytes(first.job.message), inlinecss=True, trackclicks=True, preventscam=True)
    assert second.edits == ()
    assert len(first.job.links) == 2


def test_the_same_message_for_the_same_recipient_is_the_same_again() -> None:
    _, first = run(LINKED, **TRACKED)
    _, second = run(LINKED, **TRACKED)
    assert first.job.message == second.job.message
    _, third = Message.parse(LINKED), transform(job(Message.parse(LINKED), Options(**TRACKED), "other@example.net"), UNSIGNED)
    assert third.job.message.body != first.job.message.body


@pytest.mark.parametrize(
    ("raw", "options", "recipients", "split"),
    [
        (LINKED, {"trackclicks": True}, ("a@example.net", "b@example.net"), True),
        (LINKED, {"trackopens": True}, ("a@example.net", "b@example.net"), True),
        (LINKED, {"trackclicks": True}, ("a@example.net",), False),
        (LINKED, {"trackclicks": True}, ("a@example.net", "A@EXAMPLE.net"), False),
        (LINKED, {"inlinecss": True, "preventscam": True, "images": Images.HOSTED}, ("a@example.net", "b@example.net"), False),
        (b"From: a@example.com\r\n\r\ntext\r\n", TRACKED, ("a@example.net", "b@example.net"), False),
    ],
)
def test_only_what_differs_for_each_recipient_makes_copies(raw: bytes, options, recipients: tuple[str, ...], split: bool) -> None:
    message = Message.parse(raw)
    result = transform(job(message, Options(**options), *recipients), SIGNED)
    left = result.job.message
    assert result.split is split
    assert bool(left.first(FIELD)) is split
    assert b"clicks.example.com" not in left.body or len(recipients) == 1 or not split
    assert apply(message, result.edits) == left
    if not split:
        assert any(event.kind is Kind.SIGNED for event in result.job.events)
        assert not any(map(is_control, left.fields))
        return
    assert not any(event.kind is Kind.SIGNED for event in result.job.events)
    copies = []
    for recipient in recipients:
        second = replace(
            result.job, message=left, copy=True, envelope=replace(result.job.envelope, rcpt_to=(recipient,)), events=()
        )
        done = transform(second, SIGNED)
        assert not done.split
        assert verifies(done.job.message)
        assert not any(map(is_control, done.job.message.fields))
        assert {event.subject for event in done.job.events if event.kind is Kind.APPLIED} == set(options)
        copies.append(done.job.message.body)
    alone = [transform(job(message, Options(**options), recipient), SIGNED).job.message.body for recipient in recipients]
    assert copies == alone
    assert len(set(copies)) == len(copies)


FEATURES = {
    "as it is": {},
    "inlined": {"inlinecss": True},
    "tracked": TRACKED,
    "all": {**TRACKED, "inlinecss": True},
}


@pytest.mark.parametrize("site", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("options", FEATURES.values(), ids=FEATURES.keys())
def test_every_message_keeps_what_nobody_asked_to_change(messages, options: dict[str, bool], site: Site) -> None:
    seen = 0
    for name, raw in messages:
        try:
            received, result = run(raw, site, **options)
        except Refused as refusal:
            assert str(refusal).startswith("550 5.6.0"), name
            continue
        seen += 1
        left, events = result.job.message, result.job.events
        assert apply(received, result.edits) == left, name
        assert not any(map(is_control, left.fields)), name
        assert not any(event.kind is Kind.FALLBACK for event in events), (name, events)
        assert {event.subject for event in events} >= set(options), (name, events)
        if not any(event.kind in (Kind.APPLIED, Kind.REENCODED) for event in events):
            assert left.body == received.body, name
        if any(event.kind is Kind.SIGNED for event in events):
            assert verifies(left), name
        old, new = parts.scan(received), parts.scan(left)
        assert [part.content_type for part in old.leaves] == [part.content_type for part in new.leaves], name
        for before, after in zip(old.leaves, new.leaves, strict=True):
            was, now = received.body[slice(*before.body)], left.body[slice(*after.body)]
            if was != now:
                assert now.isascii(), name
                assert max(map(len, now.split(b"\r\n"))) <= 998, name
                content = parts.content(left, after)
                if before.content_type == "text/html" and options:
                    continue  # held against a second parser in test_second_parser.py
                assert content == parts.content(received, before), name
    assert seen


names = st.sampled_from([b"From", b"Subject", b"X-SMTPeter-InlineCSS", b"x-smtpeter-tags", b"Content-Type", b"X-Other"])
values = st.sampled_from([b" a@example.com", b" text/html", b" true", b" false", b"", b"\r\n folded", b" \xfc", b" x" * 600])
bodies = st.lists(
    st.sampled_from(
        [
            b"<style>b{color:red}</style>",
            b"<b>",
            b"<a href=http://www.example.com/>",
            b"</body>",
            b"\xc3\xbc",
            b"\r\n",
            b".",
            b"--b\r\n",
            b"x" * 1200,
        ]
    )
).map(b"".join)


@given(st.lists(st.tuples(names, values), max_size=12), bodies, st.sampled_from([*FEATURES.values()]), st.booleans())
def test_properties_of_any_message(fields, body: bytes, options: dict[str, bool], signed: bool) -> None:
    message = Message(tuple(Field(*field) for field in fields), body)
    try:
        result = transform(job(message, Options(**options)), SIGNED if signed else UNSIGNED)
    except Refused as refusal:
        assert 500 <= refusal.reply.code < 600
        return
    left = result.job.message
    assert apply(message, result.edits) == left
    assert not any(map(is_control, left.fields))
    assert b"\0" not in left.body
    kept = [field for field in message.fields if not is_control(field)]
    touched = {b"dkim-signature", b"content-transfer-encoding", b"mime-version"}
    remaining = [field for field in left.fields if field.name.lower() not in touched]
    unfolded = [Field(field.name, field.value.replace(b"\r\n", b"")) for field in remaining]
    assert unfolded == [Field(field.name, field.value.replace(b"\r\n", b"")) for field in kept]


EMBEDDED = b"""\
From: News <news@example.com>\r
X-SMTPeter-Tags: a\r
MIME-Version: 1.0\r
Content-Type: multipart/related; boundary="b"\r
\r
--b\r
Content-Type: text/html; charset=utf-8\r
\r
<style>p{top:0}</style><p style="a:b"><a href='http://www.example.com/?a&amp;b' data-no-track>x</a>\r
<a href="http://www.example.com/&uuml; ">x</a><a href=http://u@www.example.com/>y</a><img src="cid:i@example.com">\r
<!--[if mso]><v:rect href="http://www.example.com/"><![endif]--><a href=http://www.example.com/>www.example.com</a>\r
<td background=http://img.example.com/a>gr\xc3\xbcn</td></body>\r
--b\r
Content-Type: image/png\r
Content-ID: <i@example.com>\r
Content-Transfer-Encoding: base64\r
\r
IMAGE\r
--b\r
Content-Type: image/gif\r
Content-ID: <other@example.com>\r
\r
text\r
--b--\r
""".replace(b"IMAGE", b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\1\0\0\0\0" + bytes(20)))
CHANGING = {"inlinecss": True, "trackclicks": True, "trackopens": True, "images": Images.HOSTED}


class Fault(Exception):
    """What is thrown into the rewriting."""


class Faults:
    """Runs the pipeline with a fault at one line of the rewriting, the first time that is reached; collects the lines."""

    def __init__(self) -> None:
        home = Path(filters.rewrite.__file__).parent
        self.watched = {str(path) for path in (home / "mail").glob("*.py") if path.name != "message.py"}
        modules = ("rewrite", "inline_css", "track_clicks", "track_opens", "host_images", "preventscam", "target")
        self.watched |= {str(home / f"{name}.py") for name in modules}
        self.lines: set[tuple[str, int]] = set()
        self.target: tuple[str, int] | None = None

    def run(self, target: tuple[str, int] | None = None, *, cold: bool) -> Result:
        if cold:
            inline_css._REMEMBERED.clear()
            skeleton._texts.clear()
            skeleton._attributes.clear()
        self.target = target
        sys.settrace(self.trace)
        try:
            return run(EMBEDDED, SIGNED, **CHANGING, preventscam=True)[1]
        finally:
            sys.settrace(None)

    def trace(self, frame, event, argument):
        caller = frame if frame.f_code.co_filename in self.watched else None
        while caller is not None and caller.f_code.co_name != "rewrite_html":
            caller = caller.f_back
        return self.local if caller is not None else None

    def local(self, frame, event, argument):
        if event == "line":
            place = (frame.f_code.co_filename, frame.f_lineno)
            self.lines.add(place)
            if place == self.target:
                self.target = None
                raise Fault
        return self.local


def applied(result: Result) -> frozenset[str]:
    return frozenset(event.subject for event in result.job.events if event.kind is Kind.APPLIED).intersection(CHANGING)


def test_a_fault_at_any_line_of_the_rewriting_leaves_each_feature_whole_or_undone() -> None:
    """Each time the message leaves stripped and signed, and its body is the one that just the features left over make."""
    wanted = {}
    for count in range(len(CHANGING) + 1):
        for names in combinations(CHANGING, count):
            _, result = run(EMBEDDED, SIGNED, **{name: CHANGING[name] for name in names}, preventscam=True)
            assert applied(result) == set(names)
            wanted[applied(result)] = result.job
    assert len({done.message.body for done in wanted.values()}) == 2 ** len(CHANGING)
    faults = Faults()
    survived, lost = set(), 0
    for cold in (True, False):
        before = set(faults.lines)
        assert applied(faults.run(cold=cold)) == CHANGING.keys()
        for target in sorted(faults.lines - before):
            try:
                result = faults.run(target, cold=cold)
            except Fault:
                lost += 1
                continue  # nothing of the attempt is sent: 451
            finally:
                again = run(EMBEDDED, SIGNED, **CHANGING, preventscam=True)[1]
                assert again.job.message.body == wanted[frozenset(CHANGING)].message.body, target  # nothing wrong is remembered
            assert faults.target is None, target  # it was thrown
            left, whole = result.job.message, wanted[applied(result)]
            assert not any(map(is_control, left.fields)), target
            assert verifies(left), target
            assert left.body == whole.message.body, target
            assert result.job.links == whole.links, target
            assert result.job.images == whole.images, target
            missing = CHANGING.keys() - applied(result)
            told = {event.subject for event in result.job.events if event.kind in (Kind.FALLBACK, Kind.SKIPPED)}
            assert missing <= told, target
            survived.add(applied(result))
    assert len(faults.lines) > 500
    assert lost < 20
    # Faults in one feature left the other three, and faults in what they share left none.
    assert {frozenset(CHANGING.keys() - {name}) for name in CHANGING} | {frozenset()} <= survived
