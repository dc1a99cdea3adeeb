"""The domain of an address field (RFC 5322 3.4), read so that no two readings of it are possible."""

import re
from functools import lru_cache

from filters.mail.message import Message
from policy.domains import normalise_domain
from policy.reply import Refused, malformed

# One step of the field. An unclosed quote, comment or angle bracket matches as a single character, which ends the reading.
_STEP = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\[\]\\]*\]|[^"\[\]()<>,:;@.\\\s]+|\s+|.', re.DOTALL)
_COMMENT_STEP = re.compile(r"[^()\\]+|\\.|.", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SPECIALS = {",", ";", ":", "<", ">"}
_USUAL = 300  # octets of a From field that is remembered: it is asked for by several filters, and comes again
_DOMAIN_LIMIT = 253  # octets of a name in ASCII; a longer one in Unicode cannot be shorter there


def author_domain(message: Message) -> str:
    """The domain of the From field of `message`; "" where there is none or it is in doubt. Raises Refused for two From fields.

    Which of two a reader shows is not ours to guess.
    """
    authors = tuple(message.all(b"from"))
    if len(authors) > 1:
        raise Refused(malformed("This message has more than one From field"))
    if not authors:
        return ""
    value = authors[0].value
    return _remembered_domain(value) if len(value) <= _USUAL else from_domain(value)


@lru_cache(maxsize=256)
def _remembered_domain(field_value: bytes) -> str:
    return from_domain(field_value)


def from_domain(field_value: bytes) -> str:
    """The domain of the first mailbox in a From field: ASCII form, lower case; "" where there is none or it is in doubt."""
    # Other 8-bit charsets may stand in a name, never in a domain: surrogates are refused there.
    steps = _steps(field_value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape"))
    return "" if steps is None else _domain(_address(steps))


def _steps(text: str) -> list[str] | None:
    """The words and specials without comments; a stretch of blanks or comments is one blank. None where one is unclosed."""
    if _CONTROL.search(text):
        return None
    steps: list[str] = []
    position = 0
    while position < len(text):
        if text[position] == "(":
            position = _comment_end(text, position)
            if position < 0:
                return None
            step = " "
        else:
            match = _STEP.match(text, position)
            if match is None or match[0] in {'"', "[", "]", ")", "\\"}:
                return None
            step = " " if match[0].isspace() else match[0]
            position = match.end()
        if step != " " or steps[-1:] != [" "]:
            steps.append(step)
    return steps


def _comment_end(text: str, position: int) -> int:
    """The place behind the comment at `position` (they nest), or -1."""
    depth = 0
    for match in _COMMENT_STEP.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return -1


def _address(steps: list[str]) -> list[str]:
    """The steps of the first address, without its angle brackets and name; empty where there is none."""
    found: list[str] = []
    for position, step in enumerate(steps):
        if step == "<":
            return _in_angles(steps[position + 1 :])
        if step in {",", ";"}:
            if found not in ([], [" "]):
                break
            found = []
        elif step == ":":
            found = []  # the name of a group ends here
        else:
            found.append(step)
    return found


def _in_angles(steps: list[str]) -> list[str]:
    """The steps up to the closing bracket, without a route (RFC 5322 4.4); empty where anything follows in the mailbox."""
    if ">" not in steps:
        return []
    end = steps.index(">")
    inside = steps[:end]
    rest = [step for step in steps[end + 1 :] if step != " "][:1]
    if rest not in ([], [","], [";"]):
        return []
    if [step for step in inside if step != " "][:1] == ["@"]:
        return inside[inside.index(":") + 1 :] if ":" in inside else []
    return inside


def _domain(address: list[str]) -> str:
    """The domain of local-part "@" domain."""
    if address.count("@") != 1 or not _SPECIALS.isdisjoint(address):
        return ""
    at = address.index("@")
    local, domain = _joined(address[:at]), _joined(address[at + 1 :])
    if not local or '"' in domain or len(domain) > _DOMAIN_LIMIT:
        return ""
    try:
        return normalise_domain(domain)
    except ValueError:
        return ""


def _joined(steps: list[str]) -> str:
    """Words and dots as one, without the blanks that RFC 5322 4.4 allows around dots; "" where others are left."""
    last = len(steps) - 1
    kept = [step for at, step in enumerate(steps) if step != " " or (0 < at < last and "." not in {steps[at - 1], steps[at + 1]})]
    return "" if " " in kept else "".join(kept)
