"""Links that record a visit: which ones, in which order, and that nothing else in their tags changes."""

import re
from dataclasses import replace

import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from filters.job import Envelope, Job, Link, Site, Tracking
from filters.mail.draft import Draft, spliced
from filters.mail.judge import is_sound
from filters.mail.message import Message
from filters.mail.structure import Structure
from filters.rewrite import Document, Findings, Unchanged
from filters.track_clicks import track_clicks
from journal import links
from journal.event import Kind
from journal.seal import Ring, SealingKey
from policy.options import Options

RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
OURS = ("clicks.example.com", "clicks.example.org")
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset(OURS))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=1)
JOB = Job(
    login="0" * 32,
    account="shop",
    envelope=Envelope(mail_from="", rcpt_to=("reader@example.net",)),
    options=Options(trackclicks=True),
    message=Message((), b""),
    seed=b"a seed of octets",
)
SCAM = replace(JOB, options=Options(trackclicks=True, preventscam=True))
NOTHING = Findings(applied=False)


def run(*sources: str, job: Job = JOB, unicode: bool = True) -> tuple[tuple[str, ...], Findings]:
    """The texts after the filter, and its findings; NOTHING where it found no link."""
    drafts = tuple(Draft(source, unicode=unicode) for source in sources)
    try:
        findings = track_clicks(job, SITE, Document(message=job.message, structure=Structure(), drafts=drafts))
    except Unchanged as unchanged:
        assert unchanged.reason == "no link to the web"
        findings = NOTHING
    for draft in drafts:
        assert is_sound(draft.splices(), draft.outline), draft.source
    return tuple(spliced(draft.source, draft.splices()) for draft in drafts), findings


def plain(text: str) -> str:
    """A text with each of our links written as the number and the destination sealed in it."""
    return re.sub(r"https://clicks\.example\.com/[^\"'> ]*", lambda found: _opened(found[0].replace("&amp;", "&")), text)


def _opened(url: str) -> str:
    path, _, query = url.removeprefix(TRACKING.base).partition("#")[0].partition("?")
    visit = links.read(RING, path.encode(), query.encode())
    assert visit is not None, url
    assert visit.recipient == JOB.recipient
    return f"{visit.number}={visit.destination}"


