"""Regular expressions that a user writes: only those that cannot keep a message waiting, whatever address they are matched to.

`re` tries one way after the other, and a text of 20 characters can make it try for years. So the ways there are at most are
counted beforehand, and an expression with more than LARGEST is refused, as is what cannot be counted: references to groups,
assertions, repetitions of what itself varies.
"""

import re
import warnings

LONGEST_TEXT = 320  # characters of an address (RFC 5321 4.5.3.1: 64 + 1 + 255); a longer one matches nothing
LONGEST = 200  # characters of an expression
LARGEST = LONGEST_TEXT**2 * 100  # ways; two repetitions without a limit, and a hundred alternatives

_QUANTIFIER = re.compile(r"[*+?]|\{(?P<least>\d{1,6})?(?P<comma>,)?(?P<most>\d{1,6})?\}")
_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)


class InvalidExpression(ValueError):
    """An expression cannot be used; the message is a sentence for the user."""


def compile_expression(text: str) -> re.Pattern[str]:
    """The expression, for `fullmatch`, in which upper and lower case are the same. Raises InvalidExpression."""
    if not text or len(text) > LONGEST:
        raise InvalidExpression(f"a regular expression has 1 to {LONGEST} characters, not {len(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what sets may mean one day (re)
            found = re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidExpression(f"{text!r} is no regular expression: {error}") from error
    if _Ways(text).count() > LARGEST:
        raise InvalidExpression(f"{text!r} repeats too much; it takes two repetitions without a limit, such as `.*`")
    return found


def matches(expression: re.Pattern[str], text: str) -> bool:
    """Whether the whole of `text` is what the expression describes."""
    return len(text) <= LONGEST_TEXT and expression.fullmatch(text) is not None


class _Ways:
    """Counts in how many ways an expression may be tried on a text. Only for one that `re` has compiled."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def count(self) -> int:
        """The number, for the alternatives up to the end or to the bracket that closes them."""
        total, ways = 0, 1
        while self._at < len(self._text) and self._text[self._at] != ")":
            if self._text[self._at] == "|":
                self._at += 1
                total, ways = total + ways, 1
            else:
                ways *= self._repeated(self._atom())
        return total + ways

    def _atom(self) -> int:
        sign = self._text[self._at]
        if sign == "(":
            return self._group()
        if sign == "\\":
            if self._text[self._at + 1].isdigit():
                raise InvalidExpression(f"{self._text!r} refers to a group, which takes too long to match")
            self._at += 2
        elif sign == "[" and (found := _CLASS.match(self._text, self._at)):
            self._at = found.end()
        else:
            self._at += 1
        return 1

    def _group(self) -> int:
        self._at += 1
        if self._text.startswith("?", self._at):
            if not self._text.startswith("?:", self._at):
                raise InvalidExpression(f"{self._text!r} has a group of a kind that is not taken; it takes ( ) and (?: )")
            self._at += 2
        ways = self.count()
        self._at += 1
        return ways

    def _repeated(self, ways: int) -> int:
        """The ways of something that can be tried in `ways`, as often as the quantifier behind it says."""
        found = _QUANTIFIER.match(self._text, self._at)
        if found is None or found[0] == "{}":
            return ways
        self._at = found.end()
        if self._text.startswith("+", self._at):
            raise InvalidExpression(f"{self._text!r} has a quantifier that keeps what it has; take the + behind it away")
        if self._text.startswith("?", self._at):
            self._at += 1
        least, most = _limits(found)
        if most > LONGEST_TEXT or (ways > 1 and most > 1):
            raise InvalidExpression(f"{self._text!r} repeats what varies itself, or too often; write it without a group")
        return max(ways, 1) + most - least if most <= 1 else most - least + 1


def _limits(quantifier: re.Match[str]) -> tuple[int, int]:
    """How often at least and at most; without a limit it is as often as the longest text has characters."""
    sign = quantifier[0]
    if sign in {"*", "+", "?"}:
        return (1 if sign == "+" else 0), (1 if sign == "?" else LONGEST_TEXT)
    least = int(quantifier["least"] or 0)
    if not quantifier["comma"]:
        return least, least
    return least, int(quantifier["most"] or LONGEST_TEXT)
