"""The settings: one TOML file, every key with a default; read once, frozen.

An unknown key or a bad value is refused with a sentence that names the key, the value and what is allowed.
"""

import os
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError

from smtpeter.errors import UserError

SEARCHED = (Path("smtpeter.toml"), Path("/etc/smtpeter/smtpeter.toml"))

Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Listen(Section):
    """Where clients connect."""

    addresses: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104  # a mail host is there to be reached; TLS and AUTH guard it
    """IP addresses to listen on; "0.0.0.0" and "::" stand for all of them."""
    ports: tuple[Port, Port, Port] = (25, 587, 465)
    """Three ports: two for STARTTLS, the third for TLS from the first byte."""
    internal: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port of the listener on 127.0.0.1 that gets the copies of split messages; 0 = any free one, chosen at each start."""


class Tls(Section):
    """The certificate clients see. Without one, a self-signed one is made."""

    certificate: Path | None = None
    """PEM file: the certificate and the chain above it."""
    key: Path | None = None
    """PEM file: the private key of the certificate."""


class Milter(Section):
    """The process that changes messages."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Worker processes; 0 = one more than there are processors."""
    deadline: Annotated[float, Field(gt=0, le=25)] = 20.0
    """Seconds one message may take; a worker that takes longer is replaced, the client gets 451."""


class Auth(Section):
    """The process that compares passwords."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Comparisons that run at once, 19 MiB each; 0 = as many as there are processors."""


class Relay(Section):
    """Where accepted mail goes; without either, directly to the mail servers of the recipients."""

    host: str = ""
    """Next hop for everything, such as "[mail.example.com]:25"; brackets mean: the host itself, not its MX."""
    capture: Path | None = None
    """Folder that keeps every outgoing message as a file; nothing leaves the host."""


class Web(Section):
    """The tracking host: what the links and images of tracked mail lead to."""

    address: str = "127.0.0.1"
    """IP address to listen on; a web server with certificates for the click hosts stands in front."""
    port: Port = 8080
    """Port to listen on."""
    host: str = ""
    """Click host of mail whose From domain is no sender domain, or has no click host; "" = clicks. before the host name."""
    https: bool = True
    """Whether links to that host begin with https."""
    proxies: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""


class Journal(Section):
    """What became of each message: attempts, clicks, opens."""

    database: str = ""
    """URL of the journal's database (SQLAlchemy form); "" = the file journal.db in the data folder."""
    retention: Annotated[int, Field(ge=0, le=36500)] = 365
    """Days that messages and events are kept; 0 = for ever."""
    truncate_ip: bool = True
    """Whether addresses of visitors are shortened before they are written: to 24 bits of IPv4, 48 of IPv6."""


def _own_name(hosts: Path = Path("/etc/hosts")) -> str:
    """The host's name, with its domain where /etc/hosts has it (hosts(5)); the DNS is not asked, it may not answer."""
    name = socket.gethostname()
    try:
        lines = [line.partition("#")[0].split()[1:] for line in hosts.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return name
    full = (word for words in lines if name in words for word in words if word.startswith(f"{name}."))
    return next(full, name)


class Settings(Section):
    """Everything an operator may set."""

    data: Path = Path("var")
    """Folder of the databases, keys, queue and logs; relative to the settings file, or to the current folder without one."""
    hostname: str = Field(default_factory=_own_name)
    """The name of this host as clients and other mail servers see it."""
    postmaster: str = ""
    """The address that senders without permission are told to write to; "" = postmaster@ the host name."""
    database: str = ""
    """URL of the policy database (SQLAlchemy form); "" = the file policy.db in the data folder."""
    listen: Listen = Listen()
    relay: Relay = Relay()
    tls: Tls = Tls()
    milter: Milter = Milter()
    auth: Auth = Auth()
    web: Web = Web()
    journal: Journal = Journal()

    @property
    def contact(self) -> str:
        """The address in the refusal of an account without permission."""
        return self.postmaster or f"postmaster@{self.hostname}"

    @property
    def database_url(self) -> str:
        """URL of the policy database."""
        return self.database or f"sqlite:///{self.data / 'policy.db'}"

    @property
    def master_key_file(self) -> Path:
        """The file of the key that the private DKIM keys are encrypted with."""
        return self.data / "master.key"

    @property
    def ring_file(self) -> Path:
        """The file of the keys that seal identifiers."""
        return self.data / "keys.ring"

    @property
    def journal_url(self) -> str:
        """URL of the journal's database."""
        return self.journal.database or f"sqlite:///{self.data / 'journal.db'}"

    @property
    def spool(self) -> Path:
        """The folder where records wait for the journal's database."""
        return self.data / "spool"

    @property
    def images(self) -> Path:
        """The folder of hosted images."""
        return self.data / "images"

    @property
    def click_host(self) -> str:
        """The click host of mail that has none of its own."""
        return self.web.host or f"clicks.{self.hostname}"

    @property
    def run(self) -> Path:
        """The folder of the sockets."""
        return self.data / "run"

    @property
    def certificate(self) -> Path:
        """The certificate in use."""
        return self.tls.certificate or self.data / "tls" / "certificate.pem"

    @property
    def certificate_key(self) -> Path:
        """The private key of the certificate in use."""
        return self.tls.key or self.data / "tls" / "key.pem"

    @property
    def milter_workers(self) -> int:
        """Worker processes of the milter."""
        return self.milter.workers or (os.cpu_count() or 1) + 1

    @property
    def auth_workers(self) -> int:
        """Password comparisons at once."""
        return self.auth.workers or (os.cpu_count() or 1)


def load(path: Path | None, data: Path | None = None) -> Settings:
    """The settings in `path`, else in the first file of SEARCHED that exists, else the defaults; `data` overrides the folder.

    Raises UserError with a sentence for each thing that is wrong.
    """
    found = path or next((candidate for candidate in SEARCHED if candidate.is_file()), None)
    values: dict[str, Any] = {}
    if found is not None:
        try:
            values = tomllib.loads(found.read_text())
        except OSError as error:
            raise UserError(f"the settings file {found} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"the settings file {found} is no TOML: {error}") from error
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise UserError(f"settings {found}: " + "; ".join(map(_sentence, error.errors()))) from error
    if (settings.tls.certificate is None) != (settings.tls.key is None):
        raise UserError(f"settings {found}: tls.certificate and tls.key go together; one of them is missing")
    if settings.relay.host and settings.relay.capture:
        raise UserError(f"settings {found}: relay.host and relay.capture exclude each other")
    base = (found.parent if found is not None else Path()).absolute()
    folder = data.absolute() if data is not None else base / settings.data
    tls, relay = settings.tls, settings.relay
    return settings.model_copy(
        update={
            "data": folder,
            "tls": Tls(certificate=_under(base, tls.certificate), key=_under(base, tls.key)),
            "relay": Relay(host=relay.host, capture=_under(base, relay.capture)),
        }
    )


def _under(base: Path, path: Path | None) -> Path | None:
    return None if path is None else base / path


def _sentence(error: Any) -> str:
    key = ".".join(str(place) for place in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no setting {key!r}"
    return f"{key} cannot be {error['input']!r}: {error['msg'][:1].lower()}{error['msg'][1:]}"
