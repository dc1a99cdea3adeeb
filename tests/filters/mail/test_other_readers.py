"""The structure of messages against two readers in C: munpack as it is, and Postfix's own rule for boundaries.

Where a reader sees other parts than we do, ours must be a defect, in which nothing is edited. What the readers do differently
by design, so that there is nothing to compare, is said beside each exception.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.mail.message import Message
from filters.mail.parts import content, scan

# What is read.


def shipped() -> Iterator[bytes]:
    """Structures of which each has a twist: most are defects."""
    part, html = b"Content-Type: text/plain\r\n\r\nhello", b"Content-Type: text/html\r\n\r\n<p>hello"
    yield mixed(b"b", part, html)
    yield mixed(b"b", part, mixed(b"c", html, b"\r\nno header"), b"Content-Type: image/png\r\n\r\nx")
    yield mixed(b"b", mixed(b"c1", part), mixed(b"c10", html))
    yield mixed(b"b", mixed(b"c10", part), mixed(b"c1", html))
    yield mixed(b"b1", mixed(b"b10", html))
    yield mixed(b"b10", mixed(b"b1", html))
    yield mixed(b"b", mixed(b"b", html))
    yield mixed(b"b", part + b"\r\n--bc\r\n", html)
    yield mixed(b"b", part).removesuffix(b"--b--\r\n")
    yield mixed(b"b", part) + b"--b\r\n\r\nbehind the end\r\n--b--\r\n"
    yield mixed(b"b", part, html).replace(b"--b\r\n", b"--b trailing\r\n")
    yield mixed(b"b", part, html).replace(b"--b\r\n", b"--b \t\r\n")
    yield mixed(b"b", b"no field\r\n\r\nx", html)
    yield mixed(b"b", b" fold first\r\n\r\nx", html)
    yield mixed(b"b", b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n" + mixed(b"c", html), part)
    yield mixed(b"b", b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n" + mixed(b"b2", html), part)
    yield mixed(b"b", part, html).replace(b'"b"', b'"b\\"')
    yield mixed(b"b", part, html).replace(b'boundary="b"', b'boundary="b"; boundary="c"')
    yield mixed(b"b", part, html).replace(b'boundary="b"', b"boundary*0=b")
    yield mixed(b"b", part, html).replace(b"multipart/mixed;", b"multipart/mixed (comment);")
    yield mixed(b"b", part, html).replace(b"\r\n\r\n--b", b"\r\nContent-Type: text/plain\r\n\r\n--b", 1)


def mixed(boundary: bytes, *parts: bytes, preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    header = b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n' % boundary
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return header + preamble + body + b"--%b--\r\n" % boundary + epilogue


def collected(corpus: Path | None) -> list[Message]:
    files: list[Path] = []
    if corpus is not None:
        files += sorted([*corpus.glob("mime/*.eml"), *corpus.glob("bounces/*.eml")])
    with suppress(ImportError):  # Debian keeps the standard library's tests in a package of their own
        import test.test_email as package

        files += sorted(Path(package.__file__).parent.glob("data/msg_*.txt"))
    return [Message.parse(raw) for raw in [*shipped(), *(file.read_bytes() for file in files)]]


NAMES = st.sampled_from([b"b", b"b1", b"b10", b"c", b"=_c", b"a b", b"x" * 70])
LINES = st.lists(
    st.sampled_from([b"x", b"", b"--", b"--b", b"--b1", b"--b--", b"--b10--", b"---b", b" --b", b"--a", b"--c x", b"Subject: y"]),
    max_size=5,
).map(b"\r\n".join)
FIELDS = st.sampled_from(
    [
        b"",
        b"X-Other: y\r\n",
        b"Content-Type: text/html; charset=utf-8\r\n",
        b"Content-Type: image/png\r\n",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n",
        b"Content-Type: message/rfc822\r\n",
    ]
)
LEAVES = st.builds(lambda fields, lines: fields + b"\r\n" + lines, FIELDS, LINES)
TREES = st.recursive(
    LEAVES,
    lambda parts: st.builds(
        lambda name, inside, before, behind: mixed(name, *inside, preamble=before, epilogue=behind).removesuffix(b"\r\n"),
        NAMES,
        st.lists(parts, min_size=1, max_size=3),
        st.sampled_from([b"", b"preamble\r\n", b"--bx\r\n"]),
        st.sampled_from([b"", b"epilogue\r\n", b"--b\r\n"]),
    ),
    max_leaves=8,
)


def damaged(raw: bytes, damage: list[tuple[int, bytes]]) -> bytes:
    for place, piece in damage:
        raw = raw[:place] + piece + raw[place + 1 :]
    return raw


PIECES = st.sampled_from([b"", b"\r\n", b"-", b" ", b";", b'"', b":"])
DAMAGED = st.builds(damaged, TREES, st.lists(st.tuples(st.integers(0, 400), PIECES), max_size=3))


# munpack.


def unpacked(raw: bytes) -> list[bytes]:
    """The contents munpack writes, in order, without CR."""
    with TemporaryDirectory() as folder:
        Path(folder, "message").write_bytes(b"MIME-Version: 1.0\n" + raw.replace(b"\r\n", b"\n"))
        Path(folder, "out").mkdir()
        # -t writes the text parts of a multipart too.
        done = subprocess.run(
            ("munpack", "-t", "-C", f"{folder}/out", f"{folder}/message"), capture_output=True, timeout=20, check=False
        )
        names = [line.rpartition(b" (")[0].decode("latin-1") for line in done.stdout.splitlines() if line.endswith(b")")]
        return [Path(folder, "out", name).read_bytes().replace(b"\r", b"") for name in names]


def ours(message: Message) -> list[bytes] | None:
    """What munpack should write; None where our structure, or that of a message inside, is a defect."""
    structure = scan(message)
    if structure.defect:
        return None
    found = []
    for part in structure.leaves:
        if part.content_type == "message/rfc822" and part.encoding in ("", "7bit", "8bit", "binary"):
            # To us an attached message is one part; munpack goes into it.
            inner = ours(Message.parse(message.body[slice(*part.body)]))
            if inner is None:
                return None
            found += inner
        elif part.content_type.startswith("message/"):
            continue  # munpack passes over reports and pieces, and does not decode an encoded message
        else:
            try:
                found.append(content(message, part).replace(b"\r", b""))
            except ValueError:
                return None  # munpack decodes damaged encodings as well as it can
    return found


def compare_with_munpack(message: Message) -> bool:
    """Whether there was something to compare."""
    expected = ours(message)
    # Of a message with one part munpack writes nothing, or what looks like uuencode in it.
    if expected is None or len(expected) < 2:
        return False
    assert unpacked(bytes(message)) == expected
    return True


@pytest.mark.system
def test_munpack_sees_the_parts_of_real_messages(corpus: Path | None) -> None:
    compared = sum(map(compare_with_munpack, collected(corpus)))
    assert compared >= (150 if corpus else 3)


@pytest.mark.system
@given(DAMAGED)
@settings(max_examples=200)
def test_munpack_sees_the_parts_of_trees(raw: bytes) -> None:
    compare_with_munpack(Message.parse(raw + b"\r\n"))


# Postfix. Its rule (src/global/mime_state.c): a line that begins with `--` and with a boundary, innermost first and whatever
# follows, belongs to that multipart and closes those inside it; followed by `--` it ends it. A line that is no field ends a
# header. Boundaries come from every Content-Type of a multipart, comments skipped, up to the first special if not quoted.

FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
COMMENT = re.compile(rb'("(?:[^"\\]|\\.)*")|\([^()]*\)')
BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s()<>@,;:\\"/\[\]?=]+))', re.IGNORECASE)


@dataclass
class Postfix:
    """Reads a message line by line and keeps the spans of what it takes for contents."""

    spans: list[tuple[int, int]] = field(default_factory=list)
    stack: list[tuple[bytes, bool]] = field(default_factory=list)  # boundaries, and whether parts are messages by default
    kind: bytes = b"text/plain"
    begun: int = -1
    message_level: int = -1  # size of the stack where an attached message began
    in_header: bool = True
    logical: bytes = b""

    def read(self, raw: bytes) -> list[tuple[int, int]]:
        """The spans in `raw` of all contents that are no multipart; an attached message is one."""
        position = 0
        for line in re.findall(rb"[^\n]*\n|[^\n]+", raw):
            self.line(line.rstrip(b"\r\n"), position, position + len(line))
            position += len(line)
        self.finish(len(raw), 0)
        return self.spans

    def line(self, text: bytes, start: int, end: int) -> None:
        if self.in_header:
            if self.logical and text[:1] in (b" ", b"\t"):
                self.logical += b"\n" + text
                return
            self.field()
            if FIELD.match(text):
                self.logical = text
                return
            self.body_begins(end if not text else start, blank=not text)
        if text.startswith(b"--"):
            self.delimiter(text[2:], start)

    def field(self) -> None:
        name, _, value = self.logical.partition(b":")
        if name.strip().lower() == b"content-type":
            value = COMMENT.sub(rb"\1", value.replace(b"\n", b""))
            self.kind = value.partition(b";")[0].strip().lower()
            if self.kind.startswith(b"multipart/") and (found := BOUNDARY.search(value)):
                self.stack.append((re.sub(rb"\\(.)", rb"\1", found[1] or found[2] or b""), self.kind == b"multipart/digest"))
        self.logical = b""

    def body_begins(self, at: int, *, blank: bool) -> None:
        self.in_header = False
        if self.message_level >= 0:
            if blank and self.kind == b"message/rfc822":
                self.in_header, self.kind = True, b"text/plain"
        elif self.kind.startswith(b"message/"):
            self.begun, self.message_level = at, len(self.stack)
            self.in_header, self.kind = blank and self.kind == b"message/rfc822", b"text/plain"
        elif not self.kind.startswith(b"multipart/"):
            self.begun = at

    def delimiter(self, text: bytes, start: int) -> None:
        for level in reversed(range(len(self.stack))):
            boundary, digest = self.stack[level]
            if not text.startswith(boundary):
                continue
            self.finish(start, level + 1)
            ends = text.startswith(b"--", len(boundary))
            del self.stack[level + (not ends) :]
            self.in_header, self.kind = not ends, b"message/rfc822" if digest else b"text/plain"
            return

    def finish(self, at: int, level: int) -> None:
        """What began before ends where a delimiter of that level stands; the line end before it is not part of it."""
        if self.message_level >= 0 and level > self.message_level:
            return  # inside the attached message
        if self.begun >= 0:
            self.spans.append((self.begun, max(self.begun, at - 2) if level else at))
        self.begun, self.message_level = -1, -1


def compare_with_postfix(message: Message) -> bool:
    structure = scan(message)
    if structure.defect:
        return False
    header = len(bytes(message)) - len(message.body)
    theirs = [(start - header, end - header) for start, end in Postfix().read(bytes(message))]
    # A part without the blank line has no content for us; for Postfix it begins where the header ends.
    mine = [tuple(part.body) for part in structure.leaves if part.opaque != "a part without a body"]
    assert [span for span in theirs if span in mine] == mine
    assert len(theirs) <= len(structure.leaves)
    return len(mine) > 1


def test_postfix_sees_the_parts_of_real_messages(corpus: Path | None) -> None:
    assert sum(map(compare_with_postfix, collected(corpus))) >= (150 if corpus else 3)


@given(DAMAGED)
@settings(max_examples=1000)
def test_postfix_sees_the_parts_of_trees(raw: bytes) -> None:
    compare_with_postfix(Message.parse(raw + b"\r\n"))
