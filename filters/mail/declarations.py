"""The content of a style attribute: declarations taken apart, and written so that nothing can break out of the quotes."""

import re

_QUOTED = r"'[^'\\]*(?:\\[\s\S][^'\\]*)*'" + r'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"'
_INNER = rf"[^()'\"\\]*(?:(?:\\[\s\S]|{_QUOTED}|\([^()'\"\\]*\))[^()'\"\\]*)*"
_DECLARATION = re.compile(rf"([^;()'\"\\]*(?:(?:\\[\s\S]|{_QUOTED}|\({_INNER}\))[^;()'\"\\]*)*)(?:;|\Z)")
_NESTING = re.compile(r"[()'\"\\]")
_PROPERTY = re.compile(r"\s*([-\w]+)\s*:\s*[^\s;]")
_IMPORTANT = re.compile(r"!\s*important\s*\Z", re.IGNORECASE)
_PLAIN = re.compile(r"[ !#-%(-;=?-~]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# `font` sets line-height, which does not tell by its name.
_FAMILIES = {"line": "font", "all": ""}


def split(css: str) -> list[str] | None:
    """The declarations of `css` in order, empty ones left out; None where a string or a parenthesis does not end."""
    if _NESTING.search(css) is None:
        return [text for text in map(str.strip, css.split(";")) if text]
    found, position = [], 0
    while position < len(css):
        declaration = _DECLARATION.match(css, position)
        if declaration is None:
            return None
        if text := declaration[1].strip():
            found.append(text)
        position = declaration.end()
    return found


def well_formed(css: str) -> bool:
    """Whether every declaration has a property name and a value."""
    declarations = split(css)
    return declarations is not None and all(_PROPERTY.match(declaration) for declaration in declarations)


def written(css: str, own: str = "") -> str | None:
    """The text between double quotes that makes `css` the style of an element; None where it cannot be written safely.

    `!important` goes, except from declarations that `own`, the style attribute as its author wrote it, marks so.
    """
    if "!" in css:
        if (weakened := _weakened(css, own)) is None:
            return None
        css = weakened
    # css-inline writes each `"` as `'`. A string that holds the other kind is torn by that, mostly into an odd number.
    if css.count("'") % 2:
        return None
    if _PLAIN.fullmatch(css):
        return css
    if _CONTROL.search(css):
        return None
    css = css.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    # References need no letter that the part's charset may lack.
    return css.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _weakened(css: str, own: str) -> str | None:
    """Without `!important`, and with each declaration that had it behind those that would now win over it."""
    declarations = split(css)
    if declarations is None:
        return None
    kept = {_property(text) for text in split(own) or () if _IMPORTANT.search(text)} if "!" in own else ()
    normal: list[str] = []
    strong: list[str] = []
    in_order: list[str] = []
    families: set[str] = set()
    overtaken = False
    for text in declarations:
        if "!" in text and _IMPORTANT.search(text) and _property(text) not in kept:
            text = _IMPORTANT.sub("", text).rstrip()
            strong.append(text)
            families.add(_family(text))
        else:
            overtaken = overtaken or (bool(families) and not families.isdisjoint((_family(text), "")))
            normal.append(text)
        in_order.append(text)
    return "".join([f"{text};" for text in (normal + strong if overtaken else in_order)])


def _property(declaration: str) -> str:
    return declaration.partition(":")[0].strip().lower()


def _family(declaration: str) -> str:
    """What declarations that may set the same have in common, as `margin` and `margin-top`."""
    first = _property(declaration).lstrip("-").partition("-")[0]
    return _FAMILIES.get(first, first)
