"""The processes behind the sockets: `smtpeter auth`, `smtpeter milter`, `smtpeter capture`.

`smtpeter up` starts them, and so may a service manager; each is one process with one task.
"""

import asyncio
import grp
import logging
import os
import pwd
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from filters import server as milter_server
from policy import server as policy_server
from policy.stores.sql import SqlStore
from smtpeter import activation, wiring
from smtpeter.capture import serve as serve_capture
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.settings import Settings

MAIL_USER = "postfix"


def start_log() -> None:
    """Log lines go to standard error, one each; whoever started the process puts them where they belong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s[%(process)d]: %(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's, a line for each command


def socket_paths(settings: Settings) -> dict[str, Path]:
    """Where the sockets of the processes are."""
    return {name: settings.run / name for name in ("auth", "policy", "milter")}


def mail_group() -> str | None:
    """The group of Postfix's own processes, where Postfix is installed."""
    try:
        return grp.getgrgid(pwd.getpwnam(MAIL_USER).pw_gid).gr_name
    except KeyError:
        return None


def auth(context: typer.Context) -> None:
    """Serve the auth and the policy socket; both are inherited from whoever starts this (sd_listen_fds(3))."""
    start_log()
    settings = settings_of(context)
    sockets = activation.inherited()
    missing = {"auth", "policy"} - sockets.keys()
    if missing:
        raise UserError(f"no socket named {' and '.join(sorted(missing))} was passed; `smtpeter up` starts this process")
    peers = {os.geteuid(), 0}
    try:
        peers.add(pwd.getpwnam(MAIL_USER).pw_uid)
    except KeyError:
        logging.getLogger("smtpeter.auth").warning("there is no user %s; only root may connect", MAIL_USER)

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await policy_server.serve(
            auth=sockets["auth"],
            policy=sockets["policy"],
            store=SqlStore(settings.database_url),
            postmaster=settings.contact,
            workers=settings.auth_workers,
            peers=frozenset(peers),
            stop=stop,
        )

    asyncio.run(main())


def milter(context: typer.Context) -> None:
    """Serve the milter socket."""
    start_log()
    settings = settings_of(context)
    wiring.master_key(settings)  # a missing key stops the start, not the first mail
    milter_server.serve(
        socket_paths(settings)["milter"],
        group=mail_group(),
        workers=settings.milter_workers,
        deadline=settings.milter.deadline,
        make_senders=lambda: wiring.make_senders(settings),
    )


def capture(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="Folder the messages are written to.")],
) -> None:
    """Accept outgoing mail instead of the world and keep each message as a file."""
    start_log()
    settings_of(context)
    serve_capture(directory)
