"""Takes parts out of a multipart/related (RFC 2387), with their header and delimiter; every other byte stays.

A multipart/related that is left with one part gives way to it: that part's header fields replace those of the multipart that
tell of its body, and nothing else remains of it. It stays, with its one part, where that would not be the same mail for every
reader: when the part is not to be edited, or could not stand in the new place as it is.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from filters.mail import transfer
from filters.mail.entity import header_of
from filters.mail.message import Field, Message
from filters.mail.parts import content, replace
from filters.mail.structure import Multipart, Part, Span, Structure, scan

RELATED = "multipart/related"
OF_THE_BODY = frozenset({b"content-type", b"content-transfer-encoding", b"content-disposition"})
NO_CHANGES: Mapping[Part, bytes] = MappingProxyType({})

Node = Part | Multipart


class Tree:
    """What is inside what: `children` gives the parts of each multipart, by its boundary, in their order.

    `sealed` has the boundaries of the multiparts that hold something that is not to be edited. `roots` has the headers of the
    parts that a multipart/related is for: the one its start parameter names, else the first (RFC 2387 3.2).
    """

    def __init__(self, structure: Structure) -> None:
        self.children: dict[bytes, list[Node]] = defaultdict(list)
        self.sealed: set[bytes] = set()
        self.roots: set[Span | None] = set()
        related: dict[bytes, Multipart] = {}
        for leaf in structure.leaves:
            if leaf.opaque:
                self.sealed.update(parent.boundary for parent in leaf.parents)
            path: tuple[Node, ...] = (*leaf.parents[1:], leaf)
            for parent, child in zip(leaf.parents, path, strict=False):  # a message of one part has no parents
                inside = self.children[parent.boundary]
                if not inside or inside[-1] is not child:
                    inside.append(child)
                if parent.content_type == RELATED:
                    related[parent.boundary] = parent
        for boundary, multipart in related.items():
            children = self.children[boundary]
            named = [child.header for child in children if multipart.start and child.content_id == multipart.start]
            self.roots.update(named or [children[0].header])


def removable(structure: Structure) -> tuple[Part, ...]:
    """The parts that `remove` takes out, in their order: those of any multipart/related but the one it is for."""
    if structure.defect or structure.opaque:
        return ()
    tree = Tree(structure)
    return tuple(part for part in structure.leaves if not _obstacle(tree, part))


def remove(
    message: Message, structure: Structure, removed: Collection[Part], changes: Mapping[Part, bytes] = NO_CHANGES
) -> Message:
    """`message` without the parts in `removed`, and with that content in those of `changes`, as by `parts.replace`.

    `structure` is that of `message`. Raises ValueError for a part that cannot be taken out, or that is not to be edited.
    """
    if structure.defect or structure.opaque:
        raise ValueError(f"nothing in this message is to be edited: {structure.defect or structure.opaque}")
    tree = Tree(structure)
    own = {part.header: part for part in structure.leaves}
    if any(own.get(part.header) != part for part in (*removed, *changes)):
        raise ValueError("this is no part of this message")
    for part in removed:
        obstacle = "it is to be changed" if part in changes else _obstacle(tree, part)
        if obstacle:
            raise ValueError(f"this part cannot be taken out: {obstacle}")
    if not removed:
        return replace(message, changes)
    removal = _Removal(message, tree, frozenset(part.header for part in removed), changes)
    after = removal.spliced(structure.leaves[0].parents[0])
    changes = removal.alone | dict(changes)
    if not changes:
        return after
    kept = (part for part in structure.leaves if part.header not in removal.removed)
    pairs = zip(kept, scan(after).leaves, strict=True)
    return replace(after, {new: changes[old] for old, new in pairs if old in changes})


def _obstacle(tree: Tree, part: Part) -> str:
    """Why a part cannot be taken out, or ""."""
    if part.opaque:
        return part.opaque
    if not part.parents or part.parents[-1].content_type != RELATED:
        return f"it is not in a {RELATED}"
    if part.header in tree.roots:
        return f"it is what its {RELATED} is for"
    return ""


def fields_at(message: Message, header: Span | None) -> tuple[Field, ...]:
    """The fields of the header at that span of the body, or of the message's own. Raises ValueError for lines that are none."""
    if header is None:
        return message.fields
    found = header_of(message.body, *header)
    if found is None:
        raise ValueError("a line in the header of a part is no field")
    return tuple(found[0])


class _Cut(NamedTuple):
    """The bytes of the body from `start` up to `end` become `text`."""

    start: int
    end: int
    text: bytes = b""


