"""`smtpeter login`: what clients authenticate with, and the options their mail gets."""

import secrets
import time
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated

import typer

from policy.login import Login, new_name
from policy.options import OPTIONS, Options
from policy.password import new_password
from policy.stores import AdminStore
from smtpeter import database
from smtpeter.cli import settings_of
from smtpeter.commands import login_fields, login_import, passwords, usage
from smtpeter.commands.login_fields import Given
from smtpeter.commands.login_shown import find, row, short, show_credentials
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_pairs, print_rows
from smtpeter.settings import Settings

app = typer.Typer(help="Logins: generated user names and passwords, each with its own options.", no_args_is_help=True)

COLUMNS = ("name", "account", "label", "enabled", "options", "created")
NOTHING = Given(options=MappingProxyType({}))

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
    senders: login_fields.Senders = None,
    networks: login_fields.Networks = None,
    ports: login_fields.LoginPorts = None,
    dialects: login_fields.Dialects = None,
    limits: login_fields.GivenLimits = None,
    expires: login_fields.Expires = None,
    local: Annotated[bool, typer.Option("--local", help="Keep it in the database, also where logins go to a directory.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a login and show its password, this once. Every option is off unless given, such as inlinecss=true."""
    settings = settings_of(context)
    store = database.open_database(settings) if local else database.open_store(settings)
    given = Given(
        options=read_words(options),
        label=label,
        senders=senders,
        networks=networks,
        ports=ports,
        dialects=dialects,
        limits=limits,
        expires=expires,
    )
    create(settings, store, account, given, as_json=as_json)


@app.command("list")
def list_logins(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the logins with the options they have on. People of an existing directory are not among them."""
    settings = settings_of(context)
    store = database.open_store(settings)
    if account is not None:
        database.find_account(store, account)
    found = store.logins(account)
    rows = [row(login) for login in found]
    if not as_json:
        rows = [
            {**row, "options": short(login), "enabled": "yes" if row["enabled"] else "no"}
            for row, login in zip(rows, found, strict=True)
        ]
    print_rows(rows, COLUMNS, as_json=as_json, empty="there is no login yet; `smtpeter login add --account NAME` makes one")
    if settings.directory.urls and settings.directory.layout == "existing" and not as_json:
        typer.echo("People of the directory are logins too; `smtpeter login show NAME` looks one up.")


@app.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one login. The password is kept only as a hash and cannot be shown again."""
    settings = settings_of(context)
    login = find(database.open_store(settings), name)
    found = row(login) | login_fields.shown(login)
    found |= {"used": usage.used(settings, login), "passwords": passwords.rows(settings, login)}
    if not as_json:
        found = login_fields.pairs(found, ("options", *login_fields.shown(login), "used"))
        found["passwords"] = passwords.lines(found["passwords"])
    print_pairs(found, as_json=as_json)


@app.command("set")
def set_options(
    context: typer.Context,
    name: Name,
    options: Words = None,
    label: Annotated[str | None, typer.Option(help="A note of what uses the login.")] = None,
    senders: login_fields.Senders = None,
    networks: login_fields.Networks = None,
    ports: login_fields.LoginPorts = None,
    dialects: login_fields.Dialects = None,
    limits: login_fields.GivenLimits = None,
    expires: login_fields.Expires = None,
) -> None:
    """Change a login; what is not named stays. Counts from the next message on.

    forced-on, forced-off and the like set an option that no header field of a message changes.
    """
    store = database.open_store(settings_of(context))
    login = find(store, name)
    given = Given(
        options=read_words(options),
        label=label,
        senders=senders,
        networks=networks,
        ports=ports,
        dialects=dialects,
        limits=limits,
        expires=expires,
    )
    if not given:
        raise UserError(
            "nothing to set; give OPTION=VALUE, --label, --sender, --network, --port, --dialect, --limit or --expires"
        )
    changed = store.change_login(login.name, given.change())
    typer.echo(f"login {login.name}: {short(changed)}")


@app.command()
def disable(context: typer.Context, name: Name) -> None:
    """Stop a login; its open sessions are refused at their next message."""
    _set_enabled(context, name, False)


@app.command()
def enable(context: typer.Context, name: Name) -> None:
    """Let a disabled login work again."""
    _set_enabled(context, name, True)


app.command()(passwords.rotate)
app.command("import")(login_import.import_logins)


@app.command()
def remove(context: typer.Context, name: Annotated[str, typer.Argument(help="The whole user name.")]) -> None:
    """Remove a login for good."""
    settings = settings_of(context)
    database.open_store(settings).remove_login(name)
    passwords.forget(settings, name)
    typer.echo(f"login {name} removed")


def create(settings: Settings, store: AdminStore, account: str, given: Given = NOTHING, *, as_json: bool = False) -> None:
    """Adds a login and shows its password, the only time it is seen. Raises InvalidOption, InvalidLimit, UserError, NotFound."""
    password = new_password(secrets.choice)
    login = Login(
        name=new_name(secrets.token_bytes(16)),
        account=account,
        passwords=(passwords.hashed(password, 1),),
        options=Options(),
        created=int(time.time()),
    )
    login = given.change()(login)
    store.add_login(login)
    show_credentials(settings, login, password, as_json=as_json)


def read_words(options: list[str] | None) -> dict[str, str]:
    """OPTION=VALUE words as a mapping. Raises UserError for one without an equals sign."""
    return login_fields.words(options, "OPTION=VALUE, such as inlinecss=true")


def _set_enabled(context: typer.Context, name: str, enabled: bool) -> None:
    store = database.open_store(settings_of(context))
    login = find(store, name)
    store.change_login(login.name, lambda login: replace(login, enabled=enabled))
    typer.echo(f"login {login.name} is {'enabled' if enabled else 'disabled'}")
