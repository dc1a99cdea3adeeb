"""The settings: one TOML file, every key with a default; read once, frozen.

An unknown key or a bad value is refused with a sentence that names the key, the value and what is allowed.
"""

import os
import socket
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from policy.stores.engine import with_password_file
from smtpeter.errors import UserError
from smtpeter.sections import Auth, Canary, Directory, Journal, Keys, Listen, Metrics, Milter, Postfix, Relay, Section, Tls, Web

SEARCHED = (Path("smtpeter.toml"), Path("/etc/smtpeter/smtpeter.toml"))


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
    sockets: Path | None = None
    """Folder of the sockets between the processes and Postfix; without it, run in the data folder."""
    group: str = ""
    """Group of the users that the processes run as: it shares the data folder; "" = all of them run as one user."""
    hostname: str = Field(default_factory=_own_name)
    """The name of this host as clients and other mail servers see it."""
    postmaster: str = ""
    """The address that senders without permission are told to write to; "" = postmaster@ the host name."""
    database: str = ""
    """URL of the policy database (SQLAlchemy form); "" = the file policy.db in the data folder."""
    database_password_file: Path | None = None
    """File with the password for that database, so that none stands in the URL; read at each new connection."""
    usage: str = ""
    """URL of the database of limits and last uses; "" = usage.db in the data folder, or the policy database if it is a server."""
    require_sender_domain: bool = False
    """Whether mail is refused whose addresses are in no sender domain of the account."""
    listen: Listen = Listen()
    relay: Relay = Relay()
    tls: Tls = Tls()
    milter: Milter = Milter()
    auth: Auth = Auth()
    web: Web = Web()
    journal: Journal = Journal()
    directory: Directory = Directory()
    keys: Keys = Keys()
    postfix: Postfix = Postfix()
    metrics: Metrics = Metrics()
    canary: Canary = Canary()

    @property
    def contact(self) -> str:
        """The address in the refusal of an account without permission."""
        return self.postmaster or f"postmaster@{self.hostname}"

    @property
    def database_url(self) -> str:
        """URL of the policy database."""
        if not self.database:
            return f"sqlite:///{self.data / 'policy.db'}"
        return with_password_file(self.database, self.database_password_file)

    @property
    def usage_url(self) -> str:
        """URL of the usage database."""
        own = not self.database or self.database.startswith("sqlite")
        return self.usage or (f"sqlite:///{self.data / 'usage.db'}" if own else self.database_url)

    @property
    def service_domain(self) -> str:
        """The domain of the operator's own DNS records."""
        return self.keys.domain or self.hostname

    @property
    def master_key_file(self) -> Path:
        """The file of the key that the private DKIM keys are encrypted with."""
        return _credential("master.key") or self.data / "master.key"

    @property
    def ring_file(self) -> Path:
        """The file of the keys that seal identifiers."""
        return _credential("keys.ring") or self.data / "keys.ring"

    @property
    def journal_url(self) -> str:
        """URL of the journal's database."""
        if not self.journal.database:
            return f"sqlite:///{self.data / 'journal.db'}"
        return with_password_file(self.journal.database, self.journal.password_file)

    @property
    def spool(self) -> Path:
        """The folder where records wait for the journal's database."""
        return self.data / "spool"

    @property
    def images(self) -> Path:
        """The folder of hosted images."""
        return self.data / "images"

    @property
    def web_folder(self) -> Path:
        """The folder of what processes find out that others tell of, who read no database: the web process, the metrics."""
        return self.data / "web"

    @property
    def fetched(self) -> Path:
        """The folder of hosted images that other hosts have brought; it may be emptied."""
        return self.web_folder / "images"

    @property
    def click_host(self) -> str:
        """The click host of mail that has none of its own."""
        return self.web.host or f"clicks.{self.hostname}"

    @property
    def click_hosts_file(self) -> Path:
        """What was found at the click hosts, for those who do not read the policy database."""
        return self.web_folder / "click-hosts.json"

    @property
    def disabled_links_file(self) -> Path:
        """The destinations that nobody is sent to, for a start without the database."""
        return self.web_folder / "disabled-links.json"

    @property
    def postfix_config(self) -> Path:
        """The folder of the main.cf in use: that of the settings, else of the private Postfix."""
        return self.postfix.config or self.data / "postfix" / "etc"

    @property
    def backup_file(self) -> Path:
        """When the last backup was made."""
        return self.web_folder / "backup.json"

    @property
    def canary_file(self) -> Path:
        """What the last canary found."""
        return self.web_folder / "canary.json"

    @property
    def canary_sender(self) -> str:
        """From and MAIL FROM of the canary."""
        return self.canary.sender or f"canary@{self.service_domain}"

    @property
    def canary_recipient(self) -> str:
        """Where the canary goes."""
        return self.canary.recipient or f"canary@canary.{self.hostname}"

    @property
    def run(self) -> Path:
        """The folder of the sockets."""
        return self.sockets or self.data / "run"

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
    tls, relay, directory = settings.tls, settings.relay, settings.directory
    return settings.model_copy(
        update={
            "data": folder,
            "sockets": _under(base, settings.sockets),
            "database_password_file": _secret(base, settings.database_password_file),
            "tls": Tls(certificate=_under(base, tls.certificate), key=_under(base, tls.key)),
            "relay": Relay(host=relay.host, capture=_under(base, relay.capture)),
            "web": settings.web.model_copy(update={"ca": _under(base, settings.web.ca)}),
            "keys": settings.keys.model_copy(update={"zone": _under(base, settings.keys.zone)}),
            "directory": directory.model_copy(
                update={
                    "ca": _under(base, directory.ca),
                    "bind_password_file": _secret(base, directory.bind_password_file),
                }
            ),
            "journal": settings.journal.model_copy(update={"password_file": _secret(base, settings.journal.password_file)}),
            "canary": settings.canary.model_copy(update={"password_file": _secret(base, settings.canary.password_file)}),
            "postfix": Postfix(config=_under(base, settings.postfix.config), log=_under(base, settings.postfix.log)),
        }
    )


def _under(base: Path, path: Path | None) -> Path | None:
    return None if path is None else base / path


def _credential(name: str) -> Path | None:
    """The file of that name among those that the service manager has handed to this process (systemd.exec(5), Credentials)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, name) if folder else None
    # A unit names each secret there may be, with a blank line in the place of one that is not (SetCredential=).
    return path if path is not None and path.exists() and path.read_bytes().strip() else None


def _secret(base: Path, path: Path | None) -> Path | None:
    """The file of a secret: the one handed over under the same name, else the one the settings name."""
    return None if path is None else _credential(path.name) or base / path


def _sentence(error: Any) -> str:
    key = ".".join(str(place) for place in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no setting {key!r}"
    if error["type"] == "value_error" and isinstance(error["input"], dict):  # a table: too long to be repeated
        return f"{key}: {error['ctx']['error']}"
    if error["type"] == "tuple_type":
        return f'{key} cannot be {error["input"]!r}: it takes a list such as ["one", "two"]'
    told = error["msg"].removeprefix("Value error, ")
    return f"{key} cannot be {error['input']!r}: {told[:1].lower()}{told[1:]}"
