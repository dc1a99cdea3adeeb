"""The private Postfix of the bench: ours (postfix/main.cf) with a listener for each set-up that asks for no TLS and no AUTH.

smtp-source speaks neither. Each listener has its own milter, or none; the login that our milter wants to know is given
as the default of a macro. Mail for everybody is discarded, but for the listeners of the samples, which pass it to a sink.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.throughput.processes import program, running, wait_until
from smtpeter.errors import UserError
from smtpeter.ports import Ports
from smtpeter.postfix import Instance, source_directory

SESSIONS = 10
OPEN = (
    "smtpd_tls_security_level=none",
    "smtpd_sasl_auth_enable=no",
    "mynetworks=127.0.0.1",
    "smtpd_relay_restrictions=permit_mynetworks,reject",
    "smtpd_recipient_restrictions=permit",
    "smtpd_sender_restrictions=",
    "smtpd_data_restrictions=",
)
EXTRA = {
    "default_transport": "discard:",
    # No counting of connections: they all come from one client.
    "smtpd_client_connection_count_limit": "0",
    # Postfix would hold back a client that is faster than the queue; here the queue is waited for, after each run.
    "in_flow_delay": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One way in: the milter's socket or None, the login its mail is from, and the port of a sink or 0."""

    port: int
    milter: Path | None
    login: str = ""
    sink: int = 0

    def service(self) -> str:
        """The lines of master.cf."""
        options = [*OPEN, f"smtpd_milters={f'unix:{self.milter}' if self.milter else ''}"]
        if self.login:
            options.append(f"milter_macro_defaults=auth_authen={self.login}")
        if self.sink:
            options.append(f"content_filter=smtp:[127.0.0.1]:{self.sink}")
        return "\n".join([f"127.0.0.1:{self.port} inet n - n - 200 smtpd", *(f"  -o {option}" for option in options), ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class Postfix:
    """The running instance; `pid` is that of master(8)."""

    instance: Instance
    pid: int

    def send(self, port: int, file: Path, messages: int) -> float:
        """Sends a message file so many times, in a session each; the seconds until Postfix had accepted the last one.

        Raises UserError where Postfix refuses one.
        """
        argv = (program("smtp-source"), "-s", str(SESSIONS), "-m", str(messages), "-F", str(file))
        addresses = ("-f", "news@example.com", "-t", "reader@example.org", f"inet:127.0.0.1:{port}")
        start = time.perf_counter()
        done = subprocess.run((*argv, *addresses), check=False, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise UserError(f"Postfix refused a message: {done.stderr.strip()}")
        return seconds

    def drain(self) -> None:
        """Waits until everything that was accepted has left the queue."""
        queues = [self.instance.queue / name for name in ("incoming", "active")]
        wait_until(lambda: not any(any(queue.iterdir()) for queue in queues), "the delivery of all mail", 120)


@contextmanager
def started(folder: Path, first_port: int, listeners: tuple[Listener, ...]) -> Iterator[Postfix]:
    """The instance with these listeners, until the context is left. `first_port` and the two after it are its own."""
    here = folder / "postfix"
    instance = Instance(
        directory=here,
        source=source_directory(),
        hostname="bench.invalid",
        listen=("127.0.0.1",),
        ports=Ports(smtp=first_port, submission=first_port + 1, submissions=first_port + 2),
        run=here / "run",
        certificate=here / "certificate.pem",
        key=here / "key.pem",
        extra=EXTRA,
    )
    instance.prepare()
    with (instance.config / "master.cf").open("a") as master:
        master.writelines(listener.service() for listener in listeners)
    try:
        with running(instance.command(), here / "output.log", lambda: all(_greets(each.port) for each in listeners)) as pid:
            yield Postfix(instance=instance, pid=pid)
    except UserError as error:
        raise UserError(f"{error}: {instance.complaint()}" if instance.complaint() else str(error)) from error


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            greeting = client.recv(512)
            client.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220 ") and client.recv(512).startswith(b"221 ")
    except OSError:
        return False
