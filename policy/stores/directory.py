"""LDAP: the only place that knows the library. What else is said here with values (`policy.stores.entry`) and exceptions.

A connection is encrypted and its certificate compared with the name in the URL before anything else is sent, but for one that
does not leave the host; what cannot be encrypted is not used. Referrals are never followed: whoever answers could send our
password anywhere. The library's own settings (ldap.conf) are not asked where they could matter.
"""

import logging
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap
from ldap.controls import SimplePagedResultsControl
from ldap.controls.libldap import AssertionControl
from ldap.dn import str2dn
from ldap.filter import escape_filter_chars

from policy.log_line import shown
from policy.stores import Conflict, NotFound, StoreUnavailable
from policy.stores.entry import Entry
from policy.stores.servers import Lost, Servers, Untouched

SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")  # of Debian's ca-certificates
PAGE = 400  # entries asked for at once; servers refuse more than 500 or 1000
VERSION = "entryCSN"  # another one after every change (OpenLDAP)
_REMARKED = 1000  # ambiguous names that are told once

log = logging.getLogger("smtpeter.directory")


_CHANGED = (ldap.ASSERTION_FAILED, ldap.NO_SUCH_OBJECT)
# A wrong password or a locked entry; one without a password; 389 Directory Server's answer after too many wrong ones.
_CLOSED = (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH, ldap.CONSTRAINT_VIOLATION)


class ChangedMeanwhile(Exception):
    """An entry is not what it was when it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a directory is, and who asks it. `timeout` is in seconds; without `bind_dn` nobody in particular asks."""

    urls: tuple[str, ...]
    starttls: bool = True
    ca: Path | None = None
    bind_dn: str = ""
    bind_password_file: Path | None = None
    base: str
    timeout: float = 2.0
    connections: int = 8


def escaped(text: str) -> str:
    """A value for a filter (RFC 4515 3)."""
    return str(escape_filter_chars(text))


def normal_dn(text: str) -> Hashable:
    """What is the same for two ways to write a name. Raises ValueError where it is none."""
    try:
        parts = str2dn(text)
    except (ldap.LDAPError, UnicodeError) as error:
        raise ValueError(f"{text!r} is no name of an entry, such as cn=staff,dc=example,dc=com") from error
    return tuple(frozenset((kind.lower(), value.casefold()) for kind, value, _ in part) for part in parts)


def check_filter(text: str) -> None:
    """Raises ValueError where `text` is no filter."""
    try:
        AssertionControl(True, text).encodeControlValue()
    except ldap.LDAPError as error:
        raise ValueError(f"{text!r} is no filter, such as (&(objectClass=inetOrgPerson)(uid=...))") from error


