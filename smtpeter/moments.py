"""Times as an operator types them."""

from datetime import UTC, datetime, timedelta

from smtpeter.errors import UserError

NEVER = "never"


def moment(text: str, what: str) -> int | None:
    """The time that a text such as "2027-01-31", or "2027-01-31 12:00" (UTC), names; UTC seconds since 1970, None for "never".

    A date without a time stands for its end, the last day that counts. Raises UserError, which begins with `what`.
    """
    if text.strip().lower() == NEVER:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UserError(f"{what} cannot be {text!r}; it takes 2027-01-31, 2027-01-31 12:00 (UTC) or {NEVER}") from error
    if len(text.strip()) == len("2027-01-31"):
        found += timedelta(days=1)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