U = "http://www.example.com/"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a href="{U}">', '<a href="1={U}">'),
        ("<a href='{U}'>", "<a href='1={U}'>"),
        ("<a href={U}>", '<a href="1={U}">'),
        ("<a href={U} id=x>", '<a href="1={U}" id=x>'),
        ("<A\nHREF = '{U}'\tCLASS=\"x\"/>", "<A\nHREF = '1={U}'\tCLASS=\"x\"/>"),
        ('<a id="x"href="{U}"class="y">', '<a id="x"href="1={U}"class="y">'),
        ('<a href="{U}" href="{U}b" HREF=x>', '<a href="1={U}" href="{U}b" HREF=x>'),
        ('<a HREF="{U}" href="{U}b">', '<a HREF="1={U}" href="{U}b">'),
        ('<a title="<a href=\'{U}\'>" href="{U}b">', '<a title="<a href=\'{U}\'>" href="1={U}b">'),
        ("<area shape=rect href='{U}'>", "<area shape=rect href='1={U}'>"),
        ("<map><AREA HREF={U}></map>", '<map><AREA HREF="1={U}"></map>'),
        ("<a data-href='{U}' xlink:href='{U}'>", None),
        ("<a href>{U}</a><a href=>x</a><a>", None),
        ("<abbr href='{U}'><ab href='{U}'><A1 href='{U}'>", None),
        ("<link href='{U}'><base href='{U}'><form action='{U}'><q cite='{U}'>", None),
        ("<img src='{U}'><script src='{U}'></script><iframe src='{U}'></iframe>", None),
        ("<p href='{U}'></a href='{U}'>", None),
        ("{U} &lt;a href='{U}'>", None),
        # Not markup at all to a browser.
        ("<!-- <a href='{U}'> -->", None),
        ("<!--> <a href='{U}'>", "<!--> <a href='1={U}'>"),
        ("<!-- <a href='{U}'>", None),
        ("<script>'<a href=\"{U}\">'</script>", None),
        ("<script><!--<script></script><a href='{U}'></script>--></script>", None),
        ("<style><a href='{U}'></style>", None),
        ("<textarea><a href='{U}'></textarea>", None),
        ("<title><a href='{U}'></title>", None),
        ("<xmp><a href='{U}'></xmp><iframe><a href='{U}'></iframe><noembed><a href='{U}'></noembed>", None),
        ("<plaintext><a href='{U}'>", None),
        ("<?php <a href='{U}'> ?>", None),
        ("<!doctype <a href='{U}'>", None),
        ("<a href='{U}", None),
        ("<a href='{U}'", None),
        ("<a <a href='{U}'>", "<a <a href='1={U}'>"),
        ("<noscript><a href='{U}'></noscript>", "<noscript><a href='1={U}'></noscript>"),
        ("<![if !mso]><a href='{U}'><![endif]>", "<![if !mso]><a href='1={U}'><![endif]>"),
        # What Outlook reads.
        ("<!--[if mso]><a href='{U}'><![endif]-->", "<!--[if mso]><a href='1={U}'><![endif]-->"),
        ("<!--[IF (gte mso 9)|(IE)]><A HREF={U}><![endif]-->", '<!--[IF (gte mso 9)|(IE)]><A HREF="1={U}"><![endif]-->'),
        ("<!--[if !mso]><!--><a href='{U}'><!--<![endif]-->", "<!--[if !mso]><!--><a href='1={U}'><!--<![endif]-->"),
        (
            "<a href={U}1><!--[if mso]><v:roundrect href='{U}2'><v:rect href={U}3><![endif]--><a href={U}4>",
            '<a href="1={U}1"><!--[if mso]><v:roundrect href=\'2={U}2\'><v:rect href="3={U}3"><![endif]--><a href="4={U}4">',
        ),
        (
            "<v:oval href='{U}'><V:SHAPE HREF='{U}'><v:line href='{U}'>",
            "<v:oval href='1={U}'><V:SHAPE HREF='2={U}'><v:line href='3={U}'>",
        ),
        ("<v:textbox href='{U}'><o:p href='{U}'>", None),
        ("<!-- [if mso]><a href='{U}'><![endif]-->", None),
        ("<!--[if mso]><!-- <a href='{U}'> -->", None),
        ("<!--[if mso]><style><a href='{U}'></style><![endif]-->", None),
        ("<!--[if mso]><a href='{U}", None),
        ("<!--[if mso", None),
        ("<!--[if mso--><a href='{U}'>", "<!--[if mso--><a href='1={U}'>"),
        ("<!--[if mso]><a title='--><a href='{U}'>", "<!--[if mso]><a title='--><a href='1={U}'>"),
        # Characters around a link are nobody's business.
        ("\ufeff\0<p>gr\xfcn<a href='{U}'>\U0001f600</a>\r\n", "\ufeff\0<p>gr\xfcn<a href='1={U}'>\U0001f600</a>\r\n"),
        ("{{#if x}}<a href='{U}'>{{name}}</a>*|END|*", "{{#if x}}<a href='1={U}'>{{name}}</a>*|END|*"),
    ],
)
def test_one_text(before: str, after: str | None) -> None:
    before, after = before.replace("{U}", U), (after or before).replace("{U}", U)
    (text,), findings = run(before)
    assert plain(text) == after
    assert len(findings.links) == len(re.findall(r"[0-9]=http", after))
    assert findings.applied is (text != before)


def test_every_awkward_url_goes_out_and_comes_back(awkward_urls) -> None:
    source = "".join(f"{row['html']}x</a>\n" for row in awkward_urls)
    (text,), findings = run(source)
    found = [link for link in findings.links if link.number]
    assert [link.number for link in found] == list(range(1, len(found) + 1))
    opened = [_opened(link.after) for link in found]
    assert opened == [
        f"{number}={row['destination']}" for number, row in enumerate((r for r in awkward_urls if r["destination"]), 1)
    ]
    assert [link.number for link in findings.links].count(0) == sum(bool(row.get("left")) for row in awkward_urls)
    hrefs = [dict(token.attrs).get("href") for token in turbohtml.tokenize(text) if token.type == turbohtml.TokenType.START_TAG]
    assert len(hrefs) == len(awkward_urls)
    assert [href for href in hrefs if href and href.startswith(TRACKING.base)] == [link.after for link in found]


