"""Logins that are people of a directory somebody else keeps: found by a filter, verified by logging in there as them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from policy.login import NAME, Login
from policy.stores import Conflict, NotFound, StoreUnavailable
from policy.stores.directory import Connection, Directory, Place, check_filter, escaped, normal_dn
from policy.stores.entry import Entry, UnreadableEntry
from policy.stores.person import MADE, Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How people and their groups are found. `filter` has {login} in it, `group_filter` {dn}.

    `member_of` is the attribute of a person that names groups; without it groups are searched, at and below `group_base`.
    """

    filter: str
    member_of: str = ""
    group_filter: str = ""
    group_base: str = ""


class ExistingLogins:
    """A LoginAdmin that changes nothing. Raises ValueError for a filter of `search` that is none."""

    def __init__(self, place: Place, search: Search, person: Person) -> None:
        self._directory = Directory(place)
        self._base = place.base
        self._search = search
        self._person = person
        self._attributes = (MADE, *dict.fromkeys(filter(None, (search.member_of, *person.attributes.values()))))
        check_filter(self._filter("x"))
        if person.groups and not search.member_of:
            check_filter(search.group_filter.replace("{dn}", "x"))

    def login(self, name: str) -> Login | None:
        """See Logins."""
        if not NAME.fullmatch(name):
            return None

        def look(connection: Connection) -> tuple[Entry, frozenset[Hashable]] | None:
            entry = self._entry(connection, name)
            return None if entry is None else (entry, self._groups(connection, entry))

        try:
            found = self._directory.ask(look)
            return None if found is None else self._person.login(name, *found)
        except UnreadableEntry as error:
            raise StoreUnavailable(f"the entry of {name} cannot be read: {error}") from error

    def bind(self, login: Login, password: bytes) -> bool:
        """See Logins. The directory compares, by its own rules; it is not asked about a password that is none."""
        if not login.external:
            raise ValueError(f"the login {login.name} has its password elsewhere")
        # RFC 4513 5.1.2: with an empty one the server logs nobody in, and calls it a success. RFC 4616 2: no NUL.
        if not password or b"\0" in password or not NAME.fullmatch(login.name):
            return False
        entry = self._directory.ask(lambda connection: self._entry(connection, login.name))
        return entry is not None and self._directory.bind(entry.dn, password)

    def logins(self, account: str | None = None) -> tuple[Login, ...]:
        """See LoginAdmin; none: people of the directory are not counted among ours."""
        return ()

    def add_login(self, login: Login) -> None:
        """Raises Conflict."""
        raise Conflict("logins are added to the directory by those who keep it")

    def change_login(self, name: str, change: Callable[[Login], Login]) -> Login:
        """Raises Conflict, or NotFound."""
        raise self._refusal(name)

    def remove_login(self, login: str) -> None:
        """Raises Conflict, or NotFound."""
        raise self._refusal(login)

    def count(self) -> int:
        """How many people the filter finds; 2 stands for more. Raises StoreUnavailable, as well where nobody can be told for
        sure to be nobody.
        """
        self.login("nobody")
        text = self._search.filter.replace("{login}", "*")
        return self._directory.ask(lambda connection: len(connection.some(self._base, text)))

    def close(self) -> None:
        """Ends the connections nobody uses."""
        self._directory.close()

    def _refusal(self, name: str) -> Exception:
        if self.login(name) is None:
            return NotFound(f"there is no login {name!r}")
        return Conflict(f"the login {name} is kept in the directory; it is changed there, or by its groups and the settings")

    def _filter(self, name: str) -> str:
        return self._search.filter.replace("{login}", escaped(name))

    def _entry(self, connection: Connection, name: str) -> Entry | None:
        return self._directory.one(connection, name, self._filter(name), self._attributes)

    def _groups(self, connection: Connection, entry: Entry) -> frozenset[Hashable]:
        """The groups a person is in, in a form that can be compared."""
        if not self._person.groups:
            return frozenset()
        if self._search.member_of:
            names = entry.texts(self._search.member_of)
        else:
            text = self._search.group_filter.replace("{dn}", escaped(entry.dn))
            # "1.1": no attributes (RFC 4511 4.5.1.8).
            names = tuple(group.dn for group in connection.entries(self._search.group_base, text, ("1.1",)))
        return frozenset(map(normal_dn, names))
