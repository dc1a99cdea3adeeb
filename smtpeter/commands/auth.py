"""`smtpeter auth`: the process behind the auth and the policy socket; `smtpeter up` or a service manager starts it."""

import asyncio
import logging
import os
import pwd
import signal

import typer

from policy import counting, server
from policy.gate import Gate
from policy.renewal import Renewal
from policy.stores.uses import SqlUses
from policy.uses import Uses
from smtpeter import activation, metrics, wiring
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.notify import Notifier
from smtpeter.process import MAIL_USER, start_log


def auth(context: typer.Context) -> None:
    """Serve the auth and the policy socket; both are inherited from whoever starts this (sd_listen_fds(3))."""
    start_log()
    settings = settings_of(context)
    sockets, overseer = activation.inherited(), Notifier.inherited()
    missing = {"auth", "policy"} - sockets.keys()
    if missing:
        raise UserError(f"no socket named {' and '.join(sorted(missing))} was passed; `smtpeter up` starts this process")
    peers = {os.geteuid(), 0}
    try:
        peers.add(pwd.getpwnam(MAIL_USER).pw_uid)
    except KeyError:
        logging.getLogger("smtpeter.auth").warning("there is no user %s; only root may connect", MAIL_USER)

    store = wiring.make_store(settings)
    uses = Uses(SqlUses(settings.usage_url))
    renewal = Renewal(store.change_login)

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await server.serve(
            auth=sockets["auth"],
            policy=sockets["policy"],
            store=store,
            gate=Gate(
                wiring.remembering(settings, store),
                postmaster=settings.contact,
                limiter=wiring.make_usage(settings, "auth"),
                uses=uses,
                require_sender_domain=settings.require_sender_domain,
            ),
            workers=settings.auth_workers,
            peers=frozenset(peers),
            stop=stop,
            uses=uses,
            opened=renewal.begin,
            overseer=overseer,
        )

    try:
        counting.begin("auth")
        metrics.follow_stores(settings)
        asyncio.run(main())
    finally:
        renewal.close()
