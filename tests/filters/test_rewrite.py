"""Changing the HTML of a message: which parts, what the events say, and that a wrong result never leaves."""

from dataclasses import replace

import pytest

import filters.rewrite
from filters.inline_css import inline_css
from filters.job import Envelope, Job, Link, Site, Tracking
from filters.mail import parts
from filters.mail.message import Message
from filters.mail.outline import value
from filters.rewrite import Document, Findings, HtmlFilter, Unchanged, is_editable, rewrite_html
from filters.track_clicks import track_clicks
from filters.track_opens import track_opens
from journal.event import Event, Kind
from journal.seal import Ring, SealingKey
from policy.options import Options

RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"}))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=1)

TRACKED = b"""\
From: news@example.com\r
Content-Type: text/html\r
\r
<link href=x><style>p { color: red }</style><form action=/form>\r
<p><a href="http://www.example.com/a">x</a><b>b</b></p>\r
"""


def job(raw: bytes, *recipients: str) -> Job:
    envelope = Envelope(mail_from="", rcpt_to=recipients or ("reader@example.net",))
    return Job(login="0" * 32, account="shop", envelope=envelope, options=Options(), message=Message.parse(raw))


def styled(_job: Job, _site: Site, document: Document) -> Findings:
    """A filter that gives every `<b>` a style."""
    for draft in document.drafts:
        ends = draft.outline.name_ends
        draft.splice((at, at, ' style="x"') for at, name in zip(ends, draft.outline.names, strict=True) if name == "b")
    return Findings(applied=True)


def run(raw: bytes, *filters: HtmlFilter) -> Job:
    """What becomes of a message with one filter, or with several that are called one, two, three."""
    names = ["styled"] if len(filters) == 1 else ["one", "two", "three", "four"]
    return rewrite_html(job(raw), SITE, list(zip(names, filters, strict=False)))


def kinds(done: Job) -> list[tuple[Kind, str]]:
    return [(event.kind, event.reason) for event in done.events]


def test_only_html_that_is_shown_is_rewritten(mixed: bytes) -> None:
    done = run(mixed, styled)
    before, after = (parts.scan(message) for message in (Message.parse(mixed), done.message))
    shown = [parts.content(done.message, part) for part in after.leaves]
    assert shown == ["<b>grün</b>".encode(), '<b style="x">grün</b>'.encode(), b"<b>attached</b>"]
    assert [part.encoding for part in after.leaves] == ["8bit", "quoted-printable", before.leaves[2].encoding]
    assert bytes(done.message).startswith(mixed[: mixed.index(b"<b>")])
    assert bytes(done.message).endswith(b"--m--\r\nepilogue\r\n")
    assert kinds(done) == [(Kind.APPLIED, "")]


def test_what_a_filter_declines_is_not_touched(mixed: bytes) -> None:
    def declining(job: Job, site: Site, document: Document) -> Findings:
        raise Unchanged("nothing to do")

    done = run(mixed, declining)
    assert bytes(done.message) == mixed
    assert kinds(done) == [(Kind.SKIPPED, "nothing to do")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"From: a\r\n\r\nplain\r\n", "no HTML part"),
        (b"Content-Type: text/html; charset=utf-16\r\n\r\n<b>", "character set"),
        (b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-odd\r\n\r\n<b>", ""),
        (b"Content-Type: multipart/mixed\r\n\r\n<b>", "boundary"),
        (
            b'Content-Type: multipart/signed; boundary="s"\r\n\r\n--s\r\nContent-Type: text/html\r\n\r\n<b>\r\n--s--\r\n',
            "multipart/signed",
        ),
        (b"Content-Type: text/html\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n<b>\r\n", "PGP"),
    ],
)
def test_what_cannot_be_edited_says_why(raw: bytes, reason: str) -> None:
    done = run(raw, styled)
    assert bytes(done.message) == raw
    assert [event.kind for event in done.events] == [Kind.SKIPPED]
    assert done.events[0].subject == "styled"
    assert reason in done.events[0].reason


@pytest.mark.parametrize(
    "disposition",
    [b"attachment (x)", b'"attachment"', b"(x) attachment", b"ATTACHMENT; filename=x", b"attachment"],
)
def test_an_attachment_is_one_however_it_is_written(disposition: bytes) -> None:
    raw = b"Content-Type: text/html\r\nContent-Disposition: " + disposition + b"\r\n\r\n<b>x</b>\r\n"
    done = run(raw, styled)
    assert bytes(done.message) == raw
    assert [event.kind for event in done.events] == [Kind.SKIPPED]


def test_what_is_inside_an_attached_multipart_is_attached(mixed: bytes) -> None:
    raw = mixed.replace(b'boundary="a"\r\n', b'boundary="a"\r\nContent-Disposition: attachment\r\n')
    done = run(raw, styled)
    assert bytes(done.message) == raw
    assert kinds(done) == [(Kind.SKIPPED, "inside an attachment")]


