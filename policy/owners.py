"""Which account owns which sender domain, remembered until the store changes."""

from collections.abc import Mapping
from types import MappingProxyType

from policy.stores import LoginStore


class Owners:
    """The account of each sender domain of the service; from any thread."""

    def __init__(self, store: LoginStore) -> None:
        self._store = store
        self._known: tuple[object, Mapping[str, str]] | None = None

    def current(self) -> Mapping[str, str]:
        """Account by sender domain. Raises StoreUnavailable."""
        # The revision first: what changes in between is read again the next time.
        revision = self._store.revision()
        known = self._known
        if known is None or known[0] != revision:
            found = {domain.name: domain.account for domain in self._store.domains()}
            self._known = known = (revision, MappingProxyType(found))
        return known[1]
