"""`smtpeter domain`: sender domains, their DKIM keys and click hosts, and the DNS records that publish them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from policy.click_hosts import ClickHost, State
from policy.dns_records import Record, click_records, key_records
from policy.domains import (
    Algorithm,
    Rule,
    SenderDomain,
    SigningKey,
    check_click_host,
    check_selector,
    default_click_host,
    new_private_key,
    normalise_domain,
    sealed_key,
)
from policy.rotation import first
from policy.stores import AdminStore, Conflict
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.commands import domain_check, domain_dns, domain_probe, domain_rotate, signing_key
from smtpeter.commands.domain_dns import print_records
from smtpeter.commands.signing_key import DEFAULT_SELECTOR, check_free, read_key
from smtpeter.errors import UserError
from smtpeter.key_rotation import add_published, maker, republish
from smtpeter.output import AsJson, print_json, print_rows, utc
from smtpeter.probe import as_row
from smtpeter.published import as_rows, find_domain, keys_of, own_click_host, sender_domain, service_of
from smtpeter.settings import Settings

app = typer.Typer(help="Sender domains, their DKIM keys and click hosts.", no_args_is_help=True)
app.command("dns")(domain_dns.dns)
app.command("check")(domain_check.check)
app.command("probe")(domain_probe.probe)
app.command("rotate")(domain_rotate.rotate)
app.add_typer(signing_key.app, name="key")

COLUMNS = ("name", "account", "keys", "clicks", "created")

Name = Annotated[str, typer.Argument(help="The domain of the From address.")]
Clicks = Annotated[
    str | None,
    typer.Option(metavar="HOST", help='Where tracked links lead: a name of the same organisation; "" = the service\'s own.'),
]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    account: Annotated[str, typer.Option(help="The account whose mail it signs.")],
    algorithm: Annotated[
        list[Algorithm] | None, typer.Option(help="Kinds of key to generate; may be repeated. rsa without it.")
    ] = None,
    import_key: Annotated[
        list[Path] | None, typer.Option(help="Private key (PEM) to use instead of a generated one; may be repeated.")
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option(help="Selector of the keys, smtpeter without it; the second key of another kind gets the kind appended."),
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Keys that change by themselves, under three aliases.")] = False,
    clicks: Clicks = None,
    https: Annotated[bool, typer.Option(help="Whether tracked links begin with https.")] = True,
    as_json: AsJson = False,
) -> None:
    """Add a sender domain with its keys and print the DNS records to publish."""
    settings = settings_of(context)
    if rotate and (import_key or selector):
        raise UserError("keys that change by themselves are generated, under selectors of their own; leave the other option away")
    try:
        domain, place = normalise_domain(name), check_free(check_selector(selector or DEFAULT_SELECTOR))
    except ValueError as error:
        raise UserError(str(error)) from error
    host = default_click_host(domain) if clicks is None else _click_host(clicks, domain)
    store, master, now = database.open_store(settings), wiring.master_key(settings), int(time.time())
    added = SenderDomain(name=domain, account=account, created=now, clicks=host, https=https, rotates=rotate)
    kinds = tuple(dict.fromkeys(algorithm or ([] if import_key else [Algorithm.RSA])))
    if rotate:
        keys = _add_rotating(settings, store, added, kinds, master)
    else:
        pems = [*map(read_key, import_key or []), *map(new_private_key, kinds)]
        keys = _sealed(master, domain, account, place, pems, now)
        store.add_domain(added, keys)
    _announce(added, records(settings, added, keys), as_json=as_json)


@app.command("list")
def list_domains(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the sender domains."""
    settings = settings_of(context)
    store = database.open_store(settings)
    if account is not None:
        database.find_account(store, account)
    rows: list[dict[str, Any]] = []
    states = {health.place: health for health in store.click_hosts()}
    for domain in store.domains(account):
        health = states.get(_click_place(settings, domain))
        keys = keys_of(store, domain.name, domain.account)
        row: dict[str, Any] = {"name": domain.name, "account": domain.account, "created": utc(domain.created)}
        if as_json:
            row |= {"keys": [_key_row(key) for key in keys], "clicks": domain.clicks, "https": domain.https}
            row |= {"rotates": domain.rotates, "strict": domain.strict, "click_host": health and as_row(health)}
        else:
            shown = " ".join(f"{key.selector} ({key.algorithm.value})" for key in keys)
            state = f" ({health.state.value})" if health and health.state is not State.OK else ""
            row |= {"keys": shown, "clicks": f"{_base(settings, domain)}{state}"}
        rows.append(row)
    print_rows(rows, COLUMNS, as_json=as_json, empty="there is no sender domain yet; `smtpeter domain add NAME` makes one")


