"""Pictures embedded in the message are taken out of it and served from the host (docs/options.md: images).

A picture goes when it is shown by its Content-ID (RFC 2392) in the `src` or `background` of the HTML and nowhere else. What it
is, is read from its bytes; only png, jpeg, gif and webp are served. Everything else stays where it is.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from html import unescape
from urllib.parse import unquote

from filters.click_host import tracking_of
from filters.job import HostedFile, Job, Site
from filters.mail import parts, picture
from filters.mail.draft import Draft, spliced
from filters.mail.judge import BACKGROUNDS, IMAGES
from filters.mail.outline import Value, values
from filters.mail.parts import Part
from filters.mail.removal import removable
from filters.rewrite import Document, Findings, Unchanged, is_shown, left_alone
from journal.links import hosted

NAME = "images"
MOST = 200  # embedded images of one message that are looked at
_SCHEME = "cid:"
_CSS_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})[ \t\r\n\f]?|\r?\n|([^\r\n\f]))")  # CSS Syntax 4.3.7


def host_images(job: Job, site: Site, document: Document) -> Findings:
    """Takes the pictures out and shows them from the host. Raises Unchanged where none can be, or not now."""
    embedded = _embedded(document)
    if not embedded:
        raise Unchanged("no embedded image")
    if sum(map(is_shown, document.structure.leaves)) > len(document.drafts):
        raise Unchanged("an HTML part that may show embedded images cannot be edited")
    base = tracking_of(job, site).base
    files: dict[str, HostedFile] = {}
    removed, kept = set(), Counter[str]()
    named_elsewhere = _Elsewhere(document, embedded)
    for number, (identifier, places) in enumerate(_places(document, embedded).items()):
        part = embedded[identifier]
        content = b""
        if number >= MOST:
            reason = f"more than {MOST} embedded images"
        elif named_elsewhere(identifier):
            reason = "it is also named elsewhere"
        elif part.disposition == "attachment":
            reason = "it is also an attachment"
        else:
            content, reason = _picture(document, part)
        if reason:
            kept[reason] += 1
            continue
        name = picture.name(content, picture.kind(content) or "")
        files[name] = HostedFile(name=name, content=content)
        removed.add(part)
        for draft, value in places:
            draft.write(value, hosted(name, base))
    if not removed and not kept:
        raise Unchanged("no embedded image is shown in the HTML")
    events = left_alone(NAME, "image", kept)
    return Findings(applied=bool(removed), events=events, images=tuple(files.values()), removed=frozenset(removed))


def _embedded(document: Document) -> dict[str, Part]:
    """The parts that can be shown by their Content-ID. One that two parts have names neither."""
    found: dict[str, list[Part]] = defaultdict(list)
    for part in document.structure.leaves:
        if part.content_id:
            found[part.content_id].append(part)
    free = set(removable(document.structure))
    return {
        identifier: same[0]
        for identifier, same in found.items()
        if len(same) == 1 and same[0] in free and same[0].content_type.startswith("image/")
    }


def _cid_values(draft: Draft) -> Iterator[tuple[str, Value]]:
    """The attributes that show a picture of this message, with the Content-ID each names."""
    if _SCHEME not in draft.source.lower():
        return
    for element in draft.outline.elements(IMAGES | BACKGROUNDS):
        value = values(element).get("src" if element.name in IMAGES else "background")
        text = draft.value(value).strip() if value is not None and value.quote is not None else ""
        if value is not None and text[: len(_SCHEME)].lower() == _SCHEME:
            yield unquote(text[len(_SCHEME) :]), value


def _places(document: Document, embedded: dict[str, Part]) -> dict[str, list[tuple[Draft, Value]]]:
    found: dict[str, list[tuple[Draft, Value]]] = defaultdict(list)
    for draft in document.drafts:
        for identifier, value in _cid_values(draft):
            if identifier in embedded:
                found[identifier].append((draft, value))
    return found


class _Elsewhere:
    """Tells whether a Content-ID is also named where no attribute shows it, as in a style sheet, in whatever spelling."""

    def __init__(self, document: Document, embedded: Collection[str]) -> None:
        texts = [
            spliced(
                draft.source, [(value.value_start, value.value_end, "") for name, value in _cid_values(draft) if name in embedded]
            )
            for draft in document.drafts
        ]
        for part in document.structure.leaves:
            if part.text and part.content_type not in ("text/html", "text/plain") and part.disposition != "attachment":
                with suppress(ValueError):
                    texts.append(parts.content(document.message, part).decode("latin-1"))
        rest = "\n".join(unquote(unescape(text)) for text in texts)
        self._rest = f"{rest}\n{unquote(_CSS_ESCAPE.sub(_character, rest))}" if "\\" in rest else rest

    def __call__(self, identifier: str) -> bool:
        return identifier in self._rest


def _character(escape: re.Match[str]) -> str:
    code = int(escape[1] or "0", 16)
    return chr(code) if 0 < code < 0x110000 else escape[2] or ""


def _picture(document: Document, part: Part) -> tuple[bytes, str]:
    """The bytes of a picture, or the reason why it stays."""
    try:
        content = parts.content(document.message, part)
    except ValueError as error:
        return b"", str(error)
    return (content, "") if picture.kind(content) else (b"", "it is no png, jpeg, gif or webp")
