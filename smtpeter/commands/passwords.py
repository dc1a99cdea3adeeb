"""The passwords of a login: a second one beside the first, and when each of them was used last."""

import secrets
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from policy.login import Login, Password
from policy.password import SALT_LENGTH, hash_password, new_password
from policy.stores import StoreUnavailable
from policy.stores.uses import SqlUses, Use
from smtpeter import database
from smtpeter.cli import settings_of
from smtpeter.commands.login_shown import find, show_credentials
from smtpeter.errors import UserError
from smtpeter.moments import moment
from smtpeter.output import AsJson, utc
from smtpeter.settings import Settings

HOUR = 3_600
HOURS = 24
YEAR = 8_760  # hours

Hours = Annotated[
    int | None, typer.Option(min=1, max=YEAR, help=f"The old one goes when it was not used for so long; {HOURS} without --until.")
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="The old one goes then at the latest: 2027-01-31, or 2027-01-31 12:00 (UTC).")
]
AtOnce = Annotated[bool, typer.Option("--at-once", help="The old one goes now.")]


def rotate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="User name of the login, or the beginning of it.")],
    hours: Hours = None,
    until: Until = None,
    at_once: AtOnce = False,
    as_json: AsJson = False,
) -> None:
    """Give a login another password and show it, this once. The one it has goes on until nothing uses it any more."""
    if at_once and (hours is not None or until is not None):
        raise UserError("--at-once leaves no time for --hours or --until")
    settings, now = settings_of(context), int(time.time())
    deadline = None if until is None else moment(until, "the end of a password")
    if deadline is not None and deadline <= now:
        raise UserError(f"{until} has passed; --at-once ends the old password now")
    idle = HOURS * HOUR if hours is None and deadline is None else None if hours is None else hours * HOUR
    store = database.open_store(settings)
    login = find(store, name)
    if login.external:
        raise UserError(f"the password of {login.name} is kept in the directory; it is changed there")
    used, password = last_uses(settings, login.name), new_password(secrets.choice)
    gone: list[Password] = []

    def change(login: Login) -> Login:
        found = [] if at_once else [each for each in login.passwords if _valid(each, login, used, now)]
        kept = [replace(each, until=deadline, idle=idle) for each in found[-1:]]
        gone[:] = found[:-1]
        return replace(login, passwords=(*kept, hashed(password, _next(login))))

    changed = store.change_login(login.name, change)
    show_credentials(settings, changed, password, as_json=as_json)
    if not as_json:
        typer.echo("\n" + "\n".join(_told(changed, gone)))


def hashed(password: str, number: int) -> Password:
    """A password as it is kept, made now."""
    return Password(number=number, hash=hash_password(password, secrets.token_bytes(SALT_LENGTH)), created=int(time.time()))


def last_uses(settings: Settings, login: str) -> dict[int, Use] | None:
    """The last use of each password of a login, by its number; None where the usage database does not answer."""
    store = SqlUses(settings.usage_url)
    try:
        return store.of(login)
    except StoreUnavailable:
        return None
    finally:
        store.close()


def forget(settings: Settings, login: str) -> None:
    """Removes what is known of the uses of a login that is gone; what cannot be removed now belongs to nobody."""
    store = SqlUses(settings.usage_url)
    try:
        store.remove(login)
    except StoreUnavailable as error:
        typer.echo(f"smtpeter: its last uses are still there: {error}", err=True)
    finally:
        store.close()


def rows(settings: Settings, login: Login) -> list[dict[str, Any]]:
    """A row for each password of a login, for `login show`; what is not known is None. A directory's has the number 0."""
    used = last_uses(settings, login.name) or {}
    known = [Password(number=0, hash="", created=login.created)] if login.external else login.passwords
    found = []
    for password in known:
        use = used.get(password.number)
        found.append(
            {
                "number": password.number,
                "created": None if login.external else utc(password.created),
                "until": None if password.until is None else utc(password.until),
                "unused_hours": None if password.idle is None else password.idle / HOUR,
                "last_use": None if use is None else utc(use.time),
                "address": None if use is None else use.address,
                "mechanism": None if use is None else use.mechanism,
                "client": None if use is None else use.client or None,
            }
        )
    return found


def lines(found: list[dict[str, Any]]) -> list[str]:
    """The rows as text, a line each."""
    return [_line(row) for row in found]


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['number']}: created {row['created']}" if row["created"] else "in the directory"]
    if row["until"]:
        parts.append(f"ends {row['until']}")
    if row["unused_hours"]:
        parts.append(f"ends when not used for {row['unused_hours']:g} h")
    if row["last_use"]:
        client = f" as {row['client']}" if row["client"] else ""
        parts.append(f"last used {row['last_use']} from {row['address'] or 'an unknown address'}{client}, {row['mechanism']}")
    else:
        parts.append("no use known")
    return ", ".join(parts)


def _next(login: Login) -> int:
    return 1 + max((each.number for each in login.passwords), default=0)


def _valid(password: Password, login: Login, used: dict[int, Use] | None, now: int) -> bool:
    """Whether a password is still accepted; one whose last use nobody can tell is."""
    if password.until is not None and now >= password.until:
        return False
    if password.idle is None or used is None:
        return True
    newer = min((each.created for each in login.passwords if each.number > password.number), default=now)
    last = used[password.number].time if password.number in used else 0
    return max(newer, last) > now - password.idle


def _told(login: Login, gone: list[Password]) -> list[str]:
    """What becomes of the other passwords, in sentences."""
    found = [f"Password {each.number}, made {utc(each.created)}, is no longer accepted." for each in gone]
    for old in login.passwords[:-1]:
        ends = [] if old.until is None else [f"{utc(old.until)} UTC"]
        ends += [] if old.idle is None else [f"it was not used for {old.idle // HOUR} hours"]
        found.append(f"Password {old.number}, made {utc(old.created)}, is accepted until {', or '.join(ends)}.")
    return found or ["No other password is accepted."]
