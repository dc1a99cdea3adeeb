"""How long css-inline would take over a document, estimated before it is called.

css-inline 0.24 holds the interpreter while it works, cannot be stopped, and walks its tree by recursion: the stack overflows
between 10 000 and 12 000 levels, which kills the process. Several of its steps, and of the HTML parser in it, are quadratic
or worse. So each step has a term here, with the cost of one unit as measured; the estimate leans to the high side.

The terms are counted in two looks. The first needs only sizes, and passes nearly all mail. The second walks the tags with a
stack of open elements; it is made of documents that are large, or that the first look did not pass.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from filters.mail.markup import ATTRIBUTE, TOKEN_OR_END_TAG

TOO_MANY_TAGS = "more than 9000 elements"
MAX_SECONDS = 0.6
MAX_TAGS = 9000
MAX_SHEET = 256_000
MAX_DEPTH = 2000
MAX_LOOSE_FORMATTING = 300
_SMALL_TREE = 1000
_FEW_FORMATTING = 150
_SMALL_SOURCE = 30_000
_LONG_TAG = 500

_BLANKS_BEFORE_MARK = re.compile(r"!(?<=\s{64}!)")
_END_TAG = re.compile(r"</([a-zA-Z][^ \t\n\f\r/>]*)")
_VOID_NAMES = "area base basefont bgsound br col embed hr img input keygen link meta param source track wbr"
_FORMATTING_NAMES = "a b big code em font i nobr s small strike strong tt u"
_VOID, _FORMATTING = frozenset(_VOID_NAMES.split()), frozenset(_FORMATTING_NAMES.split())
_CELLS = frozenset(("p", "td", "th"))
_ROWS = frozenset(("p", "td", "th", "tr"))
_CLOSED_BY_START = {"p": frozenset("p"), "li": frozenset(("p", "li")), "td": _CELLS, "th": _CELLS, "tr": _ROWS}
_END_TAG_OPTIONAL = frozenset(("p", "li", "dd", "dt", "option", "td", "th", "tr", "tbody", "thead", "tfoot"))
_WITH_IMPLIED = {"td": 3, "th": 3, "tr": 2, "col": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The sizes of all style sheets of a document together that the time depends on; upper bounds."""

    characters: int
    preludes: int
    selectors: int
    combinators: int
    siblings: int
    attributes: int
    declarations: int

    @classmethod
    def rough(cls, css: str) -> "Sheet":
        """Sizes of `css` that can be had by counting characters."""
        return cls(
            characters=len(css),
            preludes=len(css),
            selectors=css.count(",") + css.count("{"),
            combinators=len(css) // 2,
            siblings=css.count("~"),
            attributes=css.count("["),
            declarations=css.count(":"),
        )

    @classmethod
    def measure(cls, css: str) -> "Sheet":
        """The sizes of `css`."""
        rules = [before.rpartition("}")[2] for before in css.split("{")[:-1]]
        preludes = " ".join(rules)
        return cls(
            characters=len(css),
            preludes=len(preludes),
            selectors=preludes.count(",") + len(rules),
            combinators=len(preludes.split()) + preludes.count(">") + preludes.count("+") + preludes.count("~"),
            siblings=preludes.count("~"),
            attributes=preludes.count("["),
            declarations=css.count(":"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a document that the time depends on.

    `depth` is the deepest nesting, `loose` the most formatting elements that were open or never closed in order, `classes` the
    length of all class attributes, `duplicates` the comparisons that look for an attribute given twice.
    """

    tags: int
    ends: int
    characters: int
    comments: int
    colons: int
    depth: int
    loose: int
    classes: int
    duplicates: int

    @classmethod
    def crude(cls, characters: int, tags: int, ends: int, longest_tag: int) -> "Shape":
        """The worst that a document of that size can be, but for `loose`, which does not matter in a small tree."""
        return cls(
            tags=tags,
            ends=ends,
            characters=characters,
            comments=characters // 4,
            colons=characters // 2,
            depth=tags,
            loose=0,
            classes=characters,
            duplicates=longest_tag // 2 * characters // 2,
        )


def refusal(source: str, css: str, names: Sequence[str], attributes: Sequence[str], seconds: float = MAX_SECONDS) -> str:
    """Why css-inline is not to be called, or empty: it would crash, or take more than about `seconds`.

    `css` holds at least all style sheets of `source`; `names` and `attributes` are those of its start tags, as written.
    """
    if len(names) > MAX_TAGS:
        return TOO_MANY_TAGS
    if len(css) > MAX_SHEET:
        return f"style sheets of more than {MAX_SHEET} characters"
    if _BLANKS_BEFORE_MARK.search(css):
        return "a long run of blanks in a style sheet"
    crude = _crude(source, names, attributes)
    if crude is not None and _seconds(Sheet.rough(css), crude) <= seconds:
        return ""
    sheet = Sheet.measure(css)
    if crude is not None and _seconds(sheet, crude) <= seconds:
        return ""
    shape = _shape(source)
    if shape.depth > MAX_DEPTH:
        return f"elements nested more than {MAX_DEPTH} deep"
    if shape.loose > MAX_LOOSE_FORMATTING:
        return f"more than {MAX_LOOSE_FORMATTING} unclosed formatting elements"
    return "too much work" if _seconds(sheet, shape) > seconds else ""


def _seconds(sheet: Sheet, shape: Shape) -> float:
    """Each unit cost is nanoseconds, measured on shapes that reach the term's bound."""
    tags = shape.tags
    nanoseconds = (
        1.0 * sheet.declarations**2 * tags  # each matched declaration is sought among those the element has
        + 800 * sheet.declarations * tags
        + 5 * sheet.characters * tags  # the values written
        + 12 * sheet.preludes * tags  # the simple selectors compared
        + 30 * sheet.selectors * tags
        + 4 * sheet.combinators * tags * shape.depth
        + 15 * sheet.siblings * tags**2
        + 4 * sheet.attributes * shape.characters
        + 10 * sheet.selectors * shape.classes
        + 20 * sheet.selectors * shape.comments  # siblings that are no elements
        + 5 * sheet.declarations * shape.colons  # merged with what the style attributes hold already
        + 8 * shape.ends * tags  # an end tag seeks its element on the stack
        + 1200 * shape.loose * (tags + shape.ends)  # each is cloned anew in each block (the adoption agency)
        + 0.5 * shape.duplicates
        + 60 * shape.characters
    )
    return nanoseconds * 1e-9


def _crude(source: str, names: Sequence[str], attributes: Sequence[str]) -> Shape | None:
    """The first look; None where the tags have to be looked at one by one."""
    ends = source.count("</")
    if len(names) > _SMALL_TREE or ends > 2 * len(names) + 100:
        return None
    longest = characters = len(source)
    if len(names) > MAX_LOOSE_FORMATTING or characters > _SMALL_SOURCE:
        counts = Counter(map(str.lower, names))
        # Attributes of a second html or body tag are sought among all that the first ones brought.
        if counts["html"] > 1 or counts["body"] > 1 or sum(counts[name] for name in _FORMATTING) > _FEW_FORMATTING:
            return None
        longest = max(map(len, attributes), default=0)
    return Shape.crude(characters, len(names), ends, longest)


def _shape(source: str) -> Shape:
    """The second look: one pass over the tags. An end tag counts only where it closes what is open: depth errs upwards."""
    stack = _Stack()
    tags = ends = classes = duplicates = shared = 0
    for name, attributes in _tags(source):
        if attributes is None:
            ends += 1
            stack.end(name)
            continue
        tags += 1
        if name not in _VOID:
            stack.start(name)
        if name in ("html", "body"):
            shared += len(ATTRIBUTE.findall(attributes))
        if len(attributes) < _LONG_TAG:
            classes += len(attributes)
            duplicates += len(attributes) ** 2 // 4
        else:
            classes += sum(len(found[0]) for found in ATTRIBUTE.finditer(attributes) if found[1].lower() == "class")
            duplicates += len(ATTRIBUTE.findall(attributes)) ** 2
    return Shape(
        tags=tags,
        ends=ends,
        characters=len(source),
        comments=source.count("<!--"),
        colons=source.count(":"),
        depth=stack.deepest,
        loose=stack.loose,
        classes=classes,
        duplicates=duplicates + 4 * shared**2,
    )


def _tags(source: str) -> Iterator[tuple[str, str | None]]:
    """Name and attributes of each start tag; name and None of each end tag."""
    for token in TOKEN_OR_END_TAG.finditer(source):
        if token[4]:
            yield token[2].lower(), token[3]
        elif end := _END_TAG.match(source, token.start()):
            yield end[1].lower(), None


class _Stack:
    """The open elements, as the tags alone tell."""

    def __init__(self) -> None:
        self.deepest = self.loose = self._depth = self._formatting = 0
        self._open: list[str] = []

    def start(self, name: str) -> None:
        closes = _CLOSED_BY_START.get(name)
        while closes and self._open and self._open[-1] in closes:
            self._pop()
        self._open.append(name)
        self._depth += _WITH_IMPLIED.get(name, 1)
        self.deepest = max(self.deepest, self._depth)
        self._formatting += name in _FORMATTING
        self.loose = max(self.loose, self._formatting)

    def end(self, name: str) -> None:
        for back, element in enumerate(reversed(self._open[-4:])):
            if element == name:
                for _ in range(back + 1):
                    self._pop()
                self._formatting -= name in _FORMATTING and back == 0
                return
            if element not in _END_TAG_OPTIONAL:
                return

    def _pop(self) -> None:
        self._depth -= _WITH_IMPLIED.get(self._open.pop(), 1)
