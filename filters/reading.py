"""What one control field says, whoever's it is. `filters.overrides` puts the readings of a message together."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from policy.options import Images

HEADER = "header"  # who decided: a field of ours


class Rank(IntEnum):
    """Which field beats which, wherever they stand; of one rank the last one counts."""

    GENERAL = 0  # another provider's, for several options at once
    SPECIAL = 1  # another provider's
    OWN = 2


class Said(NamedTuple):
    """What is asked for: options and their values, tags; and what of it is not done, to be told."""

    options: tuple[tuple[str, bool | Images], ...] = ()
    tags: tuple[str, ...] = ()
    lacking: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a field, or an entry of one, says. `by` is whose it is: `header`, or the name of a dialect.

    `subject` names it, `warning` tells what is not understood or not done.
    """

    by: str
    subject: str
    rank: Rank
    said: Said = Said()
    warning: str = ""