def test_links_are_numbered_in_document_order_through_all_parts() -> None:
    texts, findings = run(
        f"<a href={U}a></a><!--[if mso]><a href={U}b><![endif]--><area href={U}c>",
        "<p>",
        f"<a href={U}d><a href=mailto:x><a href={U}a>",
    )
    assert re.findall(r"([0-9])=http://www.example.com/(.)", plain("".join(texts))) == [*zip("12345", "abcda", strict=True)]
    assert [link.number for link in findings.links] == [1, 2, 3, 4, 5]
    assert [link.before for link in findings.links] == [f"{U}{letter}" for letter in "abcda"]
    assert len({link.after for link in findings.links}) == 5


def test_no_link_to_the_web() -> None:
    for source in ("", "<p>", "<a href=mailto:a@example.com>", "<a name=x>", "<a href=//www.example.com/>"):
        texts, findings = run(source)
        assert (texts, findings) == ((source,), NOTHING)


def test_what_is_left_is_told_with_its_reason() -> None:
    (text,), findings = run(f"<a href=http://u@www.example.com/><a href={U}><a href='{U}{{{{x}}}}'><a href='http://u:p@h/'>")
    assert plain(text) == f"<a href=http://u@www.example.com/><a href=\"1={U}\"><a href='{U}{{{{x}}}}'><a href='http://u:p@h/'>"
    assert [link.reason for link in findings.links if not link.number] == [
        "a user name in the address",
        "a placeholder in the address",
        "a user name in the address",
    ]
    assert [(event.kind, event.subject, event.reason) for event in findings.events] == [
        (Kind.KEPT, "trackclicks", "2 links: a user name in the address"),
        (Kind.KEPT, "trackclicks", "1 link: a placeholder in the address"),
    ]
    assert findings.applied


def test_only_left_links_is_nothing_applied() -> None:
    (text,), findings = run("<a href=http://u@www.example.com/>")
    assert text == "<a href=http://u@www.example.com/>"
    assert not findings.applied
    assert len(findings.events) == 1


@pytest.mark.parametrize("host", OURS)
def test_what_leads_to_a_click_host_of_ours_is_left_alone(host: str) -> None:
    source = f'<a href="https://{host}/a-ID"><a href="HTTP://{host.upper()}:443?a"><a href="{U}?u=https://{host}/">'
    (text,), findings = run(source)
    assert text == source.replace(f"{U}?u=https://{host}/", findings.links[2].after)
    assert _opened(findings.links[2].after) == f"1={U}?u=https://{host}/"
    assert [link.reason for link in findings.links] == ["it leads to a click host already"] * 2 + [""]


@given(
    st.lists(
        st.sampled_from(
            [f"<a href={U}a>", "</a>", f"<area href='{U}b'>", "www.example.com", "<b>", f"<!--[if mso]><a href={U}><![endif]-->"]
        )
    )
)
def test_running_twice_changes_nothing_more(pieces: list[str]) -> None:
    for job in (JOB, SCAM):
        once, _ = run("".join(pieces), job=job)
        twice, findings = run(*once, job=job)
        assert twice == once
        assert not findings.applied


def test_each_recipient_gets_links_of_his_own_and_the_same_ones_again() -> None:
    other = replace(JOB, envelope=Envelope(mail_from="", rcpt_to=("other@example.net",)))
    first, again, different = (run(f"<a href={U}>", job=job)[1].links[0].after for job in (JOB, JOB, other))
    assert first == again != different


def test_several_recipients_are_no_job_for_it() -> None:
    with pytest.raises(ValueError, match="unpack"):
        run(f"<a href={U}>", job=replace(JOB, envelope=Envelope(mail_from="", rcpt_to=("a@example.net", "b@example.net"))))


