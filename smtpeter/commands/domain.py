"""`smtpeter domain`: sender domains, their DKIM keys and click hosts, and the DNS records that publish them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import dns.exception
import dns.resolver
import typer

from policy.domains import (
    Algorithm,
    SenderDomain,
    SigningKey,
    check_click_host,
    check_selector,
    default_click_host,
    new_private_key,
    normalise_domain,
    read_private_key,
    seal_private_key,
    txt_strings,
)
from policy.stores.sql import SqlStore
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_json, print_rows, utc
from smtpeter.settings import Settings

app = typer.Typer(help="Sender domains, their DKIM keys and click hosts.", no_args_is_help=True)

COLUMNS = ("name", "account", "keys", "clicks", "created")
DNS_SECONDS = 5.0

Name = Annotated[str, typer.Argument(help="The domain of the From address.")]
Clicks = Annotated[
    str | None,
    typer.Option(metavar="HOST", help='Where tracked links lead: a name below the domain or beside it; "" = the service\'s own.'),
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
        str, typer.Option(help="Selector of the keys; the second key of another kind gets the kind appended.")
    ] = "smtpeter",
    clicks: Clicks = None,
    https: Annotated[bool, typer.Option(help="Whether tracked links begin with https.")] = True,
    as_json: AsJson = False,
) -> None:
    """Add a sender domain with its keys and print the DNS records to publish."""
    settings = settings_of(context)
    try:
        domain, first = normalise_domain(name), check_selector(selector)
    except ValueError as error:
        raise UserError(str(error)) from error
    host = default_click_host(domain) if clicks is None else _click_host(clicks, domain)
    store, master, now = database.open_store(settings), wiring.master_key(settings), int(time.time())
    pems = [_read(path) for path in import_key or []]
    pems += [new_private_key(kind) for kind in dict.fromkeys(algorithm or ([] if pems else [Algorithm.RSA]))]
    keys = _sealed(master, domain, account, first, pems, now)
    added = SenderDomain(name=domain, account=account, created=now, clicks=host, https=https)
    store.add_domain(added, keys)
    published = records(settings, added, keys)
    if as_json:
        print_json({"name": domain, "account": account, "clicks": host, "https": https, "records": published})
        return
    typer.echo(f"domain {domain} added to account {account}; publish in its DNS:\n")
    print_records(published)
    typer.echo(f"\nThen `smtpeter domain check {domain}` says whether the world sees them.")


@app.command("list")
def list_domains(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the sender domains."""
    settings = settings_of(context)
    store = database.open_store(settings)
    rows: list[dict[str, Any]] = []
    for domain in store.domains(account):
        keys = _keys(store, domain)
        row: dict[str, Any] = {"name": domain.name, "account": domain.account, "created": utc(domain.created)}
        if as_json:
            row |= {"keys": _key_records(keys), "clicks": domain.clicks, "https": domain.https}
        else:
            shown = " ".join(f"{key.selector} ({key.algorithm.value})" for key in keys)
            row |= {"keys": shown, "clicks": _base(settings, domain)}
        rows.append(row)
    print_rows(rows, COLUMNS, as_json=as_json, empty="there is no sender domain yet; `smtpeter domain add NAME` makes one")


