"""The check of a message from which parts were taken out, by reading it again (see filters.mail.removal).

Every byte of the message that came out is looked at once: it is in the content or the header of a part, in the header of a
multipart, before its first part, between two, or behind its last. Each must be what was there.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from filters.mail.faithful import Unsound
from filters.mail.message import Field, Message
from filters.mail.parts import content
from filters.mail.removal import NO_CHANGES, OF_THE_BODY, RELATED, Node, Tree, fields_at
from filters.mail.structure import Multipart, Part, Span, Structure, scan

_TRANSFER = {b"content-transfer-encoding", b"mime-version"}


def check_removed(
    before: Message,
    structure: Structure,
    after: Message,
    removed: Collection[Part],
    changes: Mapping[Part, bytes] = NO_CHANGES,
) -> None:
    """Re-reads `after`: it must be `before` without the parts in `removed`, and with that content in those of `changes`.

    `structure` is that of `before`. Raises Unsound.
    """
    found = scan(after)
    gone = {part.header for part in removed}
    kept = [part for part in structure.leaves if part.header not in gone]
    if found.defect or len(kept) != len(found.leaves) or len(kept) + len(removed) != len(structure.leaves):
        raise Unsound("the parts are not those that were to stay")
    check = _Check(before, Tree(structure), after, Tree(found), gone)
    for old, new in zip(kept, found.leaves, strict=True):
        check.leaf(old, new, changes.get(old))


class _Check:
    """Compares what was there with what is there now. `gone` has the headers of the parts that were taken out."""

    def __init__(self, before: Message, old: Tree, after: Message, new: Tree, gone: set[Span | None]) -> None:
        self.before, self.old = before, old
        self.after, self.new = after, new
        self.gone = gone
        self.checked: set[bytes] = set()  # boundaries

    def leaf(self, old: Part, new: Part, change: bytes | None) -> None:
        """Checks one part and the multiparts around it."""
        outer: list[Multipart] = []  # those the entity at hand has taken the place of
        inside = iter(new.parents)
        for parent in old.parents:
            if parent.boundary not in self.new.children:
                self.collapsed(parent)
                outer.append(parent)
                continue
            same = next(inside, None)
            if same != parent:
                raise Unsound("a part is not where it was")
            if parent.boundary not in self.checked:
                self.checked.add(parent.boundary)
                self.header(outer, parent, same)
                self.frame(parent, same, alone=bool(outer) and same.header is None)
            outer = []
        if next(inside, None):
            raise Unsound("a part is not where it was")
        self.header(outer, old, new, changed=change is not None)
        old_text, new_text = self.before.body[slice(*old.body)], self.after.body[slice(*new.body)]
        if change is None and (old.encoding, old_text) == (new.encoding, new_text):
            return
        if change is None and not (outer and new.header is None):
            raise Unsound("a part was changed that nobody asked to change")
        if content(self.after, new) != (content(self.before, old) if change is None else change):
            raise Unsound("a changed part does not read back as it was written")

    def collapsed(self, multipart: Multipart) -> None:
        """Checks that a multipart that is no more was one that was left with one part."""
        if multipart.boundary in self.checked:
            return
        self.checked.add(multipart.boundary)
        children = self.old.children[multipart.boundary]
        left = [child for child in children if isinstance(child, Multipart) or child.header not in self.gone]
        if multipart.content_type != RELATED or len(left) != 1 or len(children) == 1:
            raise Unsound("a multipart is missing")

    def header(self, outer: list[Multipart], old: Node, new: Node, *, changed: bool = False) -> None:
        """Checks the header of an entity that has taken the place of those in `outer`."""
        own, found = fields_at(self.before, old.header), fields_at(self.after, new.header)
        if not outer:
            if (_without_transfer(own) != _without_transfer(found)) if changed else own != found:
                raise Unsound("a header field was changed")
            return
        top = outer[0].header is None
        if top:
            own = tuple(field for field in own if _is_of_content(field))
            if _others(self.before.fields) != _others(found):
                raise Unsound("a header field was changed")
            own, found = _without_transfer(own), _without_transfer(field for field in found if _is_of_content(field))
        elif changed:
            own, found = _without_transfer(own), _without_transfer(found)
        self.moved(outer, own, found)

    def moved(self, outer: list[Multipart], own: tuple[Field, ...], found: tuple[Field, ...]) -> None:
        """Checks that `found` are the fields in `own`, and those of `outer` that tell of something else."""
        mine = set(own)
        if tuple(field for field in found if field in mine) != own:
            raise Unsound("a field of a part that was left alone is missing")
        names = {*OF_THE_BODY, *_TRANSFER, *(field.name.lower() for field in own)}
        wanted: list[Field] = []
        for multipart in reversed(outer):
            fields = fields_at(self.before, multipart.header)
            if outer[0].header is None:
                fields = tuple(field for field in fields if _is_of_content(field))
            wanted += [field for field in fields if field.name.lower() not in names]
            names |= {field.name.lower() for field in fields}
        if sorted(field for field in found if field not in mine) != sorted(wanted):
            raise Unsound("a header field was changed")

    def frame(self, old: Multipart, new: Multipart, *, alone: bool) -> None:
        """Checks what a multipart has around its parts. `alone` tells that it has become the whole body."""
        delimiter = re.compile(rb"--%b[ \t]*\r\n" % re.escape(old.boundary))
        children, body = self.new.children[new.boundary], self.after.body
        head = _before_first(self.before, old, self.old)
        if not body.startswith(head, new.body.start):
            raise Unsound("something before the parts was changed")
        position = new.body.start + len(head)
        for child in children:
            start = child.body.start if child.header is None else child.header.start
            if not delimiter.fullmatch(body, position, start):
                raise Unsound("something between the parts was changed")
            position = child.body.end + 2
        old_end = self.old.children[old.boundary][-1].body.end
        tail = self.before.body[old_end + 2 : old.body.end]
        found = body[position : new.body.end]
        if body[position - 2 : position] != b"\r\n" or (found != tail and not (alone and found == tail + b"\r\n")):
            raise Unsound("something behind the parts was changed")


def _before_first(message: Message, multipart: Multipart, tree: Tree) -> bytes:
    """What a multipart has before its first delimiter."""
    first = tree.children[multipart.boundary][0].header
    return message.body[multipart.body.start : first.start].rpartition(b"--" + multipart.boundary)[0] if first else b""


def _is_of_content(field: Field) -> bool:
    return field.name.lower().startswith(b"content-")


def _others(fields: Iterable[Field]) -> list[Field]:
    """The fields that tell nothing of the body."""
    return [field for field in fields if not _is_of_content(field) and field.name.lower() != b"mime-version"]


def _without_transfer(fields: Iterable[Field]) -> tuple[Field, ...]:
    """The fields but for those that tell of the transfer encoding."""
    return tuple(field for field in fields if field.name.lower() not in _TRANSFER)
