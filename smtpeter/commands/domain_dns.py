"""`smtpeter domain dns`: the records to publish, of a sender domain or of the operator's own, as a table, JSON or a zone file."""

import time
from collections.abc import Iterable
from typing import Annotated

import typer

from policy.dns_records import Record, domain_records, is_below, key_records, service_records, zone_text
from policy.stores import AdminStore
from smtpeter import database
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_rows
from smtpeter.published import domain_name, keys_of, rotating_keys, sender_domain, service_of
from smtpeter.settings import Settings

COLUMNS = ("name", "type", "value", "purpose", "need")
HINT = """\
; A whole zone. To put the records into one that exists, leave away the first SOA and NS, which stand for its own.
"""
NO_SERVER = "localhost"  # where the host is in the zone, and its address not known here


def dns(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The domain whose records are printed.")] = None,
    service: Annotated[
        bool, typer.Option("--service", help="The operator's own records, which those of domains lead to.")
    ] = False,
    zone: Annotated[bool, typer.Option("--zone", help="Print a zone file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the DNS records that a sender domain needs, or is better off with; or the operator's own ones."""
    settings = settings_of(context)
    if (name is None) != service:
        raise UserError("give the NAME of a domain, or --service for the operator's own records")
    if zone and as_json:
        raise UserError("--zone and --json exclude each other")
    store = database.open_store(settings)
    origin, host = service_of(settings).domain if name is None else domain_name(store, name), service_of(settings).host
    records = _service(settings, store) if name is None else _domain(settings, store, name)
    if zone:
        server = NO_SERVER if is_below(host, origin) else host
        typer.echo(HINT + zone_text(origin, records, host=server, serial=int(time.time())), nl=False)
    else:
        print_rows([_row(record) for record in records], COLUMNS, as_json=as_json, empty="")
    if name is None and not as_json:
        typer.echo(f"{'; ' if zone else ''}besides, A and AAAA records of {host} with this host's addresses")


def _domain(settings: Settings, store: AdminStore, name: str) -> tuple[Record, ...]:
    """Raises UserError where there is neither such a sender domain nor a key of it."""
    wanted, domain = domain_name(store, name), sender_domain(store, name)
    if domain is not None:
        return domain_records(domain, keys_of(store, domain.name, domain.account), service_of(settings))
    keys = keys_of(store, wanted)
    if not keys:
        raise UserError(f"there is no sender domain {name!r}, nor a key of it; `smtpeter domain list` shows them")
    return key_records(keys, service_of(settings).domain)


def _service(settings: Settings, store: AdminStore) -> tuple[Record, ...]:
    keys = rotating_keys(store)
    delegated = settings.keys.zone is not None
    return service_records(service_of(settings), (key for name in sorted(keys) for key in keys[name]), delegated=delegated)


def _row(record: Record) -> dict[str, str]:
    need = "required" if record.required else "advice"
    return {"name": record.name, "type": record.type, "value": record.value, "purpose": record.purpose.value, "need": need}


def print_records(records: Iterable[Record]) -> None:
    """Prints records as lines of a zone file (RFC 1035 5.1)."""
    for record in records:
        typer.echo(record.line)
