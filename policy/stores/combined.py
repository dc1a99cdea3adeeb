"""The database and a directory as one store: logins in both, everything else in the database."""

import time
from collections.abc import Callable

from policy.account import Account
from policy.click_hosts import HostHealth
from policy.domains import SenderDomain, SigningKey
from policy.login import Login
from policy.stores import LAG, Conflict, LoginAdmin, NotFound
from policy.stores.sql import SqlStore


class Combined:
    """An AdminStore. A login of the database comes first, so that no directory can take its place or keep it waiting.

    `writable` tells that new logins go to the directory.
    """

    def __init__(self, local: SqlStore, directory: LoginAdmin, *, writable: bool) -> None:
        self._local = local
        self._directory = directory
        self._writable = writable

    # -- logins: both --------------------------------------------------------------------------------------------------

    def revision(self) -> object:
        """See LoginStore. A directory tells of no change, so it is another one after LAG seconds, changed or not."""
        return self._local.revision(), time.monotonic() // LAG

    def login(self, name: str) -> Login | None:
        """See Logins."""
        return self._local.login(name) or self._directory.login(name)

    def bind(self, login: Login, password: bytes) -> bool:
        """See Logins."""
        return self._directory.bind(login, password)

    def logins(self, account: str | None = None) -> tuple[Login, ...]:
        """See LoginAdmin."""
        local = {login.name: login for login in self._local.logins(account)}
        others = (login for login in self._directory.logins(account) if login.name not in local)
        return tuple(sorted((*local.values(), *others), key=lambda login: (login.created, login.name)))

    def add_login(self, login: Login) -> None:
        """See LoginAdmin."""
        if self._local.account(login.account) is None:
            raise NotFound(f"there is no account {login.account!r}")
        if self.login(login.name) is not None:
            raise Conflict(f"there is a login {login.name!r} already")
        (self._directory if self._writable else self._local).add_login(login)

    def change_login(self, name: str, change: Callable[[Login], Login]) -> Login:
        """See LoginAdmin."""
        return self._keeper(name).change_login(name, change)

    def remove_login(self, login: str) -> None:
        """See LoginAdmin."""
        self._keeper(login).remove_login(login)

    def _keeper(self, name: str) -> LoginAdmin:
        return self._local if self._local.login(name) is not None else self._directory

    # -- everything else: the database ---------------------------------------------------------------------------------

    def account(self, name: str) -> Account | None:
        """See LoginStore."""
        return self._local.account(name)

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        """See LoginStore."""
        return self._local.signing_keys(account)

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        """See LoginStore."""
        return self._local.domains(account)

    def click_hosts(self, hosts: frozenset[str] | None = None) -> tuple[HostHealth, ...]:
        """See LoginStore."""
        return self._local.click_hosts(hosts)

    def accounts(self) -> tuple[Account, ...]:
        """See AdminStore."""
        return self._local.accounts()

    def add_account(self, account: Account) -> None:
        """See AdminStore."""
        self._local.add_account(account)

    def change_account(self, name: str, change: Callable[[Account], Account]) -> Account:
        """See AdminStore."""
        return self._local.change_account(name, change)

    def add_domain(self, domain: SenderDomain, keys: tuple[SigningKey, ...]) -> None:
        """See AdminStore."""
        self._local.add_domain(domain, keys)

    def change_domain(self, name: str, change: Callable[[SenderDomain], SenderDomain]) -> SenderDomain:
        """See AdminStore."""
        return self._local.change_domain(name, change)

    def change_keys(self, domain: str, change: Callable[[tuple[SigningKey, ...]], tuple[SigningKey, ...]]) -> None:
        """See AdminStore."""
        self._local.change_keys(domain, change)

    def remove_domain(self, name: str) -> None:
        """See AdminStore."""
        self._local.remove_domain(name)

    def change_click_hosts(self, change: Callable[[tuple[HostHealth, ...]], tuple[HostHealth, ...]]) -> tuple[HostHealth, ...]:
        """See AdminStore."""
        return self._local.change_click_hosts(change)

    def close(self) -> None:
        """Gives up the calling thread's connection to the database; a directory's connections are everybody's."""
        self._local.close()
