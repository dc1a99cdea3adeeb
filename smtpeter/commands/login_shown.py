"""One login: found by the beginning of its name, and what is shown of it."""

from typing import Any

import typer

from policy.login import Login
from policy.stores import AdminStore
from smtpeter import wiring
from smtpeter.errors import UserError
from smtpeter.output import print_json, print_pairs, utc
from smtpeter.settings import Settings


def find(store: AdminStore, beginning: str) -> Login:
    """The one login whose name begins so. Raises UserError where there is none, or more than one."""
    whole = store.login(beginning.lower())
    if whole is not None:
        return whole
    found = [login for login in store.logins() if login.name.startswith(beginning.lower())] if beginning else []
    if not found:
        raise UserError(f"there is no login {beginning!r}; `smtpeter login list` shows them")
    if len(found) > 1:
        raise UserError(f"{len(found)} logins begin with {beginning!r}; type more of the name")
    return found[0]


def show_credentials(settings: Settings, login: Login, password: str, *, as_json: bool = False) -> None:
    """Prints what a client is set up with; the only time the password is seen."""
    if as_json:
        print_json({**row(login), "password": password, "host": settings.hostname, "ports": wiring.ports(settings)})
        return
    smtp, submission, submissions = wiring.ports(settings)
    typer.echo("The password is shown this once; the spaces belong to it.\n")
    pairs = {
        "  Host": settings.hostname,
        "  Port": f"{submission} or {smtp} with STARTTLS, {submissions} with TLS",
        "  User name": login.name,
        "  Password": password,
        "  Mechanism": "PLAIN or LOGIN (“normal password”)",
        "  Options": short(login),
    }
    print_pairs(pairs, as_json=False)


def short(login: Login) -> str:
    """The options a login has on, in a line."""
    words = login.options.as_words(login.forced)
    on = [name if word == "true" else f"{name}={word}" for name, word in words.items() if word not in ("false", "default")]
    return " ".join(on) or "all off"


def row(login: Login) -> dict[str, Any]:
    """What a login is, without what it may do."""
    return {
        "name": login.name,
        "account": login.account,
        "label": login.label,
        "enabled": login.enabled,
        "options": login.options.as_words(login.forced),
        "created": utc(login.created),
    }
