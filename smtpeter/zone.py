"""The zone file of the keys that change by themselves, for the operator's name server, and how that is told of a change."""

import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from functools import partial

from policy.dns_records import KEYS_NAME, target_records, zone_text
from policy.domains import SigningKey
from smtpeter import durable
from smtpeter.errors import UserError
from smtpeter.published import service_of
from smtpeter.settings import Settings

READABLE = 0o644  # what is in it is public, and the name server is another user
RELOAD_SECONDS = 60.0

_SERIAL = re.compile(r"(?<=\( )\d+")


def zone_name(settings: Settings) -> str:
    """The zone of the file: the domains' aliases lead into it."""
    return f"{KEYS_NAME}.{service_of(settings).domain}"


def current(settings: Settings) -> str:
    """The zone file's text, "" where there is none. Raises UserError."""
    if settings.keys.zone is None:
        return ""
    try:
        return settings.keys.zone.read_text()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(f"the zone file {settings.keys.zone} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the zone file {settings.keys.zone} is none: {error}; move it away") from error


def publish(settings: Settings, keys: Mapping[str, Iterable[SigningKey]], now: int) -> bool:
    """Writes the zone file with these keys, by domain, where it says something else, and tells the name server.

    Returns whether it did. Nothing happens without a file in the settings. Raises UserError where the file cannot be written or
    the name server does not take it; the file is then what it was, so that the next call tries again.
    """
    file = settings.keys.zone
    if file is None:
        return False
    before, service = current(settings), service_of(settings)
    records = [record for name in sorted(keys) for record in target_records(keys[name], service.domain)]
    old = _SERIAL.search(before)
    serial = int(old[0]) if old else 0
    if before == zone_text(zone_name(settings), records, host=service.host, serial=serial):
        return False
    text = zone_text(zone_name(settings), records, host=service.host, serial=max(serial + 1, now))
    try:
        durable.replace(file, text.encode(), READABLE)
    except OSError as error:
        raise UserError(f"the zone file {file} cannot be written: {error.strerror}") from error
    try:
        _reload(settings)
    except UserError:
        if before:
            durable.replace(file, before.encode(), READABLE)
        else:
            file.unlink()
        raise
    return True


def _reload(settings: Settings) -> None:
    command = settings.keys.reload
    if not command:
        return
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RELOAD_SECONDS,
            check=False,
            # The timer has SIGTERM blocked, and a name server that is started anew would inherit that.
            preexec_fn=partial(signal.pthread_sigmask, signal.SIG_SETMASK, ()),
        )
    except OSError as error:
        raise UserError(f"the name server was not told of the new zone file: {command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        message = f"the name server was not told of the new zone file: {command[0]} did not end within {RELOAD_SECONDS:g} s"
        raise UserError(message) from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"the name server was not told of the new zone file: {command[0]} ended with {done.returncode}: {said}")
