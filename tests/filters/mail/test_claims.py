"""No gap between readers: whatever one of them takes for an author is among those that are checked."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header
from email.headerregistry import HeaderRegistry
from email.utils import getaddresses, parseaddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.mail.claims import claims
from filters.mail.message import Message
from policy.mailbox import Doubtful, forms

ONE = ["me@own.test"]
BOTH = ["ceo@victim.test", "me@own.test"]

FIELDS = [
    ("me@own.test", ONE),
    ("Me <me@OWN.test.>", ONE),
    ('"Me, (My) Self" <me@own.test>', ONE),
    ('"ceo@victim.test" <me@own.test>', ONE),
    ("[list] me.myself <me@own.test>", ONE),
    ("Doe, John <me@own.test>", ONE),
    ("News: today <me@own.test>", ONE),
    ("G: me@own.test;", ONE),
    ("me@own.test (me)", ONE),
    ("me @ own . test", ONE),
    ("me@own(.victim).test", ONE),
    ("ceo@victim.test <me@own.test>", BOTH),
    ("'ceo@victim.test' <me@own.test>", BOTH),
    ("ceo@victim.test, me@own.test", BOTH),
    ("ceo@victim.test; me@own.test", BOTH),
    ("me@own.test, ceo@victim.test", BOTH),
    ("G: me@own.test, ceo@victim.test;", BOTH),
    ("ceo@victim.test: me@own.test;", BOTH),
    ("ceo@victim.test:;, me@own.test", BOTH),
    ("(ceo@victim.test) me@own.test", BOTH),
    ("me@own.test (<ceo@victim.test>)", BOTH),
    ('"<ceo@victim.test>" <me@own.test>', BOTH),
    ('"x, ceo@victim.test" <me@own.test>', BOTH),
    ('"a \\" ceo@victim.test \\"" <me@own.test>', BOTH),
    ("=?utf-8?q?ceo=40victim=2Etest?= <me@own.test>", BOTH),
    ("=?utf-8?q?=3Cceo=40victim.test=3E=2C?= <me@own.test>", BOTH),
    ("=?us-ascii*en?b?Y2VvQHZpY3RpbS50ZXN0?= <me@own.test>", BOTH),
    ("=?no-such?b?Y2VvQHZpY3RpbS50ZXN0?= <me@own.test>", BOTH),
    ("=?utf-16be?b?AGMAZQBvAEAAdgBpAGMAdABpAG0ALgB0AGUAcwB0?= <me@own.test>", BOTH),
    ('"=?utf-8?q?=22_=3Cceo=40victim.test=3E?=" <me@own.test>', BOTH),
    ("me@own.test (=?utf-8?q?ceo=40victim.test?=)", BOTH),
    ("ceo\uff20victim\uff0etest <me@own.test>", BOTH),
    ("me@own.test\r\n ,\r\n\t<ceo@victim.test>", BOTH),
    ("<@victim.test:me@own.test>", ["@victim.test", "me@own.test"]),
    ('"ceo@victim.test"@own.test', ["ceo@victim.test", "ceo@victim.test@own.test"]),
    ("me@stra\u00dfe.test", ["me@strasse.test", "me@xn--strae-oqa.test"]),
    ("me@\uff4fwn\u3002test", ONE),
    ("me@[192.0.2.1]", ["me@[192.0.2.1]"]),
    ("root@localhost", ["root@localhost"]),
    ("root", ["root@"]),
    ("<>", []),
    ("MAILER-DAEMON <>", []),
    ("", []),
    ("undisclosed:;", []),
]

IN_DOUBT = [
    *(
        "ceo@victim.test me@own.test",
        "<ceo@victim.test> <me@own.test>",
        "<me@own.test> x",
        "me@own.test x",
        "me@own.test@victim.test",
    ),
    *(
        "me@own.test\0",
        "me@own.test\r <ceo@victim.test>",
        "me@own.test\n<ceo@victim.test>",
        "me@own.\x7ftest",
        "me@own.test\u2028x",
    ),
    *(
        '"x <me@own.test>',
        "me@own.test (x",
        "me@own.test)",
        "<me@own.test",
        "me@own.test>",
        "<<me@own.test>>",
        "x\\ <me@own.test>",
    ),
    *(
        "@own.test",
        "me@",
        "<@own.test>",
        "<@victim.test,me@own.test>",
        "me@-own.test",
        "me@own..test",
        "me@own%2Etest",
        "me@own/test",
    ),
    *("me@[own.test]", "me[x]@own.test", "[ceo@victim.test] <me@own.test>", "<mailto:me@own.test>", "me@xn--own-.test"),
    *("root%victim.test", "victim.test!root", "me@\udce9.test", "\udce9@own.test", "a b@own.test", "me@own test"),
    *(", ".join(["me@own.test"] * 101), "=?utf-8?q?" + "=40" * 101 + "?= <me@own.test>"),
]


def found(text: str) -> list[str]:
    field = f" {text}".encode("utf-8", "surrogateescape")
    return sorted(f"{mailbox.local}@{mailbox.domain}" for mailbox in claims(field).mailboxes)


@pytest.mark.parametrize(("text", "addresses"), FIELDS)
def test_whom_a_field_names(text: str, addresses: list[str]) -> None:
    assert found(text) == addresses


@pytest.mark.parametrize("text", IN_DOUBT)
def test_a_field_of_two_meanings_is_in_doubt(text: str) -> None:
    with pytest.raises(Doubtful):
        found(text)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("me@victim.test_.own.test", "victim.test"),
        ("me@victim.test\u00e9.own.test", "victim.test"),
        ("me@vic\u00e9tim.test", "victim.test"),
        ("x@victim .test <me@own.test>", "victim.test"),
        ("x@vic (x)\r\n tim.test <me@own.test>", "victim.test"),
        ("x@stra\u00dfe.test%x <me@own.test>", "xn--strae-oqa.test"),
    ],
)
def test_what_is_left_for_a_reader_with_a_fault_is_told_apart(text: str, domain: str) -> None:
    assert domain in claims(f" {text}".encode()).misread


# -- other readers -------------------------------------------------------------------------------------------------------------

Reader = Callable[[str], list[str]]


def by_old_email(text: str) -> list[str]:
    return [parseaddr(text)[1], *(address for _, address in getaddresses([text]))]


def by_new_email(text: str) -> list[str]:
    try:
        return [f"{address.username}@{address.domain}" for address in HeaderRegistry()("From", text).addresses]
    except (IndexError, HeaderParseError, AttributeError, ValueError, TypeError):
        return []


def by_those_who_decode_first(text: str) -> list[str]:
    try:
        pieces = [
            piece.decode(charset or "latin-1", "replace") if isinstance(piece, bytes) else piece
            for piece, charset in decode_header(text)
        ]
    except (HeaderParseError, LookupError, ValueError):
        return []
    # What decode_header writes for other characters than ASCII is of its own making.
    return [] if "\\u" in "".join(pieces) else by_old_email("".join(pieces)) + by_patterns("".join(pieces))


def by_patterns(text: str) -> list[str]:
    """Those who know nothing of the grammar; what is in quotes is free text."""
    patterns = (r"<([^<>]*)>", r"<([^>]*)>", r"[\w.+-]+@[\w.-]+", r"\S+@\S+", r"[A-Za-z0-9.+-]+@[A-Za-z0-9.-]+", r".*<(.*?)>")
    return [] if '"' in text else [address for pattern in patterns for address in re.findall(pattern, text)]


def domains(addresses: list[str]) -> Iterator[str]:
    """The domains that could be somebody's."""
    for address in addresses:
        domain = address.rpartition("@")[2].strip(" \t<>()'\"") if "@" in address else ""
        if "." in domain.strip("."):
            try:
                yield from forms(domain)
            except Doubtful:
                continue


