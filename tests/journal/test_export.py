"""Exports: the documented columns in their order, read back by other parsers, and harmless to who opens them."""

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.export import COLUMNS, Format, Row, Type, attempt_row, click_row, open_row, written, written_time
from journal.records import MessageRecord, VisitKind, VisitRecord


@pytest.fixture(scope="module")
def mailed(make_message) -> MessageRecord:
    return make_message(properties=("preventscam", "trackclicks"))


@pytest.fixture(scope="module")
def clicked(make_click) -> VisitRecord:
    return make_click(headers='Host: clicks.example.com\nAccept: "a", b')


@pytest.fixture(scope="module")
def opened(clicked: VisitRecord) -> VisitRecord:
    return replace(clicked, kind=VisitKind.OPEN, number=0, destination="")


# What comes out of a parser as it went in: all characters that are none of its own.
anything = st.text(max_size=30)
tame = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"], exclude_characters="\u2028\u2029\ufffe\uffff"), max_size=30)


def text(kind: Type, form: Format, *rows: Row, header: bool = False) -> str:
    return "".join(written(kind, form, rows, header=header))


def parsed(content: str) -> ElementTree.Element:
    return ElementTree.fromstring(content)  # noqa: S314  # we wrote it


def test_attempts_as_csv(mailed) -> None:
    assert text(Type.ATTEMPTS, Format.CSV, attempt_row(mailed)) == (
        "00112233445566778a,2023-11-14 22:13:20,bounces@example.com,reader@example.net,preventscam;trackclicks,spring;sale,0\n"
    )


def test_clicks_as_csv(mailed, clicked) -> None:
    assert text(Type.CLICKS, Format.CSV, click_row(clicked, mailed)) == (
        '00112233445566778a,2023-11-14 22:15:00,"Host: clicks.example.com\nAccept: ""a"", b",192.0.2.0,'
        "https://clicks.example.com/a-x,https://example.com/a,spring;sale,reader@example.net,,,,,0\n"
    )


def test_opens_as_csv_with_the_names_of_the_columns(opened) -> None:
    assert text(Type.OPENS, Format.CSV, open_row(replace(opened, headers=""), None), header=True) == (
        "id,time,headers,ip,protocol,tags,recipient,city,countryname,countrycode,regioncode,templateid\n"
        "00112233445566778a,2023-11-14 22:15:00,,192.0.2.0,https,,,,,,,0\n"
    )


def test_columns_are_those_of_the_documentation() -> None:
    assert COLUMNS[Type.ATTEMPTS] == ("id", "time", "envelope", "recipient", "properties", "tags", "templateid")
    assert COLUMNS[Type.CLICKS] == (
        *("id", "time", "headers", "ip", "url", "destination", "tags", "recipient"),
        *("city", "countryname", "countrycode", "regioncode", "templateid"),
    )
    assert COLUMNS[Type.OPENS] == (
        *("id", "time", "headers", "ip", "protocol", "tags", "recipient"),
        *("city", "countryname", "countrycode", "regioncode", "templateid"),
    )


def test_clicks_as_json(mailed, clicked) -> None:
    found = json.loads(text(Type.CLICKS, Format.JSON, click_row(clicked, mailed), click_row(clicked, None)))
    assert [list(each) for each in found] == [list(COLUMNS[Type.CLICKS])] * 2
    assert found[0]["headers"] == clicked.headers
    assert (found[0]["templateid"], found[0]["city"], found[1]["recipient"]) == (0, "", "")


def test_opens_as_xml(mailed, opened) -> None:
    root = parsed(text(Type.OPENS, Format.XML, open_row(opened, mailed)))
    assert root.tag == "records"
    (record,) = root
    assert record.tag == "record"
    assert [(field.tag, field.text or "") for field in record] == [
        (name, str(value)) for name, value in zip(COLUMNS[Type.OPENS], open_row(opened, mailed), strict=True)
    ]


@pytest.mark.parametrize(
    ("form", "empty"),
    [(Format.CSV, ""), (Format.JSON, "[]\n"), (Format.XML, '<?xml version="1.0" encoding="US-ASCII"?>\n<records>\n</records>\n')],
)
def test_a_day_without_records(form: Format, empty: str) -> None:
    assert text(Type.CLICKS, form) == empty


@given(anything)
def test_json_gives_back_every_character_and_is_plain_ascii(clicked, value: str) -> None:
    content = text(Type.CLICKS, Format.JSON, click_row(replace(clicked, headers=value), None))
    assert json.loads(content)[0]["headers"] == value
    assert all(" " <= character <= "~" or character == "\n" for character in content)


@given(anything)
def test_xml_is_well_formed_and_plain_ascii_whatever_is_in_it(clicked, value: str) -> None:
    content = text(Type.CLICKS, Format.XML, click_row(replace(clicked, headers=value), None))
    assert parsed(content).findtext("record/headers") is not None
    assert all(" " <= character <= "~" or character in "\n\t" for character in content)


@given(tame)
def test_xml_gives_back_what_it_may_hold(clicked, value: str) -> None:
    value += "\r\n\t\x7f\x85\u202e\u2028\U0001f388]]><&\"'"
    content = text(Type.CLICKS, Format.XML, click_row(replace(clicked, headers=value), None))
    assert parsed(content).findtext("record/headers") == value


@given(st.lists(anything, min_size=1, max_size=4))
def test_csv_has_as_many_records_and_fields_whatever_is_in_them(clicked, values: list[str]) -> None:
    rows = [click_row(replace(clicked, headers=value, url=value, destination=value), None) for value in values]
    found = list(csv.reader(io.StringIO(text(Type.CLICKS, Format.CSV, *rows), newline="")))
    assert [len(row) for row in found] == [len(COLUMNS[Type.CLICKS])] * len(values)


@given(anything)
def test_no_field_of_csv_is_a_formula_or_moves_a_cursor(clicked, value: str) -> None:
    content = text(Type.CLICKS, Format.CSV, click_row(replace(clicked, headers=value), None))
    ((_, _, headers, *_),) = csv.reader(io.StringIO(content, newline=""))
    assert not headers.lstrip().startswith(tuple("=+-@＝＋－＠"))
    assert not set(content) & set(map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F)]))


@given(tame)
def test_csv_gives_back_what_is_harmless(clicked, value: str) -> None:
    value = f"x{value}\n\t'=1"
    content = text(Type.CLICKS, Format.CSV, click_row(replace(clicked, headers=value), None))
    ((_, _, headers, *_),) = csv.reader(io.StringIO(content, newline=""))
    assert headers == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" \t\n=1", "' \t\n=1"),
        ("\r=1", "'\n=1"),
        ("＝1", "'＝1"),
        ("a=1", "a=1"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[2J\x00\x9b\u202e", "\ufffd[2J\ufffd\ufffd\ufffd"),
        ("é ＝ ok", "é ＝ ok"),
    ],
)
def test_what_a_stranger_wrote_is_text(value: str, shown: str, mailed) -> None:
    content = text(Type.ATTEMPTS, Format.CSV, attempt_row(replace(mailed, recipient=value)))
    ((*_, found, _, _, _),) = csv.reader(io.StringIO(content, newline=""))
    assert found == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "1970-01-01 00:00:00"),
        (951_782_400, "2000-02-29 00:00:00"),
        (-1, "1969-12-31 23:59:59"),
        (2**62, str(2**62)),
    ],
)
def test_times(seconds: int, shown: str) -> None:
    assert written_time(seconds) == shown
