"""Boots machines to look at by hand: `PYTHONPATH=tests/machine python -m machines NAME...`.

Prints how to reach each, and takes them away at Ctrl-C or at the end of its input.
"""

import sys
from contextlib import suppress
from pathlib import Path

from .ground import Ground


def main(names: list[str]) -> None:
    """Boots a machine for each name (default `one`) and waits."""
    with Ground(Path(__file__).resolve().parents[3]) as ground:
        print(f"the host as machines see it: {ground.network.host}; folder: {ground.folder}")
        for name in names or ["one"]:
            machine = ground.machine(name)
            options = f"-i {machine.key} -p {machine.ssh_port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
            print(f"{name}: ssh {options} root@{machine.address}", flush=True)
        with suppress(KeyboardInterrupt):
            sys.stdin.read()


main(sys.argv[1:])
