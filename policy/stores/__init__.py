"""Where logins, accounts, sender domains and keys are kept: the contract every store fulfils.

Reading is separate from administering: the servers get a `LoginStore`, the command an `AdminStore`. What changes is changed by
a function from the old value to the new one, which runs while nobody else can write: two commands at once lose nothing.
"""

from collections.abc import Callable
from typing import Protocol

from policy.account import Account
from policy.click_hosts import HostHealth
from policy.domains import SenderDomain, SigningKey
from policy.login import Login


class StoreUnavailable(Exception):
    """The store cannot answer now. Never a verdict about a login: callers answer with a temporary failure."""


class NotFound(LookupError):
    """There is no such account, login or domain; the message is a sentence for the user."""


class Conflict(ValueError):
    """The name is taken or still in use; the message is a sentence for the user."""


class Logins(Protocol):
    """Where logins are read, and compared where nobody else can. Raises StoreUnavailable; called from several threads at once."""

    def login(self, name: str) -> Login | None:
        """The login of that name."""

    def bind(self, login: Login, password: bytes) -> bool:
        """Whether `password` opens an external login. Raises ValueError for one that is not."""


class LoginStore(Logins, Protocol):
    """What the servers read. Every method raises StoreUnavailable when the store cannot answer.

    Methods are called from several threads at once.
    """

    def revision(self) -> object:
        """A value that is another one after every change, made by whomever, `LAG` seconds later at the latest.

        A look, not a query: it is asked for each message, from a callback that must not wait.
        """

    def account(self, name: str) -> Account | None:
        """The account of that name."""

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        """The keys of an account, oldest first."""

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        """All sender domains, or those of one account, by name."""

    def click_hosts(self, hosts: frozenset[str] | None = None) -> tuple[HostHealth, ...]:
        """The state of all click hosts that were looked at, or of those with one of these names, in the order of their names."""


LAG = 5  # seconds


class LoginAdmin(Logins, Protocol):
    """What the command changes of logins. Raises NotFound and Conflict besides StoreUnavailable."""

    def logins(self, account: str | None = None) -> tuple[Login, ...]:
        """All logins, or those of one account, oldest first."""

    def add_login(self, login: Login) -> None:
        """Adds a login."""

    def change_login(self, name: str, change: Callable[[Login], Login]) -> Login:
        """Changes a login to what `change` makes of it, but for its name, account and creation; returns that."""

    def remove_login(self, login: str) -> None:
        """Removes a login for good."""


class AdminStore(LoginStore, LoginAdmin, Protocol):
    """What the command changes. Raises NotFound and Conflict besides StoreUnavailable."""

    def accounts(self) -> tuple[Account, ...]:
        """All accounts by name."""

    def add_account(self, account: Account) -> None:
        """Adds an account."""

    def change_account(self, name: str, change: Callable[[Account], Account]) -> Account:
        """Changes an account to what `change` makes of it, but for its name and creation; returns that."""

    def add_domain(self, domain: SenderDomain, keys: tuple[SigningKey, ...]) -> None:
        """Adds a sender domain with its keys, all or nothing."""

    def change_domain(self, name: str, change: Callable[[SenderDomain], SenderDomain]) -> SenderDomain:
        """Changes a sender domain to what `change` makes of it, but for its name, account and creation; returns that."""

    def change_keys(self, domain: str, change: Callable[[tuple[SigningKey, ...]], tuple[SigningKey, ...]]) -> None:
        """Changes the keys whose `d=` is `domain`, a sender domain or not, to what `change` makes of them, all or nothing.

        Keys of other accounts with that domain are among them.
        """

    def remove_domain(self, name: str) -> None:
        """Removes a sender domain and the keys that sign its mail (Rule.DOMAIN)."""

    def change_click_hosts(self, change: Callable[[tuple[HostHealth, ...]], tuple[HostHealth, ...]]) -> tuple[HostHealth, ...]:
        """Changes the state of all click hosts to what `change` makes of it, all or nothing; returns that.

        Nothing is written where nothing changes.
        """

    def close(self) -> None:
        """Gives up what the calling thread holds."""