class Connection:
    """A connection to a server: what may be asked over it. Raises Lost, Untouched where certainly nothing was changed."""

    def __init__(self, connection: Any) -> None:
        self._ldap = connection

    def entries(self, base: str, text: str, attributes: tuple[str, ...]) -> tuple[Entry, ...]:
        """The entries at and below `base` that a filter finds. Raises StoreUnavailable where only another server may know."""
        found: list[tuple[str | None, Any]] = []
        page = SimplePagedResultsControl(criticality=True, size=PAGE, cookie="")
        while True:
            with _told():
                number = self._ldap.search_ext(base, ldap.SCOPE_SUBTREE, text, list(attributes), serverctrls=[page])
                _, answers, _, controls = self._ldap.result3(number)
            found += answers
            page.cookie = next((control.cookie for control in controls if control.controlType == page.controlType), "")
            if not page.cookie:
                return _entries(found, base)

    def some(self, base: str, text: str, attributes: tuple[str, ...] = ("1.1",)) -> tuple[Entry, ...]:
        """The same where it matters only whether there is none, one or more: two then stand for all, and may be empty."""
        try:
            with _told(ldap.SIZELIMIT_EXCEEDED):
                number = self._ldap.search_ext(base, ldap.SCOPE_SUBTREE, text, list(attributes), sizelimit=2)
                _, answers, _, _ = self._ldap.result3(number)
        except ldap.SIZELIMIT_EXCEEDED:
            return _MANY
        return _entries(answers, base)[:2]

    def add(self, dn: str, values: Mapping[str, tuple[bytes, ...]]) -> None:
        """Adds an entry. Raises Conflict."""
        try:
            with _told(ldap.ALREADY_EXISTS):
                self._ldap.add_ext_s(dn, [(attribute, list(value)) for attribute, value in values.items() if value])
        except ldap.ALREADY_EXISTS as error:
            raise Conflict(f"there is an entry {dn} already") from error

    def change(self, dn: str, version: str, values: Mapping[str, tuple[bytes, ...]]) -> None:
        """Replaces values of an entry that is still of `version`. Raises ChangedMeanwhile."""
        still = AssertionControl(True, f"({VERSION}={escaped(version)})")
        changes = [(ldap.MOD_REPLACE, attribute, list(value) or None) for attribute, value in values.items()]
        try:
            with _told(*_CHANGED):
                self._ldap.modify_ext_s(dn, changes, serverctrls=[still])
        except _CHANGED as error:
            raise ChangedMeanwhile from error

    def remove(self, dn: str) -> None:
        """Removes an entry. Raises NotFound."""
        try:
            with _told(ldap.NO_SUCH_OBJECT):
                self._ldap.delete_ext_s(dn)
        except ldap.NO_SUCH_OBJECT as error:
            raise NotFound(f"there is no entry {dn}") from error

    def bind(self, dn: str, password: bytes) -> bool:
        """Whether a password opens an entry; False as well for one that is locked. Raises StoreUnavailable for a referral."""
        if not dn or not password:  # RFC 4513 5.1.1, 5.1.2: the server would open the door to nobody in particular
            return False
        try:
            with _told(*_CLOSED):
                self._ldap.simple_bind_s(dn, password)
        except _CLOSED:
            return False
        return True

    def close(self) -> None:
        """Ends it."""
        try:
            self._ldap.unbind_ext_s()
        except ldap.LDAPError:
            log.debug("a connection was ended by the other side")


