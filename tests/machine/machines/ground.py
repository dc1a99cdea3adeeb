"""Where the machines of one run stand: a folder, a network, a key; and all of it gone again."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from .kept import run_folder
from .machine import Machine
from .network import Network
from .playbook import Playbook
from .process import MachineError, sh

PROGRAMS = ("debootstrap", "systemd-nspawn", "nft", "ip", "ssh", "ssh-keygen")


class Ground:
    """Makes machines, and takes them, their network and their files away at its end. To be used with `with`."""

    def __init__(self, root: Path) -> None:
        """`root` is the project's."""
        self._root = root
        self._stack = ExitStack()
        self.machines: list[Machine] = []

    def __enter__(self) -> Self:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise MachineError(f"the tests of machines need {', '.join(missing)}; tools/prepare test installs them")
        if os.geteuid() != 0:
            raise MachineError("the tests of machines boot systems and make networks: run them as root")
        with ExitStack() as stack:
            self.folder = stack.enter_context(run_folder())
            self._key = self.folder / "key"
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key))
            self.network = Network()
            stack.callback(self.network.close)
            stack.callback(self._close_machines)
            self.playbook = Playbook(self._root, self.folder / "ansible")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def machine(self, name: str) -> Machine:
        """A machine that has just been installed and booted."""
        made = Machine(name, self.folder / name, self.network, self._key)
        self.machines.append(made)
        made.start()
        return made

    @contextmanager
    def room(self) -> Iterator[None]:
        """Room for one more machine: where machines share the host's ports, those that run are off meanwhile."""
        away = [machine for machine in self.machines if machine.running] if self.network.shared else []
        for machine in away:
            machine.poweroff()
        try:
            yield
        finally:
            for machine in away:
                machine.start()

    def _close_machines(self) -> None:
        for machine in self.machines:
            machine.close()
        self.machines.clear()
