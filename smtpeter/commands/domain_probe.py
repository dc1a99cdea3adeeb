"""`smtpeter domain probe`: looks at click hosts as their visitors do; a timer runs it every five minutes."""

import time
from typing import Annotated

import typer

from policy.click_hosts import HostHealth, State
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.commands.domain_check import Server
from smtpeter.name_server import NameServer
from smtpeter.output import AsJson, print_rows, utc
from smtpeter.probe import Probe, as_row
from smtpeter.process import start_log
from smtpeter.published import find_domain

COLUMNS = ("click host", "state", "since", "reason")
FINE = (State.OK, State.WARNING)


def probe(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Only the click hosts of these sender domains, and the own one.")
    ] = None,
    nameserver: Server = None,
    as_json: AsJson = False,
) -> None:
    """Look at the click hosts: DNS, certificate, answer; exit status 1 where one is not in order. A timer runs this."""
    settings = settings_of(context)
    store = database.open_store(settings)
    start_log()  # now, for a look at the schema is noted by Alembic
    only = frozenset(find_domain(store, name).name for name in names) if names else None
    NameServer.at(nameserver)  # says what is wrong with it before anything is asked
    found = Probe(
        settings=settings,
        store=store,
        ring=wiring.ring_file(settings).current(),
        name_server=lambda: NameServer.at(nameserver),
        clock=time.time,
    ).run(only)
    rows = [as_row(health) if as_json else _row(health) for health in found]
    print_rows(rows, COLUMNS, as_json=as_json, empty="there is no click host")
    if any(health.state not in FINE for health in found):
        raise typer.Exit(1)


def _row(health: HostHealth) -> dict[str, object]:
    return {
        "click host": health.place.base,
        "state": health.state.value,
        "since": utc(health.changed),
        "reason": health.reason,
    }
