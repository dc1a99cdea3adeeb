"""What the processes of the service have in common: where their sockets are, who may connect, where they log."""

import grp
import logging
import pwd
import sys
from pathlib import Path

from smtpeter.settings import Settings

MAIL_USER = "postfix"


def start_log() -> None:
    """Log lines go to standard error, one each; whoever started the process puts them where they belong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s[%(process)d]: %(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # No line tells of threads or source files, and finding them out for each one takes time.
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None
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
