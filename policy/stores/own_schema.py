"""Logins in a directory, as entries of our own schema (policy/ldap/smtpeter.ldif): found there, and kept there."""

from collections.abc import Callable
from dataclasses import replace

from policy.login import NAME, Login
from policy.stores import Conflict, NotFound, StoreUnavailable
from policy.stores.directory import VERSION, ChangedMeanwhile, Connection, Directory, Place, escaped
from policy.stores.entry import Entry, UnreadableEntry
from policy.stores.own_entry import ATTRIBUTES, NAMING, OBJECT_CLASS, read, write

ATTEMPTS = 20  # of a change that somebody else's comes before


class OwnLogins:
    """A LoginAdmin on the entries at and below the base of `place`; new ones are made right below it.

    What a change is made of must be the same when it is asked again: where another one comes first, it is.
    """

    def __init__(self, place: Place) -> None:
        self._directory = Directory(place)
        self._base = place.base

    def login(self, name: str) -> Login | None:
        """See Logins."""
        found = self._found(name)
        return None if found is None else _login(found)

    def bind(self, login: Login, password: bytes) -> bool:
        """See Logins; every login here has its password in its entry."""
        raise ValueError(f"the login {login.name} has its password here, in its entry")

    def logins(self, account: str | None = None) -> tuple[Login, ...]:
        """See LoginAdmin."""
        text = f"(objectClass={OBJECT_CLASS})"
        if account is not None:
            text = f"(&{text}(smtpeterAccount={escaped(account)}))"
        entries = self._directory.ask(lambda connection: connection.entries(self._base, text, ATTRIBUTES))
        return tuple(sorted(map(_login, entries), key=lambda login: (login.created, login.name)))

    def add_login(self, login: Login) -> None:
        """See LoginAdmin. Raises ValueError for an external one, or one whose name cannot be asked for."""
        if login.external or not NAME.fullmatch(login.name):
            raise ValueError(f"a login such as {login.name!r} cannot be kept in the directory")
        if self._found(login.name) is not None:
            raise Conflict(f"there is a login {login.name!r} already")
        values = {"objectClass": (OBJECT_CLASS.encode(),), **write(login)}
        self._directory.order(lambda connection: connection.add(f"{NAMING}={login.name},{self._base}", values))

    def change_login(self, name: str, change: Callable[[Login], Login]) -> Login:
        """See LoginAdmin. Only what changed is written."""
        for _ in range(ATTEMPTS):
            entry = self._required(name)
            login = _login(entry)
            changed = replace(change(login), name=name, account=login.account, created=login.created)
            before = write(login)
            values = {attribute: value for attribute, value in write(changed).items() if value != before[attribute]}
            try:
                if values:
                    self._change(entry, values)
            except ChangedMeanwhile:
                continue
            return changed
        raise StoreUnavailable(f"the login {name} is changed by others all the time")

    def remove_login(self, login: str) -> None:
        """See LoginAdmin."""
        entry = self._required(login)
        self._directory.order(lambda connection: connection.remove(entry.dn))

    def count(self) -> int:
        """How many logins there are. Raises StoreUnavailable."""
        return len(self.logins())

    def close(self) -> None:
        """Ends the connections nobody uses."""
        self._directory.close()

    def _change(self, entry: Entry, values: dict[str, tuple[bytes, ...]]) -> None:
        version = entry.text(VERSION)
        if not version:
            raise StoreUnavailable(f"the directory does not show {VERSION} of {entry.dn}; without it a change may undo another")
        self._directory.order(lambda connection: connection.change(entry.dn, version, values))

    def _found(self, name: str) -> Entry | None:
        if not NAME.fullmatch(name):
            return None
        text = f"(&(objectClass={OBJECT_CLASS})({NAMING}={escaped(name)}))"

        def look(connection: Connection) -> Entry | None:
            return self._directory.one(connection, name, text, (*ATTRIBUTES, VERSION))

        return self._directory.ask(look)

    def _required(self, name: str) -> Entry:
        found = self._found(name)
        if found is None:
            raise NotFound(f"there is no login {name!r}")
        return found


def _login(entry: Entry) -> Login:
    """The login of an entry. Raises StoreUnavailable: what cannot be read is no verdict."""
    try:
        return read(entry)
    except UnreadableEntry as error:
        raise StoreUnavailable(f"the entry {entry.dn} cannot be read: {error}") from error