def test_in_another_character_set_a_link_that_is_not_ascii_is_left_alone() -> None:
    (text,), findings = run(f"<a href='{U}gr\xfcn'>gr\xfcn</a><a href='{U}?&uuml;'><a href={U}>", unicode=False)
    assert plain(text) == f"<a href='{U}gr\xfcn'>gr\xfcn</a><a href='{U}?&uuml;'><a href=\"1={U}\">"
    reason = "an address that is not ASCII, in a character set other than UTF-8"
    assert [link.reason for link in findings.links] == [reason, reason, ""]
    assert [event.reason for event in findings.events] == [f"2 links: {reason}"]


def test_no_more_links_than_can_be_numbered() -> None:
    count = links.LAST_NUMBER
    (text,), findings = run(f"<a href={U}>" * (count + 2))
    assert findings.links[count - 1].number == count
    assert _opened(findings.links[count - 1].after) == f"{count}={U}"
    assert [link.reason for link in findings.links[count:]] == [f"more than {count} links"] * 2
    assert text.endswith(f"<a href={U}><a href={U}>")


MARKS = [
    "clicktracking=off",
    'clicktracking="off"',
    "CLICKTRACKING=' Off '",
    "data-pm-no-track",
    "data-pm-no-track=''",
    "ses:no-track",
    "data-no-track=true",
]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<a {M} href='{U}'>", "<a href='{U}'>"),
        ("<a href='{U}' {M}>", "<a href='{U}'>"),
        ("<a href='{U}'\n  {M}\n>", "<a href='{U}'\n>"),
        ("<a href={U} {M} id=x>", "<a href={U} id=x>"),
        ("<a href='{U}'{M} >", "<a href='{U}' >"),
        ("<a id \t{M}\r\n href={U}>", "<a id\r\n href={U}>"),
        ("<area {M} href={U}>", "<area href={U}>"),
        ("<!--[if mso]><v:rect href={U} {M} ><![endif]-->", "<!--[if mso]><v:rect href={U} ><![endif]-->"),
        ("<table {M}><td {M}><img {M}>", "<table {M}><td {M}><img {M}>"),
        ("<a name=x {M}>", "<a name=x>"),
        ("<a {M} href=mailto:x>", "<a href=mailto:x>"),
    ],
)
def test_a_mark_is_honoured_and_goes(before: str, after: str, mark: str) -> None:
    before = before.replace("{M}", mark).replace("{U}", U)
    (text,), findings = run(before)
    assert text == after.replace("{M}", mark).replace("{U}", U)
    assert not findings.applied
    assert {link.reason for link in findings.links} <= {"marked as not to be tracked"}
    assert len(findings.links) == before.count(U)


@pytest.mark.parametrize(
    "source",
    [
        "<a x=clicktracking=off href={U}>",
        '<a title=" clicktracking=off data-no-track " href={U}>',
        "<b clicktracking=off data-no-track><a href={U}>",
        "<a href={U}></a clicktracking=off>",
        "<a href={U}>clicktracking=off data-no-track</a>",
        "<!-- <a clicktracking=off> --><a href={U}>",
    ],
)
def test_a_mark_elsewhere_means_nothing(source: str) -> None:
    source = source.replace("{U}", U)
    (text,), findings = run(source)
    assert plain(text) == source.replace(U, f'"1={U}"')
    assert [link.number for link in findings.links] == [1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # What stands beside a mark must not be read otherwise when it is gone.
        ('<a clicktracking="off"href="{U}">', '<a href="{U}">'),
        ('<a href={U} clicktracking="off"/>', "<a href={U} />"),
        ('<a id clicktracking="off"class="x" href={U}>', '<a id class="x" href={U}>'),
        ('<a/clicktracking="off"/href={U}>', "<a//href={U}>"),
        ("<a href={U} clicktracking=off =x>", None),
        ('<a href={U} clicktracking="off"=x>', None),
        ("<a href={U} clicktracking=off data-no-track>", "<a href={U}>"),
        ('<a id clicktracking="off"data-no-track="1"class href={U}>', "<a id class href={U}>"),
        ("<a data-no-track clicktracking='off'ses:no-track href={U}>", "<a  href={U}>"),
        # Values that ask for nothing.
        ("<a href={U} clicktracking=off clicktracking=off>", "<a href={U} clicktracking=off>"),
        ("<a href={U} data-pm-no-track=>", "<a href={U}>"),
        ("<a href={U} data-no-track =\n'x'>", "<a href={U}>"),
    ],
)
def test_what_stands_beside_a_mark_stays_what_it_is(before: str, after: str | None) -> None:
    before, after = before.replace("{U}", U), (after or before).replace("{U}", U)
    (text,), findings = run(before)
    assert text == after
    assert [link.reason for link in findings.links] == ["marked as not to be tracked"]
    kept = [{name: text for name, text in token.attrs if name not in _NAMES} for token in turbohtml.tokenize(before)]
    assert [{name: text for name, text in token.attrs if name not in _NAMES} for token in turbohtml.tokenize(text)] == kept


