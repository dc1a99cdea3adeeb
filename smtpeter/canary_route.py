"""How a canary gets into the service, and how its link is followed: as a customer and as a visitor would, from this host."""

import smtplib
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import version
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from cryptography import x509

from smtpeter.canary_message import Canary
from smtpeter.settings import Settings
from smtpeter.trust import client_context

SECONDS = 30.0  # for one step of a session
# "monitor" is what web.machines knows: no visit of ours is a person's.
USER_AGENT = f"smtpeter-canary/{version('smtpeter')} (monitor)"
_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what stands for all addresses, and where such a listener is found


class Failed(Exception):
    """A step went wrong; the text says how, without the password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """A port of this host; `encrypted` from the first byte, else by STARTTLS."""

    address: str
    port: int
    encrypted: bool
    hostname: str
    trust: ssl.SSLContext

    def send(self, canary: Canary, login: str, password: str) -> str:
        """Sends a canary and returns its queue id. Raises Failed."""
        step = "the connection"
        try:
            with self._connected() as client:
                step = "STARTTLS"
                if not self.encrypted:
                    client.starttls(context=self.trust)
                step = "AUTH"
                client.ehlo()
                client.login(login, password)
                step = "the message"
                # Nobody wants to hear of one that is left behind.
                return _submit(client, canary)
        except ssl.SSLError as error:
            raise Failed(f"{step}: TLS: {getattr(error, 'verify_message', '') or error.reason or error}") from error
        except smtplib.SMTPResponseException as error:
            text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            raise Failed(f"{step}: {error.smtp_code} {' '.join(text.split())}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise Failed(f"{step}: {error}") from error

    def _connected(self) -> smtplib.SMTP:
        """The host is reached by its address, and must show the certificate of its name."""

        def connect(_host: str, port: int, timeout: float) -> socket.socket:
            return socket.create_connection((self.address, port), timeout)

        class Plain(smtplib.SMTP):
            _get_socket = staticmethod(connect)

        class Encrypted(smtplib.SMTP_SSL):
            def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
                plain = connect(host, port, timeout)
                return self.context.wrap_socket(plain, server_hostname=host)

        # With a name of its own, or the library asks the DNS for one.
        if self.encrypted:
            return Encrypted(self.hostname, self.port, self.hostname, timeout=SECONDS, context=self.trust)
        return Plain(self.hostname, self.port, self.hostname, timeout=SECONDS)


def _submit(client: smtplib.SMTP, canary: Canary) -> str:
    for step, arguments in (("MAIL", f"FROM:<{canary.sender}>"), ("RCPT", f"TO:<{canary.recipient}> NOTIFY=NEVER")):
        code, text = client.docmd(step, arguments)
        if code != 250:
            raise smtplib.SMTPResponseException(code, text)
    code, text = client.data(canary.text(datetime.now(UTC)))
    if code != 250:
        raise smtplib.SMTPResponseException(code, text)
    return text.decode("ascii", "replace").rpartition(" ")[2]


def entrances(settings: Settings, ports: tuple[int, ...]) -> tuple[Entrance, ...]:
    """The port for STARTTLS that clients are told of, and the one with TLS at once. Raises OSError and ValueError."""
    _, submission, submissions = ports
    address, trust = reached(settings.listen.addresses[0]), trusted(settings.certificate)
    return tuple(
        Entrance(address=address, port=port, encrypted=encrypted, hostname=settings.hostname, trust=trust)
        for port, encrypted in ((submission, False), (submissions, True))
    )


def reached(address: str) -> str:
    """Where a listener at that address is found from this host."""
    return _ALL.get(address, address)


def trusted(certificate: Path) -> ssl.SSLContext:
    """Which certificates are good: those the system trusts; a self-signed one is its own proof, whatever name is in it."""
    first = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    if first.issuer != first.subject:
        return client_context()
    context = client_context(certificate)
    context.check_hostname = False
    return context


def follow(link: str, settings: Settings, *, public: bool) -> str:
    """Where a link sends its visitor; "" for nowhere. `public`: by the host in it, else by our own web process. Raises Failed."""
    parts = urlsplit(link)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    connection = _public(parts, settings.web.ca) if public else _own(settings)
    try:
        connection.request("GET", path, headers={"Host": parts.netloc, "User-Agent": USER_AGENT})
        answer = connection.getresponse()
        if answer.status not in (301, 302, 303, 307, 308):
            raise Failed(f"the answer is {answer.status} {answer.reason}")
        return answer.getheader("Location", "")
    except (OSError, HTTPException) as error:
        raise Failed(f"no answer: {error}") from error
    finally:
        connection.close()


def _own(settings: Settings) -> HTTPConnection:
    return HTTPConnection(reached(settings.web.address), settings.web.port, timeout=SECONDS)


def _public(parts: SplitResult, authorities: Path | None) -> HTTPConnection:
    if parts.scheme != "https":
        return HTTPConnection(parts.netloc, timeout=SECONDS)
    context = client_context()
    if authorities is not None:
        context.load_verify_locations(authorities)
    return HTTPSConnection(parts.netloc, timeout=SECONDS, context=context)
