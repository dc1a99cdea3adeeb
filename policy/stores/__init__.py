"""Where logins, accounts, sender domains and keys are kept: the contract every store fulfils.

Reading is separate from administering: the servers get a `LoginStore`, the command an `AdminStore`.
"""

from typing import Protocol

from policy.account import Account, State
from policy.domains import SenderDomain, SigningKey
from policy.login import Login
from policy.options import Options


class StoreUnavailable(Exception):
    """The store cannot answer now. Never a verdict about a login: callers answer with a temporary failure."""


class NotFound(LookupError):
    """There is no such account, login or domain; the message is a sentence for the user."""


class Conflict(ValueError):
    """The name is taken or still in use; the message is a sentence for the user."""


class LoginStore(Protocol):
    """What the servers read. Every method raises StoreUnavailable when the store cannot answer.

    Methods are called from several threads at once.
    """

    def revision(self) -> object:
        """A value that is another one after every change, made by whomever.

        A look, not a query: it is asked for each message, from a callback that must not wait.
        """

    def login(self, name: str) -> Login | None:
        """The login of that name."""

    def account(self, name: str) -> Account | None:
        """The account of that name."""

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        """The keys of all sender domains of an account, oldest first."""

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        """All sender domains, or those of one account, by name."""


class AdminStore(LoginStore, Protocol):
    """What the command changes. Raises NotFound and Conflict besides StoreUnavailable."""

    def accounts(self) -> tuple[Account, ...]:
        """All accounts by name."""

    def add_account(self, account: Account) -> None:
        """Adds an account."""

    def set_state(self, account: str, state: State) -> None:
        """Changes the state of an account."""

    def logins(self, account: str | None = None) -> tuple[Login, ...]:
        """All logins, or those of one account, oldest first."""

    def add_login(self, login: Login) -> None:
        """Adds a login."""

    def set_options(self, login: str, options: Options) -> None:
        """Changes the options of a login."""

    def set_label(self, login: str, label: str) -> None:
        """Changes the label of a login."""

    def set_enabled(self, login: str, enabled: bool) -> None:
        """Enables or disables a login."""

    def set_password_hash(self, login: str, password_hash: str) -> None:
        """Replaces the password of a login."""

    def remove_login(self, login: str) -> None:
        """Removes a login for good."""

    def add_domain(self, domain: SenderDomain, keys: tuple[SigningKey, ...]) -> None:
        """Adds a sender domain with its keys, all or nothing."""

    def set_click_host(self, domain: str, host: str, *, https: bool) -> None:
        """Changes where the tracked links of a sender domain's mail lead; "" = to the service's own click host."""

    def remove_domain(self, name: str) -> None:
        """Removes a sender domain and its keys."""