class Directory:
    """A directory: its servers, and who asks them. Nothing is opened before the first question."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._remarked: set[str] = set()
        self._servers = Servers[Connection](
            place.urls, connect=self._connect, timeout=place.timeout, connections=place.connections
        )
        self.ask = self._servers.ask
        self.order = self._servers.order
        self.close = self._servers.close

    def bind(self, dn: str, password: bytes) -> bool:
        """Whether a password opens an entry, tried over a connection of its own. Raises StoreUnavailable."""
        return self._servers.ask_apart(lambda connection: connection.bind(dn, password), self._open)

    def one(self, connection: Connection, name: str, text: str, attributes: tuple[str, ...]) -> Entry | None:
        """The entry a filter finds for a login; two are as good as none, since nobody knows which is meant. Raises Lost."""
        found = connection.some(self._place.base, text, attributes)
        if len(found) > 1 and name not in self._remarked and len(self._remarked) < _REMARKED:
            self._remarked.add(name)
            log.warning("login=%s action=ignored reason=several_entries", shown(name))
        return found[0] if len(found) == 1 else None

    def _connect(self, url: str) -> Connection:
        """A connection that asks in our own name. Raises Lost, StoreUnavailable where our password cannot be read."""
        place = self._place
        if not place.bind_dn:
            return self._open(url)
        try:
            password = place.bind_password_file.read_bytes().rstrip(b"\r\n") if place.bind_password_file else b""
        except OSError as error:
            raise StoreUnavailable(f"the password of the directory cannot be read: {error}") from error
        connection = self._open(url)
        try:
            if connection.bind(place.bind_dn, password):
                return connection
            cause = "its password is wrong"
        except (Lost, StoreUnavailable) as error:
            cause = str(error)
        connection.close()
        raise Lost(f"{place.bind_dn} cannot log in: {cause}")

    def _open(self, url: str) -> Connection:
        """An encrypted connection, or one that does not leave the host. Raises Lost."""
        with _told(wholly=True):
            connection = ldap.initialize(url)
            connection.timeout = self._place.timeout
            for option, value in _options(self._place):
                connection.set_option(option, value)
            if self._place.starttls and url.startswith("ldap:"):
                try:
                    connection.start_tls_s()
                except BaseException:
                    connection.unbind_ext_s()
                    raise
        return Connection(connection)


def _options(place: Place) -> Iterator[tuple[int, Any]]:
    """What is set for every connection, whatever ldap.conf says. The last one makes the others of TLS count."""
    yield ldap.OPT_PROTOCOL_VERSION, ldap.VERSION3
    yield ldap.OPT_REFERRALS, ldap.OPT_OFF
    yield ldap.OPT_RESTART, ldap.OPT_OFF
    yield ldap.OPT_DEREF, ldap.DEREF_NEVER
    yield ldap.OPT_SIZELIMIT, 0
    yield ldap.OPT_TIMELIMIT, 0
    yield ldap.OPT_NETWORK_TIMEOUT, place.timeout
    yield ldap.OPT_TIMEOUT, place.timeout
    # A question whose caller has given up ends with its connection: 60 + 3 * 10 s after the host is gone.
    yield ldap.OPT_X_KEEPALIVE_IDLE, 60
    yield ldap.OPT_X_KEEPALIVE_PROBES, 3
    yield ldap.OPT_X_KEEPALIVE_INTERVAL, 10
    yield ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND
    yield ldap.OPT_X_TLS_CACERTFILE, str(place.ca or SYSTEM_CA)
    yield ldap.OPT_X_TLS_PROTOCOL_MIN, ldap.OPT_X_TLS_PROTOCOL_TLS1_2
    yield ldap.OPT_X_TLS_NEWCTX, 0


def _entries(answers: list[tuple[str | None, Any]], base: str) -> tuple[Entry, ...]:
    """The entries of a search. Raises StoreUnavailable where there are only names of other servers that may have some."""
    found = tuple(
        Entry(dn=dn, values={attribute.lower(): tuple(value) for attribute, value in values.items()})
        for dn, values in answers
        if dn is not None
    )
    if answers and not found:
        raise StoreUnavailable(f"the directory refers to another server for what is below {base}; referrals are not followed")
    return found


_MANY = (Entry(dn="", values={}),) * 2

# The others concern what was asked: another question may be answered, and another server would say the same.
_OF_THE_SERVER = (
    ldap.SERVER_DOWN,
    ldap.CONNECT_ERROR,
    ldap.TIMEOUT,
    ldap.UNAVAILABLE,
    ldap.BUSY,
    ldap.DECODING_ERROR,
    ldap.PROTOCOL_ERROR,
    ldap.LOCAL_ERROR,
    ldap.OTHER,
    UnicodeError,
)


@contextmanager
def _told(*answers: type[ldap.LDAPError], wholly: bool = False) -> Iterator[None]:
    """Raises the library's exceptions but for `answers` as ours; `wholly` tells that each of them is about the server."""
    try:
        yield
    except answers:
        raise
    except ldap.REFERRAL as error:
        raise Untouched("it refers to another server; referrals are not followed") from error
    except _OF_THE_SERVER as error:
        raise Lost(_cause(error)) from error
    except ldap.LDAPError as error:
        raise (Lost if wholly else StoreUnavailable)(f"the directory says: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """The library's words for what happened, without the numbers."""
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    words = [str(told[key]) for key in ("desc", "info") if told.get(key)]
    if isinstance(error, ldap.CONNECT_ERROR):  # all it says is that
        words = ["it cannot be encrypted; the certificate has expired, or is for another host, or of an unknown authority"]
    return ": ".join(dict.fromkeys(words)) or str(error) or type(error).__name__
