"""Other providers' fields: what each means here, that all of them go, and that nothing happens to those nobody asked for."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filters.attempt import explained
from filters.dialects.fields import MAX_DEPTH, MAX_JSON
from filters.dialects.idle import IDLE
from filters.dialects.switches import JSON_FIELDS, NAMESPACES, SWITCHES
from filters.job import Envelope, Job, Site, Tracking
from filters.mail.message import Field, Message
from filters.overrides import MAX_CONTROL, NOT_DECIDED, apply_overrides, check_header, is_control
from filters.pipeline import transform
from filters.tags import MAX_TAGS
from journal.event import Event, Kind
from journal.seal import Ring, SealingKey
from policy.login import Dialect
from policy.options import BY_NAME, OPTIONS, Options
from policy.reply import Refused

ALL = frozenset(Dialect)
IN_TEXT = "links in plain text are never tracked"
NOW = 1_770_000_000
SITE = Site(
    signers=lambda domain: (),
    tracking=lambda domain: Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"})),
    ring=Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=NOW),
    now=NOW,
)


def job(
    *fields: tuple[str, str], dialects: frozenset[Dialect] = ALL, on: str = "", forced: str = "", body: bytes = b"x\r\n"
) -> Job:
    return Job(
        login="0" * 32,
        account="shop",
        envelope=Envelope(mail_from="news@example.com", rcpt_to=("reader@example.net",)),
        options=Options(**dict.fromkeys(on.split(), True)),
        message=Message(tuple(Field(name.encode(), value.encode()) for name, value in fields), body),
        dialects=dialects,
        forced=frozenset(forced.split()),
    )


def read(*fields: tuple[str, str], **given: str) -> Job:
    return apply_overrides(job(*fields, **given))


def warnings(done: Job) -> list[tuple[str, str]]:
    return [(event.subject, event.reason) for event in done.events if event.kind is Kind.WARNING]


def mapped(done: Job) -> list[tuple[str, str]]:
    return [(event.subject, event.reason) for event in done.events if event.kind is Kind.MAPPED]


def sendgrid(name: str, value: object) -> str:
    return json.dumps({"filters": {name: {"settings": {"enable": value}}}})


def sparkpost(name: str, value: object) -> str:
    return json.dumps({"options": {name: value}})


CLICKS, OPENS = "trackclicks", "trackopens"
MEANINGS = [  # field, value, what it decides, its tags
    *(("X-Mailgun-Track", word, {CLICKS: True, OPENS: True}, ()) for word in ("yes", "true", "htmlonly", " YES ")),
    *(("X-Mailgun-Track", word, {CLICKS: False, OPENS: False}, ()) for word in ("no", "false", "No")),
    *(("x-mailgun-track-clicks", word, {CLICKS: True}, ()) for word in ("yes", "true", "HtmlOnly", "\r\n  yes")),
    *(("X-MAILGUN-TRACK-CLICKS", word, {CLICKS: False}, ()) for word in ("no", "false")),
    ("X-Mailgun-Track-Opens", "yes", {OPENS: True}, ()),
    ("X-Mailgun-Track-Opens", "no", {OPENS: False}, ()),
    ("X-Mailgun-Tag", "spring", {}, ("spring",)),
    ("X-Mailgun-Tag", "=?utf-8?q?gr=C3=BCn?=", {}, ("grün",)),
    *(("X-MC-Track", f"opens,{word}", {OPENS: True, CLICKS: True}, ()) for word in ("clicks", "clicks_all", "clicks_htmlonly")),
    ("X-MC-Track", " Clicks_All , opens ,", {OPENS: True, CLICKS: True}, ()),
    ("X-MC-Track", "opens", {OPENS: True, CLICKS: False}, ()),
    ("X-MC-Track", "clicks", {OPENS: False, CLICKS: True}, ()),
    ("X-MC-Track", "none", {OPENS: False, CLICKS: False}, ()),
    *(("X-MC-InlineCSS", word, {"inlinecss": True}, ()) for word in ("true", "on", "yes", "y", "1")),
    *(("X-MC-InlineCSS", word, {"inlinecss": False}, ()) for word in ("false", "off", "no", "n", "0")),
    ("X-MC-Tags", "spring, sale", {}, ("spring", "sale")),
    ("X-PM-TrackOpens", "true", {OPENS: True}, ()),
    ("X-PM-TrackOpens", "false", {OPENS: False}, ()),
    ("X-PM-TrackLinks", "HtmlAndText", {CLICKS: True}, ()),
    ("X-PM-TrackLinks", "htmlonly", {CLICKS: True}, ()),
    ("X-PM-TrackLinks", "None", {CLICKS: False}, ()),
    ("X-PM-Tag", "spring", {}, ("spring",)),
    *(("X-SMTPAPI", sendgrid("clicktrack", word), {CLICKS: True}, ()) for word in (1, "1", True)),
    *(("X-SMTPAPI", sendgrid("clicktrack", word), {CLICKS: False}, ()) for word in (0, "0", False)),
    ("X-SMTPAPI", sendgrid("opentrack", 1), {OPENS: True}, ()),
    ("X-SMTPAPI", sendgrid("opentrack", 0), {OPENS: False}, ()),
    ("x-smtpapi", '{"category": "spring"}', {}, ("spring",)),
    ("X-SMTPAPI", '{"category":\r\n\t["spring",\r\n "sale"]}', {}, ("spring", "sale")),
    ("X-SMTPAPI", '{"category": ["gr\\u00fcn", "rosé", 5]}', {}, ("grün", "rosé", "5")),
    ("X-SMTPAPI", "=?utf-8?q?=7B=22category=22=3A=22gr=C3=BCn=22=7D?=", {}, ("grün",)),
    ("X-SMTPAPI", '{"category": "a", "category": "b"}', {}, ("b",)),
    ("X-SMTPAPI", '{"category": "spring\\r\\n\\t"}', {}, ("spring",)),
    ("X-SMTPAPI", '{"category": "spring,\r\n\tsale"}', {}, ("spring", "sale")),
    ("X-MSYS-API", sparkpost("click_tracking", True), {CLICKS: True}, ()),
    ("X-MSYS-API", sparkpost("click_tracking", False), {CLICKS: False}, ()),
    ("X-MSYS-API", sparkpost("open_tracking", True), {OPENS: True}, ()),
    ("X-MSYS-API", sparkpost("open_tracking", False), {OPENS: False}, ()),
    ("X-MSYS-API", sparkpost("inline_css", True), {"inlinecss": True}, ()),
    ("X-MSYS-API", sparkpost("inline_css", False), {"inlinecss": False}, ()),
    ("X-MSYS-API", '{"tags": ["spring", "sale"]}', {}, ("spring", "sale")),
    ("X-MSYS-API", '{"campaign_id": "spring"}', {}, ("spring",)),
    ("X-Track", "opens=true; clicks=false", {OPENS: True, CLICKS: False}, ()),
    ("X-Track", "opens=default; clicks=true", {CLICKS: True}, ()),
    ("X-Track", " Opens = False ;", {OPENS: False}, ()),
    ("X-Tag", "spring", {}, ("spring",)),
]


@pytest.mark.parametrize(("field", "value", "decides", "tags"), MEANINGS)
@pytest.mark.parametrize("before", [False, True])
def test_what_a_switch_means(field: str, value: str, decides: dict[str, bool], tags: tuple[str, ...], before: bool) -> None:
    (dialect,) = [each for each in Dialect if is_control(Field(field.encode(), b""), {each})]
    on = " ".join(option.name for option in OPTIONS if option.name != "images") if before else ""
    done = read((field, f" {value}"), dialects=frozenset({dialect}), on=on)
    assert done.options == replace(job(on=on).options, **decides)
    assert done.decided_by == dict.fromkeys(decides, dialect.value)
    assert done.tags == tags
    assert done.message.fields == ()
    assert warnings(done) == []
    assert len(mapped(done)) == 1


def test_every_switch_is_in_that_table() -> None:
    tried = {subject for field, value, _, _ in MEANINGS for subject, _ in mapped(read((field, value)))}
    assert tried == {f"{switch.field.lower()} {switch.path}".strip() for switch in SWITCHES}


def test_the_rows_fit_together() -> None:
    for switch in SWITCHES:
        assert is_control(Field(switch.field.encode(), b""), {switch.dialect})
        assert (switch.field.lower() in JSON_FIELDS) == bool(switch.path)
        assert set(re.split(r"\W+", switch.gives.partition(":")[0])) <= {*BY_NAME, "tags"}
    assert IDLE.keys() == NAMESPACES.keys() == set(Dialect)
    for dialect, names in IDLE.items():
        for name in names:
            assert any(name.lower().startswith(each) for each in NAMESPACES[dialect]) or NAMESPACES[dialect][0] in JSON_FIELDS


@pytest.mark.parametrize(
    ("field", "value", "decides", "warning"),
    [
        ("X-PM-TrackLinks", "TextOnly", {CLICKS: False}, IN_TEXT),
        ("X-MC-Track", "clicks_textonly", {OPENS: False, CLICKS: False}, IN_TEXT),
        ("X-MC-Tags", "a, b c, d;e", {}, "2 unusable tags left out"),
        ("X-PM-Tag", "welcome mail", {}, "1 unusable tag left out"),
        ("X-Mailgun-Drop-Message", "yes", {}, "there is no test mode: the message is sent"),
        ("X-Mailgun-Deliver-By", "Fri, 14 Oct 2011 12:00:00 +0000", {}, "it is sent at once"),
        ("X-Mailgun-Dkim", "no", {}, "the rules of the account's domains decide on signatures"),
        ("X-Mailgun-Template-Name", "a", {}, "there are no templates, and nothing is filled in"),
        ("X-MC-Autotext", "true", {}, "no text part is made of the HTML"),
        ("X-Mailgun-Sid", "a", {}, "unknown field"),
        ("X-MC-Unique", "a", {}, "unknown field"),
        ("X-Mailgun-", "a", {}, "unknown field"),
        ("X-SMTPAPI", '{"to": ["a@example.net"]}', {}, "only the recipients of the envelope get it"),
        ("X-SMTPAPI", sendgrid("footer", 1), {}, "no filters but clicktrack and opentrack"),
        ("X-SMTPAPI", '{"a": 1}', {}, "1 unknown entry"),
        ("X-SMTPAPI", '{"a": 1, "b": {"c": 2}}', {}, "2 unknown entries"),
        ("X-SMTPAPI", '{"filters": []}', {}, "1 unknown entry"),
        ("X-SMTPAPI", '{"filters.clicktrack.settings.enable": 1}', {}, "1 unknown entry"),
        ("X-MSYS-API", '{"options": {"sandbox": true}}', {}, "there is no test mode: the message is sent"),
        ("X-MSYS-API", '{"bcc": [{"email": "a@example.net"}]}', {}, "only the recipients of the envelope get it"),
    ],
)
def test_what_is_not_done_is_told(field: str, value: str, decides: dict[str, bool], warning: str) -> None:
    done = read((field, value))
    assert [reason for _, reason in warnings(done)] == [warning]
    assert done.decided_by.keys() == decides.keys()
    assert done.options == Options(**decides)
    assert done.message.fields == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("X-Mailgun-Drop-Message", "no"),
        ("X-Mailgun-Dkim", "yes"),
        ("X-Mailgun-Variables", '{"a": 1}'),
        ("X-PM-Metadata-Colour", "blue"),
        ("X-PM-Message-Stream", "outbound"),
        ("X-MC-AutoText", ""),
        ("X-Mailgun-Recipient-Variables", "{}"),
        ("X-Metadata-Colour", "blue"),
        ("X-SMTPAPI", '{"unique_args": {"a": 1}}'),
        ("X-SMTPAPI", sendgrid("footer", 0)),
        ("X-SMTPAPI", '{"to": [], "send_at": null}'),
        ("X-MSYS-API", '{"metadata": {"a": 1}, "options": {"transactional": true, "sandbox": false}}'),
        ("X-SMTPAPI", "{}"),
        ("X-Track", "opens=default; clicks=default"),
    ],
)
def test_what_nobody_misses_is_no_warning(field: str, value: str) -> None:
    done = read((field, value))
    assert warnings(done) == []
    assert all(reason == "decides nothing" for _, reason in mapped(done))
    assert (done.options, done.decided_by, done.tags, done.message.fields) == (Options(), {}, (), ())


BAD = [
    *(("X-Mailgun-Track", word) for word in ("", " ", "maybe", "yes no", "opens", "tr\u00fce", "=?nonsense?q?yes?=")),
    *(("X-Mailgun-Track-Opens", word) for word in ("htmlonly", "y")),
    *(("X-MC-Track", word) for word in ("", ",", "click", "opens,click", "true")),
    ("X-MC-InlineCSS", "maybe"),
    *(("X-PM-TrackLinks", word) for word in ("", "true", "Html", "HtmlAndText, None")),
    ("X-PM-TrackOpens", "HtmlOnly"),
    *(
        ("X-Track", word)
        for word in ("", "yes", "opens", "opens=maybe", "opens=true; clicks", "bounces=true", "opens=true, clicks=true")
    ),
    *(
        ("X-SMTPAPI", text)
        for text in ("", "{", "[]", '"a"', "1", "null", "{'a': 1}", '{"category": NaN}', '{"category": "a"} x')
    ),
    ("X-SMTPAPI", '{"category": 1' + "0" * 5000 + "}"),
    ("X-SMTPAPI", '{"category": "a", "z": Infinity}'),
    *(("X-SMTPAPI", json.dumps({"category": value})) for value in (None, {"a": 1}, [["a"]], ["a", None], 1.5)),
    *(("X-SMTPAPI", sendgrid("clicktrack", value)) for value in (None, 2, "", "maybe", [1, 0], {}, 1.0)),
    ("X-MSYS-API", sparkpost("open_tracking", "perhaps")),
    ("X-MSYS-API", sparkpost("open_tracking", [])),
]


@pytest.mark.parametrize("before", ["", "trackclicks trackopens inlinecss"])
@pytest.mark.parametrize(("field", "value"), BAD)
def test_what_cannot_be_read_decides_nothing_and_is_told(field: str, value: str, before: str) -> None:
    done = read((field, value), on=before)
    assert done.options == job(on=before).options
    assert (done.decided_by, done.tags, done.message.fields, mapped(done)) == ({}, (), (), [])
    ((subject, reason),) = warnings(done)
    assert subject.split()[0] == field.lower()
    assert reason.startswith("value not understood; ")


def nested(depth: int) -> str:
    return '{"category": "a", "z": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_json_is_read_to_a_depth() -> None:
    assert read(("X-SMTPAPI", nested(MAX_DEPTH))).tags == ("a",)
    for text in (nested(MAX_DEPTH + 1), nested(20_000), "[" * 58_000, '{"a":' * 9_000, '"\\' * 29_000, '"\\"' * 19_000 + "["):
        done = read(("X-SMTPAPI", text))
        assert (done.tags, warnings(done)) == ((), [("x-smtpapi", "value not understood; it takes a JSON object")])
    brackets = read(("X-SMTPAPI", json.dumps({"unique_args": {"a": "[{" * 1000 + '"\\'}, "category": "a"})))
    assert (brackets.tags, warnings(brackets)) == (("a",), [])


def test_only_so_many_fields_with_json_are_read() -> None:
    tags = [("X-SMTPAPI", f'{{"category": "t{number}"}}') for number in range(MAX_JSON + 2)]
    done = read(*tags, ("X-MSYS-API", sparkpost("open_tracking", True)), ("X-Mailgun-Tag", "last"))
    assert done.tags == (*(f"t{number}" for number in range(MAX_JSON)), "last")
    assert done.options == Options()
    assert [subject for subject, _ in warnings(done)] == ["x-smtpapi", "x-smtpapi", "x-msys-api"]
    assert done.message.fields == ()


def test_the_senders_own_words_stay_out_of_the_events() -> None:
    done = read(
        ("X-SMTPAPI", json.dumps({"secret\x1b": 1, "filters": {"secret": {"settings": {"enable": 1}}, "secret2": 1}})),
        ("X-PM-TrackLinks", "secret"),
        ("X-MC-Template", "secret"),
        ("X-MC-" + "A" * 1000, "secret"),
    )
    assert len(done.events) == 5
    assert not [event for event in done.events if "secret" in event.subject + event.reason or len(event.subject) > 60]


def test_the_last_of_several_counts_and_tags_are_merged() -> None:
    done = read(
        *(("X-Mailgun-Track-Clicks", word) for word in ("no", "yes", "perhaps")),
        ("X-Mailgun-Tag", "b"),
        ("X-Mailgun-Tag", "a"),
        ("X-Mailgun-Tag", "b"),
        ("X-SMTPeter-Tags", "own, a"),
        ("X-PM-Tag", "c"),
    )
    assert done.options == Options(trackclicks=True)
    assert done.tags == ("own", "a", "b", "c")
    assert len(warnings(done)) == 1


def test_tags_are_capped_wherever_they_come_from() -> None:
    done = read(("X-SMTPAPI", json.dumps({"category": [f"t{number}" for number in range(80)]})), ("X-Mailgun-Tag", "u"))
    assert len(done.tags) == MAX_TAGS
    assert warnings(done) == [("x-smtpeter-tags", "more than 50 tags; the rest left out")]


@pytest.mark.parametrize("general", [("X-Mailgun-Track", "no"), ("X-Track", "opens=false; clicks=false")])
@pytest.mark.parametrize(
    "special", [("X-Mailgun-Track-Clicks", "yes"), ("X-PM-TrackLinks", "HtmlOnly"), ("X-SMTPAPI", sendgrid("clicktrack", 1))]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_general_switch_gives_way(general: tuple[str, str], special: tuple[str, str], first: bool) -> None:
    done = read(*((general, special) if first else (special, general)), on="trackopens")
    assert done.options == Options(trackclicks=True, trackopens=False)


def test_the_last_provider_counts() -> None:
    fields = [("X-PM-TrackOpens", "true"), ("X-MC-Track", "none"), ("X-SMTPAPI", sendgrid("opentrack", 1))]
    for place in range(3):
        turned = [*fields[place:], *fields[:place]]
        done = read(*turned)
        assert done.options.trackopens is (turned[-1][0] != "X-MC-Track")
        assert done.decided_by["trackopens"] == {"X-PM": "postmark", "X-MC": "mandrill", "X-SM": "sendgrid"}[turned[-1][0][:4]]


@pytest.mark.parametrize("first", [True, False])
def test_a_field_of_ours_beats_every_other(first: bool) -> None:
    ours, theirs = ("X-SMTPeter-TrackClicks", "no"), ("X-Mailgun-Track-Clicks", "yes")
    done = read(*((ours, theirs) if first else (theirs, ours)))
    assert (done.options, done.decided_by) == (Options(), {"trackclicks": "header"})
    unread = read(("X-SMTPeter-TrackClicks", "perhaps"), theirs)
    assert (unread.options, unread.decided_by) == (Options(trackclicks=True), {"trackclicks": "mailgun"})


@pytest.mark.parametrize("value", ["yes", "no", "perhaps", None])
@pytest.mark.parametrize("on", ["", "trackclicks"])
def test_what_the_login_keeps_for_itself_stays(on: str, value: str | None) -> None:
    fields = [] if value is None else [("X-Mailgun-Track", value)]
    done = read(*fields, on=on, forced="trackclicks")
    assert done.options == replace(Options(trackclicks=bool(on)), trackopens=value == "yes")
    assert done.decided_by["trackclicks"] == "login, forced"
    assert done.decided_by.get("trackopens") == ("mailgun" if value in ("yes", "no") else None)
    if value in ("yes", "no"):
        assert warnings(done) == [("x-mailgun-track", NOT_DECIDED)]
        assert mapped(done) == [("x-mailgun-track", f"trackopens={'true' if value == 'yes' else 'false'}")]
    elif value:
        assert warnings(done)[0][1].startswith("value not understood")
    assert done.message.fields == ()


def test_a_field_with_nothing_left_to_decide_is_not_recorded_as_understood() -> None:
    done = read(("X-PM-TrackLinks", "TextOnly"), forced="trackclicks")
    assert warnings(done) == [("x-pm-tracklinks", IN_TEXT), ("x-pm-tracklinks", NOT_DECIDED)]
    assert mapped(done) == []


@pytest.mark.parametrize("asked", Dialect)
def test_the_fields_of_another_dialect_are_content(asked: Dialect) -> None:
    fields = [(field, f" {value}") for field, value, _, _ in MEANINGS]
    start = job(*fields, dialects=frozenset({asked}))
    done = apply_overrides(start)
    others = tuple(field for field in start.message.fields if not is_control(field, {asked}))
    assert 0 < len(others) < len(fields)
    assert done.message.fields == others
    assert set(done.decided_by.values()) <= {asked.value}
    untouched = apply_overrides(replace(start, dialects=frozenset()))
    assert untouched == replace(start, dialects=frozenset())
    assert untouched.message is start.message


def test_what_only_looks_like_it_stays() -> None:
    names = (
        "X-Mailgun",
        "X-MailgunTag",
        "XX-Mailgun-Tag",
        "X-MC",
        "X-PMTag",
        "X-SMTPAPI2",
        "X-MSYS-API-2",
        "X-Tracks",
        "X-Tag-a",
    )
    start = job(*((name, "yes") for name in names))
    assert apply_overrides(start) == start


NAMES = st.one_of(
    st.sampled_from([switch.field for switch in SWITCHES]),
    st.sampled_from(
        ["Subject", "X-SMTPeter-TrackClicks", "x-smtpeter", "X-MC-x", "X-Mailgun-Drop-Message", "X-Metadata-", "X-Keep"]
    ),
    st.text("XxMCPmailgun-TrackSTAPI.", min_size=1, max_size=12),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
KEYS = st.one_of(
    st.sampled_from(
        ["filters", "clicktrack", "opentrack", "settings", "enable", "category", "options", "open_tracking", "tags", "to"]
    ),
    st.text(max_size=5),
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)
VALUES = st.one_of(
    st.binary(max_size=30).map(lambda value: re.sub(rb"[\r\n\0]", b"", value)),
    st.sampled_from([value.encode() for _, value, _, _ in MEANINGS]),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value).encode()[:-1]),
)
FIELDS = st.lists(st.tuples(NAMES.map(str.encode), VALUES).map(lambda pair: Field(*pair)), max_size=20)


@given(FIELDS, st.frozensets(st.sampled_from(Dialect)), st.frozensets(st.sampled_from(sorted(BY_NAME))))
@example([Field(b"X-SMTPAPI", b'{"filters": {"x": {"settings": {"enable": {}}}}}')], ALL, frozenset())
def test_whatever_they_say_they_go_and_nothing_else_does(
    fields: list[Field], dialects: frozenset[Dialect], forced: frozenset[str]
) -> None:
    start = replace(job(dialects=dialects), message=Message(tuple(fields), b"x\r\n"), forced=forced)
    done = apply_overrides(start)
    prefixes = [name for dialect in dialects for name in NAMESPACES[dialect]]
    kept = [
        field
        for field in fields
        for name in [field.name.lower().decode()]
        if not (name == "x-smtpeter" or name.startswith("x-smtpeter-"))
        and not any(name.startswith(each) if each.endswith("-") else name == each for each in prefixes)
    ]
    assert list(done.message.fields) == kept
    assert done.message.body == b"x\r\n"
    assert done.decided_by.keys() >= forced
    for option in BY_NAME:
        if option in forced or option not in done.decided_by:
            assert getattr(done.options, option) == getattr(start.options, option)
    assert len(done.tags) <= MAX_TAGS
    assert all(isinstance(event, Event) and event.reason for event in done.events)
    told = {event.subject.split()[0] for event in done.events}
    gone = {field.name.lower().decode()[:60] for field in fields if field not in kept}
    assert told >= {name for name in gone if not name.startswith("x-smtpeter")}


LOST = {
    Dialect.MAILGUN: b"junk\r\nX-Mailgun-Tag: a\r\nSubject: x\r\n\r\n",
    Dialect.SENDGRID: b"Betr\xe9ff: x\r\nx-smtpapi: {}\r\n\r\ntext\r\n",
    Dialect.SYMFONY: b" X-Track: opens=true\r\n\r\n",
    Dialect.POSTMARK: b"X-PM-T\xe9g: a\r\n\r\n",
    Dialect.MANDRILL: b"junk\r\nTo: x\r\nX-MC-Track",
}


@pytest.mark.parametrize("dialect", LOST)
def test_a_field_that_slipped_into_the_body_is_refused_where_it_would_have_counted(dialect: Dialect) -> None:
    message = job(("From", "a@example.com"), body=LOST[dialect]).message
    for dialects in (frozenset({dialect}), ALL):
        with pytest.raises(Refused, match=r"^550 5\.6\.0 Malformed header"):
            check_header(message, dialects)
    check_header(message)
    check_header(message, ALL - {dialect})


@pytest.mark.parametrize(
    "body",
    [
        b"Hi,\r\nI put\r\nX-Mailgun-Tag: a\r\ninto it and nothing happens\r\n",
        b"X-MC-Track: opens\r\nis the field\r\n",
        b"\r\nX-Tag: a\r\n",
    ],
)
def test_text_that_speaks_of_them_is_content(body: bytes) -> None:
    check_header(job(body=body).message, ALL)


def test_fields_without_end_are_refused_where_they_would_go() -> None:
    message = job(*[("X-Mailgun-Tag", "a")] * (MAX_CONTROL + 1)).message
    check_header(message)
    with pytest.raises(Refused, match=r"^550 5\.6\.0 The header has more than 1000 control fields"):
        check_header(message, ALL)


NEWSLETTER = b"""\
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
From: News <news@example.com>\r
To: reader@example.net\r
Subject: hello\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
<style>p { color: red }</style><body><p>gr\xc3\xbc\xc3\x9fe <a href="https://www.example.com/a">x</a>\
<img src="https://img.example.com/b.png"></p></body>\r
"""
JSON_DIALECT = {
    "sendgrid": {
        "category": ["spring", "sale"],
        "unique_args": {"order": "5"},
        "filters": {"clicktrack": {"settings": {"enable": 1}}, "opentrack": {"settings": {"enable": 1}}},
    },
    "sparkpost": {
        "options": {"open_tracking": True, "click_tracking": True, "inline_css": True},
        "tags": ["spring", "sale"],
        "metadata": {"order": "5"},
    },
}
SAME = {  # the same newsletter as it is sent to each; inlinecss is the login's where the dialect has no word for it
    "mailgun": "X-Mailgun-Track: yes\r\nX-Mailgun-Tag: spring\r\nX-Mailgun-Tag: sale\r\nX-Mailgun-Variables: {}\r\n",
    "mandrill": "X-MC-Track: opens,clicks_htmlonly\r\nX-MC-InlineCSS: true\r\nX-MC-Tags: spring,sale\r\nX-MC-Metadata: {}\r\n",
    "postmark": "X-PM-TrackOpens: true\r\nX-PM-TrackLinks: HtmlAndText\r\nX-PM-Tag: spring,sale\r\nX-PM-Message-Stream: a\r\n",
    "sendgrid": f"X-SMTPAPI: {json.dumps(JSON_DIALECT['sendgrid'], indent=1)}".replace("\n", "\r\n ") + "\r\n",
    "sparkpost": f"X-MSYS-API: {json.dumps(JSON_DIALECT['sparkpost'])}\r\n".replace(', "', ',\r\n "'),
    "symfony": "X-Track: opens=true; clicks=true\r\nX-Tag: spring\r\nX-Tag: sale\r\nX-Metadata-order: 5\r\n",
}
OWN = (
    "X-SMTPeter-TrackOpens: yes\r\nX-SMTPeter-TrackClicks: yes\r\nX-SMTPeter-InlineCSS: yes\r\nX-SMTPeter-Tags: spring, sale\r\n"
)
HAS_INLINE = {"mandrill", "sparkpost"}


@pytest.mark.parametrize("recipients", [("reader@example.net",), ("reader@example.net", "other@example.org")])
@pytest.mark.parametrize("dialect", Dialect)
def test_the_same_message_in_each_dialect_gives_the_same_as_our_own_fields(dialect: Dialect, recipients: tuple[str, ...]) -> None:
    def sent(fields: str, on: str = "") -> Job:
        raw = NEWSLETTER.replace(b"MIME-Version", fields.encode() + b"MIME-Version")
        start = replace(job(on=on, dialects=frozenset({dialect})), message=Message.parse(raw))
        start = replace(start, envelope=replace(start.envelope, rcpt_to=recipients))
        done = transform(start, SITE).job
        # The ticket of a message for several also tells who decided; everything below it is the same.
        fields_left = tuple(field for field in done.message.fields if field.name != b"X-SMTPeter-Job")
        return replace(done, message=Message(fields_left, done.message.body))

    ours = sent(OWN)
    theirs = sent(SAME[dialect.value], on="" if dialect.value in HAS_INLINE else "inlinecss")
    assert theirs.message == ours.message
    assert (theirs.options, theirs.tags, theirs.links) == (ours.options, ours.tags, ours.links)
    assert len(ours.links) == (2 if len(recipients) == 1 else 0)
    assert b'style=3D"color: red' in ours.message.body
    assert warnings(theirs) == []
    by = {decision.feature: decision.by for decision in explained(theirs)}
    assert by["inlinecss"] == (dialect.value if dialect.value in HAS_INLINE else "login")
    if len(recipients) == 1:
        assert {by["trackclicks"], by["trackopens"]} == {dialect.value}
        assert {decision.feature: decision.outcome for decision in explained(theirs)} == {
            decision.feature: decision.outcome for decision in explained(ours)
        }


def test_a_message_of_a_login_without_dialects_keeps_the_fields_byte_for_byte() -> None:
    for fields in SAME.values():
        raw = fields.encode() + NEWSLETTER
        start = replace(job(dialects=frozenset()), message=Message.parse(raw))
        assert transform(start, SITE).edits == ()
