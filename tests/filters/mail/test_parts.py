"""The structure of messages against Python's own parser, and that a change touches nothing else."""

import time
from contextlib import suppress
from email import message_from_bytes
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.mail.message import Field, Message
from filters.mail.parts import Multipart, Span, content, replace, scan
from filters.mail.transfer import has_bare_line_end, long_line

ALTERNATIVE = b"""From: a@example.com
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="out er"

preamble
--out er
Content-Type: multipart/alternative;
 boundary=inner

--inner
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: Quoted-Printable

plain =C3=A9
--inner\t
content-type: TEXT/HTML; charset="utf-8"; format=flowed
Content-Transfer-Encoding: base64

PHA+aGk8L3A+
--inner--

--out er

no header
--out er
Content-Type: application/pdf; name="a;b.pdf"
Content-Disposition: ATTACHMENT; filename="a.pdf"

%PDF
--out er
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=gone

--gone--
--out er--
epilogue
"""


def parse(raw):
    return Message.parse(raw)


def mixed(*parts, fields=b"", kind=b"mixed"):
    """A multipart with these parts, each with its header."""
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return parse(b"Content-Type: multipart/" + kind + b"; boundary=b\r\n" + fields + b"\r\n" + body + b"--b--\r\n")


def test_a_tree():
    message = parse(ALTERNATIVE)
    structure = scan(message)
    assert (structure.defect, structure.opaque) == ("", "")
    plain, html, bare, pdf, attached = structure.leaves
    outer, inner = Multipart("multipart/mixed", b"out er"), Multipart("multipart/alternative", b"inner")
    assert (plain.content_type, plain.charset, plain.encoding) == ("text/plain", "utf-8", "quoted-printable")
    assert plain.parents == html.parents == (outer, inner)
    assert (html.content_type, html.charset, html.encoding) == ("text/html", "utf-8", "base64")
    assert (bare.content_type, bare.charset, bare.parents) == ("text/plain", "", (outer,))
    assert (pdf.content_type, pdf.disposition) == ("application/pdf", "attachment")
    assert (attached.content_type, attached.opaque) == ("message/rfc822", "message/rfc822")
    assert content(message, plain) == "plain é".encode()
    assert content(message, html) == b"<p>hi</p>"
    assert content(message, bare) == b"no header"
    assert bare.header.start == bare.header.end
    assert message.body[slice(*plain.header)].startswith(b"Content-Type: text/plain")


def test_one_part():
    message = parse(b"Content-Type: text/html; charset=x\r\n\r\n<p>\r\n")
    (part,) = scan(message).leaves
    assert (part.header, part.body, part.parents) == (None, Span(0, 5), ())


def test_no_header_at_all():
    (part,) = scan(Message((), b"text\r\n")).leaves
    assert (part.content_type, part.charset, part.encoding, part.opaque) == ("text/plain", "", "", "")


def test_parts_of_a_digest_are_messages():
    leaves = scan(mixed(b"\r\nSubject: x\r\n\r\ny", b"Content-Type: text/plain\r\n\r\nz", kind=b"digest")).leaves
    assert [part.content_type for part in leaves] == ["message/rfc822", "text/plain"]


def nested(outer, inner):
    return parse(
        b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\nContent-Type: multipart/mixed; boundary=%b\r\n\r\n"
        b"--%b\r\n\r\nx\r\n--%b--\r\n--%b--\r\n" % (outer, outer, inner, inner, inner, outer)
    )


def simple(content_type, body, more=b""):
    return parse(b"Content-Type: " + content_type + b"\r\n" + more + b"\r\n" + body)


