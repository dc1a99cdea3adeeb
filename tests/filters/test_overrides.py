"""Control fields: what they say beats the login, and none of them leaves."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filters.job import Envelope, Job
from filters.mail.message import Field, Message
from filters.overrides import MAX_CONTROL, MAX_FIELD, MAX_FIELDS, apply_overrides, check_header, is_control, strip
from filters.tags import read_tags
from journal.event import Kind
from policy.options import OPTIONS, Images, Options
from policy.reply import Refused


def job(*fields: tuple[bytes, bytes], options: Options = Options(), body: bytes = b"text\r\n") -> Job:  # noqa: B008  # frozen
    message = Message(tuple(Field(*field) for field in fields), body)
    return Job(login="0" * 32, account="shop", envelope=Envelope(mail_from="", rcpt_to=()), options=options, message=message)


BOOLEANS = [option for option in OPTIONS if option.name != "images"]
SHAPES = {  # shape of the field -> what it makes of the login's setting
    "absent": ([], None),
    "true": ([b" true"], True),
    "false": ([b" false"], False),
    "1": ([b" 1"], True),
    "0": ([b"0"], False),
    "yes": ([b" yes"], True),
    "on, other case": ([b" On"], True),
    "OFF": ([b" OFF"], False),
    "garbage": ([b" maybe"], None),
    "empty": ([b""], None),
    "blank": ([b"  \t"], None),
    "8-bit": ([b" tr\xfce"], None),
    "twice, last wins": ([b" true", b" false"], False),
    "twice, last valid wins": ([b" true", b" nonsense"], True),
    "folded": ([b"\r\n  true"], True),
    "folded twice": ([b"\r\n\t \r\n true \r\n "], True),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("option", BOOLEANS, ids=lambda option: option.name)
def test_a_boolean_field_beats_the_login(option, before: bool, shape: str) -> None:
    values, meaning = SHAPES[shape]
    name = f"X-SMTPeter-{option.name.title()}".encode()
    done = apply_overrides(job(*((name, value) for value in values), options=Options(**{option.name: before})))
    assert getattr(done.options, option.name) is (before if meaning is None else meaning)
    assert replace(done.options, **{option.name: before}) == Options(**{option.name: before})
    assert done.message.fields == ()
    warned = [event for event in done.events if event.kind is Kind.WARNING]
    assert bool(warned) == any(not word.strip() or word.strip() in (b"maybe", b"nonsense", b"tr\xfce") for word in values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("option", BOOLEANS, ids=lambda option: option.name)
def test_a_field_decides_where_it_can_be_read_even_if_it_says_what_the_login_says(option, shape: str) -> None:
    values, meaning = SHAPES[shape]
    for before in (False, True):
        name = f"x-smtpeter-{option.name}".encode()
        done = apply_overrides(job(*((name, value) for value in values), options=Options(**{option.name: before})))
        assert done.decided_by == ({} if meaning is None else {option.name: "header"})


def test_who_decided_is_told_of_each_option() -> None:
    fields = [(f"X-SMTPeter-{option.name}".encode(), b" 1") for option in BOOLEANS]
    done = apply_overrides(
        job(*fields, (b"X-SMTPeter-Images", b" nonsense"), (b"X-SMTPeter-Tags", b" a"), (b"X-SMTPeter-New", b" 1"))
    )
    assert done.decided_by == {option.name: "header" for option in BOOLEANS}
    assert apply_overrides(job((b"x-smtpeter-images", b" hosted"))).decided_by == {"images": "header"}
    assert apply_overrides(job((b"x-smtpeter-images", b" default"))).decided_by == {"images": "header"}
    assert apply_overrides(job((b"Subject", b" x"))).decided_by == {}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("forced", [False, True], ids=["forced off", "forced on"])
@pytest.mark.parametrize("option", BOOLEANS, ids=lambda option: option.name)
def test_what_the_login_keeps_for_itself_no_field_decides(option, forced: bool, shape: str) -> None:
    values, _ = SHAPES[shape]
    name = f"X-SMTPeter-{option.name.title()}"
    others = [(b"X-SMTPeter-Images", b" hosted"), (b"X-SMTPeter-Tags", b" a")]
    start = job(*((name.encode(), value) for value in values), *others, options=Options(**{option.name: forced}))
    done = apply_overrides(replace(start, forced=frozenset({option.name})))
    assert done.options == Options(**{option.name: forced}, images=Images.HOSTED)
    assert done.decided_by == {option.name: "login, forced", "images": "header"}
    assert done.tags == ("a",)
    assert done.message.fields == ()
    refusal = (Kind.WARNING, name.lower(), "the login does not let a message decide this")
    assert [(event.kind, event.subject, event.reason) for event in done.events] == [refusal] * len(values)


@pytest.mark.parametrize("before", Images)
def test_images_can_be_kept_as_well(before: Images) -> None:
    fields = [(b"X-SMTPeter-Images", value) for value in (b" hosted", b" default", b" nonsense")]
    done = apply_overrides(replace(job(*fields, options=Options(images=before)), forced=frozenset({"images"})))
    assert (done.options, done.decided_by) == (Options(images=before), {"images": "login, forced"})
    assert {event.reason for event in done.events} == {"the login does not let a message decide this"}


@pytest.mark.parametrize("before", Images)
@pytest.mark.parametrize(
    ("value", "after"),
    [(b" hosted", Images.HOSTED), (b" Default ", Images.DEFAULT), (b" true", None), (b"", None), (b"\r\n HOSTED", Images.HOSTED)],
)
def test_images_takes_its_own_words(before: Images, value: bytes, after: Images | None) -> None:
    done = apply_overrides(job((b"x-smtpeter-images", value), options=Options(images=before)))
    assert done.options.images is (after or before)
    assert bool(done.events) == (after is None)


@pytest.mark.parametrize(
    ("name", "control"),
    [
        (b"X-SMTPeter", True),
        (b"x-smtpeter-", True),
        (b"X-SMTPETER-INLINECSS", True),
        (b"x-SmtPeter-inlinizecss", True),
        (b"X-SMTPeter-Job", True),
        (b"x-smtpeter-a.b/c", True),
        (b"X-SMTPeterX", False),
        (b"X-SMTPeter_X", False),
        (b"XX-SMTPeter-Tags", False),
        (b"SMTPeter-Tags", False),
        (b"X-SMTP", False),
    ],
)
def test_the_rule_for_names(name: bytes, control: bool) -> None:
    assert is_control(Field(name, b" x")) is control
    assert bool(strip(job((name, b" x")).message).fields) is not control


def test_old_and_unknown_names_have_no_effect_but_go() -> None:
    done = apply_overrides(
        job((b"x-smtpeter-inlinizecss", b" true"), (b"Subject", b" x"), (b"x-smtpeter-clicktracking", b" true"))
    )
    assert done.options == Options()
    assert done.message.fields == (Field(b"Subject", b" x"),)
    assert [event.reason for event in done.events] == ["unknown control field"] * 2


names = st.sampled_from([b"X-SMTPeter", b"x-smtpeter-tags", b"X-smtpeter-InlineCSS", b"Subject", b"X-SMTPeterish", b"From"])
values = st.binary(max_size=20).map(lambda value: re.sub(rb"[\r\n\0]", b"", value))


@given(st.lists(st.tuples(names, values), max_size=30))
@example([(b"X-SMTPeter-Tags", b" a")] * 7)
def test_no_control_field_stays_and_nothing_else_goes(fields) -> None:
    done = apply_overrides(job(*fields)).message
    assert not any(field.name.lower().startswith(b"x-smtpeter-") or field.name.lower() == b"x-smtpeter" for field in done.fields)
    assert list(done.fields) == [Field(*field) for field in fields if not is_control(Field(*field))]
    assert strip(done) is done


@pytest.mark.parametrize(
    ("value", "tags", "dropped"),
    [
        (b" a, b;c, d e, a", ["a", "a"], 2),
        (b"", [], 0),
        (b" ,, ,", [], 0),
        (b" Spring,sale-2", ["Spring", "sale-2"], 0),
        (b" a\tb", [], 1),
        (b" x" + b"x" * 128, [], 1),
        (b" =?utf-8?q?caf=C3=A9=2Ctea?=", ["café", "tea"], 0),
        (b" =?nonsense?q?caf?=", [], 1),
        (" grün".encode(), ["grün"], 0),
        (b" =?punycode?q?" + b"a" * 5000 + b"?=", [], 1),
        (b" =?idna?b?YQ==?=, =?utf-8?q?a?=", [], 1),
        (b" =?iso-8859-1?q?gr=FCn?=", ["grün"], 0),
        (b" =?utf-8?q?a?=," + b" " * 8192, ["a"], 0),
        (b" =?utf-8?q?" + b"a" * 8192 + b"?=", [], 1),
        (" a\u202eb, \ufeffc, d\u200be".encode(), [], 3),
        (b" \xff\xfe", [], 1),
    ],
)
def test_tags_are_split_and_judged_one_by_one(value: bytes, tags: list[str], dropped: int) -> None:
    assert read_tags(value.strip()) == (tags, dropped)


def test_tags_of_several_fields_are_merged_in_order() -> None:
    done = apply_overrides(job((b"X-SMTPeter-Tags", b" b, a"), (b"x-smtpeter-tags", b" a, c d, e")))
    assert done.tags == ("b", "a", "e")
    assert [event.kind for event in done.events] == [Kind.WARNING]


def test_tags_are_capped() -> None:
    done = apply_overrides(job((b"X-SMTPeter-Tags", b",".join(b"t%d" % number for number in range(80)))))
    assert len(done.tags) == 50
    assert done.events[-1].kind is Kind.WARNING


PUSHED = {  # a line ended the header early, and a control field came after it
    "junk line": b"this is no field\r\nX-SMTPeter-InlineCSS: true\r\nSubject: x\r\n\r\ntext\r\n",
    "two junk lines": b"junk\r\nmore junk\r\nX-SMTPeter-InlineCSS: true\r\nSubject: x\r\n\r\n",
    "leading blank": b" X-SMTPeter-InlineCSS: true\r\n\r\ntext\r\n",
    "leading blank further down": b" folded from nowhere\r\nTo: x\r\nx-smtpeter-tags: a\r\n\r\n",
    "name with 8-bit": b"X-SMTPeter-Inlin\xe9CSS: true\r\n\r\n",
    "neighbour with 8-bit name": b"Betr\xe9ff: x\r\nX-SMTPeter-InlineCSS: true\r\n\r\n",
    "no end": b"junk\r\nX-SMTPeter: 1",
    "without its colon": b"X-SMTPeter-InlineCSS\r\nSubject: x\r\n\r\n",
    "its colon in the next line": b"X-SMTPeter-InlineCSS\r\n : true\r\n\r\n",
    "a name longer than Postfix reads": b"X" * 3000 + b": y\r\nX-SMTPeter-InlineCSS: true\r\n\r\n",
}


@pytest.mark.parametrize("body", PUSHED.values(), ids=PUSHED.keys())
def test_a_control_field_that_slipped_into_the_body_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match=r"^550 5\.6\.0 Malformed header") as caught:
        check_header(job((b"From", b" a@example.com"), body=body).message)
    assert str(caught.value).isascii()


def test_a_line_like_a_boundary_is_no_part_where_the_boundary_is_another() -> None:
    fields = (b"Content-Type", b' multipart/mixed; boundary="b"')
    with pytest.raises(Refused, match="Malformed header"):
        check_header(job(fields, body=b"--oops\r\nX-SMTPeter-InlineCSS: true\r\n\r\n--b\r\n").message)


CONTENT = {
    "prose": b"Hi,\r\nI put\r\nX-SMTPeter-InlineCSS: true\r\ninto it and nothing happens\r\n",
    "a later paragraph": b"Hi\r\n\r\nX-SMTPeter-InlineCSS: true\r\n",
    "its own first line": b"X-SMTPeter-InlineCSS: true\r\nis the field\r\n",
    "empty": b"",
    "first line empty": b"\r\nX-SMTPeter-InlineCSS: true\r\n",
    "no control field": b"junk\r\nSubject: x\r\n",
}


@pytest.mark.parametrize("body", CONTENT.values(), ids=CONTENT.keys())
def test_text_that_speaks_of_control_fields_is_content(body: bytes) -> None:
    check_header(job((b"From", b" a@example.com"), body=body).message)


@pytest.mark.parametrize(
    ("content_type", "first"),
    [
        (b' multipart/mixed; boundary="b"', b"--b"),
        (b" message/rfc822", b"From old@example.com Mon"),
        (b"\r\n Multipart/Related", b"--x"),
    ],
)
def test_fields_of_nested_parts_are_content(content_type: bytes, first: bytes) -> None:
    body = first + b"\r\nX-SMTPeter-InlineCSS: true\r\nContent-Type: text/html\r\n\r\n<p>\r\n"
    check_header(job((b"Content-Type", content_type), body=body).message)


def test_a_field_that_postfix_would_cut_is_refused() -> None:
    check_header(job((b"References", b"x" * (MAX_FIELD - 11))).message)
    with pytest.raises(Refused, match=r"^550 5\.6\.0 The header field References is longer"):
        check_header(job((b"References", b"x" * (MAX_FIELD - 10))).message)


def test_control_fields_without_end_are_refused() -> None:
    check_header(job(*[(b"X-SMTPeter-Tags", b" a")] * MAX_CONTROL).message)
    with pytest.raises(Refused, match=r"^550 5\.6\.0 The header has more than 1000 control fields"):
        check_header(job(*[(b"X-SMTPeter-Tags", b" a")] * (MAX_CONTROL + 1)).message)


def test_a_header_without_end_is_refused() -> None:
    check_header(job(*[(b"A", b"")] * MAX_FIELDS).message)
    with pytest.raises(Refused, match=r"^550 5\.6\.0"):
        check_header(job(*[(b"A", b"")] * (MAX_FIELDS + 1)).message)