PIECES = st.sampled_from(
    [
        *(
            "a",
            "me",
            "@",
            "@own.test",
            "@victim.test",
            "<",
            ">",
            ",",
            ";",
            ":",
            '"',
            '"x y"',
            "(",
            ")",
            "(c)",
            "\\",
            " ",
            ".",
            "\t",
        ),
        *(
            "own.test",
            "victim.test",
            "\u00e9",
            "\u00df",
            "=?utf-8?q?",
            "?=",
            "=40",
            "=3C",
            "[",
            "]",
            "\r\n ",
            "_",
            "'",
            "%",
            "!",
            "-",
        ),
        *("=?utf-8?q?ceo=40victim.test?=", "=?utf-8?b?PGNlb0B2aWN0aW0udGVzdD4=?=", "\uff20", "\u3002", "xn--bcher-kva", "\xa0"),
        *("<me@own.test>", " <me@own.test>", "me@own.test", "ceo@victim.test", ", me@own.test"),
    ]
)
ENDS = st.sampled_from(["", " <me@own.test>", ", me@own.test", " (ceo@victim.test)"])
TEXTS = st.builds("{}{}".format, st.lists(PIECES, min_size=1, max_size=7).map("".join), ENDS)


@pytest.mark.parametrize("reader", [by_old_email, by_new_email, by_those_who_decode_first, by_patterns])
def test_no_reader_finds_an_author_that_is_not_checked(reader: Reader) -> None:
    read = 0

    @given(TEXTS)
    @settings(max_examples=1500)
    def check(text: str) -> None:
        nonlocal read
        try:
            known = claims(f" {text}".encode())
        except Doubtful:
            return
        theirs = set(domains(reader(text.replace("\r\n", ""))))
        assert theirs <= {mailbox.domain for mailbox in known.mailboxes} | set(known.misread)
        read += bool(theirs)

    check()
    assert read > 100


