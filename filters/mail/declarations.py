"""The content of a style attribute: declarations taken apart, and written so that nothing can break out of the quotes."""

import re

_QUOTED = r"'[^'\\]*(?:\\[\s\S][^'\\]*)*'" + r'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"'
_INNER = rf"[^()'\"\\]*(?:(?:\\[\s\S]|{_QUOTED}|\([^()'\"\\]*\))[^()'\"\\]*)*"
_DECLARATION = re.compile(rf"([^;()'\"\\]*(?:(?:\\[\s\S]|{_QUOTED}|\({_INNER}\))[^;()'\"\\]*)*)(?:;|\Z)")
_PROPERTY = re.compile(r"\s*([-\w]+)\s*:\s*[^\s;]")
_IMPORTANT = re.compile(r"\s*!\s*important\s*\Z", re.IGNORECASE)
_PLAIN = re.compile(r"[ !#-%(-;=?-~]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# `font` sets line-height, and `all` sets everything: there, a longhand is not known by the start of its name.
_FAMILIES = {"line": "font", "all": ""}


def split(css: str) -> list[str] | None:
    """The declarations of `css` in order, empty ones left out; None where a string or a parenthesis does not end."""
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
    kept = {_property(text) for text in split(own) or () if _IMPORTANT.search(text)}
    normal: list[str] = []
    strong: list[str] = []
    for text in declarations:
        if _IMPORTANT.search(text) and _property(text) not in kept:
            strong.append(_IMPORTANT.sub("", text))
            normal.append(strong[-1])
        else:
            normal.append(text)
    if len(strong) < len(declarations) and _overtaken(normal, strong):
        normal = [text for text in normal if text not in strong] + strong
    return "".join(f"{text};" for text in normal)


def _overtaken(declarations: list[str], strong: list[str]) -> bool:
    families: set[str] = set()
    for text in declarations:
        if text in strong:
            families.add(_family(text))
        elif families and (_family(text) in families or "" in families or not _family(text)):
            return True
    return False


def _property(declaration: str) -> str:
    return declaration.partition(":")[0].strip().lower()


def _family(declaration: str) -> str:
    first = _property(declaration).lstrip("-").partition("-")[0]
    return _FAMILIES.get(first, first)
