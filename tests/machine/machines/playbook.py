"""Runs the project's playbook on machines, as an administrator does: over ssh, with an inventory."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from .machine import Machine
from .process import MachineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of a run: all it printed, and the counts of its recap by machine ("ok", "changed", "failed", ...)."""

    status: int
    output: str = field(repr=False)
    recap: Mapping[str, Mapping[str, int]]

    @property
    def passed(self) -> bool:
        """Whether it reached the end on every machine."""
        return self.status == 0 and all(counts["failed"] == counts["unreachable"] == 0 for counts in self.recap.values())

    @property
    def changed(self) -> int:
        """How much it changed on all machines."""
        return sum(counts["changed"] for counts in self.recap.values())

    def ended(self) -> str:
        """The last part of what it printed but for what it skipped, for the message of a failed test."""
        return _end(self.output)


class Playbook:
    """ansible-playbook with `ansible/site.yml`."""

    def __init__(self, root: Path, folder: Path) -> None:
        """`root` is the project's; `folder` gets inventories, Ansible's own files, and the output of each run as run-N.log."""
        self._root, self._folder = root, folder
        self._numbers = count(1)
        folder.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        *machines: Machine,
        variables: Mapping[str, object] | None = None,
        of_hosts: Mapping[str, Mapping[str, object]] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        words: Sequence[str] = (),
        playbook: str = "site.yml",
        timeout: float = 600,
    ) -> Played:
        """Runs it on the machines and returns what came out, failed or not.

        Variables are the inventory's, for all machines or by the name of one; machines are in every group that names them,
        and in the group `smtpeter`. Words go to ansible-playbook, such as `-vvv`, `--diff`, `--tags`.
        """
        number = next(self._numbers)
        inventory = self._folder / f"inventory-{number}.json"
        inventory.write_text(json.dumps(self._inventory(machines, variables or {}, of_hosts or {}, groups or {})))
        inventory.chmod(0o600)
        program = Path(sys.executable).parent / "ansible-playbook"
        argv = (str(program), "-i", str(inventory), *words, playbook)
        log = self._folder / f"run-{number}.log"
        with log.open("wb") as output:
            try:
                place: dict[str, Any] = {"cwd": self._root / "ansible", "env": self._environment(), "stdin": subprocess.DEVNULL}
                done = subprocess.run(argv, **place, stdout=output, stderr=subprocess.STDOUT, timeout=timeout, check=False)
            except subprocess.TimeoutExpired as error:
                raise MachineError(f"{shlex.join(argv)} took over {timeout:.0f} seconds: {_end(log.read_text())}") from error
        text = log.read_text(errors="replace")
        return Played(status=done.returncode, output=text, recap=_recap(text))

    def _environment(self) -> dict[str, str]:
        """Ansible's own files stay in the folder; answers are plain text."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        places = {"ANSIBLE_HOME": "home", "ANSIBLE_LOCAL_TEMP": "temp", "ANSIBLE_SSH_CONTROL_PATH_DIR": "cp"}
        plain = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOWS": "1", "LC_ALL": "C.UTF-8"}
        return {**own, **plain, "ANSIBLE_PIPELINING": "1", **{name: str(self._folder / place) for name, place in places.items()}}

    def _inventory(
        self,
        machines: Sequence[Machine],
        variables: Mapping[str, object],
        of_hosts: Mapping[str, Mapping[str, object]],
        groups: Mapping[str, Sequence[str]],
    ) -> object:
        hosts = {}
        for machine in machines:
            reach = {
                "ansible_host": machine.address,
                "ansible_port": machine.ssh_port,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(machine.key),
                "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            hosts[machine.name] = {**reach, **of_hosts.get(machine.name, {})}
        members = {"smtpeter": tuple(hosts), **groups}
        children = {name: {"hosts": {host: {} for host in group}} for name, group in members.items()}
        return {"all": {"hosts": hosts, "vars": dict(variables), "children": children}}


def _recap(output: str) -> dict[str, dict[str, int]]:
    """The counts below "PLAY RECAP"; empty where no play came that far."""
    _, _, below = output.rpartition("PLAY RECAP")
    lines = re.findall(r"^(\S+)\s+: (ok=.*)$", below, re.MULTILINE)
    return {host: {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def _end(output: str) -> str:
    tasks = re.split(r"^(?=TASK )", output, flags=re.MULTILINE)
    return "".join(task for task in tasks if re.search(r"^(?!TASK |skipping: |$)", task, re.MULTILINE))[-6000:]
