"""The service on one machine, as its operator and its clients know it."""

import json
import re
import shlex
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from itertools import count
from typing import Any

import dkim

from .machine import Machine
from .playbook import Playbook, Played
from .sink import Delivered, Sink

SECONDS = 30.0  # for one answer of a server
SERVING = tuple(f"smtpeter-{name}.service" for name in ("auth", "milter", "journal", "web"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A login as the command made it."""

    name: str
    password: str


@dataclass(kw_only=True)
class Deployed:
    """A machine that the role was run on with `variables`; `first` is what that run printed."""

    machine: Machine
    playbook: Playbook
    sink: Sink
    trust: ssl.SSLContext
    variables: dict[str, Any]
    first: Played
    runs: list[Played] = field(default_factory=list)
    records: dict[str, str] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def play(self, words: Sequence[str] = (), **changed: object) -> Played:
        """Runs the role with some variables changed, for this run alone."""
        played = self.playbook.run(self.machine, variables={**self.variables, **changed}, words=words)
        self.runs.append(played)
        return played

    def smtpeter(self, *words: str) -> str:
        """What a subcommand prints, run by root."""
        return self.machine.run(shlex.join(("smtpeter", *words))).stdout

    def json(self, *words: str) -> Any:
        """The same with --json."""
        return json.loads(self.smtpeter(*words, "--json"))

    def version(self) -> str:
        """The version that `current` leads to."""
        return self.machine.run("readlink -f /opt/smtpeter/current").stdout.strip().rpartition("/")[2]

    def state(self) -> str:
        """What the role may change, in a form that differs when any of it was changed."""
        files = "find /etc /usr/local /var/spool/cron -xdev \\( -type f -o -type l \\) -printf '%p %s %m %u %g %l %T@\\n' | sort"
        units = " ".join((*SERVING, "postfix@-.service"))
        return self.machine.run(
            f"{files}; ls /opt/smtpeter/versions; readlink /opt/smtpeter/current; dpkg -l; systemctl show -p InvocationID {units}"
        ).stdout

    def login(self, *words: str, account: str = "shop") -> Login:
        """A new login."""
        made = self.json("login", "add", "--account", account, *words)
        return Login(name=made["name"], password=made["password"])

    def client(self, login: Login | None, port: int = 587) -> smtplib.SMTP:
        """A session on a port, encrypted as it asks for, logged in. Raises what smtplib does."""
        words: Mapping[str, Any] = {"local_hostname": "client.test", "timeout": SECONDS}
        client: smtplib.SMTP
        if port == 465:
            client = smtplib.SMTP_SSL(self.machine.address, port, context=self.trust, **words)
        else:
            client = smtplib.SMTP(self.machine.address, port, **words)
        try:
            if port != 465:
                client.starttls(context=self.trust)
            client.ehlo()
            if login is not None:
                client.login(login.name, login.password)
        except BaseException:
            client.close()
            raise
        return client

    def message(self, **fields: str) -> tuple[str, bytes]:
        """A new HTML message with a link, and the mark to know it by; `_` in the name of a field is a hyphen."""
        mark = f"mark-{next(self._numbers)}"
        made = EmailMessage(policy=WIRE)
        made["From"], made["To"], made["Subject"] = "News <news@example.com>", "reader@example.net", mark
        for name, value in fields.items():
            made[name.replace("_", "-")] = value
        made.set_content(f'<p><a href="https://www.example.com/{mark}?a=1">offer</a></p>\n', subtype="html")
        return mark, made.as_bytes()

    def left(self, mark: str) -> Delivered:
        """The message as it arrived at the next hop."""
        return self.sink.found(lambda message: f"Subject: {mark}\r\n".encode() in message.header)

    def signed(self, message: Delivered) -> bool:
        """Whether a signature of a domain of the service verifies."""
        records = {f"{record}.".encode(): value.encode() for record, value in self.records.items()}
        return bool(dkim.verify(message.raw, dnsfunc=lambda record, timeout=5: records.get(record)))

    def unit_processes(self, unit: str) -> list[int]:
        """The processes of a unit, by the numbers they have inside."""
        group = self.machine.show(unit, "ControlGroup")
        done = self.machine.run(f"cat /sys/fs/cgroup{shlex.quote(group)}/cgroup.procs", check=False)
        return [int(line) for line in done.stdout.split()]

    def services(self) -> list[str]:
        """Our units that are services, by name, whatever they do now."""
        listing = self.machine.run("systemctl list-unit-files --no-legend --plain 'smtpeter*.service'").stdout
        return [name for name in re.findall(r"^(\S+\.service)", listing, re.MULTILINE) if "@" not in name]
