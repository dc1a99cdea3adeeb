"""The command line of the benches that start a Postfix: their common options, the folder they work in, and how they end."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.throughput import samples
from smtpeter.errors import UserError


def add_options(parser: argparse.ArgumentParser, ports: int) -> None:
    """Adds the sizes of the messages, the first of `ports` ports, and whether the journal is filled."""
    parser.add_argument("--sizes", type=int, nargs="+", default=samples.SIZES, help="octets of the messages")
    parser.add_argument("--port", type=int, default=31000, help=f"the first of {ports} ports of loopback to use")
    parser.add_argument("--drain", action="store_true", help="also run what fills the journal's database, as in service")


def require_root() -> None:
    """Raises UserError where no Postfix can be started."""
    if os.geteuid() != 0:
        raise UserError("the bench starts a Postfix of its own, so it must be run as root; try sudo")


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="smtpeter-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # user postfix passes through
        yield folder


def exit_status(run: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Runs a bench: 0, 130 where it was interrupted, or 2 where something is missing or did not do its work."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves no process behind
    try:
        run(options)
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0
