"""Who a session is, as the filter needs to know it: login, account and signers, remembered until the store changes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from filters.job import Signer, Site
from filters.sign_dkim import KeySigner
from policy.access import decide
from policy.domains import SigningKey, keys_for, unseal_private_key
from policy.login import Login
from policy.reply import Refused
from policy.stores import LoginStore

REMEMBERED = 10_000  # senders; more than that and all are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A login that may send, and the keys of its account."""

    login: Login
    keys: tuple[SigningKey, ...]


class Senders:
    """Answers for the milter who may send and who signs; used by one thread, but for `recall`.

    What the store said is remembered for as long as its revision stays the same, so a login that is disabled stops at its
    next message.
    """

    def __init__(self, store: LoginStore, *, master_key: bytes, postmaster: str) -> None:
        self._store = store
        self._master_key = master_key
        self._postmaster = postmaster
        self._revision: object = None
        self._senders: dict[str, Sender] = {}
        self._signers: dict[tuple[str, str], KeySigner] = {}

    def recall(self, sasl_username: str) -> Sender | None:
        """The sender if it is remembered and nothing has changed since; asks nobody and never waits. From any thread."""
        # In this order: whoever renews the memory empties it first and tells its revision last.
        remembered = self._revision
        return self._senders.get(sasl_username) if self._store.revision() == remembered else None

    def authorise(self, sasl_username: str) -> Sender:
        """The sender behind a session. Raises Refused, or StoreUnavailable where the store cannot answer."""
        revision = self._store.revision()
        if revision != self._revision or len(self._senders) > REMEMBERED:
            self._senders.clear()
            self._signers.clear()
            self._revision = revision
        sender = self._senders.get(sasl_username)
        if sender is None:
            sender = self._senders[sasl_username] = self._look_up(sasl_username)
        return sender

    def site(self, sender: Sender) -> Site:
        """What the filters need for a message of `sender`. `signers` raises InvalidKey for a key that cannot be used."""
        return Site(signers=partial(self._signers_for, sender.keys), now=int(time.time()))

    def _look_up(self, sasl_username: str) -> Sender:
        login = self._store.login(sasl_username) if sasl_username else None
        account = self._store.account(login.account) if login else None
        refusal = decide(sasl_username, login, account, postmaster=self._postmaster)
        if refusal is not None or login is None:
            raise Refused(refusal) if refusal else LookupError("a sender was let in without a login")
        return Sender(login=login, keys=self._store.signing_keys(login.account))

    def _signers_for(self, keys: tuple[SigningKey, ...], domain: str) -> tuple[Signer, ...]:
        return tuple(self._signer(key) for key in keys_for(domain, keys))

    def _signer(self, key: SigningKey) -> KeySigner:
        place = (key.domain, key.selector)
        if place not in self._signers:
            pem = unseal_private_key(self._master_key, key)
            self._signers[place] = KeySigner.load(key.domain, key.selector, key.algorithm, pem)
        return self._signers[place]


MakeSenders = Callable[[], Senders]
