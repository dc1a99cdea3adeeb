"""Who a session is, as the filter needs to know it: login, account, signers, click hosts, remembered until the store changes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from filters.job import Signer, Site, Tracking
from filters.sign_dkim import KeySigner
from filters.target import host_of
from journal.ring_file import RingFile
from journal.seal import Ring
from policy.access import Session, decide
from policy.account import Account
from policy.click_hosts import ClickHost, refusal
from policy.domains import SenderDomain, SigningKey, owner_of, unseal_private_key
from policy.identity import Identity
from policy.login import NAME, Login
from policy.owners import Owners
from policy.reply import Refused, Reply
from policy.signing import KeyChoice
from policy.stores import LoginStore

REMEMBERED = 10_000  # senders; more than that and all are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A login, its account and the keys of it, as whom it may write, and where its links lead by sender domain, "" for others."""

    login: Login
    account: Account
    keys: KeyChoice
    tracking: Mapping[str, Tracking]
    identity: Identity


class Senders:
    """Answers for the milter who may send, who signs and where links lead; used by one thread, but for `recall`.

    `click_host` is the service's own, `https` tells how links to it begin; sender domains may have another. With
    `only_published` only keys sign that the DNS has been seen to publish, with `checked` links lead only to click hosts that were
    found in order; `require_sender_domain` is the setting. What the store said is remembered for as long as its revision stays
    the same, so a login that is disabled stops at its next message.
    """

    def __init__(
        self,
        store: LoginStore,
        *,
        master_key: bytes,
        postmaster: str,
        ring: RingFile,
        click_host: str,
        https: bool,
        only_published: bool = False,
        require_sender_domain: bool = False,
        checked: bool = False,
    ) -> None:
        self._store = store
        self._master_key = master_key
        self._postmaster = postmaster
        self._ring = ring
        self._click_host = click_host
        self._https = https
        self._only_published = only_published
        self._require_sender_domain = require_sender_domain
        self._checked = checked
        self._revision: object = None
        self._senders: dict[str, Sender] = {}
        self._means: dict[str, tuple[KeyChoice, Mapping[str, Tracking]]] = {}
        self._owners = Owners(store)
        self._signers: dict[tuple[str, str, str], KeySigner] = {}

    def recall(self, sasl_username: str, session: Session) -> Sender | None:
        """The sender if it is remembered, nothing has changed since and nothing is against it; asks nobody and never waits.

        From any thread.
        """
        # In this order: whoever renews the memory empties it first and tells its revision last.
        remembered = self._revision
        sender = self._senders.get(sasl_username) if self._store.revision() == remembered else None
        return sender if sender is not None and self._refusal(sasl_username, sender, session) is None else None

    def authorise(self, sasl_username: str, session: Session) -> Sender:
        """The sender behind a session. Raises Refused, or StoreUnavailable where the store cannot answer."""
        self._renew()
        sender = self._senders.get(sasl_username)
        if sender is None:
            sender = self._look_up(sasl_username)
        refusal = self._refusal(sasl_username, sender, session)
        if refusal is not None or sender is None:
            raise Refused(refusal) if refusal else LookupError("a sender was let in without a login")
        self._senders[sasl_username] = sender
        return sender

    def site(self, sender: Sender) -> Site:
        """What the filters need for a message of `sender`. `signers` raises InvalidKey for a key that cannot be used."""
        return self._site(sender.keys, sender.tracking, int(time.time()), sender.identity)

    def site_of_copies(self, account: str, now: int) -> Site:
        """The same for the copies of a message that was accepted from `account` at `now`, whatever became of its login since."""
        self._renew()
        if account not in self._means:
            self._means[account] = self._look_up_means(account)
        return self._site(*self._means[account], now)

    def ring(self) -> Ring:
        """The keys that seal identifiers, as they are now. Raises OSError or InvalidRing while there has not been a good ring."""
        return self._ring.current()

    def _renew(self) -> None:
        """Forgets everything where the store has changed."""
        revision = self._store.revision()
        if revision != self._revision or max(len(self._senders), len(self._means)) > REMEMBERED:
            self._senders.clear()
            self._means.clear()
            self._signers.clear()
            self._revision = revision

    def _site(self, keys: KeyChoice, tracking: Mapping[str, Tracking], now: int, identity: Identity | None = None) -> Site:
        return Site(
            signers=partial(self._signers_for, keys, now),
            tracking=lambda domain: tracking.get(domain, tracking[""]),
            ring=self._ring.current(),
            now=now,
            identity=identity,
        )

    def _refusal(self, sasl_username: str, sender: Sender | None, session: Session) -> Reply | None:
        login, account = (sender.login, sender.account) if sender else (None, None)
        return decide(sasl_username, login, account, session, postmaster=self._postmaster)

    def _look_up(self, sasl_username: str) -> Sender | None:
        login = self._store.login(sasl_username) if NAME.fullmatch(sasl_username) else None
        account = self._store.account(login.account) if login else None
        if login is None or account is None:
            return None
        keys, tracking = self._look_up_means(login.account)
        required = self._require_sender_domain
        identity = Identity(account=login.account, words=login.senders, owners=self._owners.current(), required=required)
        return Sender(login=login, account=account, keys=keys, tracking=tracking, identity=identity)

    def _look_up_means(self, account: str) -> tuple[KeyChoice, Mapping[str, Tracking]]:
        keys, domains = self._store.signing_keys(account), self._store.domains(account)
        choice = KeyChoice(account, keys, domains, owner=self._owner_of, only_published=self._only_published)
        return choice, self._tracking(domains)

    def _owner_of(self, name: str) -> str:
        """The account that a name belongs to, "" for none."""
        return owner_of(name, self._owners.current())

    def _tracking(self, domains: tuple[SenderDomain, ...]) -> Mapping[str, Tracking]:
        places = {domain.name: ClickHost(host=domain.clicks, https=domain.https) for domain in domains if domain.clicks}
        places[""] = ClickHost(host=self._click_host.lower(), https=self._https)
        hosts = frozenset(host_of(place.base) for place in places.values())
        refusals = self._refusals(frozenset(places.values())) if self._checked else {}
        return {name: Tracking(base=place.base, hosts=hosts, refusal=refusals.get(place, "")) for name, place in places.items()}

    def _refusals(self, places: frozenset[ClickHost]) -> Mapping[ClickHost, str]:
        """Why nothing is to lead to these click hosts, "" where it may."""
        found = {health.place: health for health in self._store.click_hosts(frozenset(place.host for place in places))}
        return {place: refusal(place.host, found.get(place)) for place in places}

    def _signers_for(self, keys: KeyChoice, now: int, address: str) -> tuple[Signer, ...]:
        return tuple(self._signer(key) for key in keys.keys_for(address, now))

    def _signer(self, key: SigningKey) -> KeySigner:
        place = (key.domain, key.selector, key.public)
        if place not in self._signers:
            pem = unseal_private_key(self._master_key, key)
            self._signers[place] = KeySigner.load(key.domain, key.selector, key.algorithm, pem)
        return self._signers[place]