@app.command("set")
def change(
    context: typer.Context,
    name: Name,
    clicks: Clicks = None,
    https: Annotated[bool | None, typer.Option("--https/--no-https", help="Whether tracked links begin with https.")] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict/--no-strict", help="Whether its DMARC record has adkim=s, so that its keys serve no name below."),
    ] = None,
    rotate: Annotated[
        bool | None,
        typer.Option("--rotate/--no-rotate", help="Whether it has keys that change by themselves, besides those it has."),
    ] = None,
) -> None:
    """Change a domain from the next message on: where tracked links lead, and how its mail is signed."""
    settings = settings_of(context)
    store = database.open_store(settings)
    domain = find_domain(store, name)
    if clicks is None and https is None and strict is None and rotate is None:
        raise UserError(
            "nothing to change; give --clicks HOST, --https, --no-https, --strict, --no-strict, --rotate or --no-rotate"
        )
    host = None if clicks is None else _click_host(clicks, domain.name)
    if rotate is not None and rotate != domain.rotates:
        _let_rotate(settings, store, domain) if rotate else _stop_rotating(settings, store, domain)

    def changes(found: SenderDomain) -> SenderDomain:
        return replace(
            found,
            clicks=found.clicks if host is None else host,
            https=found.https if https is None else https,
            strict=found.strict if strict is None else strict,
        )

    changed = store.change_domain(domain.name, changes)
    _tell(settings, domain, changed)


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove a sender domain and its keys for good; its mail leaves unsigned from then on."""
    settings = settings_of(context)
    store = database.open_store(settings)
    domain = find_domain(store, name)
    store.remove_domain(domain.name)
    typer.echo(f"domain {domain.name} and its keys removed")
    if domain.rotates:
        republish(settings, store, int(time.time()))


def records(settings: Settings, domain: SenderDomain, keys: Sequence[SigningKey]) -> tuple[Record, ...]:
    """The DNS records that a domain must have: those of its keys, and what leads its click host to this service."""
    service = service_of(settings)
    return (*key_records(keys, service.domain), *click_records(domain, service))


def _key_row(key: SigningKey) -> Mapping[str, str]:
    return {"name": key.record_name, "type": "TXT", "value": key.record_text}


def _announce(domain: SenderDomain, published: Sequence[Record], *, as_json: bool) -> None:
    if as_json:
        made = {"name": domain.name, "account": domain.account, "clicks": domain.clicks, "https": domain.https}
        print_json({**made, "records": as_rows(published)})
        return
    typer.echo(f"domain {domain.name} added to account {domain.account}; publish in its DNS:\n")
    print_records(published)
    typer.echo(f"\nThen `smtpeter domain check {domain.name}` says whether the world sees them;")
    typer.echo(f"`smtpeter domain dns {domain.name}` says what else is good to have.")


def _tell(settings: Settings, before: SenderDomain, after: SenderDomain) -> None:
    """Says what came of a change."""
    typer.echo(f"tracked links of {after.name} lead to {_base(settings, after)}")
    if after.strict != before.strict:
        typer.echo(f"mail from names below {after.name} is {'not ' if after.strict else ''}signed with its keys")
    if after.clicks != before.clicks:
        print_records(click_records(after, service_of(settings)))


# Keys that change by themselves.


def _add_rotating(
    settings: Settings, store: AdminStore, domain: SenderDomain, kinds: Sequence[Algorithm], master: bytes
) -> tuple[SigningKey, ...]:
    """Adds a sender domain with keys that change by themselves, published first. Raises UserError where they cannot be."""
    database.find_account(store, domain.account)
    if sender_domain(store, domain.name) is not None:
        raise Conflict(f"there is a sender domain {domain.name!r} already")
    now = domain.created
    keys = first(kinds, maker(master, domain=domain.name, account=domain.account, now=now), now)
    add_published(settings, store, keys, now)
    try:
        store.add_domain(domain, keys)
    finally:
        republish(settings, store, now)
    return keys


def _let_rotate(settings: Settings, store: AdminStore, domain: SenderDomain) -> None:
    """Gives a domain keys that change by themselves, of the kinds it has; the keys it has sign as well until they are removed."""
    master, now = wiring.master_key(settings), int(time.time())
    own = [key for key in keys_of(store, domain.name, domain.account) if key.rule is Rule.DOMAIN]
    kinds = tuple(dict.fromkeys(key.algorithm for key in own)) or (Algorithm.RSA,)
    keys = first(kinds, maker(master, domain=domain.name, account=domain.account, now=now), now)
    add_published(settings, store, keys, now)
    try:
        # There are others where this was broken off before.
        store.change_keys(domain.name, lambda found: (*(key for key in found if not key.rotates), *keys))
        store.change_domain(domain.name, lambda found: replace(found, rotates=True))
    finally:
        republish(settings, store, now)
    typer.echo(f"domain {domain.name} has keys that change by themselves; publish in its DNS:\n")
    print_records(key_records(keys, service_of(settings).domain))
    for key in own:
        typer.echo(f"\nThe key {key.selector} signs as well; once these records are seen,")
        typer.echo(f"`smtpeter domain key remove {domain.name} {key.selector}` takes it away.")


def _stop_rotating(settings: Settings, store: AdminStore, domain: SenderDomain) -> None:
    """Takes the keys that change by themselves away. Raises UserError where none would be left to sign."""
    own = [key for key in keys_of(store, domain.name, domain.account) if key.rule is Rule.DOMAIN and not key.rotates]
    if not own:
        raise UserError(
            f"{domain.name} has no other key; `smtpeter domain key add {domain.name} --account {domain.account}` makes one first"
        )
    store.change_keys(domain.name, lambda found: tuple(key for key in found if not key.rotates))
    store.change_domain(domain.name, lambda found: replace(found, rotates=False))
    republish(settings, store, int(time.time()))
    typer.echo(f"the keys of {domain.name} that change by themselves are removed; {own[0].selector} signs")


def _base(settings: Settings, domain: SenderDomain) -> str:
    return _click_place(settings, domain).base


def _click_place(settings: Settings, domain: SenderDomain) -> ClickHost:
    return ClickHost(host=domain.clicks, https=domain.https) if domain.clicks else own_click_host(settings)


def _click_host(text: str, domain: str) -> str:
    try:
        return check_click_host(text, domain) if text else ""
    except ValueError as error:
        raise UserError(str(error)) from error


def _sealed(master: bytes, domain: str, account: str, selector: str, pems: Sequence[bytes], now: int) -> tuple[SigningKey, ...]:
    """The keys of a new domain: the first under the selector, others with their kind appended. Raises UserError."""
    keys: list[SigningKey] = []
    for pem in pems:
        key = sealed_key(master, pem, domain=domain, account=account, selector=selector, now=now)
        if key.algorithm in {other.algorithm for other in keys}:
            raise UserError(f"two keys of kind {key.algorithm.value} were given; a domain takes one of each kind")
        if keys:
            place = check_selector(f"{selector}-{key.algorithm.value}")
            key = sealed_key(master, pem, domain=domain, account=account, selector=place, now=now)
        keys.append(key)
    return tuple(keys)
