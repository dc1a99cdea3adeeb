"""What the processes of the service have in common: where their sockets are, who may connect, where they log."""

import grp
import logging
import os
import pwd
import sys
from pathlib import Path

from smtpeter.settings import Settings

MAIL_USER = "postfix"

_LINE = "%(name)s[%(process)d]: %(message)s"


class JournalFormatter(logging.Formatter):
    """Lines for journald, which has the time: each begins with its priority (sd-daemon(3)), those of a traceback too."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        levels = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
        priority = next((number for level, number in levels if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def start_log() -> None:
    """Log lines go to standard error, one each; whoever started the process puts them where they belong."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter(f"%(asctime)s {_LINE}", "%Y-%m-%dT%H:%M:%S")
    handler.setFormatter(JournalFormatter(_LINE) if is_journal(2) else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # No line tells of threads or source files, and finding them out for each one takes time.
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's, a line for each command
    logging.getLogger("alembic").setLevel(logging.WARNING)  # two lines for each look at a schema


def is_journal(descriptor: int) -> bool:
    """Whether what is written there goes to journald: $JOURNAL_STREAM says so (systemd.exec(5)), and it was not redirected."""
    status = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def socket_paths(settings: Settings) -> dict[str, Path]:
    """Where the sockets of the processes are."""
    return {name: settings.run / name for name in ("auth", "policy", "milter")}


def mail_group() -> str | None:
    """The group of Postfix's own processes, where Postfix is installed."""
    try:
        return grp.getgrgid(pwd.getpwnam(MAIL_USER).pw_gid).gr_name
    except KeyError:
        return None
