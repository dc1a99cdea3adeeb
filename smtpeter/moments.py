"""Times as an operator types them."""

import re
from datetime import UTC, datetime, timedelta

from smtpeter.errors import UserError

NEVER = "never"
YEARS = range(1970, 9999)

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def is_day(text: str) -> bool:
    """Whether a text names a day without a time."""
    return _DAY.fullmatch(text.strip()) is not None


def moment(text: str, what: str) -> int | None:
    """The time that a text such as "2027-01-31", or "2027-01-31 12:00" (UTC), names; UTC seconds since 1970, None for "never".

    A date without a time stands for its end, the last day that counts. Raises UserError, which begins with `what`.
    """
    word = text.strip()
    if word.lower() == NEVER:
        return None
    try:
        # Not 2027-W05-1, which is read as well; and no year at whose ends a day or a zone would be too much.
        found = datetime.fromisoformat(word) if _DAY.match(word) else None
    except ValueError:
        found = None
    if found is None or found.year not in YEARS:
        raise UserError(f"{what} cannot be {text!r}; it takes 2027-01-31, 2027-01-31 12:00 (UTC) or {NEVER}")
    if is_day(text):
        found += timedelta(days=1)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