_NAMES = {"clicktracking", "data-pm-no-track", "data-no-track", "ses:no-track"}


@pytest.mark.parametrize(
    "mark", ["clicktracking=on", "clicktracking", "clicktracking=''", "data-track", "no-track", "data-pm-no-tracks=x"]
)
def test_other_words_are_no_marks(mark: str) -> None:
    (text,), _ = run(f"<a href={U} {mark}>")
    assert plain(text) == f'<a href="1={U}" {mark}>'


ATTRIBUTES = [
    "clicktracking=off",
    'clicktracking="off"',
    "data-no-track",
    "ses:no-track='x'",
    f"href={U}",
    f'href="{U}"',
    "id",
    "a=b",
    'c="d"',
    "=e",
    "f=",
    "g='h'",
]


@given(
    st.lists(st.tuples(st.sampled_from(["", " ", "\n", "/", " / "]), st.sampled_from(ATTRIBUTES)), max_size=8),
    st.sampled_from(["", " ", "/"]),
)
def test_attributes_in_any_order_stay_but_for_marks_and_href(pieces: list[tuple[str, str]], end: str) -> None:
    source = f"<a {''.join(map(''.join, pieces))}{end}>x</a>"
    (text,), findings = run(source)
    (before, *_), (after, *_) = turbohtml.tokenize(source), turbohtml.tokenize(text)
    tracked = {link.after for link in findings.links if link.after}
    other = [[(name, value) for name, value in token.attrs if name not in {*_NAMES, "href"}] for token in (before, after)]
    assert other[0] == other[1], source
    was, now = dict(before.attrs).get("href"), dict(after.attrs).get("href")
    assert now == was or now in tracked
    assert bool(tracked) is ((was or "").startswith(U) and not _marked(dict(before.attrs)))


def _marked(attributes: dict[str, str | None]) -> bool:
    others = _NAMES - {"clicktracking"}
    return bool(others & attributes.keys()) or (attributes.get("clicktracking") or "").strip().lower() == "off"


SCAMS = [
    ("<a href='{U}'>http://www.example.com/</a>", True),
    ("<a href='{U}'>www.example.com</a>", True),
    ("<a href='{U}a/b?c'>www.example.com</a>", True),
    ("<a href='{U}'>click here</a>", False),
    ("<a href='{U}'>www.example.org</a>", False),
    ("<a href='{U}'><img src='{U}'></a>", False),
    ("<area href='{U}'>www.example.com", False),
]


@pytest.mark.parametrize(("before", "shown"), SCAMS)
def test_preventscam_leaves_links_that_show_themselves(before: str, shown: bool) -> None:
    before = before.replace("{U}", U)
    (text,), findings = run(before, job=SCAM)
    assert (text == before) is shown
    assert [link.reason for link in findings.links] == ["the label shows the link" if shown else ""]
    told = [(event.kind, event.reason) for event in findings.events if event.subject == "preventscam"]
    assert told == [(Kind.APPLIED, "1 link") if shown else (Kind.SKIPPED, "no label shows its link")]
    without, findings = run(before)
    assert without != (before,)
    assert not [event for event in findings.events if event.subject == "preventscam"]


def test_links_are_as_the_job_keeps_them() -> None:
    _, findings = run(f"<a href=' {U}&amp;'>")
    (link,) = findings.links
    assert link == Link(number=1, image=False, before=f" {U}&", after=link.after)
    assert _opened(link.after) == f"1={U}&"
