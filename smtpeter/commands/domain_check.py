"""`smtpeter domain check`: asks the DNS whether the records of a domain are there, and says what mends those that are not."""

import time
from contextlib import suppress
from typing import Annotated, Any

import typer

from policy.domains import SigningKey
from policy.stores import AdminStore
from smtpeter import database
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.inspection import DIFFERENT, MISSING, OK, Finding, inspect, inspect_click_host, inspect_keys, key_status
from smtpeter.key_rotation import note_seen
from smtpeter.name_server import NameServer, Unanswered
from smtpeter.output import AsJson, print_rows
from smtpeter.published import domain_name, keys_of, own_click_host, sender_domain, service_of

COLUMNS = ("record", "type", "verdict", "status", "advice")

Server = Annotated[
    str | None, typer.Option("--nameserver", metavar="ADDRESS[:PORT]", help="Ask this name server instead of the system's.")
]


def check(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The domain of the From address, or of a key.")],
    nameserver: Server = None,
    as_json: AsJson = False,
) -> None:
    """Ask the DNS for every record of a domain; exit status 1 where a key is not published, or the click host not in order."""
    settings = settings_of(context)
    store = database.open_store(settings)
    wanted, domain = domain_name(store, name), sender_domain(store, name)
    keys = keys_of(store, wanted, domain.account if domain else None)
    names, service = NameServer.at(nameserver), service_of(settings)
    if domain is not None:
        found, checked = store.click_hosts(), settings.web.checked
        probed = inspect_click_host(domain, own_click_host(settings), found, checked=checked)
        findings = [*inspect(names, domain, keys, service), *probed]
    elif keys:
        findings = list(inspect_keys(names, keys, service))
    else:
        raise UserError(f"there is no sender domain {name!r}, nor a key of it; `smtpeter domain list` shows them")
    _note(store, keys, names)
    print_rows([_row(finding) for finding in findings], COLUMNS, as_json=as_json, empty="")
    if any(finding.verdict == "error" for finding in findings):
        raise typer.Exit(1)


def _note(store: AdminStore, keys: list[SigningKey], names: NameServer) -> None:
    """Notes of the keys whether the DNS publishes them, where that has changed and the DNS answers."""
    found, gone = [], []
    for key in keys:
        with suppress(Unanswered):
            status = key_status(names, key)
            if key.seen is None and status == OK:
                found.append(key)
            if key.seen is not None and status in (MISSING, DIFFERENT):
                gone.append(key)
    if found:
        note_seen(store, found, int(time.time()))
    if gone:
        note_seen(store, gone, None)


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "record": finding.name,
        "type": finding.type,
        "verdict": finding.verdict,
        "status": finding.status,
        "advice": finding.advice,
    }
