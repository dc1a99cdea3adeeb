"""`smtpeter domain key`: DKIM keys with rules of their own, besides those that a sender domain comes with."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from policy.dns_records import key_records
from policy.domains import Algorithm, Rule, SigningKey, check_selector, new_private_key, owner_of, sealed_key
from policy.owners import Owners
from policy.rotation import RESERVED
from policy.signing import CONDITIONAL, read_rule
from policy.stores import AdminStore
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.commands.domain_dns import print_records
from smtpeter.errors import UserError
from smtpeter.moments import is_day, moment
from smtpeter.output import AsJson, print_json, print_rows, utc
from smtpeter.published import as_rows, domain_name, keys_of, service_of

app = typer.Typer(help="DKIM keys with rules of their own.", no_args_is_help=True)

COLUMNS = ("domain", "selector", "account", "algorithm", "rule", "start", "end", "use", "seen")
DEFAULT_SELECTOR = "smtpeter"
DAY = 86_400  # seconds

Name = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain that the key signs for, its `d=`.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    account: Annotated[str, typer.Option(help="The account whose mail it signs.")],
    selector: Annotated[str, typer.Option(help="Selector of the key.")] = DEFAULT_SELECTOR,
    algorithm: Annotated[Algorithm | None, typer.Option(help="Kind of key to generate; rsa without it.")] = None,
    import_key: Annotated[Path | None, typer.Option(help="Private key (PEM) to use instead of a generated one.")] = None,
    rule: Annotated[
        str, typer.Option(help="domain, always, fallback, or exact:TEXT, pattern:TEXT, expression:TEXT of the author's address.")
    ] = Rule.DOMAIN.value,
    start: Annotated[str, typer.Option(help="It signs from this time on: 2027-01-31, or 2027-01-31 12:00 (UTC).")] = "",
    end: Annotated[str, typer.Option(help="It signs until this time; of a day without a time, until its end.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add a key that signs by a rule, and print the DNS record to publish."""
    settings = settings_of(context)
    store = database.open_store(settings)
    domain = domain_name(store, name)
    try:
        place, (kind, condition) = check_selector(selector), read_rule(rule)
    except ValueError as error:
        raise UserError(str(error)) from error
    _check_place(store, domain, place, account, kind)
    if algorithm is not None and import_key is not None:
        raise UserError("--algorithm and --import-key exclude each other")
    pem = read_key(import_key) if import_key is not None else new_private_key(algorithm or Algorithm.RSA)
    begin, stop = _time(start, "--start"), _time(end, "--end")
    if begin is not None and stop is not None and begin >= stop:
        raise UserError("--end is not after --start, so the key would never sign")
    master, now = wiring.master_key(settings), int(time.time())
    made = sealed_key(master, pem, domain=domain, account=account, selector=place, now=now)
    key = replace(made, rule=kind, condition=condition, start=begin, end=stop)
    store.change_keys(domain, lambda keys: (*_without(keys, domain, place), key))
    records = key_records([key], service_of(settings).domain)
    if as_json:
        print_json({**_row(key, as_json=True), "records": as_rows(records)})
        return
    typer.echo(f"key {place} of {domain} added to account {account}; publish in the DNS:\n")
    print_records(records)
    typer.echo(f"\nThen `smtpeter domain check {domain}` says whether the world sees it.")


@app.command("list")
def list_keys(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the keys, those of sender domains and those that change by themselves among them; private halves are not shown."""
    store = database.open_store(settings_of(context))
    if account is not None:
        database.find_account(store, account)
    accounts = [found.name for found in store.accounts()] if account is None else [account]
    keys = [key for each in accounts for key in store.signing_keys(each)]
    keys.sort(key=lambda key: (key.domain, key.created, key.selector))
    empty = "there is no key yet; `smtpeter domain add NAME` makes one"
    print_rows([_row(key, as_json=as_json) for key in keys], COLUMNS, as_json=as_json, empty=empty)


@app.command()
def remove(context: typer.Context, name: Name, selector: Annotated[str, typer.Argument(help="Its selector.")]) -> None:
    """Remove a key for good; mail that it signed and that is still on its way needs its DNS record for some days more."""
    store = database.open_store(settings_of(context))
    domain, place = domain_name(store, name), selector.strip().lower()
    found = next((key for key in keys_of(store, domain) if key.selector == place), None)
    if found is None:
        raise UserError(f"there is no key {place} of {domain}; `smtpeter domain key list` shows them")
    if found.rotates:
        raise UserError(f"the key {place} of {domain} changes by itself; `smtpeter domain set {domain} --no-rotate` ends that")
    store.change_keys(domain, lambda keys: tuple(key for key in keys if key.selector != place or key.rotates))
    typer.echo(f"key {place} of {domain} removed")


def read_key(path: Path) -> bytes:
    """The content of a key file. Raises UserError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"the key file {path} cannot be read: {error.strerror}") from error


def check_free(selector: str) -> str:
    """The selector, where rotation does not need it. Raises UserError."""
    if selector in RESERVED:
        raise UserError(f"the selector {selector} is for keys that change by themselves; choose another one")
    return selector


def _check_place(store: AdminStore, domain: str, selector: str, account: str, rule: Rule) -> None:
    """Raises UserError where an account may have no such key, NotFound where there is no such account."""
    database.find_account(store, account)
    check_free(selector)
    owners = Owners(store).current()
    owner = owner_of(domain, owners)
    if owner not in ("", account):
        raise UserError(f"{domain} belongs to account {owner}; a key of it cannot sign mail of account {account}")
    if rule is Rule.DOMAIN and owners.get(domain) != account:
        raise UserError(f"{domain} is no sender domain of account {account}, so --rule says which mail the key signs")


def _without(keys: Iterable[SigningKey], domain: str, selector: str) -> tuple[SigningKey, ...]:
    """The keys, among which there is none of that selector. Raises UserError where there is."""
    keys = tuple(keys)
    if any(key.selector == selector for key in keys):
        raise UserError(f"there is a key {selector} of {domain} already; choose another with --selector")
    return keys


def _time(text: str, option: str) -> int | None:
    """What a time stands for; of a day without a time the end, but for --start its beginning."""
    if not text:
        return None
    found = moment(text, option)
    return found - DAY if found is not None and is_day(text) and option == "--start" else found


def _row(key: SigningKey, *, as_json: bool) -> dict[str, Any]:
    times = {"start": key.start, "end": key.end, "seen": key.seen}
    nothing = None if as_json else ""
    rule = f"{key.rule.value}:{key.condition}" if key.rule in CONDITIONAL else key.rule.value
    row: dict[str, Any] = {"domain": key.domain, "selector": key.selector, "account": key.account}
    row |= {"algorithm": key.algorithm.value, "rule": rule, "use": _use(key), "rotates": key.rotates}
    row |= {name: nothing if value is None else utc(value) for name, value in times.items()}
    return row | {"created": utc(key.created), "record": key.record_name, "public": key.public}


def _use(key: SigningKey) -> str:
    if key.retired is not None:
        return "signed before"
    return "signs next" if key.active is None else "signs"
