"""`smtpeter login`: what clients authenticate with, and the options their mail gets."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

import typer

from policy.login import Login, Password, new_name
from policy.options import OPTIONS, Options, settled
from policy.password import SALT_LENGTH, hash_password, new_password
from policy.stores.sql import SqlStore
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_json, print_pairs, print_rows, utc
from smtpeter.settings import Settings

app = typer.Typer(help="Logins: generated user names and passwords, each with its own options.", no_args_is_help=True)

COLUMNS = ("name", "account", "label", "enabled", "options", "created")
LABEL_LENGTH = 255

Name = Annotated[str, typer.Argument(help="User name of the login, or the beginning of it.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="OPTION=VALUE", help=f"Any of {', '.join(option.name for option in OPTIONS)}."),
]
Label = Annotated[str, typer.Option(help="A note of what uses the login.")]


@app.command()
def add(
    context: typer.Context,
    account: Annotated[str, typer.Option(help="The account it belongs to.")],
    options: Words = None,
    label: Label = "",
    as_json: AsJson = False,
) -> None:
    """Add a login and show its password, this once. Every option is off unless given, such as inlinecss=true."""
    settings = settings_of(context)
    store = database.open_store(settings)
    create(settings, store, account, words=read_words(options), label=_checked(label), as_json=as_json)


@app.command("list")
def list_logins(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the logins with the options they have on."""
    store = database.open_store(settings_of(context))
    if account is not None and store.account(account) is None:
        raise UserError(f"there is no account {account!r}")
    found = store.logins(account)
    rows = [_row(login) for login in found]
    if not as_json:
        rows = [
            {**row, "options": _short(login), "enabled": "yes" if row["enabled"] else "no"}
            for row, login in zip(rows, found, strict=True)
        ]
    print_rows(rows, COLUMNS, as_json=as_json, empty="there is no login yet; `smtpeter login add --account NAME` makes one")


@app.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one login. The password is kept only as a hash and cannot be shown again."""
    row = _row(find(database.open_store(settings_of(context)), name))
    if not as_json:
        row["options"] = [f"{option}={word}" for option, word in row["options"].items()]
    print_pairs(row, as_json=as_json)


@app.command("set")
def set_options(
    context: typer.Context,
    name: Name,
    options: Words = None,
    label: Annotated[str | None, typer.Option(help="A note of what uses the login.")] = None,
) -> None:
    """Change options or the label of a login; what is not named stays. Counts from the next message on."""
    store = database.open_store(settings_of(context))
    login = find(store, name)
    if not options and label is None:
        raise UserError("nothing to set; give OPTION=VALUE or --label")
    words = read_words(options)

    def change(login: Login) -> Login:
        wanted, forced = settled(login.options, login.forced, words)
        return replace(login, options=wanted, forced=forced, label=login.label if label is None else _checked(label))

    changed = store.change_login(login.name, change)
    typer.echo(f"login {login.name}: {_short(changed)}")


@app.command()
def disable(context: typer.Context, name: Name) -> None:
    """Stop a login; its open sessions are refused at their next message."""
    _set_enabled(context, name, False)


@app.command()
def enable(context: typer.Context, name: Name) -> None:
    """Let a disabled login work again."""
    _set_enabled(context, name, True)


@app.command()
def rotate(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Give a login a new password and show it, this once. The old one stops at once."""
    settings = settings_of(context)
    store = database.open_store(settings)
    login = find(store, name)
    password = new_password(secrets.choice)
    store.change_login(login.name, lambda login: replace(login, passwords=(_hashed(password, 1),)))
    show_credentials(settings, login, password, as_json=as_json)


@app.command()
def remove(context: typer.Context, name: Annotated[str, typer.Argument(help="The whole user name.")]) -> None:
    """Remove a login for good."""
    database.open_store(settings_of(context)).remove_login(name)
    typer.echo(f"login {name} removed")


def create(
    settings: Settings,
    store: SqlStore,
    account: str,
    *,
    words: Mapping[str, str] = MappingProxyType({}),
    label: str = "",
    as_json: bool = False,
) -> None:
    """Adds a login with these options and shows its password, the only time it is seen. Raises InvalidOption, NotFound."""
    password = new_password(secrets.choice)
    wanted, forced = settled(Options(), frozenset(), words)
    login = Login(
        name=new_name(secrets.token_bytes(16)),
        account=account,
        passwords=(_hashed(password, 1),),
        options=wanted,
        forced=forced,
        label=label,
        created=int(time.time()),
    )
    store.add_login(login)
    show_credentials(settings, login, password, as_json=as_json)


def find(store: SqlStore, beginning: str) -> Login:
    """The one login whose name begins so. Raises UserError where there is none, or more than one."""
    found = [login for login in store.logins() if login.name.startswith(beginning.lower())] if beginning else []
    if not found:
        raise UserError(f"there is no login {beginning!r}; `smtpeter login list` shows them")
    if len(found) > 1:
        raise UserError(f"{len(found)} logins begin with {beginning!r}; type more of the name")
    return found[0]


def read_words(options: list[str] | None) -> dict[str, str]:
    """OPTION=VALUE words as a mapping. Raises UserError for one without an equals sign."""
    words = {}
    for option in options or []:
        name, equals, word = option.partition("=")
        if not equals:
            raise UserError(f"{option!r} is no option; it takes OPTION=VALUE, such as inlinecss=true")
        words[name.strip().lower()] = word
    return words


def show_credentials(settings: Settings, login: Login, password: str, *, as_json: bool = False) -> None:
    """Prints what a client is set up with; the only time the password is seen."""
    if as_json:
        print_json({**_row(login), "password": password, "host": settings.hostname, "ports": wiring.ports(settings)})
        return
    smtp, submission, submissions = wiring.ports(settings)
    typer.echo("The password is shown this once; the spaces belong to it.\n")
    pairs = {
        "  Host": settings.hostname,
        "  Port": f"{submission} or {smtp} with STARTTLS, {submissions} with TLS",
        "  User name": login.name,
        "  Password": password,
        "  Mechanism": "PLAIN or LOGIN (“normal password”)",
        "  Options": _short(login),
    }
    print_pairs(pairs, as_json=False)


def _set_enabled(context: typer.Context, name: str, enabled: bool) -> None:
    store = database.open_store(settings_of(context))
    login = find(store, name)
    store.change_login(login.name, lambda login: replace(login, enabled=enabled))
    typer.echo(f"login {login.name} is {'enabled' if enabled else 'disabled'}")


def _checked(label: str) -> str:
    if len(label) > LABEL_LENGTH or not label.isprintable():
        raise UserError(f"a label takes up to {LABEL_LENGTH} printable characters")
    return label


def _hashed(password: str, number: int) -> Password:
    hashed = hash_password(password, secrets.token_bytes(SALT_LENGTH))
    return Password(number=number, hash=hashed, created=int(time.time()))


def _short(login: Login) -> str:
    words = login.options.as_words(login.forced)
    on = [name if word == "true" else f"{name}={word}" for name, word in words.items() if word not in ("false", "default")]
    return " ".join(on) or "all off"


def _row(login: Login) -> dict[str, Any]:
    return {
        "name": login.name,
        "account": login.account,
        "label": login.label,
        "enabled": login.enabled,
        "options": login.options.as_words(login.forced),
        "created": utc(login.created),
    }
