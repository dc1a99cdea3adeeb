"""Parts taken out of messages: what is left, byte for byte and as Python's own parser reads it, and what is refused."""

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from email import message_from_bytes
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.mail.faithful import Unsound
from filters.mail.message import Field, Message
from filters.mail.parts import content, scan
from filters.mail.remainder import check_removed
from filters.mail.removal import removable, remove
from filters.mail.structure import Part, Structure

HTML = b"Content-Type: text/html\r\n\r\n<p>\r\n"
TEXT = b"Content-Type: text/plain\r\n\r\nx\r\n"


def multipart(kind: bytes, boundary: bytes, *parts: bytes, more: bytes = b"", start: bytes = b"") -> bytes:
    """A multipart with its header."""
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return b'Content-Type: multipart/%b; boundary="%b"%b\r\n%b\r\n%b--%b--' % (kind, boundary, start, more, body, boundary)


def image(name: bytes, more: bytes = b"") -> bytes:
    return b"Content-Type: image/png\r\nContent-ID: <%b>\r\n%bContent-Transfer-Encoding: base64\r\n\r\nQUJD" % (name, more)


def related(*parts: bytes, more: bytes = b"", start: bytes = b"", boundary: bytes = b"rel") -> bytes:
    return multipart(b"related", boundary, *parts, more=more, start=start)


def mixed(*parts: bytes) -> bytes:
    return multipart(b"mixed", b"mix", *parts)


def alternative(*parts: bytes) -> bytes:
    return multipart(b"alternative", b"alt", *parts)


def message(raw: bytes) -> Message:
    return Message.parse(b"From: a@example.com\r\nMIME-Version: 1.0\r\n" + raw + b"\r\n")


def chosen(before: Message, names: Collection[str]) -> tuple[Structure, list[Part]]:
    """The structure of a message, and its parts with these Content-IDs."""
    structure = scan(before)
    return structure, [part for part in structure.leaves if part.content_id in names]


def without(before: Message, *names: str) -> Message:
    """The message without the parts of these Content-IDs, checked."""
    structure, removed = chosen(before, names)
    assert len(removed) == len(names)
    after = remove(before, structure, removed)
    check_removed(before, structure, after, removed)
    return after


PDF = b"Content-Type: application/pdf\r\nContent-Disposition: attachment\r\n\r\n%PDF"
ONE, TWO = image(b"1@x"), image(b"2@x", b"Content-Disposition: inline\r\n")
NAMED, ROOT = b"Content-ID: <root@x>\r\n", b'; start="<root@x>"'

