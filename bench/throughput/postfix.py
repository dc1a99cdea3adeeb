"""The private Postfix of the bench: ours (postfix/main.cf) with a listener for each set-up that asks for no TLS and no AUTH.

Each listener has its own milter, or none; the login that our milter wants to know is given as the default of a macro. Where
mail goes is for the caller to say; the listeners of the samples pass it to a sink.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.throughput.processes import running, wait_until
from smtpeter.errors import UserError
from smtpeter.ports import Ports
from smtpeter.postfix import Instance, source_directory

DISCARD = "discard:"
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

    def drain(self) -> None:
        """Waits until everything that was accepted has left the queue. Raises UserError where some of it has to wait in it."""
        queues = [self.instance.queue / name for name in ("incoming", "active")]
        wait_until(lambda: not any(any(queue.iterdir()) for queue in queues), "the delivery of all mail", 120, pause=0.005)
        if any(path.is_file() for path in (self.instance.queue / "deferred").rglob("*")):
            raise UserError(f"Postfix could not deliver all mail: {self.instance.log} says why")


@contextmanager
def started(
    folder: Path, first_port: int, listeners: tuple[Listener, ...], *, transport: str = DISCARD, run: Path | None = None
) -> Iterator[Postfix]:
    """The instance with these listeners, until the context is left. `first_port` and the two after it are its own.

    `transport` gets all mail. `run` is the folder with the socket of our milter, for copies of split messages.
    """
    here = folder / "postfix"
    instance = Instance(
        directory=here,
        source=source_directory(),
        hostname="bench.invalid",
        listen=("127.0.0.1",),
        ports=Ports(smtp=first_port, submission=first_port + 1, submissions=first_port + 2),
        run=run or here / "run",
        certificate=here / "certificate.pem",
        key=here / "key.pem",
        extra={**EXTRA, "default_transport": transport},
    )
    instance.prepare()
    with (instance.config / "master.cf").open("a") as master:
        master.writelines(listener.service() for listener in listeners)
    try:
        with running(instance.command(), here / "output.log", lambda: all(greets(each.port) for each in listeners)) as pid:
            yield Postfix(instance=instance, pid=pid)
    except UserError as error:
        raise UserError(f"{error}: {instance.complaint()}" if instance.complaint() else str(error)) from error


def greets(port: int) -> bool:
    """Whether an SMTP server answers on a port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            greeting = client.recv(512)
            client.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220 ") and client.recv(512).startswith(b"221 ")
    except OSError:
        return False
