"""The whole transformation: what every message must keep, whatever it is and whatever is asked of it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

import filters.rewrite
from filters.job import Envelope, Job, Site
from filters.mail import parts
from filters.mail.edits import InsertField, RemoveField, ReplaceBody, apply
from filters.mail.message import Field, Message
from filters.overrides import is_control
from filters.pipeline import transform
from filters.sign_dkim import KeySigner
from journal.event import Kind
from policy.domains import Algorithm, new_private_key, read_private_key
from policy.options import Images, Options
from policy.reply import Refused

NOW = 1_770_000_000
KEY = new_private_key(Algorithm.RSA)
RECORD = b"v=DKIM1; k=rsa; p=" + read_private_key(KEY)[1].encode()
UNSIGNED = Site(signers=lambda domain: (), now=NOW)
SIGNED = Site(signers=lambda domain: (KeySigner.load(domain, "s", Algorithm.RSA, KEY),), now=NOW)

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


def run(raw: bytes, site: Site = UNSIGNED, **options: bool | Images):
    envelope = Envelope(mail_from="news@example.com", rcpt_to=("reader@example.net",))
    message = Message.parse(raw)
    return message, transform(
        Job(login="0" * 32, account="shop", envelope=envelope, options=Options(**options), message=message), site
    )


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


def test_what_is_asked_and_not_there_yet_is_said() -> None:
    _, result = run(HTML, trackclicks=True, trackopens=True, trackbounces=True, preventscam=True, images=Images.HOSTED)
    skipped = [event.subject for event in result.job.events if event.kind is Kind.SKIPPED]
    assert skipped == ["trackclicks", "trackopens", "trackbounces", "preventscam", "images"]


def test_filtering_twice_changes_nothing_more() -> None:
    _, first = run(HTML, inlinecss=True)
    _, second = run(bytes(first.job.message), inlinecss=True)
    assert second.edits == ()


def corpus_messages(corpus: Path | None) -> Iterator[tuple[str, bytes]]:
    yield "ours", HTML
    for folder in sys.path:
        for file in sorted((Path(folder) / "test" / "test_email" / "data").glob("msg_*.txt")):
            yield file.name, file.read_bytes()
    if corpus is not None:
        for pattern in ("mime/*.eml", "bounces/*.eml"):
            for file in sorted(corpus.glob(pattern)):
                yield file.name, file.read_bytes()
        for file in sorted(corpus.glob("html/*.html")):
            body = re.sub(rb"\r?\n", b"\r\n", file.read_bytes())
            yield file.name, HTML.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body


@pytest.mark.parametrize("site", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("inlinecss", [False, True], ids=["as it is", "inlined"])
def test_every_message_keeps_what_nobody_asked_to_change(corpus: Path | None, inlinecss: bool, site: Site) -> None:
    seen = 0
    for name, raw in corpus_messages(corpus):
        try:
            received, result = run(raw, site, inlinecss=inlinecss)
        except Refused as refusal:
            assert str(refusal).startswith("550 5.6.0"), name
            continue
        seen += 1
        left, events = result.job.message, result.job.events
        assert apply(received, result.edits) == left, name
        assert not any(map(is_control, left.fields)), name
        assert not any(event.kind is Kind.FALLBACK for event in events), (name, events)
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
                if before.content_type == "text/html" and inlinecss:
                    continue  # held against a second parser in test_inline_css.py
                assert content == parts.content(received, before), name
    assert seen


names = st.sampled_from([b"From", b"Subject", b"X-SMTPeter-InlineCSS", b"x-smtpeter-tags", b"Content-Type", b"X-Other"])
values = st.sampled_from([b" a@example.com", b" text/html", b" true", b" false", b"", b"\r\n folded", b" \xfc", b" x" * 600])
bodies = st.lists(
    st.sampled_from([b"<style>b{color:red}</style>", b"<b>", b"\xc3\xbc", b"\r\n", b".", b"--b\r\n", b"x" * 1200])
).map(b"".join)


@given(st.lists(st.tuples(names, values), max_size=12), bodies, st.booleans(), st.booleans())
def test_properties_of_any_message(fields, body: bytes, inlinecss: bool, signed: bool) -> None:
    message = Message(tuple(Field(*field) for field in fields), body)
    job = Job(
        login="0" * 32,
        account="shop",
        envelope=Envelope(mail_from="", rcpt_to=()),
        options=Options(inlinecss=inlinecss),
        message=message,
    )
    try:
        result = transform(job, SIGNED if signed else UNSIGNED)
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


def test_an_exception_at_any_line_of_the_rewriting_leaves_the_whole_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault at every line of the rewrite path; each time the original leaves, stripped and signed."""
    watched = {Path(module.__file__).resolve() for module in (filters.rewrite, parts)}
    watched |= {path for path in (Path(filters.rewrite.__file__).parent / "mail").glob("*.py") if path.name != "message.py"}
    watched |= {Path(filters.rewrite.__file__).with_name("inline_css.py")}
    lines: set[tuple[str, int]] = set()

    class Fault(Exception):
        pass

    def tracer(target: tuple[str, int] | None):
        state = {"armed": True, "inside": False}

        def local(frame, event, argument):
            place = (frame.f_code.co_filename, frame.f_lineno)
            if event == "line":
                lines.add(place)
                if place == target and state["armed"]:
                    state["armed"] = False
                    raise Fault
            return local

        def trace(frame, event, argument):
            inside = Path(frame.f_code.co_filename) in watched
            caller = frame.f_back
            while inside and caller is not None and caller.f_code.co_name != "rewrite_html":
                caller = caller.f_back
            return local if inside and caller is not None else None

        return trace

    def traced(target: tuple[str, int] | None):
        sys.settrace(tracer(target))
        try:
            return run(HTML, SIGNED, inlinecss=True)
        finally:
            sys.settrace(None)

    _, whole = traced(None)
    assert any(event.kind is Kind.APPLIED for event in whole.job.events)
    assert len(lines) > 100
    for target in sorted(lines):
        try:
            received, result = traced(target)
        except Fault:
            continue  # nothing of the attempt is sent: 451
        left = result.job.message
        assert not any(map(is_control, left.fields)), target
        assert verifies(left), target
        applied = any(event.kind is Kind.APPLIED for event in result.job.events)
        assert applied or left.body == received.body, target
        assert applied or any(event.kind in (Kind.FALLBACK, Kind.SKIPPED) for event in result.job.events), target