DEFECTS = {
    "no boundary": simple(b"multipart/mixed", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "empty boundary": simple(b'multipart/mixed; boundary=""', b"--\r\n\r\nx\r\n----\r\n"),
    "wrong boundary": simple(b"multipart/mixed; boundary=c", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "no end": simple(b"multipart/mixed; boundary=b", b"--b\r\n\r\nx\r\n"),
    "end only": simple(b"multipart/mixed; boundary=b", b"--b--\r\n"),
    "delimiter at the very end": simple(b"multipart/mixed; boundary=b", b"--b\r\n\r\nx\r\n--b"),
    "line with a longer one": simple(b"multipart/mixed; boundary=b", b"--b\r\n\r\nx\r\n--bc\r\n--b--\r\n"),
    "text behind the end": simple(b"multipart/mixed; boundary=b", b"--b\r\n\r\nx\r\n--b--x\r\n"),
    "part behind the end": simple(b"multipart/mixed; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n--b--\r\n"),
    "inner begins with outer": nested(b"b1", b"b10"),
    "outer begins with inner": nested(b"b10", b"b1"),
    "the same twice": nested(b"b", b"b"),
    "siblings with the same": mixed(
        *[b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--"] * 2,
    ),
    "two boundaries": simple(b"multipart/mixed; boundary=b; boundary=c", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "split boundary": simple(b"multipart/mixed; boundary*0=b; boundary*1=c", b"--bc\r\n\r\nx\r\n--bc--\r\n"),
    "encoded boundary": simple(b"multipart/mixed; boundary*=us-ascii''b", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "comment": simple(b"multipart/mixed (x); boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "escaped": simple(b'multipart/mixed; boundary="\\b"', b"--b\r\n\r\nx\r\n--b--\r\n"),
    "8-bit": simple(b'multipart/mixed; boundary="\xe9"', b"--\xe9\r\n\r\nx\r\n--\xe9--\r\n"),
    "folded inside": simple(b'multipart/mixed; boundary="b\r\n c"', b"--b c\r\n\r\nx\r\n--b c--\r\n"),
    "encoded multipart": simple(b"multipart/mixed; boundary=b", b"LS1iDQoNCng=\r\n", b"Content-Transfer-Encoding: base64\r\n"),
    "two types": simple(b"text/plain", b"x\r\n", b"Content-Type: text/html\r\n"),
    "two encodings": simple(b"text/plain", b"x", b"Content-Transfer-Encoding: 7bit\r\nContent-transfer-encoding: base64\r\n"),
    "two types in a part": mixed(b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx"),
    "no field": mixed(b"no field\r\n\r\nx"),
    "blank before the colon": mixed(b"Content-Type : text/html\r\n\r\nx"),
    "fold first": mixed(b" Content-Type: text/html\r\n\r\nx"),
    "fold of blanks": mixed(b"Content-Type: text/html\r\n \r\nX: y\r\n\r\nx"),
    "bare CR": Message((Field(b"Content-Type", b" multipart/mixed; boundary=b"),), b"--b\r\n\r\nx\r--b\r\n--b--\r\n"),
    "bare LF": Message((Field(b"Content-Type", b" multipart/mixed; boundary=b"),), b"--b\r\n\r\nx\n--b\r\n\r\n--b--\r\n"),
    "nothing between": simple(b"multipart/mixed; boundary=b", b"--b\r\n--b\r\n\r\nx\r\n--b--\r\n"),
}


@pytest.mark.parametrize("message", DEFECTS.values(), ids=DEFECTS.keys())
def test_defects(message):
    structure = scan(message)
    assert structure.defect
    assert structure.leaves == ()
    assert not structure.too_deep
    assert not structure.too_many


OPAQUE = {
    "signed": (b"multipart/signed; boundary=b", b"--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n", "multipart/signed"),
    "encrypted": (b"multipart/encrypted; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/encrypted"),
    "smime": (b"application/pkcs7-mime; smime-type=enveloped-data", b"MII=\r\n", "application/pkcs7-mime"),
    "old smime": (b"application/x-pkcs7-mime", b"MII=\r\n", "application/x-pkcs7-mime"),
    "pgp": (b"text/plain", b"-----BEGIN PGP MESSAGE-----\r\n", "inline PGP"),
    "pgp in a part": (
        b"multipart/mixed; boundary=b",
        b"--b\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n--b\r\n\r\ny\r\n--b--\r\n",
        "inline PGP",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content_type", "body", "reason"), OPAQUE.values(), ids=OPAQUE.keys())
def test_what_is_not_edited(content_type, body, reason):
    message = simple(content_type, body)
    structure = scan(message)
    assert structure.opaque == reason
    assert {part.opaque for part in structure.leaves} == {reason}
    with pytest.raises(ValueError, match="not to be edited"):
        replace(message, {structure.leaves[0]: b"new\r\n"})


@pytest.mark.parametrize("encoded", [b"LS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0t", b"LS0t"])
def test_encoded_pgp(encoded):
    message = simple(b"text/plain", encoded + b"\r\n", b"Content-Transfer-Encoding: base64\r\n")
    assert scan(message).opaque == ("inline PGP" if len(encoded) > 4 else "")


def test_a_signed_part_leaves_its_neighbours_free():
    signed = b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Type: text/html\r\n\r\nx\r\n--s--"
    structure = scan(mixed(signed, b"Content-Type: text/html\r\n\r\ny"))
    assert structure.opaque == ""
    assert [part.opaque for part in structure.leaves] == ["multipart/signed", ""]


def test_a_content_type_in_doubt_is_left_alone():
    structure = scan(mixed(b"Content-Type: text/html (comment)\r\n\r\nx", b"X: y\r\n\r\ny", b"X: y"))
    assert structure.defect == ""
    assert [bool(part.opaque) for part in structure.leaves] == [True, False, True]


IDENTIFIERS = {
    "plain": (b"Content-ID: <Logo.1@Example.com>", "Logo.1@Example.com"),
    "folded, other case": (b"CONTENT-id:\r\n\t<a%25b/c=d>  ", "a%25b/c=d"),
    "none": (b"X: <a@x>", ""),
    "no brackets": (b"Content-ID: a@x", ""),
    "one bracket": (b"Content-ID: <a@x", ""),
    "empty": (b"Content-ID: <>", ""),
    "blank inside": (b"Content-ID: <a @x>", ""),
    "folded inside": (b"Content-ID: <a\r\n @x>", ""),
    "comment": (b"Content-ID: (x) <a@x>", ""),
    "quotes": (b'Content-ID: <"a"@x>', ""),
    "8-bit": (b"Content-ID: <\xe9@x>", ""),
    "two in one": (b"Content-ID: <a@x> <b@x>", ""),
    "two fields": (b"Content-ID: <a@x>\r\ncontent-id: <a@x>", ""),
}


@pytest.mark.parametrize(("field", "identifier"), IDENTIFIERS.values(), ids=IDENTIFIERS.keys())
def test_content_ids(field, identifier):
    inner = field + b"\r\nContent-Type: multipart/related; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--"
    structure = scan(mixed(field + b"\r\nContent-Type: image/png\r\n\r\nx", inner))
    assert structure.defect == ""
    image, inside = structure.leaves
    assert (image.content_id, inside.content_id, inside.parents[1].content_id) == (identifier, "", identifier)
    assert (image.opaque, inside.opaque) == ("", "")


def test_where_multiparts_are():
    message = parse(ALTERNATIVE)
    outer, inner = scan(message).leaves[0].parents
    assert (outer.header, outer.body) == (None, Span(0, len(message.body)))
    assert message.body[slice(*inner.header)] == b"Content-Type: multipart/alternative;\r\n boundary=inner\r\n"
    text = message.body[slice(*inner.body)]
    assert (text[:9], text[-11:]) == (b"--inner\r\n", b"--inner--\r\n")


@pytest.mark.parametrize(
    ("parameters", "start"),
    [
        (b'start="<a@x>"', "a@x"),
        (b'type="text/html"; START="<a@x>"', "a@x"),
        (b"type=x", ""),
        (b"start=a@x", ""),
        (b'start="a@x"', ""),
        (b'start="<a\\@x>"', ""),
        (b'start="<a@x>"; start="<a@x>"', ""),
        (b'start="<a@x>"; start="<b@x>"; start="<c@x>"', ""),
        (b"start*=us-ascii''%3Ca%3E", ""),
    ],
)
def test_the_part_a_multipart_begins_with(parameters, start):
    (part,) = scan(simple(b"multipart/related; boundary=b; " + parameters, b"--b\r\n\r\nx\r\n--b--\r\n")).leaves
    assert part.parents[0].start == start


@pytest.mark.parametrize("name", [b"Content-Type", b"Content-Transfer-Encoding"])
def test_what_is_there_twice_is_told_by_name(name):
    fields = b"Content-ID: <a>\r\n" * 2 + b"Content-Disposition: inline\r\n" * 2 + (name + b": text/plain\r\n") * 2
    assert scan(mixed(fields + b"\r\nx")).defect == f"two {name.decode()} fields in one header"


def deep(levels):
    body = b""
    for level in range(levels):
        kind = b"multipart/mixed; boundary=b%d." % (level + 1) if level + 1 < levels else b"text/plain"
        body += b"--b%d.\r\nContent-Type: %b\r\n\r\n" % (level, kind)
    body += b"x\r\n" + b"".join(b"--b%d.--\r\n" % level for level in reversed(range(levels)))
    return simple(b"multipart/mixed; boundary=b0.", body)


@pytest.mark.parametrize(("levels", "too_deep"), [(50, False), (51, True), (150, True)])
def test_depth(levels, too_deep):
    start = time.perf_counter()
    structure = scan(deep(levels))
    assert structure.too_deep is too_deep
    assert bool(structure.defect) is too_deep
    assert time.perf_counter() - start < 0.2


@pytest.mark.parametrize(
    ("message", "too_many"),
    [
        (mixed(*[b"\r\nx"] * 9_999), False),
        (mixed(*[b"\r\nx"] * 10_000), True),
        (mixed(*[b"\r\nx"] * 100_000), True),
        (mixed(b"X: y\r\n" * 10_000 + b"\r\nx"), False),
        (mixed(b"Content-Type: text/html" + b";" * 1_000_000 + b"\r\n\r\nx"), False),
        (mixed(b"Content-Type: text/html" + b"; a=b" * 200_000 + b"\r\n\r\nx"), False),
        (mixed(b'Content-Type: text/html; a="' + b"\\" * 1_000_000 + b"\r\n\r\nx"), False),
        (mixed(b"\r\n" + b"--" * 500_000), False),
        (mixed(b"\r\n" + b"--\r\n" * 250_000), False),
        (mixed(b"X:" + b"\r\n " * 300_000 + b"\r\n\r\nx"), False),
    ],
    ids=["many", "too many", "a bomb", "fields", "semicolons", "parameters", "backslashes", "hyphens", "lines", "folds"],
)
def test_bombs(message, too_many):
    start = time.perf_counter()
    assert scan(message).too_many is too_many
    assert time.perf_counter() - start < 2


# Against Python's parser. A structure we call sound must be the one it sees; where it sees another, ours must be a defect.


def leaves_of_email(entity):
    if entity.get_content_maintype() == "multipart" and entity.is_multipart():
        for part in entity.get_payload():
            yield from leaves_of_email(part)
    else:
        yield entity


def compare(message):
    """The number of leaves compared."""
    structure = scan(message)
    if structure.defect:
        return 0
    theirs = list(leaves_of_email(message_from_bytes(bytes(message))))
    assert len(theirs) == len(structure.leaves)
    for part, leaf in zip(structure.leaves, theirs, strict=True):
        if part.opaque == "Content-Type cannot be read":
            continue  # email reads comments and unquoted oddities; we leave such a part alone
        assert leaf.get_content_type() == part.content_type
        if part.content_type.startswith("message/"):
            continue  # a leaf here, a tree there
        raw = message.body[slice(*part.body)]
        assert raw == leaf._payload.encode("ascii", "surrogateescape")  # get_payload() would decode it
        assert part.charset == leaf.get_content_charset("")
        compare_content(message, part, leaf)
    return len(structure.leaves)


def compare_content(message, part, leaf):
    try:
        data = content(message, part)
    except ValueError:
        return  # email decodes damaged and unknown encodings as well as it can; we leave such a part alone
    if str(leaf["Content-Transfer-Encoding"] or "").endswith((" ", "\t")):
        return  # email does not know an encoding with a blank behind it
    if part.encoding == "quoted-printable":
        raw = message.body[slice(*part.body)]
        if b" \r\n" in raw or b"\t\r\n" in raw or raw.endswith((b" ", b"\t")):
            return  # email keeps padding, which RFC 2045 6.7 has removed
    assert data == leaf.get_payload(decode=True)


def stdlib_messages():
    import test.test_email as package

    return sorted(Path(package.__file__).parent.glob("data/msg_*.txt"))


def shipped():
    return [ALTERNATIVE, *(bytes(message) for message in DEFECTS.values()), *(bytes(deep(level)) for level in (1, 2, 10))]


def collected(corpus):
    files = []
    if corpus:
        files += sorted([*corpus.glob("mime/*.eml"), *corpus.glob("bounces/*.eml")])
    with suppress(ImportError):  # Debian keeps the standard library's tests in a package of their own
        files += stdlib_messages()
    return [*shipped(), *(file.read_bytes() for file in files)]


def test_real_messages_have_the_structure_that_email_sees(corpus):
    messages = [parse(raw) for raw in collected(corpus)]
    assert sum(map(compare, messages)) >= 10
    if corpus:
        sound = sum(not scan(message).defect for message in messages)
        assert sound > 0.8 * len(messages)


def test_real_messages_come_back_unchanged(corpus):
    changed = 0
    for raw in collected(corpus):
        message = parse(raw)
        for part in scan(message).leaves:
            changed += check_replacement(message, part, b"New <b>text</b>\r\n")
    assert changed >= 8


# Generated trees.

TOKENS = st.sampled_from([b"b", b"b1", b"b10", b"=_x", b"--", b"outer-1", b"x" * 70])
LINES = st.lists(
    st.sampled_from([b"x", b"", b"--b", b"--b1--", b"-- ", b"--", b"<p>hi</p>", b"=3D", b"UUU=", b"\xe9", b"a" * 1200]),
    max_size=5,
).map(b"\r\n".join)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Type: text/html; charset=utf-8",
            b"Content-Type: TEXT/PLAIN;\r\n\tcharset=iso-8859-1",
            b"Content-Type: image/png",
            b"Content-Type: message/rfc822",
            b"Content-Transfer-Encoding: base64",
            b"Content-Transfer-Encoding: quoted-printable",
            b"Content-Transfer-Encoding: 8bit",
            b"Content-Disposition: attachment; filename=x",
            b"X-Other: y",
        ]
    ),
    max_size=3,
    unique_by=lambda line: line.partition(b":")[0],
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
LEAVES = st.builds(lambda header, body: header + b"\r\n" + body, HEADERS, LINES)


def multipart(boundary, parts, before, behind):
    header = b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n' % boundary
    return header + before + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--" % boundary + behind


def multiparts(parts):
    margin = st.sampled_from([b"", b"preamble\r\n"])
    return st.builds(multipart, TOKENS, st.lists(parts, max_size=3), margin, st.sampled_from([b"", b"\r\n", b"\r\nepilogue"]))


TREES = st.recursive(LEAVES, multiparts, max_leaves=8)


@given(TREES)
@settings(max_examples=300)
def test_trees(raw):
    compare(parse(raw + b"\r\n"))


@given(
    TREES,
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([b"", b"\r\n", b"-", b" ", b"\t", b";", b'"', b":"])), max_size=3),
)
@settings(max_examples=300)
def test_damaged_trees(raw, damage):
    for place, piece in damage:
        raw = raw[:place] + piece + raw[place + 1 :]
    compare(parse(raw + b"\r\n"))


# Changes.

NEW = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from([b"x", b"\r\n", b"\n", b"--b", b"--b1--", b".", b" ", b"\0", "é".encode(), b"z" * 999])).map(
        b"".join
    ),
)


def check_replacement(message, part, data):
    """Whether `part` could be replaced; everything around it must be what it was."""
    if part.opaque:
        return False
    after = replace(message, {part: data})
    before = scan(message)
    place = before.leaves.index(part)
    structure = scan(after)
    assert len(structure.leaves) == len(before.leaves), structure
    new = structure.leaves[place]
    assert content(after, new) == data
    assert (new.content_type, new.charset, new.disposition, new.parents) == (
        part.content_type, part.charset, part.disposition, part.parents,
    )  # fmt: skip
    start = part.body.start if part.header is None else part.header.start
    assert after.body[:start] == message.body[:start]
    tail = message.body[part.body.end :]
    assert after.body.endswith(tail)
    check_wire(after.body[slice(*new.body)])
    if part.header:
        check_header(message.body[slice(*part.header)], after.body[slice(*new.header)])
    if new.encoding == part.encoding:
        assert after.fields == message.fields
    return True


def check_wire(written):
    assert written.isascii()
    assert b"\0" not in written
    assert long_line(written) < 0
    assert not has_bare_line_end(written)


def check_header(before, after):
    def others(header):
        return [line for line in header.splitlines() if not line.lower().startswith(b"content-transfer-encoding:")]

    assert others(before) == others(after)


@given(TREES, NEW, st.data())
@settings(max_examples=300)
def test_a_change_touches_one_part(raw, new, data):
    message = parse(raw + b"\r\n")
    leaves = [part for part in scan(message).leaves if not part.opaque]
    if leaves:
        check_replacement(message, data.draw(st.sampled_from(leaves)), new)


@given(TREES, NEW)
@settings(max_examples=100)
def test_all_parts_at_once(raw, new):
    message = parse(raw + b"\r\n")
    leaves = [part for part in scan(message).leaves if not part.opaque]
    after = replace(message, dict.fromkeys(leaves, new))
    found = [content(after, part) for part in scan(after).leaves if not part.opaque]
    # What is put in may itself be inline PGP or the like only if it says so; none of these does.
    assert found == [new] * len(leaves)


def test_nothing_to_change():
    message = parse(ALTERNATIVE)
    assert replace(message, {}) == message


def test_a_part_keeps_its_encoding():
    message = parse(ALTERNATIVE)
    plain, html, bare, *_ = scan(message).leaves
    after = replace(message, {html: b"<b>" * 40, plain: "neu é \r\n".encode(), bare: b"still bare"})
    assert after.fields == message.fields
    assert after.body.count(b"Content-Transfer-Encoding") == message.body.count(b"Content-Transfer-Encoding")
    assert b"neu =C3=A9=20\r\n\r\n--inner" in after.body
    assert b"\r\n\r\nstill bare\r\n--out er" in after.body


def test_eight_bit_text_becomes_quoted_printable():
    message = mixed(b"Content-Transfer-Encoding: 8bit\r\nX: y\r\n\r\n\xe9", b"\r\nx", b"Content-Type: image/png\r\n\r\nx")
    first, second, image = scan(message).leaves
    after = replace(message, {first: b"\xe8", second: b"\xe8", image: b"\xe8"})
    assert after.body == (
        b"--b\r\nContent-Transfer-Encoding: quoted-printable\r\nX: y\r\n\r\n=E8\r\n"
        b"--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E8\r\n"
        b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n6A==\r\n--b--\r\n"
    )


@pytest.mark.parametrize("version", [b"", b"mime-version: 1.0\r\n"])
@pytest.mark.parametrize("encoding", [b"", b"Content-transfer-encoding:\r\n 8bit\r\n"])
def test_the_messages_own_encoding(version, encoding):
    message = parse(b"A: b\r\n" + version + encoding + b"C: d\r\n\r\n\xe9\r\n")
    after = replace(message, {scan(message).leaves[0]: b"\xe8\r\n"})
    assert after.body == b"=E8\r\n"
    names = [field.name.lower() for field in after.fields]
    assert names.count(b"mime-version") == names.count(b"content-transfer-encoding") == 1
    assert after.first(b"content-transfer-encoding").text == b"quoted-printable"
    assert [field for field in after.fields if field.name in {b"A", b"C"}] == list(message.fields[:1] + message.fields[-1:])


def test_new_text_cannot_end_its_part():
    message = mixed(b"Content-Type: text/html\r\n\r\nx")
    new = b"a\r\n--b--\r\nContent-Type: text/html\r\n\r\n--b"
    check_replacement(message, scan(message).leaves[0], new)
    check_replacement(message, scan(message).leaves[0], b"y" * 73 + b" --b " + b"z" * 999)
