"""Turns into another program that ends when the process that started it ends, even by SIGKILL.

Between fork and exec there is much that Python cannot do safely: take signals off the block list, change the user, ask
for a signal at the death of the parent (PR_SET_PDEATHSIG, prctl(2)), put LISTEN_PID right for the process that will read
it. So a child is started as this small program, which does it and then executes the real one in its place.

It is run by path in an interpreter without site-packages, which takes about 20 ms:

    python -I -S leash.py PARENT SIGNAL USER NAME=DESCRIPTOR,... PROGRAM ARGUMENT...

USER and the sockets may be empty, PROGRAM is a path. It ends with 127 when PROGRAM cannot be executed. Nothing may be
imported after the change of user: that user may have no access to the interpreter's folder.
"""

import ctypes
import fcntl
import os
import pwd
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_FIRST = 3  # SD_LISTEN_FDS_START


def main(arguments: Sequence[str]) -> None:
    """Ties this process to its parent and executes the program; returns only by an exception."""
    parent, death_signal, user, sockets, *argv = arguments
    if user:
        become(user)
    # After the change of user, which clears the setting.
    die_with_parent(int(parent), int(death_signal))
    if sockets:
        hand_over(sockets)
    # What Python ignores, and what the supervisor blocks, would stay so across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(argv[0], argv)  # noqa: S606 - no shell is the point


def become(user: str) -> None:
    """Gives up root for a user and its groups."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def die_with_parent(parent: int, death_signal: int) -> None:
    """Asks the kernel for a signal when the parent dies; ends at once when it has died already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit(1)


def hand_over(sockets: str) -> None:
    """Moves the descriptors to 3, 4, ... and names them in the environment (sd_listen_fds(3))."""
    pairs = [pair.split("=") for pair in sockets.split(",")]
    # First out of the way: a descriptor may stand where another one must go.
    high = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, _FIRST + len(pairs) + 64) for _, number in pairs]
    for _, number in pairs:
        os.close(int(number))
    for place, descriptor in enumerate(high, start=_FIRST):
        os.dup2(descriptor, place)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(pairs))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in pairs)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, KeyError) as error:
        sys.stderr.write(f"{' '.join(sys.argv[5:6])} cannot be started: {error}\n")
        sys.exit(127)