class _Removal:
    """One removal; `removed` has the headers of the parts that go, which tell them apart.

    `alone` has the content of the part that became the whole body, where that must be encoded anew for it.
    """

    def __init__(self, message: Message, tree: Tree, removed: frozenset[Span | None], changes: Mapping[Part, bytes]) -> None:
        self.message = message
        self.tree = tree
        self.removed = removed
        self.changes = changes
        self.fields = message.fields
        self.alone: dict[Part, bytes] = {}

    def spliced(self, root: Multipart) -> Message:
        """The message with all cuts made; none overlaps another."""
        body, pieces, position = memoryview(self.message.body), list[bytes | memoryview](), 0
        for cut in self.cuts(root):
            pieces += body[position : cut.start], cut.text
            position = cut.end
        return Message(self.fields, b"".join([*pieces, body[position:]]))

    def cuts(self, node: Node) -> Iterator[_Cut]:
        """The cuts inside an entity, in order."""
        *outer, inner = self.line(node)
        if outer:
            yield self.head(outer, inner)
        if isinstance(inner, Multipart):
            for child in self.tree.children[inner.boundary]:
                if isinstance(child, Part) and child.header in self.removed:
                    yield self.whole(child)
                else:
                    yield from self.cuts(child)
        if outer:
            # SMTP ends every body with CRLF.
            missing = node.header is None and not self.message.body.endswith(b"\r\n", 0, inner.body.end)
            yield _Cut(inner.body.end, node.body.end, b"\r\n" if missing and isinstance(inner, Multipart) else b"")

    def line(self, node: Node) -> list[Node]:
        """An entity, and what takes its place: the one part it is left with, and so on."""
        found = [node]
        while isinstance(node, Multipart):
            children = self.tree.children[node.boundary]
            left = [child for child in children if not isinstance(child, Part) or child.header not in self.removed]
            if len(left) == len(children) or len(left) > 1 or not self.stands(left[0], found):
                break
            node = left[0]
            found.append(node)
        return found

    def stands(self, part: Node, outer: list[Node]) -> bool:
        """Whether a part can stand in the place of the multiparts around it."""
        if part.opaque if isinstance(part, Part) else part.boundary in self.tree.sealed:
            return False
        fields = _of_content(fields_at(self.message, part.header))
        if not any(field.name.lower() == b"content-type" for field in fields):
            return False  # what that means depends on the multipart around it (RFC 2046 5.1.5)
        if outer[0].header is not None:
            return True
        if not all(_plain(field) for field in fields):
            return False
        if isinstance(part, Part) and part not in self.changes and not self.message.body.endswith(b"\r\n", *part.body):
            try:
                self.alone = {part: content(self.message, part)}
            except ValueError:
                return False
        return True

    def head(self, outer: list[Node], inner: Node) -> _Cut:
        """The cut from the outermost header to the one of the part that takes its place."""
        own = fields_at(self.message, inner.header)
        header = outer[0].header
        merged = own if header is not None else _of_content(own)
        for node in reversed(outer):
            merged = _merged(fields_at(self.message, node.header), merged)
        if header is None:
            self.fields = merged
            return _Cut(0, inner.body.start)
        return _Cut(header.start, inner.body.start, b"".join(b"%b:%b\r\n" % field for field in merged) + b"\r\n")

    def whole(self, part: Part) -> _Cut:
        """The cut from the delimiter before a part up to the next one."""
        start = part.header.start if part.header else 0
        return _Cut(self.message.body.rfind(b"\n", 0, start - 2) + 1, part.body.end + 2)


def _merged(outer: Iterable[Field], inner: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields of a multipart with those of its only part in the place of its Content-Type."""
    names = OF_THE_BODY | {field.name.lower() for field in inner}
    merged: list[Field] = []
    for field in outer:
        name = field.name.lower()
        if name == b"content-type":
            merged += inner
        elif name not in names:
            merged.append(field)
    return tuple(merged)


def _of_content(fields: Iterable[Field]) -> tuple[Field, ...]:
    """The fields that tell of the body; others mean nothing in the header of a part (RFC 2046 5.1)."""
    return tuple(field for field in fields if field.name.lower().startswith(b"content-"))


def _plain(field: Field) -> bool:
    # What a part says in other bytes is not certain to come through as a field of the message.
    return field.value.isascii() and b"\0" not in field.value and transfer.long_line(b"%b:%b" % field) < 0
