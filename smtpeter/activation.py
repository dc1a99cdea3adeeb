"""Listening sockets that outlive the process that serves them.

They are opened by the supervisor, or by systemd from a .socket unit, and inherited by the server: descriptors from 3 on,
with LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES in the environment, as sd_listen_fds(3) describes. While the server is
restarted, connections wait in the queue of the socket and the client notices nothing.
"""

import grp
import os
import socket
from pathlib import Path

from smtpeter.errors import UserError

FIRST = 3  # SD_LISTEN_FDS_START
LONGEST = 107  # sun_path of unix(7) is 108 octets, the last one NUL


def listen(path: Path, *, mode: int = 0o660, group: str | None = None) -> socket.socket:
    """A Unix stream socket that listens at `path`, with that mode and group. A stale one is replaced.

    The umask of the process is changed for a moment, so call it before there are threads. Raises UserError.
    """
    if len(os.fsencode(path)) > LONGEST:
        raise UserError(f"the socket path {path} is longer than {LONGEST} octets: choose a shorter directory")
    gid = -1 if group is None else _gid(group)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Between bind and chmod nobody may connect.
    umask = os.umask(0o777)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        os.chown(path, -1, gid)
        path.chmod(mode)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise UserError(f"the socket {path} cannot be opened: {error.strerror}") from error
    finally:
        os.umask(umask)
    return listener


def inherited() -> dict[str, socket.socket]:
    """The sockets handed to this process, by name; empty when it was started without. Raises UserError.

    The variables are removed, so that a process started from here does not take the sockets for its own.
    """
    pid, count, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    sockets = {}
    for descriptor, name in zip(range(FIRST, FIRST + int(count)), names.split(":"), strict=False):
        if name in sockets:
            raise UserError(f"two sockets named {name!r} were handed over: give each a FileDescriptorName of its own")
        try:
            os.set_inheritable(descriptor, False)
            sockets[name] = socket.socket(fileno=descriptor)
        except OSError as error:
            raise UserError(f"descriptor {descriptor} ({name}) is not a socket: {error.strerror}") from error
    return sockets


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise UserError(f"there is no group {group}: is Postfix installed?") from error
