"""`smtpeter domain rotate`: moves the keys that change by themselves when it is time; `smtpeter up` runs it as a timer."""

import logging
import signal
import time
from typing import Annotated

import typer

from policy.stores import AdminStore, StoreUnavailable
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.commands.domain_check import Server
from smtpeter.errors import UserError
from smtpeter.key_rotation import Rotation, next_move
from smtpeter.name_server import NameServer
from smtpeter.output import utc
from smtpeter.process import start_log
from smtpeter.published import find_domain, rotating_keys
from smtpeter.settings import Settings

HOUR = 3600.0  # seconds between two looks
STOP = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger("smtpeter.rotation")


def rotate(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only this sender domain.")] = None,
    timer: Annotated[bool, typer.Option("--timer", help="Go on and do it every hour, until SIGTERM.")] = False,
    nameserver: Server = None,
) -> None:
    """Move the keys that change by themselves, of all sender domains whose time has come, and publish the new ones."""
    settings = settings_of(context)
    if timer:
        if name is not None:
            raise UserError(f"--timer is for all domains; leave {name!r} away")
        _run_timer(settings, nameserver)
        return
    store = database.open_store(settings)
    only = None if name is None else find_domain(store, name).name
    rotation = Rotation(settings, store, wiring.master_key(settings), NameServer.at(nameserver))
    for line in rotation.run(int(time.time()), only) or [_next(settings, store, only)]:
        typer.echo(line)


def _next(settings: Settings, store: AdminStore, only: str | None) -> str:
    """When the next keys move, at the earliest."""
    found = {domain: next_move(settings, keys) for domain, keys in rotating_keys(store).items() if only in (None, domain)}
    if not found:
        return "no keys change by themselves; `smtpeter domain set NAME --rotate` lets those of a domain"
    times = [time for time in found.values() if time is not None]
    if not times:
        names = only or "NAME"
        return f"no keys change before the DNS has the next ones; `smtpeter domain check {names}` says what to publish"
    return f"no keys are to change now; the next ones change from {utc(min(times))} UTC on"


def _run_timer(settings: Settings, nameserver: str | None) -> None:
    start_log()
    # They are waited for, not handled: nothing is interrupted between the zone file and the store.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    while True:
        try:
            store = database.open_store(settings)
            try:
                rotation = Rotation(settings, store, wiring.master_key(settings), NameServer.at(nameserver))
                for line in rotation.run(int(time.time())):
                    _log.info("%s", line)
            finally:
                store.close()
        except (UserError, StoreUnavailable) as error:
            _log.error("keys do not change: %s", error)  # noqa: TRY400  # the reason is a sentence
        if signal.sigtimedwait(STOP, HOUR) is not None:
            return