@app.command()
def check(
    context: typer.Context,
    name: Name,
    nameserver: Annotated[str | None, typer.Option(help="Ask this name server (address, or address:port).")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the DNS whether the keys and the click host of a domain are published; exit status 1 where one is not."""
    settings = settings_of(context)
    store = database.open_store(settings)
    domain = _find(store, name)
    resolver = _resolver(nameserver)
    rows = [_ask(resolver, key) for key in _keys(store, domain)]
    rows.append(_ask_click_host(resolver, domain, _service_host(settings)))
    print_rows(rows, ("record", "status", "advice"), as_json=as_json, empty="")
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(1)


@app.command("set")
def change(
    context: typer.Context,
    name: Name,
    clicks: Clicks = None,
    https: Annotated[bool | None, typer.Option("--https/--no-https", help="Whether tracked links begin with https.")] = None,
) -> None:
    """Change where the tracked links of a domain's mail lead, from the next message on; links already sent stay as they are."""
    settings = settings_of(context)
    store = database.open_store(settings)
    domain = _find(store, name)
    if clicks is None and https is None:
        raise UserError("nothing to change; give --clicks HOST, --https or --no-https")
    host = None if clicks is None else _click_host(clicks, domain.name)

    def changes(domain: SenderDomain) -> SenderDomain:
        return replace(domain, clicks=domain.clicks if host is None else host, https=domain.https if https is None else https)

    changed = store.change_domain(domain.name, changes)
    typer.echo(f"tracked links of {domain.name} lead to {_base(settings, changed)}")
    if changed.clicks != domain.clicks:
        print_records(records(settings, changed, ()))


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove a sender domain and its keys for good; its mail leaves unsigned from then on."""
    store = database.open_store(settings_of(context))
    domain = _find(store, name)
    store.remove_domain(domain.name)
    typer.echo(f"domain {domain.name} and its keys removed")


def records(settings: Settings, domain: SenderDomain, keys: Sequence[SigningKey]) -> list[dict[str, str]]:
    """The DNS records that publish the keys of a domain and lead its click host to this service."""
    found = _key_records(keys)
    if domain.clicks and domain.clicks != _service_host(settings):
        found.append({"name": domain.clicks, "type": "CNAME", "value": _service_host(settings)})
    return found


def print_records(published: Sequence[Mapping[str, str]]) -> None:
    """Prints records as lines of a zone file (RFC 1035 5.1)."""
    for record in published:
        value = f"{record['value']}."
        if record["type"] == "TXT":
            value = "( {} )".format(" ".join(f'"{text}"' for text in txt_strings(record["value"])))
        typer.echo(f"{record['name']}. IN {record['type']} {value}")


def _key_records(keys: Sequence[SigningKey]) -> list[dict[str, str]]:
    return [{"name": key.record_name, "type": "TXT", "value": key.record_text} for key in keys]


def _service_host(settings: Settings) -> str:
    """The service's own click host; a port may follow it in the settings, for tests on one machine."""
    return settings.click_host.partition(":")[0].lower()


def _base(settings: Settings, domain: SenderDomain) -> str:
    host, https = (domain.clicks, domain.https) if domain.clicks else (settings.click_host, settings.web.https)
    return f"{'https' if https else 'http'}://{host}"


def _click_host(text: str, domain: str) -> str:
    try:
        return check_click_host(text, domain) if text else ""
    except ValueError as error:
        raise UserError(str(error)) from error


def _sealed(master: bytes, domain: str, account: str, selector: str, pems: Sequence[bytes], now: int) -> tuple[SigningKey, ...]:
    """The keys of a new domain: the first under the selector, others with their kind appended. Raises UserError."""
    keys: list[SigningKey] = []
    for pem in pems:
        kind, public, normal = read_private_key(pem)
        here = check_selector(selector if not keys else f"{selector}-{kind.value}")
        if kind in {key.algorithm for key in keys}:
            raise UserError(f"two keys of kind {kind.value} were given; a domain takes one of each kind")
        sealed = seal_private_key(master, domain=domain, selector=here, pem=normal)
        keys.append(
            SigningKey(
                domain=domain,
                selector=here,
                account=account,
                algorithm=kind,
                public=public,
                sealed=sealed,
                created=now,
                active=now,
            )
        )
    return tuple(keys)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"the key file {path} cannot be read: {error.strerror}") from error


def _find(store: SqlStore, name: str) -> SenderDomain:
    wanted = name.strip().rstrip(".").lower()
    found = next((domain for domain in store.domains() if domain.name == wanted), None)
    if found is None:
        try:
            wanted = normalise_domain(name)
        except ValueError as error:
            raise UserError(str(error)) from error
        found = next((domain for domain in store.domains() if domain.name == wanted), None)
    if found is None:
        raise UserError(f"there is no sender domain {name!r}; `smtpeter domain list` shows them")
    return found


def _keys(store: SqlStore, domain: SenderDomain) -> list[SigningKey]:
    return [key for key in store.signing_keys(domain.account) if key.domain == domain.name]


def _resolver(nameserver: str | None) -> dns.resolver.Resolver:
    try:
        resolver = dns.resolver.Resolver(configure=nameserver is None)
        if nameserver is not None:
            address, _, port = nameserver.partition(":") if nameserver.count(":") == 1 else (nameserver, "", "")
            resolver.nameservers = [address]
            resolver.port = int(port or 53)
    except (dns.exception.DNSException, ValueError) as error:
        raise UserError(f"no name server to ask: {error}; give one with --nameserver ADDRESS") from error
    resolver.lifetime = DNS_SECONDS
    return resolver


def _ask(resolver: dns.resolver.Resolver, key: SigningKey) -> dict[str, str]:
    status, advice = "error", f"publish this TXT record: {key.record_text}"
    try:
        answer = resolver.resolve(key.record_name, "TXT")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        status = "missing"
    except dns.exception.DNSException as error:
        status, advice = "unknown", f"the DNS did not answer ({error}); try again"
    else:
        texts = [b"".join(record.strings).decode("ascii", "replace") for record in answer]
        published = [dict(_tags(text)) for text in texts]
        if len(texts) > 1:
            advice = "there are several TXT records at this name; leave one"
        elif published[0].get("p") == key.public and published[0].get("k", "rsa") == key.algorithm.value:
            status, advice = "ok", ""
        else:
            status = "different"
    return {"record": key.record_name, "status": status, "advice": advice}


def _ask_click_host(resolver: dns.resolver.Resolver, domain: SenderDomain, service: str) -> dict[str, str]:
    """Whether visitors find the click host: an address is enough, however the DNS leads to it."""
    host = domain.clicks or service
    status, advice = "missing", f"publish an address of {host}, where tracked links lead"
    if host != service:
        advice = f'publish this CNAME record: {service}. (without it: `smtpeter domain set {domain.name} --clicks ""`)'
    try:
        if _found(resolver, host, "A") or _found(resolver, host, "AAAA"):
            status, advice = "ok", ""
        elif aliases := _found(resolver, host, "CNAME"):
            status, advice = "error", f"it is an alias of {aliases[0]}, which has no address"
    except dns.exception.DNSException as error:
        status, advice = "unknown", f"the DNS did not answer ({error}); try again"
    return {"record": host, "status": status, "advice": advice}


def _found(resolver: dns.resolver.Resolver, name: str, kind: str) -> list[str]:
    try:
        return [record.to_text() for record in resolver.resolve(name, kind)]
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []


def _tags(text: str) -> list[tuple[str, str]]:
    """The tag list of a key record (RFC 6376 3.2), white space inside values removed."""
    pairs = (part.partition("=") for part in text.split(";"))
    return [(name.strip(), "".join(value.split())) for name, equals, value in pairs if equals]
