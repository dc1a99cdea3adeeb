"""The tables of the settings file, every key with a default and its meaning."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, field_validator, model_validator

from policy.options import Options, settled
from policy.stores.person import Held

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
    checked: bool = False
    """Whether only click hosts are used whose DNS and certificate were found in order; mail with others goes out untracked."""
    addresses: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks that click hosts are to lead to; none = the addresses of `host`."""
    ca: Path | None = None
    """PEM file of authorities whose certificates are good for click hosts, besides the system's: for a network of one's own."""


class Journal(Section):
    """What became of each message: attempts, clicks, opens."""

    database: str = ""
    """URL of the journal's database (SQLAlchemy form); "" = the file journal.db in the data folder."""
    retention: Annotated[int, Field(ge=0, le=36500)] = 365
    """Days that messages and events are kept; 0 = for ever."""
    password_file: Path | None = None
    """File with the password for that database, so that none stands in the URL; read at each new connection."""
    truncate_ip: bool = True
    """Whether addresses of visitors are shortened before they are written: to 24 bits of IPv4, 48 of IPv6."""


class Group(Section):
    """What members of a group get: options, an account."""

    dn: str
    """Name of the group's entry."""
    options: dict[str, str] = {}
    """Options, as in `smtpeter login set`: trackclicks = "on"."""
    account: str = ""
    """The account its members belong to; "" = the one of the directory's settings."""

    @field_validator("options")
    @classmethod
    def _known(cls, words: dict[str, str]) -> dict[str, str]:
        settled(Options(), frozenset(), words)
        return words


class Directory(Section):
    """Logins in an LDAP directory, besides those of the database."""

    urls: tuple[str, ...] = ()
    """Servers, asked in this order: "ldaps://ldap.example.com" or "ldap://ldap.example.com"; none = no directory."""
    starttls: bool = True
    """Whether an ldap:// connection is encrypted before anything is said; false only for servers on this host."""
    ca: Path | None = None
    """PEM file of the authorities that sign the servers' certificates; without it, those of the system."""
    bind_dn: str = ""
    """Name to log in with for look-ups; "" = anonymous."""
    bind_password_file: Path | None = None
    """File with the password of that name; read at each new connection."""
    layout: Literal["smtpeter", "existing"] = "smtpeter"
    """"smtpeter": entries of our own schema, which `smtpeter login` writes; "existing": people who are there already."""
    base: str = ""
    """Name of the entry below which logins are."""
    timeout: Annotated[float, Field(gt=0, le=3)] = 2.0
    """Seconds one server has for an answer, the connection included; all of them together have 3."""
    connections: Annotated[int, Field(ge=1, le=64)] = 8
    """Connections to one server at the same time, for each process."""
    cache: Annotated[int, Field(ge=0, le=86400)] = 300
    """Seconds that a login may go on sending while no server answers; logging in takes a server."""
    filter: str = "(&(objectClass=inetOrgPerson)(uid={login}))"
    """Existing directory: finds the person; {login} is what the client typed, in lower case."""
    account: str = ""
    """Existing directory: the account of everybody whose entry or groups name none; "" = those are no logins."""
    attributes: dict[Held, str] = {}
    """Existing directory: which attribute holds account, label, senders, options, expires or disabled."""
    groups: tuple[Group, ...] = ()
    """Existing directory: what members of a group get; where groups disagree, the first one counts."""
    member_of: str = "memberOf"
    """Existing directory: the attribute of a person that names groups; "" = groups are searched."""
    group_filter: str = "(&(objectClass=groupOfNames)(member={dn}))"
    """Existing directory: finds the groups of a person where no attribute names them; {dn} is the person's entry."""
    group_base: str = ""
    """Existing directory: name of the entry below which groups are; "" = `base`."""

    @field_validator("urls")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            _ = parts.port  # raises ValueError for one that is none
            extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
            if parts.scheme not in ("ldaps", "ldap", "ldapi") or not parts.netloc or extra:
                raise ValueError("it takes addresses such as ldaps://ldap.example.com or ldap://ldap.example.com:389")
        return urls

    @field_validator("filter")
    @classmethod
    def _finds_a_login(cls, text: str) -> str:
        return _with("{login}", text)

    @field_validator("group_filter")
    @classmethod
    def _finds_groups(cls, text: str) -> str:
        return _with("{dn}", text)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        plain = [url for url in self.urls if url.startswith("ldap:") and not _here(url)]
        if plain and not self.starttls:
            raise ValueError(f"{plain[0]} without starttls would carry passwords in the clear; use ldaps:// or starttls = true")
        if self.urls and not self.base:
            raise ValueError("urls go with base, the name of the entry below which logins are")
        if bool(self.bind_dn) != bool(self.bind_password_file):
            raise ValueError("bind_dn and bind_password_file go together; one of them is missing")
        return self


def _with(place: str, text: str) -> str:
    if place not in text:
        raise ValueError(f"it takes a filter with {place} in it")
    return text


def _here(url: str) -> bool:
    """Whether a server is on this host."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Keys(Section):
    """DKIM keys that change by themselves."""

    period: Annotated[float, Field(ge=2, le=3650)] = 30.0
    """Days that one key signs. It is published that long before and after."""
    zone: Path | None = None
    """Zone file that gets these keys, of the zone dkim. before `domain`; written anew at each change."""
    domain: str = ""
    """Domain whose DNS is the operator's own, where the customers' records lead; "" = the host name."""
    reload: tuple[str, ...] = ()
    """Command that tells the name server of a new zone file, such as ["rndc", "reload"]."""
    only_published: bool = False
    """Whether only keys sign that `smtpeter domain check` has seen in the DNS."""


class Postfix(Section):
    """A Postfix that somebody else starts, such as the host's own; without it `smtpeter up` has a private one."""

    config: Path | None = None
    """Folder of its main.cf, such as /etc/postfix."""
    log: Path | None = None
    """Its log file: maillog_file in main.cf."""


class Metrics(Section):
    """Numbers for Prometheus: one address for all processes of the host, served by `smtpeter journal serve`."""

    address: str = "127.0.0.1"
    """IP address to listen on; they name logins, so it is nobody else's business."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port to listen on; 0 = no metrics."""


class Canary(Section):
    """The message that goes through the whole service and back, to see that it works."""

    login: str = ""
    """Login to send it with."""
    password_file: Path | None = None
    """File with its password."""
    sender: str = ""
    """Its From and MAIL FROM; "" = canary@ `domain` of the keys, which is to be a sender domain."""
    recipient: str = ""
    """Address that Postfix brings back to the command, on the socket canary; "" = canary@canary. before the host name."""