def test_a_bug_in_a_feature_costs_the_feature_not_the_mail(mixed: bytes) -> None:
    def broken(job: Job, site: Site, document: Document) -> Findings:
        raise RuntimeError(document.drafts[0].source)

    done = run(mixed, broken)
    assert bytes(done.message) == mixed
    assert kinds(done) == [(Kind.FALLBACK, "RuntimeError in it")]
    assert "grün" not in done.events[0].reason


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_feature_that_fails_costs_itself_alone(place: int) -> None:
    """It fails in the middle of its work; what the others did before and after it stays."""

    def broken(job: Job, site: Site, document: Document) -> Findings:
        (draft,) = document.drafts
        styled(job, site, document)
        draft.write(element_value(document), "https://broken.example.com/")
        raise KeyError("half-way")

    filters = [inline_css, track_opens, track_clicks]
    whole = run(TRACKED, *filters)
    names, alone = ["one", "two", "three"], [each for number, each in enumerate(filters) if number != place]
    filters[place] = broken
    done = run(TRACKED, *filters)
    without = rewrite_html(job(TRACKED), SITE, [(f"other{number}", each) for number, each in enumerate(alone)])
    assert done.message == without.message != whole.message
    assert done.links == without.links
    assert [event.reason for event in done.events if event.kind is Kind.FALLBACK] == ["KeyError in it"]
    assert [event.subject for event in done.events if event.kind is Kind.FALLBACK] == [names[place]]
    assert sum(event.kind is Kind.APPLIED for event in done.events) == 2


def element_value(document: Document):
    (draft,) = document.drafts
    (link,) = draft.outline.elements(frozenset({"a"}))
    return value(link, "href")


def test_a_filter_sees_what_the_one_before_it_wrote_and_not_what_was_taken_back() -> None:
    seen: list[str] = []

    def writing(job: Job, site: Site, document: Document) -> Findings:
        document.drafts[0].write(element_value(document), "https://www.example.com/a?b=1&c=2")
        return Findings(applied=True, links=(Link(number=1, image=False, before="", after="x"),))

    def looking(job: Job, site: Site, document: Document) -> Findings:
        seen.append(document.drafts[0].value(element_value(document)))
        raise Unchanged("only looking")

    def failing(job: Job, site: Site, document: Document) -> Findings:
        document.drafts[0].write(element_value(document), "https://www.example.com/failed")
        raise ValueError

    done = run(TRACKED, writing, looking, failing, looking)
    assert seen == ["https://www.example.com/a?b=1&c=2"] * 2
    assert b'href="https://www.example.com/a?b=1&amp;c=2"' in done.message.body
    assert done.links == (Link(number=1, image=False, before="", after="x"),)


OVERSTEPS = {
    "a text": lambda source: (source.index("x</a>"), source.index("x</a>") + 1, "y"),
    "a class": lambda source: (source.index("<p>") + 2, source.index("<p>") + 2, ' class="x"'),
    "an element": lambda source: (source.index("<p>"), source.index("<p>"), "<hr>"),
    "a form": lambda source: (source.index("/form"), source.index("/form") + 5, "https://evil.example.com/"),
    "a style sheet": lambda source: (source.index("red"), source.index("red") + 3, "blue"),
    "another link": lambda source: (source.index("<link") + 12, source.index("<link") + 13, "https://evil.example.com/"),
}


@pytest.mark.parametrize("overstep", OVERSTEPS.values(), ids=OVERSTEPS.keys())
def test_a_feature_that_oversteps_is_undone(overstep) -> None:
    def overstepping(job: Job, site: Site, document: Document) -> Findings:
        (draft,) = document.drafts
        draft.splice([overstep(draft.source)])
        noted = Event(kind=Kind.KEPT, subject="one", reason="1 link: for a reason")
        return Findings(applied=True, events=(noted,), links=(Link(number=1, image=False, before="", after="x"),))

    done = run(TRACKED, overstepping, track_clicks)
    assert bytes(done.message) == TRACKED
    assert done.links == ()
    assert kinds(done) == [(Kind.FALLBACK, "more than links, images and style attributes would change")] * 2


def test_a_bug_in_reading_the_message_costs_the_features_not_the_mail(mixed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(message: Message) -> None:
        raise IndexError

    monkeypatch.setattr(filters.rewrite.parts, "scan", broken)
    assert not is_editable(Message.parse(mixed))
    done = rewrite_html(job(mixed, "a@example.net", "b@example.net"), SITE, [("one", styled), ("two", track_clicks)])
    assert bytes(done.message) == mixed
    assert [(event.kind, event.subject, event.reason) for event in done.events] == [
        (Kind.FALLBACK, "one", "IndexError in it"),
        (Kind.FALLBACK, "two", "IndexError in it"),
    ]


def test_nothing_is_looked_at_where_no_filter_is_due(mixed: bytes) -> None:
    done = rewrite_html(job(mixed), SITE, [])
    assert bytes(done.message) == mixed
    assert done.events == ()


def test_a_message_that_does_not_read_back_is_dropped(mixed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parts.replace

    def damaged(message: Message, changes: object) -> Message:
        made = real(message, changes)
        return replace(made, body=made.body.replace(b"attached", b"attackid"))

    monkeypatch.setattr(filters.rewrite.parts, "replace", damaged)
    done = run(mixed, styled)
    assert bytes(done.message) == mixed
    assert kinds(done) == [(Kind.FALLBACK, "a part was changed that nobody asked to change")]
