"""`smtpeter up`: the whole service in one terminal, with a Postfix of its own."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from policy.account import Account, State
from smtpeter import activation, capture, certificate, database, metrics, wiring
from smtpeter.cli import Place
from smtpeter.commands import login
from smtpeter.commands.login_fields import Given
from smtpeter.errors import UserError
from smtpeter.ports import Ports, open_listener
from smtpeter.postfix import Instance, source_directory
from smtpeter.process import mail_group, socket_paths
from smtpeter.sections import Relay
from smtpeter.settings import Settings
from smtpeter.supervisor import Child, Supervisor

FIRST_ACCOUNT = "first"
READY_SECONDS = 30.0
MILTER_GRACE = 35.0  # seconds; its workers have 25 to finish what they are at


def up(
    context: typer.Context,
    ports: Annotated[str | None, typer.Option(help="Three ports: two for STARTTLS, the third for TLS at once.")] = None,
    listen: Annotated[list[str] | None, typer.Option(help="Address to listen on; may be repeated.")] = None,
    capture_folder: Annotated[
        Path | None, typer.Option("--capture", help="Keep outgoing mail as files in this folder; nothing leaves.")
    ] = None,
    web_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port the tracking host listens on.")] = None,
    relayhost: Annotated[str | None, typer.Option(help="Send everything to this HOST:PORT.")] = None,
    first_login: Annotated[
        bool, typer.Option("--first-login", help="Where there is no account yet, make one and show its first login.")
    ] = False,
) -> None:
    """Run everything with a private Postfix until Ctrl-C."""
    place: Place = context.obj
    settings = _with_options(place.settings(), ports, listen, capture_folder, relayhost, web_port)
    if os.geteuid() != 0:
        raise UserError("smtpeter up must be run as root: Postfix and the ports below 1024 need it; try sudo")
    database.prepare(settings)
    with _alone(settings):
        certificate.ensure(settings.certificate, settings.certificate_key, hostname=settings.hostname, now=datetime.now(UTC))
        service = Service.prepare(settings, place)
        with Supervisor(_log) as supervisor:
            if service.start(supervisor):
                _announce(settings)
                if first_login:
                    _show_first_login(settings)
                sys.stdout.flush()
                supervisor.run()
            _log("stopping")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The processes, ready to start: the children in their order, and the Postfix that comes last."""

    children: tuple[Child, ...]
    sockets: tuple[Path, ...]
    postfix: Instance

    @classmethod
    def prepare(cls, settings: Settings, place: Place) -> "Service":
        """Opens the sockets and writes Postfix's configuration. Raises UserError."""
        settings.run.mkdir(exist_ok=True)
        settings.run.chmod(0o711)
        if settings.metrics.port:
            metrics.make_folder(settings)
        paths, group = socket_paths(settings), mail_group()
        command = (sys.executable, "-m", "smtpeter", *place.arguments())
        inherited = {name: activation.listen(paths[name], group=group) for name in ("auth", "policy")}
        web = open_listener(settings.web.address, settings.web.port, "choose another with --web-port 8081")
        # Stopped in the opposite order: the journal is last to go, so that it gets what the others still write.
        children = [
            Child(name="journal", argv=(*command, "journal", "serve")),
            Child(name="web", argv=(*command, "web"), sockets={"web": web}),
            Child(name="auth", argv=(*command, "auth"), sockets=inherited),
            Child(name="milter", argv=(*command, "milter"), grace=MILTER_GRACE),
            Child(name="rotation", argv=(*command, "domain", "rotate", "--timer")),
        ]
        nexthop = settings.relay.host
        if settings.relay.capture is not None:
            listener = capture.listen()
            nexthop = f"[127.0.0.1]:{listener.getsockname()[1]}"
            argv = (*command, "capture", str(settings.relay.capture))
            children.append(Child(name="capture", argv=argv, sockets={capture.SOCKET: listener}))
        paths["milter"].unlink(missing_ok=True)
        instance = postfix_for(settings, nexthop)
        instance.prepare()
        return cls(children=tuple(children), sockets=(paths["milter"],), postfix=instance)

    def start(self, supervisor: Supervisor) -> bool:
        """Starts everything; False when a stop signal came first. Raises UserError where something does not come up."""
        for child in self.children:
            supervisor.start(child)
        if not supervisor.wait_until(lambda: all(path.exists() for path in self.sockets), READY_SECONDS, "the milter"):
            return False
        supervisor.start(Child(name="postfix", argv=self.postfix.command()))
        return supervisor.wait_until(self.postfix.ready, READY_SECONDS, "Postfix")