KEPT = {
    "one of two": (related(HTML, ONE, TWO), ["1@x"], related(HTML, TWO)),
    "the last": (related(HTML, ONE, TWO), ["2@x"], related(HTML, ONE)),
    "beside an image nobody names": (related(HTML, ONE, image(b"2@x")), ["1@x"], related(HTML, image(b"2@x"))),
    "both, with a letterhead": (related(HTML, ONE, PDF, TWO), ["1@x", "2@x"], related(HTML, PDF)),
    "at the top": (related(HTML, ONE), ["1@x"], HTML),
    "at the top, two": (related(HTML, ONE, TWO), ["1@x", "2@x"], HTML),
    "at the top, around an alternative": (related(alternative(TEXT, HTML), ONE), ["1@x"], alternative(TEXT, HTML)),
    "mixed > related > alternative": (
        mixed(related(alternative(TEXT, HTML), ONE, TWO), PDF), ["1@x", "2@x"], mixed(alternative(TEXT, HTML), PDF),
    ),
    "inside an alternative": (alternative(TEXT, related(HTML, ONE)), ["1@x"], alternative(TEXT, HTML)),
    "one inside another": (related(related(HTML, ONE, boundary=b"in"), TWO), ["1@x"], related(HTML, TWO)),
    "both, one inside another": (related(related(HTML, ONE, boundary=b"in"), TWO), ["1@x", "2@x"], HTML),
    "below what stays": (
        mixed(TEXT, related(related(HTML, ONE, boundary=b"in"), TWO)), ["1@x", "2@x"], mixed(TEXT, HTML),
    ),
    "below a part that takes the place": (
        related(alternative(TEXT, related(HTML, ONE, boundary=b"in")), TWO), ["1@x", "2@x"], alternative(TEXT, HTML),
    ),
    "one that had one part": (related(related(HTML, ONE, boundary=b"in")), ["1@x"], related(HTML)),
    "two of them": (
        mixed(related(HTML, ONE), TEXT, related(HTML, TWO, boundary=b"r2")), ["1@x", "2@x"], mixed(HTML, TEXT, HTML),
    ),
    "the first, where start names another": (
        related(ONE, NAMED + HTML, TWO, start=ROOT), ["1@x"], related(NAMED + HTML, TWO, start=ROOT),
    ),
    "all but the one that start names": (related(ONE, NAMED + HTML, TWO, start=ROOT), ["1@x", "2@x"], NAMED + HTML),
    "start names a multipart": (
        related(ONE, NAMED + alternative(TEXT, HTML), start=ROOT), ["1@x"], NAMED + alternative(TEXT, HTML),
    ),
    "fields of the multipart": (
        mixed(related(b"Content-Language: de\r\n" + HTML, ONE, more=b"X-A: b\r\nContent-Language: en\r\nContent-Base: c\r\n")),
        ["1@x"],
        mixed(b"Content-Language: de\r\nContent-Type: text/html\r\nX-A: b\r\nContent-Base: c\r\n\r\n<p>\r\n"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "names", "after"), KEPT.values(), ids=KEPT.keys())
def test_what_is_left(before: bytes, names: list[str], after: bytes) -> None:
    found = without(message(before), *names)
    # The line end of the content is the one that SMTP wants at the end, or one more behind a multipart.
    assert bytes(found) == bytes(message(after.removesuffix(b"\r\n")))


def test_what_is_around_parts_stays_with_their_multipart() -> None:
    inner = (
        b"Content-Type: multipart/related; boundary=rel\r\n\r\nbefore\r\n"
        b"--rel \t\r\n%b\r\n--rel\t\r\n%b\r\n--rel\r\n%b\r\n--rel--\r\nbehind"
    ) % (HTML, ONE, TWO)
    outer = b"Content-Type: multipart/mixed; boundary=mix\r\n\r\n pre \r\n--mix\r\n%b\r\n--mix-- \r\nepi"
    before = message(outer % inner)
    left = inner.replace(b"--rel\t\r\n" + ONE + b"\r\n", b"")
    assert bytes(without(before, "1@x")) == bytes(message(outer % left))
    assert bytes(without(before, "1@x", "2@x")) == bytes(message(outer % HTML))


def test_the_messages_own_fields_keep_their_places() -> None:
    before = Message.parse(
        b"From: a@example.com\r\nContent-Language: en\r\nContent-Transfer-Encoding: 8bit\r\nContent-Type: multipart/related;\r\n"
        b"\tboundary=rel\r\nSubject: s\r\nContent-Disposition: inline\r\nMIME-Version: 1.0\r\nX-Last: x\r\n\r\n--rel\r\n"
        b"MIME-Version: 1.0\r\nSubject: other\r\ncontent-type: text/html;\r\n charset=utf-8\r\nBcc: b@example.com\r\n"
        b"Content-ID: <h@x>\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n\r\n--rel\r\n"
        + ONE
        + b"\r\n--rel--\r\n"
    )
    assert bytes(without(before, "1@x")) == (
        b"From: a@example.com\r\nContent-Language: en\r\ncontent-type: text/html;\r\n charset=utf-8\r\nContent-ID: <h@x>\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\nSubject: s\r\nMIME-Version: 1.0\r\nX-Last: x\r\n\r\n=C3=A9\r\n"
    )


@pytest.mark.parametrize(
    ("encoding", "text", "after"),
    [
        (b"7bit", b"<p>", b"<p>=\r\n"),
        (b"8bit", b"\xe9", b"=E9=\r\n"),
        (b"quoted-printable", b"=E9=", b"=E9=\r\n"),
        (b"quoted-printable", b"=E9", b"=E9=\r\n"),
        (b"base64", b"QUJD", b"QUJD\r\n"),
        (b"7bit", b"<p>\r\n", b"<p>\r\n"),
        (b"x-odd", b"<p>\r\n", b"<p>\r\n"),
        (b"7bit", b"", b""),
    ],
)
def test_the_content_of_what_becomes_the_whole_body_is_the_same(encoding: bytes, text: bytes, after: bytes) -> None:
    before = message(related(b"Content-Type: text/html\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (encoding, text), ONE))
    found = without(before, "1@x")
    assert found.body == after
    assert found.first(b"Content-Type") == Field(b"Content-Type", b" text/html")
    if encoding != b"x-odd":
        assert content(found, scan(found).leaves[0]) == content(before, scan(before).leaves[0])


STAYS = {
    "a signed part": multipart(b"signed", b"sig", TEXT, TEXT),
    "a message": b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nx\r\n",
    "a part in doubt": b"Content-Type: text/html (x)\r\n\r\n<p>\r\n",
    "a multipart with one": alternative(TEXT, b"Content-Type: text/html (x)\r\n\r\n<p>\r\n"),
    "no type": b"Content-ID: <r@x>\r\n\r\nx\r\n",
    "no header": b"\r\nx\r\n",
    "8-bit in the header": b'Content-Type: text/html; name="\xe9"\r\n\r\n<p>\r\n',
    "NUL in the header": b'Content-Type: text/html; name="\0"\r\n\r\n<p>\r\n',
    "long line in the header": b'Content-Type: text/html; name="%b"\r\n\r\n<p>\r\n' % (b"x" * 999),
    "damaged encoding": b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nQ",
    "unknown encoding": b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-odd\r\n\r\nQ",
}


@pytest.mark.parametrize("part", STAYS.values(), ids=STAYS.keys())
def test_a_multipart_stays_around_what_cannot_take_its_place(part: bytes) -> None:
    assert bytes(without(message(related(part, ONE)), "1@x")) == bytes(message(related(part)))


def test_inside_another_any_field_comes_through() -> None:
    part = b'Content-Type: text/html; name="\xe9"\r\nX-A: b\r\n\r\n<p>'
    assert bytes(without(message(mixed(related(part, ONE))), "1@x")) == bytes(message(mixed(part)))


def test_a_digest_gives_no_type_to_a_part() -> None:
    before = message(multipart(b"digest", b"dig", related(b"X: y\r\n\r\nx", ONE)))
    assert bytes(without(before, "1@x")) == bytes(message(multipart(b"digest", b"dig", related(b"X: y\r\n\r\nx"))))


REFUSED = {
    "the first": (related(ONE, TWO), "1@x"),
    "the only one": (related(ONE), "1@x"),
    "the one that start names": (related(HTML, ONE, start=b'; start="<1@x>"'), "1@x"),
    "one of two that start names": (related(HTML, ONE, ONE, start=b'; start="<1@x>"'), "1@x"),
    "not related": (mixed(HTML, ONE), "1@x"),
    "not directly": (related(HTML, multipart(b"mixed", b"in", TEXT, ONE)), "1@x"),
    "the message": (ONE, "1@x"),
    "in doubt": (related(HTML, b"Content-Disposition: (x) y\r\n" + ONE), "1@x"),
    "a signed message": (multipart(b"signed", b"sig", related(HTML, ONE), TEXT), "1@x"),
    "a message with inline PGP": (related(b"\r\n-----BEGIN PGP MESSAGE-----", ONE), "1@x"),
    "attached": (mixed(b"Content-Disposition: attachment\r\n" + related(HTML, ONE)), "1@x"),
}


@pytest.mark.parametrize(("raw", "name"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(raw: bytes, name: str) -> None:
    before = message(raw)
    structure = scan(before)
    part = next(part for part in structure.leaves if part.content_id == name)
    assert part not in removable(structure)
    with pytest.raises(ValueError, match="cannot be taken out|is to be edited"):
        remove(before, structure, [part])


def test_a_message_without_a_sound_structure_is_refused() -> None:
    before = message(related(HTML, ONE).replace(b"--rel--", b""))
    assert removable(scan(before)) == ()
    with pytest.raises(ValueError, match="a multipart without an end"):
        remove(before, scan(before), [])


def test_a_part_of_another_message_is_refused() -> None:
    before, other = message(related(HTML, ONE)), message(related(b"X: y\r\n" + HTML, ONE))
    structure, foreign = scan(before), scan(other).leaves
    with pytest.raises(ValueError, match="no part of this message"):
        remove(before, structure, [foreign[1]])
    with pytest.raises(ValueError, match="no part of this message"):
        remove(before, structure, [structure.leaves[1]], {foreign[0]: b"x"})


def test_the_structure_of_another_message_is_found_out() -> None:
    with pytest.raises(ValueError, match="no field"):
        remove(
            message(mixed(related(TEXT, ONE))),
            scan(message(mixed(related(HTML, ONE)))),
            [scan(message(mixed(related(HTML, ONE)))).leaves[1]],
        )


def test_a_part_is_changed_or_removed() -> None:
    before = message(related(HTML, ONE))
    part = scan(before).leaves[1]
    with pytest.raises(ValueError, match="to be changed"):
        remove(before, scan(before), [part], {part: b"x"})


def test_start_that_is_not_there_or_in_doubt_makes_the_first_part_the_one() -> None:
    for start in (b"", b'; start="<9@x>"', b'; start="2@x"', b'; start*="<2@x>"', b'; start="<2@x>"; start="<2@x>"'):
        structure = scan(message(related(HTML, ONE, TWO, start=start)))
        assert [part.content_id for part in removable(structure)] == ["1@x", "2@x"]


@pytest.mark.parametrize("new", [b"<b>", b"<b>\r\n", "<b>é\r\n".encode(), b"<b>" * 999, b"--mix--\r\n--rel"])
@pytest.mark.parametrize("names", [["1@x"], ["1@x", "2@x"], []])
@pytest.mark.parametrize(
    "raw",
    [
        mixed(related(alternative(TEXT, HTML), ONE, TWO), PDF),
        related(HTML, ONE, TWO),
        related(alternative(HTML, TEXT), ONE, TWO),
        mixed(related(HTML, ONE, TWO), TEXT),
        alternative(TEXT, related(b"Content-Transfer-Encoding: base64\r\n" + HTML.replace(b"<p>\r\n", b"PHA+"), ONE, TWO)),
    ],
)
def test_parts_are_changed_in_the_same_go(raw: bytes, names: list[str], new: bytes) -> None:
    before = message(raw)
    structure, removed = chosen(before, names)
    changes = {part: new for part in structure.leaves if part.content_type == "text/html"}
    after = remove(before, structure, removed, changes)
    check_removed(before, structure, after, removed, changes)
    leaves = scan(after).leaves
    assert [part.content_type for part in leaves] == [part.content_type for part in structure.leaves if part not in removed]
    assert [content(after, part) for part in leaves if part.content_type == "text/html"] == [new]
    for name in ("1@x", "2@x"):
        assert (name.encode() in after.body) is (name not in names)


# The check.

LARGE = (
    b"From: a@example.com\r\nX-A: b\r\nContent-Type: multipart/mixed; boundary=mix\r\nContent-Language: en\r\n\r\n"
    b"pre\r\n--mix\r\nX-B: c\r\n"
    + related(alternative(TEXT, HTML), ONE, TWO)
    + b"\r\n--mix\r\n"
    + related(NAMED + HTML, image(b"3@x"), image(b"4@x"), boundary=b"r2")
    + b"\r\n--mix--\r\nepi\r\n"
)
DAMAGE = {
    "content": (b"<p>", b"<b>"),
    "header of a part": (b"text/plain", b"text/other"),
    "a field of a part": (b"<root@x>", b"<riit@x>"),
    "a field more": (b"text/plain\r\n", b"text/plain\r\nX: y\r\n"),
    "before": (b"pre", b"prx"),
    "behind": (b"epi", b"epx"),
    "more before": (b"pre\r\n", b"pre\r\nmore\r\n"),
    "more behind": (b"epi\r\n", b"epi\r\n\r\n"),
    "delimiter": (b"--mix\r\n", b"--mix \r\n--mix\r\n"),
    "the end": (b"--mix--", b"--mix-- "),
    "a part more": (b"--mix--", b"--mix\r\n\r\n\r\n--mix--"),
    "a part less": (b"--alt\r\n" + TEXT + b"\r\n", b""),
    "an image more": (b"--mix--", b"--mix\r\n" + ONE + b"\r\n--mix--"),
    "the image that stays": (b"QUJD", b"QUJE"),
    "another encoding of it": (b"QUJD", b"QUJD\r\n"),
    "kind of a multipart": (b"multipart/alternative", b"multipart/mixed"),
    "a field of the multipart that went": (b"X-B: c\r\n", b""),
    "a field beside it": (b"X-B: c\r\n", b"X-B: c\r\nContent-ID: <new@x>\r\n"),
    "boundary": (b"alt", b"alx"),
    "how a boundary is written": (b'"alt"', b"alt"),
}


def large() -> tuple[Message, Message, list[str]]:
    before = Message.parse(LARGE)
    names = ["1@x", "2@x", "3@x"]
    return before, without(before, *names), names


@pytest.mark.parametrize(("old", "new"), DAMAGE.values(), ids=DAMAGE.keys())
def test_the_check_finds_damage(old: bytes, new: bytes) -> None:
    before, after, names = large()
    structure, removed = chosen(before, names)
    assert old in after.body
    with pytest.raises(Unsound):
        check_removed(before, structure, replace(after, body=after.body.replace(old, new)), removed)


@pytest.mark.parametrize(
    "fields",
    [
        lambda fields: fields[1:],
        lambda fields: fields[::-1],
        lambda fields: (*fields, Field(b"X", b" y")),
        lambda fields: (fields[0]._replace(value=b" b@example.com"), *fields[1:]),
    ],
)
@pytest.mark.parametrize("raw", [LARGE, b"X-A: b\r\nX-C: d\r\nContent-Language: en\r\n" + related(HTML, ONE) + b"\r\n"])
def test_the_check_finds_damage_in_the_header(raw: bytes, fields) -> None:
    before = Message.parse(raw)
    structure = scan(before)
    removed = removable(structure)
    after = remove(before, structure, removed)
    check_removed(before, structure, after, removed)
    with pytest.raises(Unsound):
        check_removed(before, structure, replace(after, fields=fields(after.fields)), removed)


def test_the_check_finds_what_is_left_and_what_is_missing() -> None:
    before, after, names = large()
    structure, removed = chosen(before, names)
    for wrong in (removed[1:], [*removed, structure.leaves[-1]], []):
        with pytest.raises(Unsound):
            check_removed(before, structure, after, wrong)
    with pytest.raises(Unsound):
        check_removed(before, structure, before, removed)


def test_the_check_finds_a_multipart_that_should_not_have_gone() -> None:
    before = message(mixed(HTML, related(HTML, ONE)))
    structure = scan(before)
    (removed,) = removable(structure)
    for wrong in (multipart(b"alternative", b"mix", HTML, HTML), HTML, mixed(HTML, alternative(HTML)), mixed(HTML, HTML, TEXT)):
        with pytest.raises(Unsound):
            check_removed(before, structure, message(wrong), [removed])
    with pytest.raises(Unsound):
        check_removed(message(mixed(HTML)), scan(message(mixed(HTML))), message(HTML), [])


def test_the_check_finds_a_wrong_change() -> None:
    before = message(related(HTML, ONE))
    structure = scan(before)
    html, removed = structure.leaves
    after = remove(before, structure, [removed], {html: b"<b>\r\n"})
    check_removed(before, structure, after, [removed], {html: b"<b>\r\n"})
    for changes in ({html: b"<i>\r\n"}, {}):
        with pytest.raises(Unsound):
            check_removed(before, structure, after, [removed], changes)


# Generated trees. What is left must be what writing down the pruned tree gives, and what Python's own parser sees.


@dataclass(frozen=True)
class Leaf:
    header: tuple[bytes, ...]
    body: bytes
    goes: bool = False


@dataclass(frozen=True)
class Branch:
    kind: bytes
    boundary: bytes
    header: tuple[bytes, ...]
    parts: tuple["Leaf | Branch", ...]
    before: bytes
    behind: bytes


def lines(tree: Leaf | Branch) -> list[bytes]:
    if isinstance(tree, Leaf):
        return list(tree.header)
    return [b'Content-Type: multipart/%b; boundary="%b"' % (tree.kind, tree.boundary), *tree.header]


def body(tree: Leaf | Branch) -> bytes:
    if isinstance(tree, Leaf):
        return tree.body
    parts = [b"--%b\r\n%b\r\n" % (tree.boundary, written(part)) for part in tree.parts]
    return tree.before + b"".join(parts) + b"--%b--" % tree.boundary + tree.behind


def written(tree: Leaf | Branch) -> bytes:
    return b"".join(line + b"\r\n" for line in lines(tree)) + b"\r\n" + body(tree)


def pruned(tree: Leaf | Branch) -> tuple[list[bytes], bytes]:
    """The header lines and the body of what is left of a tree."""
    if isinstance(tree, Leaf):
        return lines(tree), tree.body
    kept = [part for part in tree.parts if not (isinstance(part, Leaf) and part.goes)]
    parts = [pruned(part) for part in kept]
    if len(kept) == 1 < len(tree.parts):
        header, text = parts[0]
        names = {line.split(b":")[0] for line in header} | {b"Content-Type", b"Content-Disposition"}
        return [*header, *(line for line in tree.header if line.split(b":")[0] not in names)], text
    texts = [b"--%b\r\n" % tree.boundary + b"\r\n".join([*header, b"", text]) + b"\r\n" for header, text in parts]
    return lines(tree), tree.before + b"".join(texts) + b"--%b--" % tree.boundary + tree.behind


HEADERS = st.sampled_from(
    [
        (b"Content-Type: text/html", b"X-Part: p"),
        (b"Content-Type: text/plain; charset=utf-8", b"Content-Language: nl"),
        (b"Content-Disposition: attachment", b"Content-Type: application/pdf"),
    ]
)
BODIES = st.sampled_from([b"", b"x\r\n", b"a\r\n\r\nb", b"--", b"--b", b"<p>\xe9</p>\r\n"])
LEAVES = st.builds(Leaf, HEADERS, BODIES)
GOING = st.builds(
    lambda text, more: Leaf((b"Content-Type: image/gif", b"Content-ID: <gone@x>", *more), text, goes=True),
    BODIES,
    st.sampled_from([(), (b"Content-Disposition: inline; filename=a.gif",)]),
)
MORE = st.sampled_from([(), (b"X-Multi: m",), (b"Content-Language: de", b"Content-Disposition: inline")])


def branches(parts: st.SearchStrategy[Leaf | Branch]) -> st.SearchStrategy[Branch]:
    margins = (st.sampled_from([b"", b"pre\r\n", b"\r\n"]), st.sampled_from([b"", b"\r\n", b"\r\nepi", b" \r\n"]))
    plain = st.builds(
        Branch, st.sampled_from([b"mixed", b"alternative", b"related"]), st.just(b""), MORE,
        st.lists(parts, min_size=1, max_size=3).map(tuple), *margins,
    )  # fmt: skip
    with_images = st.builds(
        lambda first, others, more, *around: Branch(b"related", b"", more, (first, *others), *around),
        parts, st.lists(st.one_of(GOING, GOING, parts), min_size=1, max_size=4), MORE, *margins,
    )  # fmt: skip
    return st.one_of(plain, with_images)


def numbered(tree: Leaf | Branch, path: bytes = b"") -> Leaf | Branch:
    """The tree with a boundary of its own for each multipart, none of which begins with another."""
    if isinstance(tree, Leaf):
        return tree
    parts = tuple(numbered(part, path + b"%d." % place) for place, part in enumerate(tree.parts))
    return replace(tree, boundary=b"%d=%b=" % (len(path), path), parts=parts)


TREES = st.recursive(LEAVES, branches, max_leaves=8).map(numbered)


def payloads(raw: bytes, *without: str) -> list[tuple[str, str | None, bytes]]:
    """What Python's parser sees: type, disposition and content of each part but those of these Content-IDs."""
    return [
        (part.get_content_type(), part["Content-Disposition"], part.get_payload(decode=True))
        for part in message_from_bytes(raw).walk()
        if not part.is_multipart() and part["Content-ID"] not in without
    ]


@given(TREES)
@settings(max_examples=500)
def test_trees(tree: Leaf | Branch) -> None:
    before = Message.parse(b"From: a@example.com\r\nMIME-Version: 1.0\r\n" + written(tree) + b"\r\n")
    structure = scan(before)
    assert not structure.defect
    removed = [part for part in structure.leaves if part.content_id == "gone@x" and not part.opaque]
    assert set(removed) <= set(removable(structure))
    after = remove(before, structure, removed)
    check_removed(before, structure, after, removed)
    assert payloads(bytes(after)) == payloads(bytes(before), "<gone@x>")
    assert b"gone@x" not in after.body
    header, text = pruned(tree)
    if not isinstance(tree, Branch) or header == lines(tree):
        assert (after.fields, after.body) == (before.fields, text + b"\r\n")
    elif b"multipart/" in b"".join(header):
        assert after.body == text + (b"" if text.endswith(b"\r\n") else b"\r\n")
    else:
        (alone,) = scan(after).leaves
        assert content(after, alone) == text
    if isinstance(tree, Branch):
        check_own_fields(tree, after, header)


def check_own_fields(tree: Branch, after: Message, header: list[bytes]) -> None:
    """The message has its own fields and those that tell of the body, in their order; but a transfer encoding may have come."""
    found = [b"%b:%b" % field for field in after.fields if field.name != b"Content-Transfer-Encoding"]
    others = [line for line in tree.header if line.startswith(b"X-")]
    assert found[2:] == [line for line in header if line.startswith(b"Content-")] + others


def test_the_largest_structures_take_little_time() -> None:
    pairs = [related(HTML, ONE, boundary=b"r%d=" % number) for number in range(3_000)]
    flat = related(HTML, *[ONE] * 9_998, start=b'; start="<0@x>"')
    deep = HTML
    for number in range(49):
        deep = related(deep, *[ONE] * 190, boundary=b"d%d=" % number)
    named = related(*[ONE] * 9_998, NAMED + HTML, start=ROOT)
    wide = related(alternative(*[HTML] * 5_000), *[ONE] * 4_900)
    for raw in (mixed(*pairs), flat, deep, named, wide):
        before = message(raw)
        structure = scan(before)
        assert not structure.defect
        removed = removable(structure)
        assert len(removed) >= 3_000
        start = time.perf_counter()
        after = remove(before, structure, removed)
        check_removed(before, structure, after, removed)
        assert time.perf_counter() - start < 3
        assert b"image/png" not in after.body


def test_real_messages_lose_nothing_else(corpus: Path | None) -> None:
    collected = sorted(corpus.rglob("*.eml")) if corpus else []
    done = 0
    for raw in [LARGE, *(file.read_bytes() for file in collected)]:
        before = Message.parse(raw)
        structure = scan(before)
        images = [part for part in removable(structure) if part.content_type.startswith("image/") and part.content_id]
        if not images:
            continue
        for removed in (images, images[:1], images[1:]):
            after = remove(before, structure, removed)
            check_removed(before, structure, after, removed)
            names = {f"<{part.content_id}>" for part in removed}
            assert payloads(bytes(after), *names) == payloads(bytes(before), *names)
            done += bool(removed)
    assert done >= (20 if corpus else 3)
