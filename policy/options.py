"""The switches of a login, and the header fields that change them for one message.

Each switch stands once, in `OPTIONS`: its name, the field of a message that overrides it, and the values that field may
have. Everything else (the command, the filter, the documentation) reads this table. Everything is off by default.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

HEADER_PREFIX = "x-smtpeter"
FORCED = "forced-"  # before the word of an option that a message cannot change

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "off"})


class Images(StrEnum):
    """What happens to images embedded in the message."""

    DEFAULT = "default"
    HOSTED = "hosted"


class InvalidOption(ValueError):
    """An option has no such value; the message names the option, the value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The switches of one login, or the ones in force for one message."""

    inlinecss: bool = False
    trackclicks: bool = False
    trackopens: bool = False
    trackbounces: bool = False
    preventscam: bool = False
    images: Images = Images.DEFAULT

    @property
    def properties(self) -> tuple[str, ...]:
        """The names of the boolean options that are on, as the attempts log lists them."""
        return tuple(option.name for option in OPTIONS if getattr(self, option.name) is True)

    def with_words(self, words: Mapping[str, str]) -> Self:
        """These options with some set from text, name to word. Raises InvalidOption for an unknown name or word."""
        changes: dict[str, Any] = {}
        for name, word in words.items():
            option = BY_NAME.get(name)
            if option is None:
                raise InvalidOption(f"there is no option {name!r}; the options are {', '.join(BY_NAME)}")
            changes[name] = option.parse(word)
        return replace(self, **changes)

    def as_words(self, forced: Collection[str] = ()) -> dict[str, str]:
        """Every option and its word, the inverse of `with_words`; of `settled` where the names of `forced` ones are given."""
        return {
            option.name: (FORCED if option.name in forced else "") + option.word(getattr(self, option.name)) for option in OPTIONS
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One switch: its name, its header field and what it does, in one sentence."""

    name: str
    effect: str

    @property
    def header(self) -> str:
        """The name of the header field that overrides this option, in lower case."""
        return f"{HEADER_PREFIX}-{self.name}"

    @property
    def allowed(self) -> str:
        """The words the option takes, for an error message."""
        return "hosted or default" if self.name == "images" else "true or false (also 1/0, yes/no, on/off)"

    def parse(self, word: str) -> bool | Images:
        """The value a word stands for, case and outer blanks ignored. Raises InvalidOption."""
        folded = word.strip().lower()
        if self.name == "images":
            if folded in set(Images):
                return Images(folded)
        elif folded in TRUE_WORDS:
            return True
        elif folded in FALSE_WORDS:
            return False
        raise InvalidOption(f"{self.name} cannot be {word.strip()!r}; it takes {self.allowed}")

    @staticmethod
    def word(value: bool | Images) -> str:
        """The word for a value."""
        return value.value if isinstance(value, Images) else str(value).lower()


def settled(options: Options, forced: frozenset[str], words: Mapping[str, str]) -> tuple[Options, frozenset[str]]:
    """The options of a login, and the names of those no message can change, with some set from text, name to word.

    `forced-on` and its like take an option out of a message's hands, a plain word gives it back. Raises InvalidOption.
    """
    plain = {name: word.strip().lower().removeprefix(FORCED) for name, word in words.items()}
    taken = {name for name, word in words.items() if word.strip().lower().startswith(FORCED)}
    return options.with_words(plain), (forced - words.keys()) | taken


OPTIONS = (
    Option(name="inlinecss", effect="rules of style sheets are copied into the style attributes of the HTML"),
    Option(name="trackclicks", effect="links are replaced by links that record the visit"),
    Option(name="trackopens", effect="image links are replaced and an invisible image is added, to record the opening"),
    Option(name="trackbounces", effect="the envelope sender is replaced, so that bounces are recorded"),
    Option(name="preventscam", effect="links whose label is the link itself are left alone by trackclicks"),
    Option(name="images", effect="hosted: embedded images are taken out of the message and served from the host"),
)
BY_NAME = {option.name: option for option in OPTIONS}
BY_HEADER = {option.header: option for option in OPTIONS}
TAGS_HEADER = f"{HEADER_PREFIX}-tags"

if tuple(BY_NAME) != tuple(field.name for field in fields(Options)):
    raise AssertionError("OPTIONS and the fields of Options must agree")