def postfix_for(settings: Settings, nexthop: str = "") -> Instance:
    """The private Postfix of these settings; `nexthop` gets everything that leaves, "" means direct delivery."""
    smtp, submission, submissions = settings.listen.ports
    return Instance(
        directory=settings.data / "postfix",
        source=source_directory(),
        hostname=settings.hostname,
        listen=settings.listen.addresses,
        ports=Ports(smtp=smtp, submission=submission, submissions=submissions),
        run=settings.run,
        certificate=settings.certificate,
        key=settings.certificate_key,
        nexthop=nexthop,
        internal=settings.listen.internal,
        canary=settings.canary_recipient.rpartition("@")[2],
    )


def _with_options(
    settings: Settings,
    ports: str | None,
    listen: list[str] | None,
    capture_folder: Path | None,
    relayhost: str | None,
    web_port: int | None,
) -> Settings:
    if capture_folder is not None and relayhost is not None:
        raise UserError("--capture and --relayhost exclude each other: mail is kept here, or it goes there")
    relay = settings.relay
    if capture_folder is not None:
        relay = Relay(capture=capture_folder.absolute())
    elif relayhost is not None:
        relay = Relay(host=_nexthop(relayhost))
    chosen: dict[str, object] = {}
    if ports is not None:
        chosen["ports"] = Ports.parse(ports).all()
    if listen:
        chosen["addresses"] = tuple(listen)
    web = settings.web if web_port is None else settings.web.model_copy(update={"port": web_port})
    return settings.model_copy(update={"relay": relay, "listen": settings.listen.model_copy(update=chosen), "web": web})


def _nexthop(text: str) -> str:
    """HOST:PORT in Postfix's form, with brackets: the host itself, no look-up of its MX. Raises UserError."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    host = (host if colon else text).strip("[]")
    if not host or any(character.isspace() or character == "," for character in host) or (colon and not port.isdigit()):
        raise UserError(f"--relayhost takes HOST:PORT such as mail.example.com:25, not {text!r}")
    return f"[{host}]:{port or 25}"


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    with (settings.data / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UserError(
                f"smtpeter is already running on {settings.data} (pid {lock.read().strip()}); stop it, or choose --data"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _announce(settings: Settings) -> None:
    wiring.remember_ports(settings)
    smtp, submission, submissions = settings.listen.ports
    outgoing = "is sent directly to the recipients' mail servers"
    if settings.relay.capture is not None:
        outgoing = f"is kept in {settings.relay.capture}"
    elif settings.relay.host:
        outgoing = f"goes to {settings.relay.host}"
    typer.echo(
        f"smtpeter is ready: {settings.hostname} on ports {smtp} and {submission} (STARTTLS) and {submissions} (TLS);"
        f" outgoing mail {outgoing}; tracked links are served on {settings.web.address} port {settings.web.port}."
        " Ctrl-C stops it."
    )


def _show_first_login(settings: Settings) -> None:
    store = database.open_store(settings)
    try:
        if store.accounts():
            return
        store.add_account(Account(name=FIRST_ACCOUNT, state=State.APPROVED, created=int(time.time())))
        typer.echo(f"\nThere was no account yet: {FIRST_ACCOUNT!r} was added and approved. Its first login:")
        login.create(settings, store, FIRST_ACCOUNT, Given(options={}, label="first login"))
        typer.echo("")
    finally:
        store.close()


def _log(line: str) -> None:
    typer.echo(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S} smtpeter[{os.getpid()}]: {line}", err=True)