def by_perl(texts: list[str]) -> list[list[str]]:
    program = 'while (<STDIN>) { chomp; print join("\\t", map { $_->address // "" } eval { Mail::Address->parse($_) }), "\\n" }'
    lines = "".join(f"{text}\n" for text in texts).encode()
    done = subprocess.run(("perl", "-MMail::Address", "-e", program), input=lines, capture_output=True, check=True)
    return [line.decode(errors="replace").split("\t") for line in done.stdout.split(b"\n")[: len(texts)]]


def test_perl_finds_no_author_that_is_not_checked() -> None:
    texts: dict[str, set[str]] = {}

    @given(TEXTS)
    @settings(max_examples=2000)
    def collect(text: str) -> None:
        try:
            known = claims(f" {text}".encode())
        except Doubtful:
            return
        # Mail::Address separates with tabs nothing that a blank would not.
        flat = text.replace("\r\n", "").replace("\t", " ")
        texts[flat] = texts.get(flat, set()) | {mailbox.domain for mailbox in known.mailboxes} | set(known.misread)

    collect()
    read = 0
    for (text, known), addresses in zip(texts.items(), by_perl(list(texts)), strict=True):
        theirs = set(domains(addresses))
        assert theirs <= known, text
        read += bool(theirs)
    assert read > 100


# -- real mail -----------------------------------------------------------------------------------------------------------------


ORDINARY = [
    b" News <me@own.test>",
    b' "Shop, The" <me@own.test>',
    b" me@own.test",
    b" <me@own.test>",
    b" me@own.test (Somebody)",
    b" =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <me@own.test>",
    b" =?iso-8859-1?Q?Caf=E9?=\r\n =?iso-8859-1?Q?_am_Markt?= <me@own.test>",
    b" A. B. Somebody Jr. <me@own.test>",
    b' "Somebody (Shop)" <me@own.test>',
    b" Shop | Weekly offers! <me@own.test>",
    " Jörg <me@own.test>".encode(),
    b' "me@own.test" <me@own.test>',
]


def test_ordinary_authors_are_read() -> None:
    for value in ORDINARY:
        assert {str(box.local) + "@" + box.domain for box in claims(value).mailboxes} == {"me@own.test"}, value


def test_authors_of_real_messages_are_read(messages: list[tuple[str, bytes]]) -> None:
    read = {
        name: [
            box for field in ("from", "sender") for each in message.all(field.encode()) for box in claims(each.value).mailboxes
        ]
        for name, raw in messages
        for message in (Message.parse(raw),)
    }
    assert read["ours"]
    # Some have no author, or one that is no address; most have one.
    assert sum(map(bool, read.values())) > len(read) * 0.6


@pytest.mark.parametrize(
    "piece",
    [
        *(
            b"(",
            b"()",
            b'"',
            b'""',
            b"<",
            b"<>",
            b",",
            b"a@b.test,",
            b"=?utf-8?q?a?= ",
            b"=?a?q?",
            b"?= =?",
            b" ",
            b"a.",
            b"\\",
            b":",
            b"@",
        ),
        *(b"\xc3\xa9", b"\xc3\xa9@", b'"a@b" <a@b.test>,', b"(a@b)", b"[]", b"=?utf-8?b?QEBA?=", b"_@_.", b"a;"),
    ],
)
def test_hostile_fields_take_no_time(piece: bytes) -> None:
    start = time.perf_counter()
    with suppress(Doubtful):
        claims(b" " + piece * (60_000 // len(piece)) + b" <a@example.com>")
    assert time.perf_counter() - start < 1.5
