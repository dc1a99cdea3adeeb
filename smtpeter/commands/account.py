"""`smtpeter account`: who owns logins and sender domains, and whether they may send."""

import re
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from policy.account import Account, State
from policy.limits import LIMITS, NONE, Limits
from policy.stores import AdminStore
from smtpeter import database
from smtpeter.cli import settings_of
from smtpeter.commands import login_fields, usage
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_pairs, print_rows, utc

app = typer.Typer(help="Accounts: pending, approved or suspended.", no_args_is_help=True)

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
COLUMNS = ("name", "state", "logins", "domains", "created")

Name = Annotated[str, typer.Argument(help="Name of the account.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    approve: Annotated[bool, typer.Option("--approve", help="Let it send at once.")] = False,
) -> None:
    """Add an account. Until it is approved its logins work, but mail is refused."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no account name; it takes 1 to 64 of a-z 0-9 . _ - and a letter or digit at both ends")
    settings = settings_of(context)
    database.prepare(settings)
    state = State.APPROVED if approve else State.PENDING
    database.open_store(settings).add_account(Account(name=name, state=state, created=int(time.time())))
    typer.echo(f"account {name} added, {state}")


@app.command("list")
def list_accounts(context: typer.Context, as_json: AsJson = False) -> None:
    """List the accounts."""
    store = database.open_store(settings_of(context))
    rows = [_row(store, account) for account in store.accounts()]
    print_rows(rows, COLUMNS, as_json=as_json, empty="there is no account yet; `smtpeter account add NAME` makes one")


@app.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one account."""
    settings = settings_of(context)
    store = database.open_store(settings)
    account = database.find_account(store, name)
    row = _row(store, account) | {"limits": account.limits.as_words(), "used": usage.used(settings, account)}
    print_pairs(row if as_json else login_fields.pairs(row, ("limits", "used")), as_json=as_json)


@app.command()
def limit(
    context: typer.Context,
    name: Name,
    limits: Annotated[
        list[str], typer.Argument(metavar="LIMIT=N", help=f"Any of {', '.join(limit.name for limit in LIMITS)}; none = no limit.")
    ],
) -> None:
    """Limit how much all logins of an account together may send. Counts from the next message on."""
    words = login_fields.words(limits, "LIMIT=N, such as messages-hour=1000")
    Limits().with_words(words)
    store = database.open_store(settings_of(context))
    changed = store.change_account(name, lambda account: replace(account, limits=account.limits.with_words(words)))
    set_ones = {limit: word for limit, word in changed.limits.as_words().items() if word != NONE}
    typer.echo(f"account {name}: {' '.join(f'{limit}={word}' for limit, word in set_ones.items()) or 'no limits'}")


@app.command()
def approve(context: typer.Context, name: Name) -> None:
    """Let an account send."""
    _set_state(context, name, State.APPROVED)


@app.command()
def suspend(context: typer.Context, name: Name) -> None:
    """Stop an account: its open sessions are refused at their next message."""
    _set_state(context, name, State.SUSPENDED)


def _set_state(context: typer.Context, name: str, state: State) -> None:
    database.open_store(settings_of(context)).change_account(name, lambda account: replace(account, state=state))
    typer.echo(f"account {name} is {state}")


def _row(store: AdminStore, account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "state": account.state.value,
        "logins": len(store.logins(account.name)),
        "domains": len(store.domains(account.name)),
        "created": utc(account.created),
    }
